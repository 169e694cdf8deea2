# Copyright (C) nginx-cycles authors

"""Bodies of the admin plane: what is not in the schema is refused, with a
sentence that names the member, and changes nothing."""

import json

import pytest

import gateway
from _admin import ADMIN_KEY, Admin, plane
from _api import UNIT, amount, ok, refused


MAX = 2 ** 63 - 1

SCOPE = 'scope=tenant:acme&unit=' + UNIT

# operation: method, path, query, status, a whole body, what it needs

OPERATIONS = {
    'create tenant': ('POST', 'tenants', '', 201, {
        'tenant_id': 'new', 'name': 'New', 'parent_tenant_id': 'acme',
        'metadata': {'a': 'b'}, 'default_commit_overage_policy': 'REJECT',
        'default_reservation_ttl_ms': 1000,
        'max_reservation_ttl_ms': 86400000, 'max_reservation_extensions': 0,
        'reservation_expiry_policy': 'AUTO_RELEASE'},
        ('tenant_id', 'name')),
    'update tenant': ('PATCH', 'tenants/acme', '', 200, {
        'name': 'x', 'status': 'ACTIVE', 'metadata': {},
        'default_commit_overage_policy': 'ALLOW_IF_AVAILABLE',
        'default_reservation_ttl_ms': 60000, 'max_reservation_ttl_ms': 60000,
        'max_reservation_extensions': MAX}, ()),
    'create budget': ('POST', 'budgets', '', 201, {
        'tenant_id': 'acme', 'scope': 'tenant:acme/app:new', 'unit': UNIT,
        'allocated': amount(MAX), 'overdraft_limit': amount(0),
        'commit_overage_policy': 'ALLOW_WITH_OVERDRAFT',
        'rollover_policy': 'NONE', 'metadata': {'a': {'b': [None, 1.5]}}},
        ('tenant_id', 'scope', 'unit', 'allocated')),
    'update budget': ('PATCH', 'budgets', SCOPE, 200, {
        'overdraft_limit': amount(5), 'commit_overage_policy': 'REJECT',
        'metadata': {}}, ()),
    'fund': ('POST', 'budgets/fund', SCOPE + '&tenant_id=acme', 200, {
        'operation': 'RESET_SPENT', 'amount': amount(1000),
        'spent': amount(0), 'reason': 'r' * 512, 'metadata': {'a': 1}},
        ('operation', 'amount')),
    'freeze': ('POST', 'budgets/freeze', 'scope=tenant:acme/app:frozen&unit='
               + UNIT, 200, {'reason': '', 'metadata': {'a': 1}}, ()),
    'create key': ('POST', 'api-keys', '', 201, {
        'tenant_id': 'acme', 'name': 'n' * 256, 'description': 'd' * 1024,
        'permissions': ['admin:write', 'decide'],
        'scope_filter': ['tenant:acme/app:*', 'agent:x'],
        'expires_at': '2999-12-31t23:59:59.123456+05:30',
        'metadata': {'x': [1, 'y']}}, ('tenant_id', 'name')),
    'update key': ('PATCH', 'api-keys/KEY', '', 200, {
        'name': '\u00e4' * 256, 'description': '', 'permissions': [],
        'scope_filter': [], 'metadata': {}}, ()),
}


@pytest.fixture(scope='module')
def admin(request):
    server = gateway.Nginx(**plane(('tenant:acme', 1000)))
    request.addfinalizer(server.close)
    server.start()
    found = Admin(server)
    found.key_id = ok(found.api_key(), 201)['key_id']
    yield found
    server.check()


def send(admin, name, body=None, raw=None):
    method, path, query, _, _, _ = OPERATIONS[name]
    return admin.call(method, '/v1/admin/' + path.replace('KEY',
                                                          admin.key_id),
                      body, key=None, raw=raw, query=query,
                      headers={'X-Admin-API-Key': ADMIN_KEY})


