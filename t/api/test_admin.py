# Copyright (C) nginx-cycles authors

"""The admin plane: tenants, budgets and API keys while the ledger runs."""

import concurrent.futures
import contextlib
import hashlib
import json
import os
import sqlite3
import subprocess
import time

import pytest

import gateway
from _admin import ADMIN_KEY, Admin, plane
from _api import KEYS, amount, conf, keys, ok, refused, sha256
from gateway import wait_until
from ledger_log import Log, State


INT64_MAX = 2 ** 63 - 1

QUICK_START = '''curl -s -X POST http://localhost:PORT/v1/admin/api-keys \
-H "Content-Type: application/json" \
-H "X-Admin-API-Key: admin-bootstrap-key" \
-d '{"tenant_id":"acme-corp","name":"dev-key","permissions":\
["reservations:create","reservations:commit","reservations:release",\
"reservations:extend","reservations:list","balances:read","decide",\
"events:create"]}' | jq -r '.key_secret'
'''


@pytest.fixture
def make(nginx):
    return lambda *entries, **kw: Admin(nginx(**plane(*entries, **kw)))


@pytest.fixture
def admin(make):
    return make(('tenant:acme', 1000), ('tenant:other', 500))


def shell(text, port):
    done = subprocess.run(['sh', '-c', text.replace('PORT', str(port))],
                          stdout=subprocess.PIPE, timeout=60, check=True)
    return done.stdout.decode().strip()


def restart(admin, kill=False):
    if kill:
        admin.nginx.kill9()
    else:
        admin.nginx.quit()
    admin.nginx.start()


def same_after_restarts(admin):
    """The state is equal after a start from the tables and the log."""

    before = admin.everything()
    restart(admin)
    assert admin.everything() == before
    restart(admin, kill=True)
    assert admin.everything() == before
    return before


# the quick start

def test_quick_start(nginx):
    ng = nginx(http='cycles_ledger main path=%%DIR%%/ledger;',
               server='location /v1/ { cycles_api ledger=main '
                      'admin_key=admin-bootstrap-key; }')
    secret = shell(QUICK_START, ng.port)
    assert secret.startswith('cyc_live_') and len(secret) == 41

    admin = Admin(ng)
    assert ok(admin.get_tenant('acme-corp'))['status'] == 'ACTIVE'
    subject = {'tenant': 'acme-corp'}
    refused(admin.reserve(1, subject=subject, api_key=secret), 404,
            'NOT_FOUND')
    ok(admin.budget_create('tenant:acme-corp', 100), 201)
    rid = ok(admin.reserve(40, subject=subject,
                           api_key=secret))['reservation_id']
    ok(admin.commit(rid, 30, api_key=secret))
    assert admin.sums('tenant:acme-corp') == (100, 70, 0, 30, 0, False)


def test_quick_start_of_the_server(nginx):
    """The steps of the reference server's script."""

    ng = nginx(http='cycles_ledger main path=%%DIR%%/ledger;',
               server='location /v1/ { cycles_api ledger=main '
                      'admin_key=file:%%DIR%%/admin; }',
               files={'admin': ADMIN_KEY + '\n'})
    tenant = json.loads(shell('''curl -s -X POST \
http://localhost:PORT/v1/admin/tenants -H "Content-Type: application/json" \
-H "X-Admin-API-Key: admin-bootstrap-key" \
-d '{"tenant_id": "acme-corp", "name": "Acme Corporation"}' ''', ng.port))
    assert tenant['name'] == 'Acme Corporation'

    secret = shell('''curl -s -X POST http://localhost:PORT/v1/admin/api-keys \
-H "Content-Type: application/json" \
-H "X-Admin-API-Key: admin-bootstrap-key" \
-d '{"tenant_id": "acme-corp", "name": "k"}' | jq -r .key_secret''', ng.port)
    budget = json.loads(shell('''curl -s -X POST \
http://localhost:PORT/v1/admin/budgets -H "Content-Type: application/json" \
-H "X-Cycles-API-Key: %s" -d '{"scope": "tenant:acme-corp", \
"unit": "USD_MICROCENTS", "allocated": {"amount": 100000000, \
"unit": "USD_MICROCENTS"}}' ''' % secret, ng.port))
    assert budget['remaining'] == amount(100000000)
    assert budget['tenant_id'] == 'acme-corp'


# the operator's key

def test_no_admin_key_no_admin_plane(nginx):
    admin = Admin(nginx(**conf(('tenant:acme', 1000))))
    for method, path in (('GET', 'tenants'), ('POST', 'tenants'),
                         ('GET', 'budgets'), ('DELETE', 'api-keys/x')):
        r = refused(admin.admin(method, path), 404, 'NOT_FOUND')
        assert 'admin plane is off' in r['message']
    refused(admin.admin('GET', 'budgets', as_key=KEYS['acme']), 404,
            'NOT_FOUND')
    r = admin.call('GET', '/v1/auth/introspect', key=None,
                   headers={'X-Admin-API-Key': ADMIN_KEY})
    refused(r, 401, 'UNAUTHORIZED')


