# Copyright (C) nginx-cycles authors

"""The HTTP side of the API: routes, methods, keys, ids, bodies."""

import gzip
import json
import re
import time

import pytest

import gateway
from _api import (ACTION, KEYS, SUBJECT, Api, amount, conf, keys, ok, refused,
                  sha256)


@pytest.fixture
def api(nginx):
    return Api(nginx(**conf(('tenant:acme', 10 ** 6), ('tenant:other', 500))))


RESERVE = {'idempotency_key': 'k', 'subject': SUBJECT, 'action': ACTION,
           'estimate': amount(1)}


@pytest.mark.parametrize('method,path,allow', [
    ('GET', '/v1/decide', 'POST'),
    ('PUT', '/v1/decide', 'POST'),
    ('DELETE', '/v1/events', 'POST'),
    ('OPTIONS', '/v1/events', 'POST'),
    ('GET', '/v1/reservations/x/commit', 'POST'),
    ('GET', '/v1/reservations/x/release', 'POST'),
    ('PATCH', '/v1/reservations/x/extend', 'POST'),
    ('POST', '/v1/reservations/x', 'GET, HEAD'),
    ('POST', '/v1/balances', 'GET, HEAD'),
    ('POST', '/v1/auth/introspect', 'GET, HEAD'),
    ('DELETE', '/v1/reservations', 'GET, HEAD, POST'),
])
def test_method(api, method, path, allow):
    r = api.call(method, path)
    refused(r, 405, 'INVALID_REQUEST')
    assert r.header('allow') == allow


@pytest.mark.parametrize('path', [
    '/v1/', '/v1/x', '/v1/reservations/', '/v1/reservations/a/b',
    '/v1/reservations/a/commit/', '/v1/decide/', '/v1/decid', '/v1/balance',
    '/v1/auth', '/v1/evidence/' + 64 * '0',
])
def test_no_route(api, path):
    refused(api.call('POST', path, {}), 404, 'NOT_FOUND')
    refused(api.call('GET', path), 404, 'NOT_FOUND')


@pytest.mark.parametrize('method,path', [
    ('POST', '/v1/reservations'), ('POST', '/v1/reservations/x/commit'),
    ('POST', '/v1/reservations/x/release'),
    ('POST', '/v1/reservations/x/extend'), ('POST', '/v1/decide'),
    ('POST', '/v1/events'), ('GET', '/v1/reservations/x'),
    ('GET', '/v1/balances'), ('GET', '/v1/auth/introspect'),
])
@pytest.mark.parametrize('key', [None, '', 'cyc_live_acm', 'cyc_live_acmee',
                                 'CYC_LIVE_ACME'])
def test_unauthorized(api, method, path, key):
    body = {} if method == 'POST' else None
    r = api.call(method, path, body, key=key)
    refused(r, 401, 'UNAUTHORIZED')
    assert r.header('x-cycles-tenant') is None


def test_a_digest_must_be_the_same_to_its_end(api):
    """A key whose digest begins as that of a known one is not known."""

    begin = sha256(KEYS['acme'])[:4]
    near = next(str(n) for n in range(10 ** 7)
                if sha256(str(n)).startswith(begin))
    refused(api.call('GET', '/v1/balances', key=near), 401, 'UNAUTHORIZED')


def test_no_keys_at_all(nginx):
    api = Api(nginx(**conf(('tenant:acme', 1000), api_keys=[])))
    refused(api.reserve(1), 401, 'UNAUTHORIZED')
    refused(api.balances(), 401, 'UNAUTHORIZED')


def test_tenant_header(api):
    assert api.balances().header('x-cycles-tenant') == 'acme'
    r = api.call('POST', '/v1/decide', {})
    refused(r, 400, 'INVALID_REQUEST')
    assert r.header('x-cycles-tenant') == 'acme'


def test_keys_are_not_logged(api):
    api.balances()
    api.call('GET', '/v1/balances', key='cyc_live_wrong')
    api.call('POST', '/v1/decide', raw=b'{')
    ng = api.nginx
    ng.quit()
    for text in ng.error_log(), json.dumps(ng.access_log()):
        assert 'cyc_live_' not in text


def trace(api, **headers):
    headers = {k.replace('_', '-'): v for k, v in headers.items()}
    return api.call('GET', '/v1/balances', query='app=x',
                    headers=headers).header('x-cycles-trace-id')


A, B, Z = 'a' * 32, 'b' * 32, '0' * 32