def wrong(admin, name, body, text, code='INVALID_REQUEST'):
    before = admin.everything()
    r = refused(send(admin, name, body), 400, code)
    assert text in r['message'], r['message']
    assert admin.everything() == before


def fresh(name, n):
    """A whole body that has not been used."""

    body = json.loads(json.dumps(OPERATIONS[name][4]))
    if name == 'create tenant':
        body['tenant_id'] = 'new-%d' % n
    if name == 'create budget':
        body['scope'] = 'tenant:acme/app:new-%d' % n
    return body


count = iter(range(10 ** 6))


@pytest.mark.parametrize('name', OPERATIONS)
def test_whole(admin, name):
    if name == 'freeze':
        ok(admin.budget_create('tenant:acme/app:frozen', 1), 201)
    ok(send(admin, name, fresh(name, next(count))), OPERATIONS[name][3])


@pytest.mark.parametrize('name', [n for n in OPERATIONS if n != 'freeze'])
def test_least(admin, name):
    body = fresh(name, next(count))
    needed = OPERATIONS[name][5]
    ok(send(admin, name, {k: body[k] for k in needed}), OPERATIONS[name][3])
    for missing in needed:
        wrong(admin, name, {k: v for k, v in body.items() if k != missing},
              '"%s" is missing' % missing)


@pytest.mark.parametrize('name', OPERATIONS)
def test_no_other_members(admin, name):
    body = fresh(name, next(count))
    for member in ('x', 'caps', 'Name', ''):
        wrong(admin, name, dict(body, **{member: 1}), 'is not a member')
    other = {'create tenant': 'status', 'update tenant': 'tenant_id',
             'create budget': 'remaining', 'update budget': 'allocated',
             'fund': 'unit', 'freeze': 'idempotency_key',
             'create key': 'status', 'update key': 'expires_at'}[name]
    wrong(admin, name, dict(body, **{other: 'x'}), 'is not a member')


@pytest.mark.parametrize('name', OPERATIONS)
def test_no_nulls(admin, name):
    body = fresh(name, next(count))
    for member in body:
        wrong(admin, name, dict(body, **{member: None}), member)


@pytest.mark.parametrize('name', OPERATIONS)
@pytest.mark.parametrize('raw', [b'[]', b'1', b'{', b'{"name":1,"name":2}',
                                 b'{"name":"\xff"}', b'[' * 5000, b'""'])
def test_not_json(admin, name, raw):
    refused(send(admin, name, raw=raw), 400, 'INVALID_REQUEST')


def test_empty_body(admin):
    for name in OPERATIONS:
        if name != 'freeze':
            refused(send(admin, name, raw=b''), 400, 'INVALID_REQUEST')


# operation, member, a value, what is said of it ('': it is right)

