# Copyright (C) nginx-cycles authors

"""What a key may do: permissions by route, scopes, and the operator."""

import pytest

import gateway
from _admin import ADMIN_KEY, Admin, plane
from _api import (ACTION, KEYS, SUBJECT, UNIT, amount, ok, refused)


SCOPES = 'tenant:acme', 'tenant:acme/app:chat', 'tenant:acme/app:other'

ADMIN = {'X-Admin-API-Key': ADMIN_KEY}


@pytest.fixture(scope='module')
def admin(request):
    server = gateway.Nginx(**plane(*[(scope, 10 ** 6) for scope in SCOPES],
                                   ('tenant:other', 1000)))
    request.addfinalizer(server.close)
    server.start()
    yield Admin(server)
    server.check()


def reservation(admin):
    return ok(admin.reserve(1, ttl_ms=3600000))['reservation_id']


def budget_body(admin):
    return {'scope': 'tenant:acme/workspace:w' + admin.key(), 'unit': UNIT,
            'allocated': amount(1)}


# name of a route: how it is called with a key

ROUTES = {
    'reserve': lambda a, key: a.reserve(1, api_key=key),
    'dry run': lambda a, key: a.reserve(1, api_key=key, dry_run=True),
    'decide': lambda a, key: a.call('POST', '/v1/decide', {
        'idempotency_key': a.key(), 'subject': SUBJECT, 'action': ACTION,
        'estimate': amount(1)}, key=key),
    'event': lambda a, key: a.call('POST', '/v1/events', {
        'idempotency_key': a.key(), 'subject': SUBJECT, 'action': ACTION,
        'actual': amount(1)}, key=key),
    'commit': lambda a, key: a.commit(reservation(a), 1, api_key=key),
    'release': lambda a, key: a.release(reservation(a), api_key=key),
    'extend': lambda a, key: a.extend(reservation(a), 1000, api_key=key),
    'get': lambda a, key: a.get(reservation(a), api_key=key),
    'list': lambda a, key: a.call('GET', '/v1/reservations', key=key),
    'balances': lambda a, key: a.balances(api_key=key),
    'introspect': lambda a, key: a.call('GET', '/v1/auth/introspect',
                                        key=key),
    'budgets': lambda a, key: a.admin('GET', 'budgets', as_key=key),
    'lookup': lambda a, key: a.lookup('tenant:acme', as_key=key),
    'create': lambda a, key: a.admin('POST', 'budgets', budget_body(a),
                                     as_key=key),
    'fund': lambda a, key: a.fund('tenant:acme', 'CREDIT', 0, as_key=key),
}

PLANE = 'budgets', 'lookup', 'create', 'fund'

MATRIX = {
    'reservations:create': {'reserve', 'dry run', 'decide'},
    'reservations:commit': {'commit', 'event'},
    'reservations:release': {'release'},
    'reservations:extend': {'extend'},
    'reservations:list': {'get', 'list'},
    'balances:read': {'balances'},
    'budgets:read': {'budgets', 'lookup'},
    'budgets:write': {'create', 'fund'},
    'decide': {'decide'},
    'events:create': {'event'},
    'policies:read': set(),
    'policies:write': set(),
    'webhooks:read': set(),
    'webhooks:write': set(),
    'events:read': set(),
    'admin:read': {'balances', 'budgets', 'lookup'},
    'admin:write': {'create', 'fund'},
    'admin:tenants:read': set(),
    'admin:tenants:write': set(),
    'admin:budgets:read': {'budgets', 'lookup'},
    'admin:budgets:write': {'create', 'fund'},
    'admin:policies:read': set(),
    'admin:policies:write': set(),
    'admin:apikeys:read': set(),
    'admin:apikeys:write': set(),
    'admin:webhooks:read': set(),
    'admin:webhooks:write': set(),
    'admin:events:read': set(),
    'admin:audit:read': set(),
}