def with_digest(text, digest):
    value = json.loads(text)
    value['admin_key_sha256'] = digest
    return json.dumps(value)


def test_admin_key_of_the_budgets_file(nginx):
    args = conf(('tenant:acme', 1000))
    text = args['files']['budgets.json']
    args['files']['budgets.json'] = with_digest(text, sha256('one'))
    admin = Admin(nginx(**args))

    def allowed(key):
        r = admin.admin('GET', 'tenants', headers={'X-Admin-API-Key': key})
        assert r.status == 200 or refused(r, 401, 'UNAUTHORIZED')
        return r.status == 200

    assert allowed('one') and not allowed('two')
    admin.nginx.reconfigure(files={
        'budgets.json': with_digest(text, sha256('two'))})
    assert allowed('two') and not allowed('one')
    admin.nginx.reconfigure(files={'budgets.json': text})
    assert allowed('two')

    # the one of the location is as good

    admin.nginx.reconfigure(
        server='location /v1/ { cycles_api ledger=main admin_key=three; }')
    assert allowed('two') and allowed('three') and not allowed('one')


@pytest.mark.parametrize('key', [None, '', 'admin-bootstrap-ke',
                                 'admin-bootstrap-key ', 'x' * 4000])
def test_wrong_admin_key(admin, key):
    headers = {} if key is None else {'X-Admin-API-Key': key.strip()
                                      if key.endswith(' ') else key}
    if key and key.endswith(' '):
        headers['X-Admin-API-Key'] = 'admin-bootstrap-key\u00e9'
    r = admin.call('GET', '/v1/admin/tenants', key=KEYS['acme'],
                   headers=headers)
    refused(r, 401, 'UNAUTHORIZED')
    assert r.header('x-cycles-tenant') is None


def test_admin_key_with_a_variable(nginx):
    admin = Admin(nginx(
        http='cycles_ledger main path=%%DIR%%/ledger;'
             'map $host $key { default ""; open.test one; }',
        server='location /v1/ { cycles_api ledger=main admin_key=$key; }'))

    def call(host):
        return admin.admin('GET', 'tenants', headers={
            'Host': host, 'X-Admin-API-Key': 'one'})

    ok(call('open.test'))
    refused(call('closed.test'), 404, 'NOT_FOUND')


@pytest.mark.parametrize('option,text', [
    ('admin_key=', 'must have one "admin_key="'),
    ('admin_key=a admin_key=b', 'invalid number of arguments'),
    ('admin_key=file:/no/such/file', 'failed'),
    ('admin_key=file:%%DIR%%/empty', 'is empty'),
    ('admin_key=$nothing', 'unknown "nothing" variable'),
    ('secret=hush', 'invalid parameter'),
])
def test_configuration(option, text):
    good, output = gateway.nginx_t(
        http='cycles_ledger main path=%%DIR%%/ledger;',
        server='location /v1/ { cycles_api ledger=main %s; }' % option,
        files={'empty': '\n'})
    assert not good and text in output, output


@pytest.mark.parametrize('method,path,allow', [
    ('PUT', 'tenants', 'GET, HEAD, POST'),
    ('DELETE', 'tenants/acme', 'GET, HEAD, PATCH'),
    ('GET', 'api-keys/x', 'PATCH, DELETE'),
    ('DELETE', 'budgets', 'GET, HEAD, POST, PATCH'),
    ('GET', 'budgets/fund', 'POST'),
    ('POST', 'budgets/lookup', 'GET, HEAD'),
])
def test_methods(admin, method, path, allow):
    r = admin.admin(method, path)
    refused(r, 405, 'INVALID_REQUEST')
    assert r.header('allow') == allow


@pytest.mark.parametrize('path', ['', 'tenant', 'tenants/', 'tenants/a/b',
                                  'policies', 'budgets/bulk-action'])
def test_no_such_path(admin, path):
    refused(admin.admin('GET', path), 404, 'NOT_FOUND')


# tenants

def test_tenants(admin):
    body = ok(admin.tenant('acme-corp', 'Acme', parent_tenant_id='acme',
                           metadata={'plan': 'gold'},
                           default_commit_overage_policy='REJECT',
                           default_reservation_ttl_ms=5000,
                           max_reservation_ttl_ms=9000,
                           max_reservation_extensions=2,
                           reservation_expiry_policy='AUTO_RELEASE'), 201)
    created = body.pop('created_at')
    assert body == {
        'tenant_id': 'acme-corp', 'name': 'Acme', 'status': 'ACTIVE',
        'parent_tenant_id': 'acme', 'metadata': {'plan': 'gold'},
        'default_commit_overage_policy': 'REJECT',
        'default_reservation_ttl_ms': 5000, 'max_reservation_ttl_ms': 9000,
        'max_reservation_extensions': 2,
        'reservation_expiry_policy': 'AUTO_RELEASE'}

    # again, with whatever else: it is there

    again = ok(admin.tenant('acme-corp', 'Other'), 200)
    assert again.pop('created_at') == created and again == body

    r = ok(admin.change_tenant('acme-corp', name='Acme & \u00c4', metadata={},
                               max_reservation_extensions=0))
    assert (r['name'], r['metadata'], r['max_reservation_extensions']) \
        == ('Acme & \u00c4', {}, 0)
    assert r['default_reservation_ttl_ms'] == 5000
    assert r['created_at'] == created <= r['updated_at']
    assert ok(admin.get_tenant('acme-corp')) == r
    assert ok(admin.change_tenant('acme-corp')) == r

    refused(admin.get_tenant('nobody'), 404, 'TENANT_NOT_FOUND')
    refused(admin.change_tenant('nobody', name='x'), 404, 'TENANT_NOT_FOUND')
    same_after_restarts(admin)