VALUES = [
    ('create tenant', 'tenant_id', 'ab', '3 to 64'),
    ('create tenant', 'tenant_id', 'x' * 65, 'at most 64'),
    ('create tenant', 'tenant_id', 'Acme', 'lower-case'),
    ('create tenant', 'tenant_id', 'a_b_c', '3 to 64'),
    ('create tenant', 'tenant_id', 'a b c', 'only'),
    ('create tenant', 'tenant_id', '', 'empty'),
    ('create tenant', 'tenant_id', 5, 'string'),
    ('create tenant', 'name', '', 'empty'),
    ('create tenant', 'name', 'x' * 257, 'at most 256'),
    ('create tenant', 'name', '\U0001f600' * 256, ''),
    ('create tenant', 'name', {}, 'string'),
    ('create tenant', 'parent_tenant_id', 'A', 'lower-case'),
    ('create tenant', 'parent_tenant_id', 'x' * 65, 'at most 64'),
    ('create tenant', 'metadata', [], 'object'),
    ('create tenant', 'metadata', {'a': 1}, 'only strings'),
    ('create tenant', 'metadata', {str(i): '' for i in range(33)}, '32'),
    ('create tenant', 'metadata', {str(i): 'x' for i in range(32)}, ''),
    ('create tenant', 'metadata', {'a': 'x' * 5000}, '4096'),
    ('create tenant', 'default_commit_overage_policy', 'reject', 'REJECT'),
    ('create tenant', 'default_reservation_ttl_ms', 999, '1000'),
    ('create tenant', 'default_reservation_ttl_ms', 86400001, '86400000'),
    ('create tenant', 'max_reservation_ttl_ms', 5000.5, 'integer'),
    ('create tenant', 'max_reservation_ttl_ms', '5000', 'integer'),
    ('create tenant', 'max_reservation_extensions', -1, 'at least 0'),
    ('create tenant', 'max_reservation_extensions', True, 'integer'),
    ('create tenant', 'reservation_expiry_policy', 'MANUAL_CLEANUP',
     'AUTO_RELEASE'),

    ('update tenant', 'status', 'OPEN', 'ACTIVE'),
    ('update tenant', 'status', 1, 'ACTIVE'),
    ('update tenant', 'name', '', 'empty'),
    ('update tenant', 'metadata', {'a': None}, 'only strings'),

    ('create budget', 'tenant_id', 'ACME', 'lower-case'),
    ('create budget', 'scope', 'tenant:acme/App:Mixed-Case', ''),
    ('create budget', 'scope', 'app:x', 'begin with "tenant:"'),
    ('create budget', 'scope', 'tenant:acme/florb:x', 'level'),
    ('create budget', 'scope', 'tenant:acme/agent:a/app:b', 'order'),
    ('create budget', 'scope', 'tenant:acme/app:b/app:c', 'order'),
    ('create budget', 'scope', 'tenant:acme/app:', '1 to 128'),
    ('create budget', 'scope', 'tenant:acme/app:' + 'x' * 129, '1 to 128'),
    ('create budget', 'scope', 'tenant:acme/app:x y', '1 to 128'),
    ('create budget', 'scope', 'tenant:acme/', 'level'),
    ('create budget', 'scope', '', 'empty'),
    ('create budget', 'scope', 'tenant:' + '\u00e4' * 500, 'too long'),
    ('create budget', 'scope', 'x' * 900, 'at most'),
    ('create budget', 'unit', 'EUR', 'USD_MICROCENTS'),
    ('create budget', 'allocated', 5, 'object'),
    ('create budget', 'allocated', {'unit': UNIT}, 'allocated.amount'),
    ('create budget', 'allocated', {'amount': 5}, 'allocated.unit'),
    ('create budget', 'allocated', amount(-1), 'at least 0'),
    ('create budget', 'allocated', amount(MAX + 1), 'too big'),
    ('create budget', 'allocated', amount(1.5), 'integer'),
    ('create budget', 'allocated', dict(amount(1), x=1), 'not a member'),
    ('create budget', 'allocated', amount(1, 'TOKENS'), 'the unit'),
    ('create budget', 'overdraft_limit', amount(1, 'CREDITS'), 'the unit'),
    ('create budget', 'rollover_policy', 'CARRY_FORWARD', 'NONE'),
    ('create budget', 'period_start', '2026-01-01T00:00:00Z', 'periods'),
    ('create budget', 'metadata', 'x', 'object'),

    ('update budget', 'overdraft_limit', amount(1, 'TOKENS'), 'unit'),
    ('update budget', 'commit_overage_policy', 'NONE', 'REJECT'),

    ('fund', 'operation', 'credit', 'CREDIT'),
    ('fund', 'operation', ['CREDIT'], 'CREDIT'),
    ('fund', 'amount', amount(-1), 'at least 0'),
    ('fund', 'amount', amount(5, 'TOKENS'), 'unit'),
    ('fund', 'spent', amount(5, 'TOKENS'), 'the unit'),
    ('fund', 'spent', amount(-5), 'at least 0'),
    ('fund', 'reason', 'x' * 513, 'at most 512'),
    ('fund', 'reason', '\u00e4' * 512, ''),
    ('fund', 'idempotency_key', '', 'empty'),
    ('fund', 'idempotency_key', 'x' * 257, 'at most 256'),
    ('fund', 'metadata', {'a': 'x' * 5000}, '4096'),

    ('freeze', 'reason', 'x' * 513, 'at most 512'),
    ('freeze', 'metadata', [], 'object'),

    ('create key', 'tenant_id', 'Acme', 'lower-case'),
    ('create key', 'description', 'x' * 1025, 'at most 1024'),
    ('create key', 'permissions', 'decide', 'array'),
    ('create key', 'permissions', ['reservations:make'],
     'reservations:make'),
    ('create key', 'permissions', [1], 'permission'),
    ('create key', 'permissions', ['*'], 'permission'),
    ('create key', 'scope_filter', 'app:x', 'array'),
    ('create key', 'scope_filter', [1], 'array of strings'),
    ('create key', 'scope_filter', ['*'], 'patterns'),
    ('create key', 'scope_filter', ['app'], 'patterns'),
    ('create key', 'scope_filter', ['flob:x'], 'patterns'),
    ('create key', 'scope_filter', ['app:x,app:y'], 'values'),
    ('create key', 'scope_filter', ['app:x/tenant:y'], 'order'),
    ('create key', 'scope_filter', ['app:' + 'x' * 129], 'values'),
    ('create key', 'scope_filter', ['app:x%d' % i for i in range(300)],
     'too long'),
    ('create key', 'expires_at', 'tomorrow', 'date-time'),
    ('create key', 'expires_at', '2026-02-30T00:00:00Z', 'date-time'),
    ('create key', 'expires_at', '1969-12-31T23:59:59Z', 'date-time'),
    ('create key', 'expires_at', 1795000000, 'date-time'),
    ('create key', 'metadata', {'a': 'x' * 5000}, '4096'),

    ('update key', 'name', '', 'empty'),
    ('update key', 'permissions', ['reservations:create'], ''),
]


