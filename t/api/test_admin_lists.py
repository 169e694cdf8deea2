# Copyright (C) nginx-cycles authors

"""Lists of the admin plane: filters, order, pages."""

import functools

import pytest

import gateway
from _admin import Admin, plane
from _api import UNIT, amount, ok, refused
from gateway import parallel


@pytest.fixture(scope='module')
def admin(request):
    """Tenants t-00 … t-22 with a key each, and 46 budgets of theirs."""

    server = gateway.Nginx(**plane(tenants=[], api_keys=[]))
    request.addfinalizer(server.close)
    server.start()
    found = Admin(server)

    for i in range(23):
        name = 't-%02d' % i
        ok(found.tenant(name, 'Name %s' % 'zyxwvu'[i % 6],
                        **({'parent_tenant_id': 't-00'} if i % 3 else {})),
           201)
        if i % 5 == 1:
            ok(found.change_tenant(name, status='SUSPENDED'))
            ok(found.change_tenant(name, status='ACTIVE'))
        ok(found.api_key(name, 'key of ' + name, **(
            {'expires_at': '2%03d-01-01T00:00:00Z' % (i * 37 % 200)})), 201)

        for unit, scope in (('TOKENS', 'tenant:' + name),
                            (UNIT, 'tenant:%s/app:b%d' % (name, i % 4))):
            ok(found.budget_create(scope, 100 * (i % 7), unit,
                                   overdraft_limit=amount(10 ** 6, unit),
                                   **({'commit_overage_policy': 'REJECT'}
                                      if i % 2 else {})), 201)
            key = found.secret('events:create', tenant_id=name)
            spend = i * 10 if unit == UNIT else i
            if spend:
                levels = dict(part.split(':') for part in scope.split('/'))
                ok(found.call('POST', '/v1/events', {
                    'idempotency_key': 'k' + scope, 'subject': levels,
                    'action': {'kind': 'a', 'name': 'b'},
                    'actual': amount(spend, unit),
                    'overage_policy': 'ALLOW_WITH_OVERDRAFT'}, key=key), 201)
        if i % 6 == 0:
            ok(found.status('tenant:' + name, 'freeze', unit='TOKENS'))
        if i % 8 == 7:
            ok(found.change_tenant(name, status='CLOSED'))
        elif i % 5 == 1:
            ok(found.change_tenant(name, status='SUSPENDED'))

    yield found
    server.check()


LISTS = {'tenants': 'tenants', 'budgets': 'ledgers', 'api-keys': 'keys'}

IDS = {'tenants': lambda item: item['tenant_id'],
       'budgets': lambda item: item['ledger_id'],
       'api-keys': lambda item: item['key_id']}


def utilization(item):
    allocated = item['allocated']['amount']
    return item['spent']['amount'] / allocated if allocated else 0


ORDERS = [
    ('tenants', 'tenant_id', lambda item: item['tenant_id']),
    ('tenants', 'name', lambda item: item['name']),
    ('tenants', 'status', lambda item: item['status']),
    ('tenants', 'created_at', lambda item: item['created_at']),
    ('budgets', 'tenant_id', lambda item: item['tenant_id']),
    ('budgets', 'scope', lambda item: item['scope']),
    ('budgets', 'unit', lambda item: item['unit']),
    ('budgets', 'status', lambda item: item['status']),
    ('budgets', 'commit_overage_policy',
     lambda item: item.get('commit_overage_policy', '')),
    ('budgets', 'utilization', utilization),
    ('budgets', 'debt', lambda item: item['debt']['amount']),
    ('api-keys', 'key_id', lambda item: item['key_id']),
    ('api-keys', 'name', lambda item: item['name']),
    ('api-keys', 'tenant_id', lambda item: item['tenant_id']),
    ('api-keys', 'status', lambda item: item['status']),
    ('api-keys', 'created_at', lambda item: item['created_at']),
    ('api-keys', 'expires_at', lambda item: item['expires_at']),
]


@functools.lru_cache(None)
def everything(admin, path):
    return admin.all(path, LISTS[path], limit=100)


def ids(path, items):
    found = [IDS[path](item) for item in items]
    assert len(set(found)) == len(found)
    return found