def test_terms_of_a_tenant_apply(admin):
    ok(admin.change_tenant('acme', default_reservation_ttl_ms=5000,
                           max_reservation_ttl_ms=8000,
                           max_reservation_extensions=1,
                           default_commit_overage_policy='REJECT'))
    body = ok(admin.reserve(1))
    assert 4000 < body['remaining_ttl_ms'] <= 5000
    rid = body['reservation_id']
    ok(admin.extend(rid, 1000))
    refused(admin.extend(rid, 1000), 409, 'MAX_EXTENSIONS_EXCEEDED')
    refused(admin.commit(rid, 2), 409, 'BUDGET_EXCEEDED')
    body = ok(admin.reserve(1, ttl_ms=60000))
    assert body['remaining_ttl_ms'] <= 8000


def test_suspended(admin):
    """Read-only, but for what is under way."""

    one, two, three = (ok(admin.reserve(10, ttl_ms=60000))['reservation_id']
                       for _ in range(3))
    body = ok(admin.change_tenant('acme', status='SUSPENDED'))
    assert body['status'] == 'SUSPENDED' and 'suspended_at' in body

    refused(admin.reserve(1), 403, 'FORBIDDEN')
    body = ok(admin.decide(1))
    assert (body['decision'], body['reason_code']) \
        == ('DENY', 'TENANT_SUSPENDED')
    ok(admin.extend(one, 1000))
    ok(admin.commit(one, 7))
    ok(admin.release(two))
    ok(admin.event(3), 201)
    ok(admin.get(three))
    assert admin.balance('tenant:acme')['remaining'] == 980
    key = KEYS['acme']
    refused(admin.budget_create('tenant:acme/app:x', 1), 403,
            'TENANT_SUSPENDED')
    refused(admin.api_key('acme'), 403, 'TENANT_SUSPENDED')
    ok(admin.fund('tenant:acme', 'CREDIT', 5))
    assert ok(admin.reserve(1, subject={'tenant': 'other'},
                            api_key=KEYS['other']))['decision'] == 'ALLOW'

    same_after_restarts(admin)
    refused(admin.reserve(1), 403, 'FORBIDDEN')
    assert ok(admin.call('GET', '/v1/auth/introspect', key=key))[
        'tenant_id'] == 'acme'
    ok(admin.change_tenant('acme', status='ACTIVE'))
    ok(admin.reserve(1))


def test_a_suspended_tenant_is_denied_by_the_gateway(nginx, provider):
    kw = gateway.ledger_gateway(
        provider, ('tenant:acme', 10 ** 12), server='location /cycles/ { '
        'cycles_api ledger=main admin_key=%s; }' % ADMIN_KEY)
    ng = nginx(**kw)
    admin = Admin(ng, '/cycles')
    assert ng.chat(tenant='acme').status == 200
    ok(admin.change_tenant('acme', status='SUSPENDED'))
    r = ng.chat(tenant='acme')
    assert r.status == 429
    assert r.header('x-cycles-reason') == 'TENANT_SUSPENDED'
    ok(admin.change_tenant('acme', status='ACTIVE'))
    assert ng.chat(tenant='acme').status == 200


# the end of a tenant