@pytest.mark.parametrize('permission', MATRIX)
def test_matrix(admin, permission):
    key = admin.secret(permission)
    for name, call in ROUTES.items():
        r = call(admin, key)
        if name == 'introspect' or name in MATRIX[permission]:
            assert r.status in (200, 201), (name, r.text)
        else:
            body = refused(r, 403, 'INSUFFICIENT_PERMISSIONS'
                           if name in PLANE else 'FORBIDDEN')
            assert 'lacks the permission' in body['message']


def test_no_permissions_at_all(admin):
    body = ok(admin.api_key(permissions=[]), 201)
    assert body['permissions'] == []
    for name, call in ROUTES.items():
        assert call(admin, body['key_secret']).status \
            == (200 if name == 'introspect' else 403)


def test_permissions_that_others_include(admin):
    body = ok(admin.api_key(permissions=[
        'events:create', 'decide', 'reservations:commit',
        'reservations:create', 'decide']), 201)
    assert body['permissions'] == ['reservations:create',
                                   'reservations:commit']
    body = ok(admin.admin('PATCH', 'api-keys/' + body['key_id'], {
        'permissions': ['balances:read', 'reservations:commit']}))
    assert body['permissions'] == ['reservations:commit', 'balances:read']


OPERATOR_ONLY = [
    ('GET', 'tenants', None), ('POST', 'tenants', {}),
    ('GET', 'tenants/acme', None), ('PATCH', 'tenants/acme', {}),
    ('GET', 'api-keys', None), ('POST', 'api-keys', {}),
    ('PATCH', 'api-keys/x', {}), ('DELETE', 'api-keys/x', None),
    ('PATCH', 'budgets', {}), ('POST', 'budgets/freeze', None),
    ('POST', 'budgets/unfreeze', None), ('POST', 'budgets/close', None),
]


@pytest.mark.parametrize('method,path,body', OPERATOR_ONLY)
def test_for_the_operator_only(admin, method, path, body):
    key = admin.secret('admin:read', 'admin:write', 'admin:tenants:write',
                       'admin:apikeys:write')
    r = refused(admin.admin(method, path, body, as_key=key), 401,
                'UNAUTHORIZED')
    assert 'X-Admin-API-Key' in r['message']


@pytest.mark.parametrize('name', [name for name in ROUTES if name not in (
    'get', 'list', 'release', 'introspect') + PLANE])
def test_not_for_the_operator(admin, name):
    """Its key is not looked at where a tenant has to be known."""

    class Both(Admin):
        def call(self, method, path, body=None, key=None, headers=None,
                 **kw):
            return Admin.call(self, method, path, body, key=key,
                              headers=dict(headers or {}, **ADMIN), **kw)

        def key(self):
            return 'both-%s-%s' % (name, Admin.key(self))

    both = Both(admin.nginx)
    assert ROUTES[name](both, KEYS['acme']).status in (200, 201)
    refused(ROUTES[name](both, 'x'), 401, 'UNAUTHORIZED')


# the operator on behalf of a tenant

def test_on_behalf(admin):
    rid = reservation(admin)
    r = admin.call('GET', '/v1/reservations/' + rid, key=None, headers=ADMIN)
    assert ok(r)['reservation_id'] == rid
    assert r.header('x-cycles-tenant') is None
    body = ok(admin.call('POST', '/v1/reservations/%s/release' % rid, {
        'idempotency_key': 'by-the-operator', 'reason': 'stuck'}, key=None,
        headers=ADMIN))
    assert body == {'status': 'RELEASED', 'released': amount(1)}
    assert ok(admin.get(rid))['status'] == 'RELEASED'

    refused(admin.call('GET', '/v1/reservations', key=None, headers=ADMIN),
            400, 'INVALID_REQUEST')
    listed = ok(admin.call('GET', '/v1/reservations', key=None, headers=ADMIN,
                           query='tenant=acme'))['reservations']
    assert rid in [item['reservation_id'] for item in listed]
    assert ok(admin.call('GET', '/v1/reservations', key=None, headers=ADMIN,
                         query='tenant=other'))['reservations'] == []

    # a wrong one is not made good by a right API key

    for method, path in (('GET', '/v1/reservations/' + rid),
                         ('GET', '/v1/reservations'),
                         ('GET', '/v1/auth/introspect')):
        refused(admin.call(method, path, headers={'X-Admin-API-Key': 'x'}),
                401, 'UNAUTHORIZED')
    refused(admin.call('POST', '/v1/reservations/%s/release' % rid, {
        'idempotency_key': 'z'}, headers={'X-Admin-API-Key': 'x'}),
        401, 'UNAUTHORIZED')