@pytest.mark.parametrize('path', LISTS)
@pytest.mark.parametrize('limit', [1, 7, 22, 23, 24, 46, 100])
def test_pages(admin, path, limit):
    """As they were made, each once, whatever the size of a page."""

    whole = everything(admin, path)
    assert len(whole) == {'tenants': 23, 'budgets': 46, 'api-keys': 69}[path]
    found = admin.all(path, LISTS[path], limit=limit)
    assert ids(path, found) == ids(path, whole)
    first = ok(admin.admin('GET', path, limit=limit))
    assert len(first[LISTS[path]]) == min(limit, len(whole))
    assert len(ok(admin.admin('GET', path))[LISTS[path]]) \
        == min(50, len(whole))


@pytest.mark.parametrize('path,by,key', ORDERS)
@pytest.mark.parametrize('direction', ['asc', 'desc', None])
def test_order(admin, path, by, key, direction):
    query = {'sort_by': by, 'limit': 9}
    if direction:
        query['sort_dir'] = direction
    found = admin.all(path, LISTS[path], **query)
    assert sorted(ids(path, found)) == sorted(ids(path, everything(admin,
                                                                   path)))
    keys = [key(item) for item in found]
    assert keys == sorted(keys, reverse=direction != 'asc')
    assert len(set(keys)) > 1


FILTERS = [
    ('tenants', {'status': 'ACTIVE'}, lambda i: i['status'] == 'ACTIVE'),
    ('tenants', {'status': 'SUSPENDED'},
     lambda i: i['status'] == 'SUSPENDED'),
    ('tenants', {'status': 'CLOSED'}, lambda i: i['status'] == 'CLOSED'),
    ('tenants', {'parent_tenant_id': 't-00'},
     lambda i: i.get('parent_tenant_id') == 't-00'),
    ('tenants', {'search': 'T-1'}, lambda i: 't-1' in i['tenant_id']),
    ('tenants', {'search': 'nAME Z'}, lambda i: i['name'] == 'Name z'),
    ('tenants', {'search': 'name', 'status': 'ACTIVE'},
     lambda i: i['status'] == 'ACTIVE'),
    ('tenants', {'search': '', 'status': '', 'observe_mode': 'x'},
     lambda i: True),
    ('budgets', {'tenant_id': 't-07'}, lambda i: i['tenant_id'] == 't-07'),
    ('budgets', {'unit': 'TOKENS'}, lambda i: i['unit'] == 'TOKENS'),
    ('budgets', {'scope_prefix': 'tenant:t-1'},
     lambda i: i['scope'].startswith('tenant:t-1')),
    ('budgets', {'scope_prefix': 'Tenant:t-03/APP'},
     lambda i: i['scope'].startswith('tenant:t-03/app')),
    ('budgets', {'status': 'FROZEN'}, lambda i: i['status'] == 'FROZEN'),
    ('budgets', {'status': 'CLOSED'}, lambda i: i['status'] == 'CLOSED'),
    ('budgets', {'has_debt': 'true'}, lambda i: i['debt']['amount'] > 0),
    ('budgets', {'has_debt': 'false'}, lambda i: i['debt']['amount'] == 0),
    ('budgets', {'over_limit': 'false'}, lambda i: not i['is_over_limit']),
    ('budgets', {'search': 'APP:b2'}, lambda i: 'app:b2' in i['scope']),
    ('budgets', {'utilization_min': '0.2'},
     lambda i: utilization(i) >= 0.2),
    ('budgets', {'utilization_max': '0.2'},
     lambda i: utilization(i) <= 0.2),
    ('budgets', {'utilization_min': '1e-1', 'utilization_max': '0.5'},
     lambda i: 0.1 <= utilization(i) <= 0.5),
    ('budgets', {'utilization_min': '1'}, lambda i: utilization(i) >= 1),
    ('budgets', {'utilization_max': '0'}, lambda i: utilization(i) == 0),
    ('api-keys', {'tenant_id': 't-05'}, lambda i: i['tenant_id'] == 't-05'),
    ('api-keys', {'status': 'EXPIRED'}, lambda i: i['status'] == 'EXPIRED'),
    ('api-keys', {'status': 'REVOKED'}, lambda i: i['status'] == 'REVOKED'),
    ('api-keys', {'status': 'ACTIVE'}, lambda i: i['status'] == 'ACTIVE'),
    ('api-keys', {'search': 'KEY OF T-2'},
     lambda i: i['name'].startswith('key of t-2')),
    ('api-keys', {'search': 'key_0000'}, lambda i: True),
]


@pytest.mark.parametrize('path,query,wanted', FILTERS)
def test_filter(admin, path, query, wanted):
    want = [item for item in everything(admin, path) if wanted(item)]
    assert want
    for more in {}, {'limit': 3}, {'limit': 2, 'sort_by': 'status'}:
        found = admin.all(path, LISTS[path], **dict(query, **more))
        assert sorted(ids(path, found)) == sorted(ids(path, want))