def test_close(admin):
    secret = admin.secret()
    ok(admin.budget_create('tenant:acme/app:x', 50), 201)
    live = ok(admin.reserve(10, key='live', ttl_ms=60000))
    rid = live['reservation_id']
    done = ok(admin.reserve(20, key='done'))['reservation_id']
    ok(admin.commit(done, 15, key='c'))
    ok(admin.reserve(3, subject={'tenant': 'other'}, api_key=KEYS['other'],
                     ttl_ms=60000))

    body = ok(admin.change_tenant('acme', status='CLOSED'))
    assert body['status'] == 'CLOSED' and 'closed_at' in body

    # what it owns has ended with it, and holds nothing

    assert admin.sums('tenant:acme') == (1000, 985, 0, 15, 0, False)
    assert admin.ledger('tenant:acme')['status'] == 'CLOSED'
    assert admin.ledger('tenant:acme/app:x')['status'] == 'CLOSED'
    owned = admin.all('api-keys', 'keys', tenant_id='acme')
    assert {(item['status'], item['revoked_reason']) for item in owned} \
        == {('REVOKED', 'tenant_closed')}
    r = ok(admin.call('GET', '/v1/reservations/' + rid, key=None,
                      headers={'X-Admin-API-Key': ADMIN_KEY}))
    assert r['status'] == 'RELEASED'

    # nothing is changed any more, and each says why

    for r in (admin.reserve(1), admin.commit(rid, 1), admin.release(rid),
              admin.extend(rid, 1000), admin.event(1),
              admin.reserve(1, api_key=secret),
              admin.budget_create('tenant:acme/app:y', 1),
              admin.fund('tenant:acme', 'CREDIT', 1),
              admin.fund('tenant:acme', 'CREDIT', 1, as_key=secret),
              admin.status('tenant:acme', 'freeze'),
              admin.status('tenant:acme', 'close'),
              admin.admin('PATCH', 'budgets', {
                  'overdraft_limit': amount(1)}, scope='tenant:acme',
                  unit='USD_MICROCENTS'),
              admin.api_key('acme'),
              admin.admin('PATCH', 'api-keys/' + owned[0]['key_id'],
                          {'name': 'x'}),
              admin.admin('DELETE', 'api-keys/' + owned[0]['key_id']),
              admin.change_tenant('acme', status='ACTIVE'),
              admin.change_tenant('acme', name='x'),
              admin.change_tenant('acme', name='x', status='CLOSED')):
        refused(r, 409, 'TENANT_CLOSED')

    body = ok(admin.decide(1))
    assert (body['decision'], body['reason_code']) == ('DENY',
                                                       'TENANT_CLOSED')

    # what was done before is answered again

    again = ok(admin.reserve(10, key='live', ttl_ms=60000))
    assert again['reservation_id'] == rid and again['remaining_ttl_ms'] == 0
    assert ok(admin.commit(done, 15, key='c'))['charged'] == amount(15)

    # its keys read nothing

    for r in (admin.balances(), admin.get(done),
              admin.call('GET', '/v1/auth/introspect')):
        refused(r, 401, 'UNAUTHORIZED')
    refused(admin.admin('GET', 'budgets', as_key=secret), 401, 'KEY_REVOKED')

    # closing again is nothing, and another tenant is not touched

    before = admin.everything()
    ok(admin.change_tenant('acme', status='CLOSED'))
    assert admin.everything() == before
    assert admin.sums('tenant:other') == (500, 497, 3, 0, 0, False)
    ok(admin.reserve(1, subject={'tenant': 'other'}, api_key=KEYS['other']))

    before = same_after_restarts(admin)
    admin.nginx.reload()
    assert admin.everything() == before
    refused(admin.reserve(1), 409, 'TENANT_CLOSED')


def test_close_of_a_tenant_that_was_made_later(make):
    """Reservations are of it by their scopes."""

    admin = make(('tenant:acme', 1000), tenants=[], api_keys=[])
    ng = admin.nginx
    ok(admin.tenant('acme-other'), 201)
    secret = admin.secret(tenant_id='acme-other')
    refused(admin.get_tenant('acme'), 404, 'TENANT_NOT_FOUND')
    secret = admin.secret(tenant_id='acme')
    ok(admin.reserve(10, subject={'tenant': 'acme'}, api_key=secret))
    ok(admin.change_tenant('acme', status='CLOSED'))
    assert admin.sums('tenant:acme') == (1000, 1000, 0, 0, 0, False)
    state = State(Log(ng.path('ledger')).records())
    assert not state.problems


def test_close_of_much(make):
    """More than fits into one record, of each kind."""

    admin = make(*[('tenant:acme/app:a%d' % i, 1000) for i in range(300)],
                 ('tenant:acme', 10 ** 6), tenants=['acme'],
                 api_keys=keys(acme=KEYS['acme']))
    with_app = [ok(admin.reserve(1, subject={'tenant': 'acme',
                                             'app': 'a%d' % i},
                                 ttl_ms=3600000)) for i in range(150)]
    assert admin.ledger('tenant:acme')['reserved'] == len(with_app)
    ok(admin.change_tenant('acme', status='CLOSED'))
    items = admin.all('budgets', 'ledgers', limit=100)
    assert len(items) == 301
    assert {(item['status'], item['reserved']['amount'])
            for item in items} == {('CLOSED', 0)}
    same_after_restarts(admin)


# API keys