def test_release_of_the_operator_is_told_in_the_log(admin):
    from ledger_log import Log
    one, two = reservation(admin), reservation(admin)
    ok(admin.call('POST', '/v1/reservations/%s/release' % one,
                  {'idempotency_key': 'o'}, key=None, headers=ADMIN))
    ok(admin.release(two))
    flags = {rec.id: rec.flags & 2 != 0
             for rec in Log(admin.nginx.path('ledger')).records()
             if rec.kind == 'release'}
    assert (flags[one], flags[two]) == (True, False)


# introspection

CAPABILITIES = {
    'view_budgets': {'budgets:read', 'admin:read', 'admin:budgets:read'},
    'view_policies': {'policies:read', 'admin:read', 'admin:policies:read'},
    'view_webhooks': {'webhooks:read', 'admin:read', 'admin:webhooks:read'},
    'view_events': {'events:read', 'admin:read', 'admin:events:read'},
    'view_reservations': {
        'reservations:list', 'reservations:create', 'reservations:commit',
        'reservations:release', 'reservations:extend', 'admin:read'},
    'manage_budgets': {'budgets:write', 'admin:write',
                       'admin:budgets:write'},
    'manage_policies': {'policies:write', 'admin:write',
                        'admin:policies:write'},
    'manage_webhooks': {'webhooks:write', 'admin:write',
                        'admin:webhooks:write'},
    'manage_reservations': {
        'reservations:create', 'reservations:commit', 'reservations:release',
        'reservations:extend', 'admin:write'},
    'view_tenants': set(), 'view_api_keys': set(), 'view_audit': set(),
    'view_overview': set(), 'manage_tenants': set(),
    'manage_api_keys': set(),
}


@pytest.mark.parametrize('permission', MATRIX)
def test_capabilities(admin, permission):
    key = admin.secret(permission)
    body = ok(admin.call('GET', '/v1/auth/introspect', key=key))
    assert body['permissions'] == [permission]
    assert (body['authenticated'], body['auth_type']) == (True, 'tenant')
    assert 'scope_filter' not in body
    assert body['capabilities'] == {
        name: permission in wanted for name, wanted in CAPABILITIES.items()}


def test_capabilities_of_the_operator(admin):
    body = ok(admin.call('GET', '/v1/auth/introspect', headers=ADMIN))
    assert body == {
        'authenticated': True, 'auth_type': 'admin', 'permissions': ['*'],
        'capabilities': {name: True for name in CAPABILITIES}}


# scope filters

def subject(**levels):
    return dict({'tenant': 'acme'}, **levels)


@pytest.mark.parametrize('scope_filter,allowed,denied', [
    (['app:chat'], [subject(app='chat'), subject(app='CHAT', agent='x')],
     [subject(), subject(app='chat2'), subject(app='cha'),
      subject(agent='chat')]),
    (['app:*'], [subject(app='chat'), subject(app='other')],
     [subject(), subject(workspace='w')]),
    (['workspace:w', 'agent:*'], [subject(workspace='w'),
                                  subject(agent='a'),
                                  subject(workspace='v', agent='a')],
     [subject(workspace='v'), subject(app='w')]),
    (['tenant:acme/app:chat'], [subject(app='chat'),
                                subject(workspace='w', app='chat')],
     [subject(app='other'), subject()]),
    (['tenant:acme'], [subject(), subject(app='chat')], []),
    (['tenant:other'], [], [subject(), subject(app='chat')]),
    ([], [subject(), subject(app='chat')], []),
])
def test_scope_filter_of_subjects(admin, scope_filter, allowed, denied):
    key = admin.secret(scope_filter=scope_filter)

    def each(who):
        body = {'idempotency_key': admin.key(), 'subject': who,
                'action': ACTION}
        yield admin.reserve(1, subject=who, api_key=key)
        yield admin.call('POST', '/v1/decide',
                         dict(body, estimate=amount(1)), key=key)
        yield admin.call('POST', '/v1/events', dict(body, actual=amount(1)),
                         key=key)

    for who in allowed:
        for r in each(who):
            assert r.status in (200, 201), (who, r.text)
    for who in denied:
        for r in each(who):
            assert 'scopes' in refused(r, 403, 'FORBIDDEN')['message'], who