def test_nothing_is_found(admin):
    for path, name in LISTS.items():
        assert ok(admin.admin('GET', path, search='no such')) \
            == {name: [], 'has_more': False}


BAD = [
    ('tenants', 'limit=0'), ('tenants', 'limit=101'), ('tenants', 'limit=-1'),
    ('tenants', 'limit=x'), ('tenants', 'limit=1.5'),
    ('tenants', 'status=OPEN'), ('tenants', 'status=active'),
    ('tenants', 'sort_by=debt'), ('tenants', 'sort_by=name&sort_dir=up'),
    ('tenants', 'sort_dir=ASC'), ('tenants', 'search=' + 'x' * 129),
    ('tenants', 'cursor=x'), ('tenants', 'cursor=4c'),
    ('tenants', 'cursor=' + '00' * 40), ('tenants', 'cursor=4c0000'),
    ('budgets', 'unit=EUR'), ('budgets', 'status=SUSPENDED'),
    ('budgets', 'over_limit=1'), ('budgets', 'has_debt=yes'),
    ('budgets', 'utilization_min=-0.1'), ('budgets', 'utilization_min=1.1'),
    ('budgets', 'utilization_max=x'), ('budgets', 'utilization_max=nan'),
    ('budgets', 'utilization_max=0.5x'), ('budgets', 'utilization_max=0x'),
    ('budgets', 'utilization_min=0.6&utilization_max=0.5'),
    ('budgets', 'sort_by=name'), ('budgets', 'limit=1000'),
    ('budgets', 'cursor=' + '4c' * 2000),
    ('api-keys', 'status=CLOSED'), ('api-keys', 'sort_by=prefix'),
    ('api-keys', 'limit=0x10'),
    ('budgets/lookup', 'scope=tenant:t-00'), ('budgets/lookup', ''),
    ('budgets/lookup', 'unit=TOKENS'),
    ('budgets/lookup', 'unit=EUR&scope=tenant:t-00'),
    ('budgets/lookup', 'unit=TOKENS&scope=app:x/tenant:t-00'),
    ('budgets/lookup', 'unit=TOKENS&scope=tenant'),
    ('budgets/lookup', 'unit=TOKENS&scope=tenant:' + 'x' * 2000),
]


@pytest.mark.parametrize('path,query', BAD)
def test_bad_query(admin, path, query):
    r = admin.call('GET', '/v1/admin/' + path, key=None, query=query,
                   headers={'X-Admin-API-Key': 'admin-bootstrap-key'})
    refused(r, 400, 'INVALID_REQUEST')


def test_a_search_is_counted_in_characters(admin):
    ok(admin.admin('GET', 'tenants', search='\u00e4' * 128))
    refused(admin.admin('GET', 'tenants', search='\u00e4' * 129), 400,
            'INVALID_REQUEST')


def test_a_cursor_is_good_for_its_list_only(admin):
    cursor = ok(admin.admin('GET', 'tenants', limit=2, sort_by='name',
                            status='ACTIVE'))['next_cursor']
    good = {'sort_by': 'name', 'status': 'ACTIVE', 'cursor': cursor}
    ok(admin.admin('GET', 'tenants', limit=50, **good))
    for change in ({'sort_by': 'status'}, {'status': 'CLOSED'},
                   {'sort_dir': 'asc'}, {'search': 'x'},
                   {'cursor': cursor[:-1]}, {'cursor': cursor[2:]},
                   {'cursor': 'zz' + cursor[2:]}):
        refused(admin.admin('GET', 'tenants', **dict(good, **change)), 400,
                'INVALID_REQUEST')
    refused(admin.admin('GET', 'api-keys', **good), 400, 'INVALID_REQUEST')


def test_lists_while_they_grow(nginx):
    """What is there throughout is in the list once."""

    admin = Admin(nginx(**plane(tenants=[], api_keys=[])))
    for i in range(30):
        ok(admin.tenant('old-%02d' % i), 201)

    def act(i):
        if i % 4 == 0:
            ok(admin.tenant('new-%03d' % i), 201)
            return None
        return admin.all('tenants', 'tenants', limit=7, **(
            {'sort_by': 'tenant_id', 'sort_dir': 'asc'} if i % 2 else {}))

    for found in parallel(40, act, 8):
        if found is not None:
            names = ids('tenants', found)
            assert [name for name in names if name.startswith('old-')] \
                == ['old-%02d' % i for i in range(30)]