def test_keys(admin):
    body = ok(admin.api_key('acme', 'dev', description='for tests',
                            scope_filter=['App:Chat', 'agent:*'],
                            metadata={'team': 'x', 'n': 1}), 201)
    secret = body.pop('key_secret')
    assert secret.startswith(body['key_prefix'])
    assert len(body['key_prefix']) == 14
    assert body['permissions'] == [
        'reservations:create', 'reservations:commit', 'reservations:release',
        'reservations:extend', 'reservations:list', 'balances:read',
        'budgets:read', 'budgets:write', 'policies:read', 'policies:write']

    item = admin.get_key(body['key_id'])
    assert item == dict(body, name='dev', description='for tests',
                        scope_filter=['app:chat', 'agent:*'],
                        metadata={'team': 'x', 'n': 1}, status='ACTIVE')
    assert secret not in json.dumps(admin.everything())

    r = ok(admin.call('GET', '/v1/auth/introspect', key=secret))
    assert r['tenant_id'] == 'acme'
    assert r['permissions'] == body['permissions']
    assert r['scope_filter'] == ['app:chat', 'agent:*']

    path = 'api-keys/' + body['key_id']
    changed = ok(admin.admin('PATCH', path, {
        'name': 'x', 'permissions': ['balances:read'], 'scope_filter': [],
        'description': '', 'metadata': {}}))
    assert (changed['name'], changed['permissions']) == ('x',
                                                         ['balances:read'])
    assert 'scope_filter' not in changed and 'description' not in changed
    refused(admin.reserve(1, api_key=secret), 403, 'FORBIDDEN')
    ok(admin.balances(api_key=secret))
    assert ok(admin.admin('PATCH', path, {})) == changed

    r = ok(admin.admin('DELETE', path, reason='it leaked'))
    assert (r['status'], r['revoked_reason']) == ('REVOKED', 'it leaked')
    assert r['revoked_at'] >= r['created_at']
    refused(admin.balances(api_key=secret), 401, 'UNAUTHORIZED')
    refused(admin.admin('GET', 'budgets', as_key=secret), 401, 'KEY_REVOKED')
    refused(admin.admin('DELETE', path), 409, 'KEY_REVOKED')
    refused(admin.admin('PATCH', path, {'name': 'y'}), 409, 'KEY_REVOKED')

    same_after_restarts(admin)
    refused(admin.balances(api_key=secret), 401, 'UNAUTHORIZED')


@pytest.mark.parametrize('key_id', ['x', 'key_0000000100000000', 'key_',
                                    'KEY_0000000000000001', 'a' * 128])
def test_unknown_key(admin, key_id):
    refused(admin.admin('DELETE', 'api-keys/' + key_id), 404, 'NOT_FOUND')
    refused(admin.admin('PATCH', 'api-keys/' + key_id, {}), 404, 'NOT_FOUND')


def in_seconds(n):
    return time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(time.time() + n))


def test_expiry_of_keys(admin):
    old = ok(admin.api_key(expires_at='2020-01-01T01:00:00+01:00'), 201)
    assert old['expires_at'] == '2020-01-01T00:00:00.000Z'
    refused(admin.balances(api_key=old['key_secret']), 401, 'UNAUTHORIZED')
    refused(admin.admin('GET', 'budgets', as_key=old['key_secret']), 401,
            'KEY_EXPIRED')
    assert admin.get_key(old['key_id'])['status'] == 'EXPIRED'
    refused(admin.admin('PATCH', 'api-keys/' + old['key_id'],
                        {'name': 'y'}), 409, 'KEY_EXPIRED')
    assert ok(admin.admin('DELETE', 'api-keys/' + old['key_id']))[
        'status'] == 'REVOKED'

    # without an expiry: 90 days

    new = ok(admin.api_key(), 201)
    assert in_seconds(89 * 86400) < new['expires_at'] < in_seconds(
        91 * 86400)

    soon = admin.secret(expires_at=in_seconds(2))
    wait_until(lambda: admin.balances(api_key=soon).status == 401)


def test_keys_of_the_file(make):
    secret = 'from-the-file'
    entry = dict(keys(acme=secret)[0], permissions=['balances:read'],
                 expires_at='2999-01-01T00:00:00Z',
                 scope_filter=['app:chat'])
    admin = make(('tenant:acme', 1000), api_keys=[entry] + keys(**KEYS))
    first, second, _ = admin.all('api-keys', 'keys')
    assert first['permissions'] == ['balances:read']
    assert first['key_prefix'] == 'sha256:' + sha256(secret)[:8]
    assert first['expires_at'].startswith('2999-')
    assert second['expires_at'] == '9999-12-31T23:59:59.999Z'
    assert second['permissions'] == [
        'reservations:create', 'reservations:commit', 'reservations:release',
        'reservations:extend', 'reservations:list', 'balances:read']
    refused(admin.reserve(1, api_key=secret), 403, 'FORBIDDEN')
    ok(admin.decide(1))
    ok(admin.event(1), 201)

    # revoked: the file does not bring it back, whatever it says

    ok(admin.admin('DELETE', 'api-keys/' + second['key_id']))
    refused(admin.reserve(1), 401, 'UNAUTHORIZED')
    admin.nginx.reload()
    refused(admin.reserve(1), 401, 'UNAUTHORIZED')
    text = json.loads(admin.nginx.files['budgets.json'])
    text['api_keys'][1]['name'] = 'another'
    admin.nginx.reconfigure(files={'budgets.json': json.dumps(text)})
    refused(admin.reserve(1), 401, 'UNAUTHORIZED')