@pytest.mark.parametrize('name,member,value,text', VALUES)
def test_values(admin, name, member, value, text):
    body = dict(fresh(name, next(count)), **{member: value})
    if not text:
        ok(send(admin, name, body), OPERATIONS[name][3])
        return
    wrong(admin, name, body, text, 'UNIT_MISMATCH'
          if text in ('unit', 'the unit') else 'INVALID_REQUEST')


def test_an_unknown_tenant_is_made_for_its_key_if_it_can_be_called_so(admin):
    ok(admin.api_key('brand-new'), 201)
    body = ok(admin.get_tenant('brand-new'))
    assert (body['name'], body['status']) == ('brand-new', 'ACTIVE')
    for name in 'ab', 'a_b_c', 'x.y':
        refused(admin.api_key(name), 400, 'TENANT_NOT_FOUND')
        refused(admin.get_tenant(name), 404, 'TENANT_NOT_FOUND')


def test_names_of_the_file_are_longer_known(nginx):
    """Its tenants may be called what new ones may not."""

    admin = Admin(nginx(**plane(('tenant:a_b', 10), tenants=['a_b'],
                                api_keys=[])))
    key = admin.secret(tenant_id='a_b')
    ok(admin.call('GET', '/v1/balances', key=key, query='tenant=a_b'))
    ok(admin.fund('tenant:a_b', 'CREDIT', 1))


def test_content_type(admin):
    r = admin.call('POST', '/v1/admin/tenants', {'tenant_id': 'abc',
                                                 'name': 'x'},
                   key=None, content_type='text/plain',
                   headers={'X-Admin-API-Key': ADMIN_KEY})
    refused(r, 415, 'INVALID_REQUEST')