@pytest.mark.parametrize('headers,want', [
    ({'traceparent': '00-%s-%s-01' % (A, 16 * '1')}, A),
    ({'traceparent': '00-%s-%s-00' % (A, 16 * '1')}, A),
    ({'X_Cycles_Trace_Id': B}, B),
    ({'traceparent': '00-%s-%s-01' % (A, 16 * '1'),
      'X_Cycles_Trace_Id': B}, A),
    ({'traceparent': '01-%s-%s-01' % (A, 16 * '1'),
      'X_Cycles_Trace_Id': B}, B),
    ({'traceparent': '00-%s-%s-01' % (Z, 16 * '1'),
      'X_Cycles_Trace_Id': B}, B),
    ({'traceparent': '00-%s-%s-01' % (A, 16 * '0'),
      'X_Cycles_Trace_Id': B}, B),
    ({'traceparent': '00-%s-%s-zz' % (A, 16 * '1'),
      'X_Cycles_Trace_Id': B}, B),
    ({'traceparent': '00-%s-%s-01' % (A.upper(), 16 * '1'),
      'X_Cycles_Trace_Id': B}, B),
    ({'traceparent': '00-%s-%s-01-x' % (A, 16 * '1'),
      'X_Cycles_Trace_Id': B}, B),
])
def test_trace_id(api, headers, want):
    assert trace(api, **headers) == want


def test_new_trace_id(api):
    seen = {trace(api), trace(api), trace(api, X_Cycles_Trace_Id=Z),
            trace(api, X_Cycles_Trace_Id=B.upper()),
            trace(api, X_Cycles_Trace_Id=B[1:]), trace(api, traceparent='')}
    assert len(seen) == 6
    assert Z not in seen and B not in seen


def test_request_ids_differ(api):
    assert len({api.balances().header('x-request-id')
                for _ in range(20)}) == 20


def test_idempotency_header(api):
    r = api.call('POST', '/v1/reservations', RESERVE,
                 headers={'X-Idempotency-Key': 'other'})
    refused(r, 400, 'INVALID_REQUEST')
    ok(api.call('POST', '/v1/reservations', RESERVE,
                headers={'X-Idempotency-Key': 'k'}))


@pytest.mark.parametrize('content_type,status', [
    ('application/json', 200), ('application/json; charset=utf-8', 200),
    ('Application/JSON', 200), ('application/json ;x=y', 200),
    ('text/plain', 415), ('application/jsonx', 415),
    ('application/x-www-form-urlencoded', 415), (None, 415),
])
def test_content_type(api, content_type, status):
    r = api.call('POST', '/v1/decide', RESERVE, content_type=content_type)
    assert r.status == status
    if status == 415:
        refused(r, 415, 'INVALID_REQUEST')


def test_no_body(api):
    for content_type in 'application/json', 'text/plain', None:
        r = api.call('POST', '/v1/decide', raw=b'', content_type=content_type)
        refused(r, 400, 'INVALID_REQUEST')
    refused(api.call('POST', '/v1/decide'), 400, 'INVALID_REQUEST')


@pytest.mark.parametrize('size,status', [
    (1000, 200), (20000, 200), (2 ** 20, 200), (2 ** 20 + 1, 413),
    (3 * 2 ** 20, 413),
])
@pytest.mark.parametrize('chunked', [False, True])
def test_body_size(nginx, size, status, chunked):
    ng = nginx(**conf(('tenant:acme', 10 ** 6),
                      location='client_max_body_size 2m;'))
    ng.allow = ['client intended to send too large']
    api = Api(ng)
    body = json.dumps(RESERVE).encode()
    body += b' ' * (size - len(body))

    headers = {'X-Cycles-API-Key': KEYS['acme'],
               'Content-Type': 'application/json'}
    if chunked:
        half = len(body) // 2
        r = ng.request('POST', '/v1/decide', headers,
                       chunked=[body[:half], body[half:]])
    else:
        r = ng.request('POST', '/v1/decide', headers, body)

    api.check('POST', '/v1/decide', body, r)
    assert r.status == status