def test_secrets_are_nowhere(make):
    admin = make(('tenant:acme', 1000), log_level='info')
    secret = admin.secret()
    path = 'api-keys/' + admin.all('api-keys', 'keys')[-1]['key_id']
    ok(admin.reserve(1, api_key=secret))
    refused(admin.reserve(1, api_key=secret + 'x'), 401, 'UNAUTHORIZED')
    ok(admin.admin('PATCH', path, {'name': 'x'}))
    ok(admin.admin('DELETE', path))
    admin.nginx.quit()

    found = 0
    for folder, _, names in os.walk(admin.nginx.dir):
        for name in names:
            full = os.path.join(folder, name)
            if name == 'nginx.conf' or not os.path.isfile(full):
                continue
            with open(full, 'rb') as file:
                data = file.read()
            assert secret.encode() not in data, full
            assert ADMIN_KEY.encode() not in data, full
            digest = hashlib.sha256(secret.encode()).digest()
            found += digest in data
    assert found


# budgets

def test_budgets(admin):
    body = ok(admin.budget_create('Tenant:acme/App:Chat', 100,
                                  overdraft_limit=amount(20),
                                  commit_overage_policy='ALLOW_WITH_OVERDRAFT',
                                  metadata={'a': [1]}, tenant_id='acme'), 201)
    assert body['scope'] == body['scope_path'] == 'tenant:acme/app:chat'
    assert (body['remaining'], body['reserved'], body['spent'],
            body['debt']) == (amount(100), amount(0), amount(0), amount(0))
    assert body['overdraft_limit'] == amount(20)
    assert body['commit_overage_policy'] == 'ALLOW_WITH_OVERDRAFT'
    assert body['status'] == 'ACTIVE' and body['is_over_limit'] is False
    assert len(body['ledger_id']) == 36
    assert ok(admin.lookup('TENANT:acme/app:CHAT')) == body

    refused(admin.budget_create('tenant:acme/app:chat', 1), 409,
            'DUPLICATE_RESOURCE')
    other = ok(admin.budget_create('tenant:acme/app:chat', 1, 'TOKENS'), 201)
    assert other['ledger_id'] != body['ledger_id']
    refused(admin.budget_create('tenant:nobody', 1), 400, 'TENANT_NOT_FOUND')
    refused(admin.budget_create('tenant:acme/app:y', 1, tenant_id='other'),
            403, 'FORBIDDEN')
    refused(admin.lookup('tenant:acme/app:z'), 404, 'BUDGET_NOT_FOUND')

    # its policy is the one of what does not say any

    rid = ok(admin.reserve(90))['reservation_id']
    ok(admin.commit(rid, 115))
    assert admin.sums('tenant:acme/app:chat') == (100, -15, 0, 100, 15,
                                                  False)

    r = ok(admin.admin('PATCH', 'budgets', {
        'overdraft_limit': amount(10), 'commit_overage_policy': 'REJECT'},
        scope='tenant:acme/app:chat', unit='USD_MICROCENTS'))
    assert r['is_over_limit'] is True and r['updated_at'] > r['created_at']
    refused(admin.reserve(1), 409, 'OVERDRAFT_LIMIT_EXCEEDED')
    r = ok(admin.admin('PATCH', 'budgets', {'metadata': {}},
                       scope='tenant:acme/app:chat', unit='USD_MICROCENTS'))
    assert r['is_over_limit'] is True
    r = ok(admin.admin('PATCH', 'budgets', {'overdraft_limit': amount(15)},
                       scope='tenant:acme/app:chat', unit='USD_MICROCENTS'))
    assert r['is_over_limit'] is False
    assert r['commit_overage_policy'] == 'REJECT'
    refused(admin.admin('PATCH', 'budgets', {
        'overdraft_limit': amount(1, 'TOKENS')},
        scope='tenant:acme/app:chat', unit='USD_MICROCENTS'),
        400, 'UNIT_MISMATCH')
    refused(admin.admin('PATCH', 'budgets', {}, scope='tenant:acme/app:q',
                        unit='TOKENS'), 404, 'BUDGET_NOT_FOUND')
    same_after_restarts(admin)


