# Copyright (C) nginx-cycles authors

"""The admin plane for the suites of the HTTP API.

    admin = Admin(nginx(**plane(('tenant:acme', 1000))))
    admin.fund('tenant:acme', 'CREDIT', 10)

Calls have the operator's key; as_key=SECRET is a tenant's one instead.
Everything that Api has is there, too.
"""

from urllib.parse import urlencode

from _api import UNIT, Api, amount, conf, ok


ADMIN_KEY = 'admin-bootstrap-key'


def plane(*entries, **kw):
    """Arguments for nginx(): a ledger, its API, and its admin plane."""

    kw.setdefault('api', 'admin_key=' + ADMIN_KEY)
    return conf(*entries, **kw)


class Admin(Api):

    def admin(self, method, path, body=None, as_key=None, headers=None,
              **query):
        sent = dict(headers or {})
        if as_key is None:
            sent.setdefault('X-Admin-API-Key', ADMIN_KEY)
        return self.call(method, '/v1/admin/' + path, body, key=as_key,
                         headers=sent, query=urlencode(query))

    def tenant(self, tenant_id, name='A name', **members):
        return self.admin('POST', 'tenants',
                          dict({'tenant_id': tenant_id, 'name': name},
                               **members))

    def change_tenant(self, tenant_id, **members):
        return self.admin('PATCH', 'tenants/' + tenant_id, members)

    def get_tenant(self, tenant_id):
        return self.admin('GET', 'tenants/' + tenant_id)

    def api_key(self, tenant_id='acme', name='k', **members):
        return self.admin('POST', 'api-keys',
                          dict({'tenant_id': tenant_id, 'name': name},
                               **members))

    def secret(self, *permissions, tenant_id='acme', **members):
        if permissions:
            members['permissions'] = list(permissions)
        return ok(self.api_key(tenant_id, **members), 201)['key_secret']

    def get_key(self, key_id):
        for item in self.all('api-keys', 'keys'):
            if item['key_id'] == key_id:
                return item
        raise AssertionError('no key ' + key_id)

    def budget_create(self, scope, n, unit=UNIT, as_key=None, **members):
        body = dict({'scope': scope, 'unit': unit,
                     'allocated': amount(n, unit)}, **members)
        if as_key is None:
            body.setdefault('tenant_id',
                            scope.split('/')[0].partition(':')[2])
        return self.admin('POST', 'budgets', body, as_key=as_key)

    def lookup(self, scope, unit=UNIT, as_key=None):
        return self.admin('GET', 'budgets/lookup', as_key=as_key,
                          scope=scope, unit=unit)

    def ledger(self, scope, unit=UNIT):
        """The budget with amounts as plain integers, which add up."""

        item = ok(self.lookup(scope, unit))
        flat = {k: v['amount'] if isinstance(v, dict) else v
                for k, v in item.items()}
        assert flat['remaining'] == flat['allocated'] - flat['spent'] \
            - flat['reserved'] - flat['debt']
        return flat

    def sums(self, scope, unit=UNIT):
        flat = self.ledger(scope, unit)
        return tuple(flat[name] for name in (
            'allocated', 'remaining', 'reserved', 'spent', 'debt',
            'is_over_limit'))

    def fund(self, scope, operation, n, unit=UNIT, as_key=None, query=None,
             headers=None, **members):
        if query is None:
            query = {'scope': scope, 'unit': unit}
            if as_key is None:
                query['tenant_id'] = scope.split('/')[0].partition(':')[2]
        return self.admin('POST', 'budgets/fund', dict(
            {'operation': operation, 'amount': amount(n, unit)}, **members),
            as_key=as_key, headers=headers, **query)

    def status(self, scope, action, body=None, unit=UNIT, as_key=None):
        return self.admin('POST', 'budgets/' + action, body, as_key=as_key,
                          scope=scope, unit=unit)

    def all(self, path, name, as_key=None, **query):
        """The items of all pages."""

        found = []
        while True:
            body = ok(self.admin('GET', path, as_key=as_key, **query))
            found += body[name]
            assert body['has_more'] == ('next_cursor' in body)
            if not body['has_more']:
                return found
            query['cursor'] = body['next_cursor']

    def everything(self):
        """What a restart must not change."""

        return {name: self.all(path, name)
                for path, name in (('tenants', 'tenants'),
                                   ('budgets', 'ledgers'),
                                   ('api-keys', 'keys'))}