def test_scope_filter_of_reservations(admin):
    key = admin.secret('reservations:commit', 'reservations:release',
                       'reservations:extend', 'reservations:list',
                       'balances:read', 'budgets:read', 'budgets:write',
                       scope_filter=['app:chat'])
    mine = ok(admin.reserve(5, subject=subject(app='chat'),
                            ttl_ms=3600000))['reservation_id']
    other = ok(admin.reserve(5, subject=subject(app='other'),
                             ttl_ms=3600000))['reservation_id']

    for r in (admin.get(other, api_key=key),
              admin.commit(other, 1, api_key=key),
              admin.release(other, api_key=key),
              admin.extend(other, 1000, api_key=key)):
        refused(r, 403, 'FORBIDDEN')

    ok(admin.get(mine, api_key=key))
    ok(admin.extend(mine, 1000, api_key=key))
    listed = ok(admin.call('GET', '/v1/reservations', key=key))
    apps = {item['subject'].get('app').lower()
            for item in listed['reservations']}
    assert apps == {'chat'}
    scopes = {item['scope_path']
              for item in ok(admin.balances(api_key=key))['balances']}
    assert scopes == {'tenant:acme/app:chat'}
    ledgers = admin.all('budgets', 'ledgers', as_key=key)
    assert {item['scope'] for item in ledgers} == {'tenant:acme/app:chat'}
    ok(admin.lookup('tenant:acme/app:chat', as_key=key))
    refused(admin.lookup('tenant:acme', as_key=key), 403, 'FORBIDDEN')
    refused(admin.fund('tenant:acme', 'CREDIT', 0, as_key=key), 403,
            'FORBIDDEN')
    ok(admin.fund('tenant:acme/app:chat', 'CREDIT', 0, as_key=key))
    refused(admin.budget_create('tenant:acme/workspace:x', 1, as_key=key),
            403, 'FORBIDDEN')
    ok(admin.budget_create('tenant:acme/workspace:x%s/app:chat'
                           % admin.key(), 1, as_key=key), 201)
    ok(admin.commit(mine, 1, api_key=key))


def test_scope_filter_after_a_start(nginx):
    admin = Admin(nginx(**plane(('tenant:acme', 100))))
    key = admin.secret(scope_filter=['app:chat'])
    mine, other = (ok(admin.reserve(1, subject=subject(app=app),
                                    ttl_ms=3600000))['reservation_id']
                   for app in ('chat', 'other'))
    for stop in admin.nginx.quit, admin.nginx.kill9:
        stop()
        admin.nginx.start()
        ok(admin.get(mine, api_key=key))
        refused(admin.get(other, api_key=key), 403, 'FORBIDDEN')


def test_tenants_are_apart(admin):
    other = admin.secret(tenant_id='other')
    rid = reservation(admin)
    refused(admin.get(rid, api_key=other), 403, 'FORBIDDEN')
    refused(admin.lookup('tenant:acme', as_key=other), 403, 'FORBIDDEN')
    ledgers = admin.all('budgets', 'ledgers', as_key=other)
    assert [item['scope'] for item in ledgers] == ['tenant:other']
    ledgers = ok(admin.admin('GET', 'budgets', as_key=other,
                             tenant_id='acme'))['ledgers']
    assert [item['scope'] for item in ledgers] == ['tenant:other']
    refused(admin.budget_create('tenant:acme/app:q', 1, as_key=other), 403,
            'FORBIDDEN')
    refused(admin.budget_create('tenant:other/app:q', 1, as_key=other,
                                tenant_id='other'), 400, 'INVALID_REQUEST')