def test_freeze_and_close(admin):
    held = ok(admin.reserve(10, ttl_ms=60000))['reservation_id']
    second = ok(admin.reserve(5, ttl_ms=60000))['reservation_id']
    refused(admin.status('tenant:acme', 'unfreeze'), 409, 'INVALID_REQUEST')
    r = ok(admin.status('tenant:acme', 'freeze', {'reason': 'a review',
                                                  'metadata': {'by': 'me'}}))
    assert r['status'] == 'FROZEN' and 'updated_at' in r
    refused(admin.status('tenant:acme', 'freeze'), 409, 'BUDGET_FROZEN')
    refused(admin.reserve(1), 409, 'BUDGET_FROZEN')
    refused(admin.event(1), 409, 'BUDGET_FROZEN')
    refused(admin.fund('tenant:acme', 'CREDIT', 1), 409, 'BUDGET_FROZEN')
    ok(admin.admin('PATCH', 'budgets', {'overdraft_limit': amount(1)},
                   scope='tenant:acme', unit='USD_MICROCENTS'))
    ok(admin.commit(held, 8))
    assert admin.sums('tenant:acme') == (1000, 987, 5, 8, 0, False)
    same_after_restarts(admin)
    assert ok(admin.status('tenant:acme', 'unfreeze', {}))[
        'status'] == 'ACTIVE'
    ok(admin.reserve(1))

    assert ok(admin.status('tenant:acme', 'close'))['status'] == 'CLOSED'
    for action in 'freeze', 'unfreeze', 'close':
        refused(admin.status('tenant:acme', action), 409, 'BUDGET_CLOSED')
    refused(admin.reserve(1), 409, 'BUDGET_CLOSED')
    refused(admin.fund('tenant:acme', 'CREDIT', 1), 409, 'BUDGET_CLOSED')
    refused(admin.admin('PATCH', 'budgets', {}, scope='tenant:acme',
                        unit='USD_MICROCENTS'), 409, 'BUDGET_CLOSED')
    ok(admin.commit(second, 5))
    before = same_after_restarts(admin)

    # the file neither opens it nor changes it

    text = json.loads(admin.nginx.files['budgets.json'])
    text['budgets'][0]['allocated']['amount'] = 77
    admin.nginx.reconfigure(files={'budgets.json': json.dumps(text)})
    assert admin.everything() == before
    records = Log(admin.nginx.path('ledger')).records()
    assert [rec.reason for rec in records if rec.kind == 'status'][-1] == ''

    # why, also when the log has been cut

    wait_until(lambda: admin.nginx.status()['ledgers']['main'][
        'fold_lag'] == 0)
    db = sqlite3.connect('file:%s?mode=ro' % admin.nginx.path(
        'ledger/ledger.db'), uri=True)
    with contextlib.closing(db):
        rows = db.execute(
            'SELECT status_changes.status, reason, status_changes.metadata,'
            ' changed_at_ms = updated_at_ms FROM status_changes'
            ' JOIN budgets ON budgets.id = budget'
            " WHERE scope = 'tenant:acme' ORDER BY seq").fetchall()
    assert rows == [('FROZEN', 'a review', '{"by":"me"}', 0),
                    ('ACTIVE', None, None, 0), ('CLOSED', None, None, 1)]


def test_funding_is_repeated_after_a_start(admin):
    first = ok(admin.fund('tenant:acme', 'CREDIT', 50, idempotency_key='k'))
    before = same_after_restarts(admin)
    again = ok(admin.fund('tenant:acme', 'CREDIT', 50, idempotency_key='k'))
    assert again == first
    refused(admin.fund('tenant:acme', 'CREDIT', 51, idempotency_key='k'), 409,
            'IDEMPOTENCY_MISMATCH')
    assert admin.everything() == before
    ok(admin.fund('tenant:acme', 'CREDIT', 5, idempotency_key='other'))
    assert admin.everything() != before


# the file and the admin plane

def test_what_the_file_repeats_is_left_alone(make):
    entry = ('tenant:acme', 1000, {'overdraft_limit': amount(5)})
    admin = make(entry)
    ok(admin.fund('tenant:acme', 'CREDIT', 50))
    ok(admin.admin('PATCH', 'budgets', {'overdraft_limit': amount(9),
                                        'commit_overage_policy': 'REJECT'},
                   scope='tenant:acme', unit='USD_MICROCENTS'))
    ok(admin.change_tenant('acme', name='Mine'))
    before = admin.everything()

    admin.nginx.reload()
    assert admin.everything() == before
    same_after_restarts(admin)

    # a changed member is applied, and no other

    def file(**members):
        text = json.loads(plane(entry)['files']['budgets.json'])
        text['budgets'][0].update(members)
        admin.nginx.reconfigure(files={'budgets.json': json.dumps(text)})
        return admin.ledger('tenant:acme')

    item = file(caps={'max_tokens': 5})
    assert (item['allocated'], item['overdraft_limit'],
            item['commit_overage_policy']) == (1050, 9, 'REJECT')
    item = file(overdraft_limit=amount(6))
    assert (item['allocated'], item['overdraft_limit'],
            item['commit_overage_policy']) == (1050, 6, 'REJECT')
    item = file(allocated=amount(1200))
    assert (item['allocated'], item['overdraft_limit'],
            item['commit_overage_policy']) == (1200, 5, 'REJECT')
    item = file(commit_overage_policy='ALLOW_WITH_OVERDRAFT')
    assert (item['allocated'], item['commit_overage_policy']) \
        == (1000, 'ALLOW_WITH_OVERDRAFT')
    assert ok(admin.get_tenant('acme'))['name'] == 'Mine'