def test_errors_of_nginx_are_json(nginx):
    ng = nginx(**conf(('tenant:acme', 10 ** 6),
                      location='client_max_body_size 100; '
                               'limit_req zone=z; limit_req_status 429;',
                      http='limit_req_zone $http_x_limit zone=z:1m '
                           'rate=1r/m;'))
    ng.allow = ['too large body', 'limiting requests']
    api = Api(ng)

    r = api.call('POST', '/v1/decide', raw=b' ' * 101)
    refused(r, 413, 'INVALID_REQUEST')

    limited = {'X-Limit': 'a'}
    ok(api.call('GET', '/v1/balances', query='app=x', headers=limited))
    r = api.call('GET', '/v1/balances', query='app=x', headers=limited)
    refused(r, 429, 'LIMIT_EXCEEDED')
    assert r.header('retry-after') == '1'
    assert -100 < int(r.header('x-ratelimit-reset')) - time.time() < 100


def test_unread_bodies_do_not_become_requests(api):
    with gateway.Conn(api.nginx.port) as conn:
        for path, status in (('/v1/nope', 404), ('/v1/balances', 405),
                             ('/v1/decide', 401)):
            conn.send_request('POST', path, {
                'Content-Type': 'application/json'},
                b'GET /v1/evil HTTP/1.1\r\n\r\n')
            assert conn.read_response().status == status


@pytest.mark.parametrize('prefix,base', [
    ('/', ''), ('/v1/', ''), ('/v1', ''), ('/budget/', '/budget'),
    ('/budget/v1/', '/budget'), ('= /v1/balances', ''),
])
def test_prefix(nginx, prefix, base):
    ng = nginx(**conf(('tenant:acme', 1000), prefix=prefix))
    ok(Api(ng, base).balances())


def test_head(api):
    r = api.call('HEAD', '/v1/balances', query='tenant=acme')
    assert r.status == 200 and r.body == b''
    assert re.fullmatch('[0-9a-f-]{36}', r.header('x-request-id'))


def test_introspect(api):
    body = ok(api.call('GET', '/v1/auth/introspect'))
    assert body['authenticated'] is True
    assert body['auth_type'] == 'tenant'
    assert body['tenant_id'] == 'acme'
    assert 'reservations:create' in body['permissions']
    assert body['capabilities']['manage_reservations'] is True
    assert body['capabilities']['view_tenants'] is False


@pytest.mark.parametrize('server,text', [
    ('location /v1/ { cycles_api; }', 'invalid number of arguments'),
    ('location /v1/ { cycles_api main; }', 'there are one "ledger=NAME"'),
    ('location /v1/ { cycles_api ledger=; }', 'there are one "ledger=NAME"'),
    ('location /v1/ { cycles_api ledger=none; }',
     'wants ledger "none", which no "cycles_ledger" declares'),
    ('location /v1/ { cycles_api ledger=main; cycles_api ledger=main; }',
     '"cycles_api" directive is duplicate'),
    ('location ~ /v1/ { cycles_api ledger=main; }', 'with a prefix'),
    ('location @v1 { cycles_api ledger=main; }', 'with a prefix'),
    ('cycles_api ledger=main;', 'not allowed here'),
])
def test_configuration(server, text):
    good, output = gateway.nginx_t(
        http='cycles_ledger main path=%%DIR%%/ledger;', server=server)
    assert not good and text in output, output


def test_ledger_may_be_declared_later():
    good, output = gateway.nginx_t(
        server='location /v1/ { cycles_api ledger=main; }',
        http='include %%DIR%%/later.conf;',
        files={'later.conf': 'cycles_ledger main path=%%DIR%%/ledger;'})
    assert good, output


def test_compressed_body_is_no_json(api):
    r = api.call('POST', '/v1/decide',
                 raw=gzip.compress(json.dumps(RESERVE).encode()),
                 headers={'Content-Encoding': 'gzip'})
    refused(r, 400, 'INVALID_REQUEST')


def test_http2(nginx):
    ng = nginx(h2=True, **conf(('tenant:acme', 10 ** 6)))
    r = gateway.h2_request(ng.h2_port, 'POST', '/v1/reservations', {
        'x-cycles-api-key': KEYS['acme'],
        'content-type': 'application/json'}, json.dumps(RESERVE).encode())
    assert r.status == 200
    r = gateway.h2_request(
        ng.h2_port, 'GET', '/v1/reservations/' + r.json['reservation_id'],
        {'x-cycles-api-key': KEYS['acme']})
    assert r.status == 200 and r.json['status'] == 'ACTIVE'


def test_two_keys_of_one_tenant(nginx):
    api = Api(nginx(**conf(('tenant:acme', 1000), api_keys=keys(
        acme='one') + keys(acme='two'), tenants=['acme'])))
    rid = ok(api.reserve(10, api_key='one'))['reservation_id']
    ok(api.commit(rid, 10, api_key='two'))