def test_the_file_takes_over_what_was_made_elsewhere(make):
    admin = make(('tenant:acme', 1000))
    ok(admin.budget_create('tenant:acme/app:x', 70), 201)
    rid = ok(admin.reserve(20, subject={'tenant': 'acme', 'app': 'x'}))
    ok(admin.commit(rid['reservation_id'], 20))
    files = plane(('tenant:acme', 1000), ('tenant:acme/app:x', 30))['files']
    admin.nginx.reconfigure(files=files)
    assert admin.sums('tenant:acme/app:x') == (30, 10, 0, 20, 0, False)
    ok(admin.fund('tenant:acme/app:x', 'CREDIT', 5))
    admin.nginx.reload()
    assert admin.sums('tenant:acme/app:x') == (35, 15, 0, 20, 0, False)


# caps, which only the file can give

def test_caps_from_80_percent_on(make):
    admin = make(('tenant:acme', 1000, {'caps': {
        'max_tokens': 7, 'tool_denylist': ['web']}}))
    rid = ok(admin.reserve(799))['reservation_id']
    assert ok(admin.reserve(1))['decision'] == 'ALLOW'
    body = ok(admin.reserve(1))
    assert body['decision'] == 'ALLOW_WITH_CAPS'
    assert body['caps'] == {'max_tokens': 7, 'tool_denylist': ['web']}
    ok(admin.release(rid))
    assert ok(admin.reserve(1))['decision'] == 'ALLOW'
    ok(admin.fund('tenant:acme', 'DEBIT', 996))
    assert ok(admin.decide(1))['decision'] == 'ALLOW'
    ok(admin.reserve(1))
    assert ok(admin.decide(0))['decision'] == 'ALLOW_WITH_CAPS'


# sync=always

CHANGES = [
    ('POST', 'tenants', '', {'tenant_id': 'new-one', 'name': 'New'}, 201),
    ('PATCH', 'tenants/new-one', '', {'name': 'Newer'}, 200),
    ('PATCH', 'tenants/new-one', '', {'status': 'CLOSED'}, 200),
    ('POST', 'budgets', '', {
        'tenant_id': 'acme', 'scope': 'tenant:acme/app:new',
        'unit': 'USD_MICROCENTS', 'allocated': amount(1)}, 201),
    ('PATCH', 'budgets', 'SCOPE', {'overdraft_limit': amount(7)}, 200),
    ('POST', 'budgets/fund', 'SCOPE&tenant_id=acme', {
        'operation': 'CREDIT', 'amount': amount(5),
        'idempotency_key': 'k'}, 200),
    ('POST', 'budgets/freeze', 'SCOPE', {'reason': 'x'}, 200),
    ('POST', 'budgets/unfreeze', 'SCOPE', None, 200),
    ('POST', 'budgets/close', 'SCOPE', None, 200),
    ('POST', 'api-keys', '', {'tenant_id': 'acme', 'name': 'k'}, 201),
    ('PATCH', 'api-keys/KEY', '', {'name': 'l'}, 200),
    ('DELETE', 'api-keys/KEY', '', None, 200),
]


def test_sync_always(nginx, disk):
    """No answer before its record is on the disk: while the disk does not
    answer, nobody is answered; what was answered is there after a failure of
    power; where the disk fails, it was not answered."""

    admin = Admin(nginx(env=disk.env(), **plane(('tenant:acme', 1000),
                                                ledger='sync=always')))
    key_id = ok(admin.api_key(), 201)['key_id']
    disk.note()

    def main():
        return admin.nginx.status()['ledgers']['main']

    def send(method, path, query, body):
        return admin.call(
            method, '/v1/admin/' + path.replace('KEY', key_id), body,
            key=None, headers={'X-Admin-API-Key': ADMIN_KEY},
            query=query.replace('SCOPE',
                                'scope=tenant:acme&unit=USD_MICROCENTS'))

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for method, path, query, body, status in CHANGES:
            wait_until(lambda: main()['synced'] == main()['records'])
            records = main()['records']
            disk.hold()
            answer = pool.submit(send, method, path, query, body)
            wait_until(lambda: main()['records'] > records)
            assert not concurrent.futures.wait([answer], 0.1).done
            disk.go()
            ok(answer.result(), status)

    before = admin.everything()
    assert ok(admin.lookup('tenant:acme'))['status'] == 'CLOSED'
    admin.nginx.kill9()
    disk.fail_power([admin.nginx.path('ledger/' + name) for name in os.listdir(
        admin.nginx.path('ledger')) if name.startswith('log-')])
    admin.nginx.start()
    assert admin.everything() == before

    admin.nginx.allow.append('sync')
    disk.fail()
    refused(admin.budget_create('tenant:acme/app:last', 1), 500,
            'INTERNAL_ERROR')
    disk.mend()
    refused(admin.budget_create('tenant:acme/app:last', 1), 409,
            'DUPLICATE_RESOURCE')
