# Copyright (C) nginx-cycles authors

"""Bodies of requests: what the schema allows, and a sentence for the rest."""

import copy
import json

import pytest

from _api import ACTION, INT64_MAX, SUBJECT, Api, amount, conf, ok, refused


PATHS = {
    'reserve': '/v1/reservations',
    'commit': '/v1/reservations/%s/commit',
    'release': '/v1/reservations/%s/release',
    'extend': '/v1/reservations/%s/extend',
    'decide': '/v1/decide',
    'event': '/v1/events',
}

NO_ID = '00000000-0000-4000-8000-000000000000'

GOOD = {
    'reserve': {'subject': SUBJECT, 'action': ACTION, 'estimate': amount(1)},
    'commit': {'actual': amount(1)},
    'release': {},
    'extend': {'extend_by_ms': 1000},
    'decide': {'subject': SUBJECT, 'action': ACTION, 'estimate': amount(1)},
    'event': {'subject': SUBJECT, 'action': ACTION, 'actual': amount(1)},
}


class Bodies(Api):

    def send(self, operation, raw=None, rid=None, **members):
        body = dict(copy.deepcopy(GOOD[operation]),
                    idempotency_key=self.key())
        for name, value in members.items():
            if value is ABSENT:
                del body[name]
            else:
                body[name] = value
        path = PATHS[operation]
        if '%' in path:
            path %= rid or NO_ID
        if raw is not None:
            return self.call('POST', path, raw=raw)
        return self.call('POST', path, body)


ABSENT = object()


@pytest.fixture(scope='module')
def api():
    import gateway
    ng = gateway.Nginx(**conf(('tenant:acme', INT64_MAX),
                              ('tenant:other', 500)))
    try:
        yield Bodies(ng.start())
        ng.stop()
        ng.check()
    finally:
        ng.close()


# a reservation that is not there is found out after its body was read

def accepted(r):
    assert r.status in (200, 201, 404), r.text
    if r.status == 404:
        assert 'no reservation' in r.json['message']


@pytest.mark.parametrize('operation', sorted(PATHS))
def test_good(api, operation):
    accepted(api.send(operation))


REQUIRED = [(op, name) for op in sorted(PATHS)
            for name in ['idempotency_key'] + sorted(GOOD[op])]


@pytest.mark.parametrize('operation,name', REQUIRED)
def test_required(api, operation, name):
    r = api.send(operation, **{name: ABSENT})
    assert refused(r, 400, 'INVALID_REQUEST')['message'] \
        == '"%s" is missing' % name

    r = api.send(operation, **{name: None})
    assert name in refused(r, 400, 'INVALID_REQUEST')['message']


# who may have what: everything else is an unknown member

OPTIONAL = {
    'ttl_ms': (1000, ['reserve']),
    'grace_period_ms': (0, ['reserve']),
    'overage_policy': ('REJECT', ['reserve', 'event']),
    'dry_run': (True, ['reserve']),
    'metadata': ({}, ['reserve', 'commit', 'extend', 'decide', 'event']),
    'metrics': ({}, ['commit', 'event']),
    'client_time_ms': (1, ['event']),
    'reason': ('done', ['release']),
    'estimate': (amount(1), ['reserve', 'decide']),
    'actual': (amount(1), ['commit', 'event']),
    'subject': (SUBJECT, ['reserve', 'decide', 'event']),
    'action': (ACTION, ['reserve', 'decide', 'event']),
    'extend_by_ms': (1, ['extend']),
    'observe_mode': (True, []),
    'idempotency_key2': ('x', []),
    '': ('x', []),
}


@pytest.mark.parametrize('operation', sorted(PATHS))
@pytest.mark.parametrize('name', sorted(OPTIONAL))
def test_members(api, operation, name):
    value, operations = OPTIONAL[name]
    r = api.send(operation, **{name: value})
    if operation in operations:
        accepted(r)
    else:
        assert '"%s" is not a member' % name in refused(
            r, 400, 'INVALID_REQUEST')['message']


BAD = [
    ('idempotency_key', ['', 'x' * 257, 'é' * 257, 1, True, None, [], {}]),
    ('subject', ['', [], {}, {'dimensions': {'a': 'b'}}, {'tenant': ''},
                 {'tenant': 1}, {'tenant': 'acme', 'app': 'a b'},
                 {'tenant': 'acme', 'app': 'a/b'},
                 {'tenant': 'acme', 'app': 'x' * 129},
                 {'tenant': 'acme', 'app': 'é'},
                 {'tenant': 'acme', 'app': None},
                 {'tenant': 'acme', 'App': 'x'},
                 {'tenant': 'acme', 'toolGroup': 'x'},
                 {'tenant': 'acme', 'dimensions': []},
                 {'tenant': 'acme', 'dimensions': {'a': 1}},
                 {'tenant': 'acme', 'dimensions': {'a': 'é' * 257}},
                 {'tenant': 'acme', 'dimensions': {'': 'x'}},
                 {'tenant': 'acme', 'dimensions': {'a' * 257: 'x'}},
                 {'tenant': 'acme', 'dimensions': {
                     'k%d' % i: 'v' for i in range(17)}}]),
    ('action', ['', [], {}, {'kind': 'a'}, {'name': 'a'},
                {'kind': '', 'name': 'a'}, {'kind': 'a', 'name': ''},
                {'kind': 'é' * 65, 'name': 'a'},
                {'kind': 'a', 'name': '\U0001f600' * 257},
                {'kind': 'a', 'name': 'a', 'x': 1},
                {'kind': 'a', 'name': 'a', 'tags': 'a'},
                {'kind': 'a', 'name': 'a', 'tags': [1]},
                {'kind': 'a', 'name': 'a', 'tags': ['é' * 65]},
                {'kind': 'a', 'name': 'a', 'tags': ['a'] * 11}]),
    ('estimate', [1, '1', [], {}, {'unit': 'TOKENS'}, {'amount': 1},
                  amount(-1), amount(1.5), amount(2.0 ** 53), amount('1'),
                  amount(True), amount(None), amount(2 ** 63),
                  amount(2 ** 64), amount(1, 'USD'), amount(1, 'tokens'),
                  amount(1, 1), dict(amount(1), x=1)]),
    ('ttl_ms', [999, 86400001, 0, -1, 1000.1, 999.0, '1000', True, None]),
    ('grace_period_ms', [-1, 60001, 1e-9, -0.5, '0', None]),
    ('overage_policy', ['', 'reject', 'ALLOW', 1, None]),
    ('dry_run', [0, 1, 'true', None]),
    ('metadata', [1, 'x', [], None, {'a': 'x' * 40000}]),
]

GOOD_VALUES = [
    ('idempotency_key', ['x', 'x' * 256, 'é' * 256, '\U0001f600' * 256,
                         'a\u0000b', ' ']),
    ('subject', [{'tenant': 'acme'}, {'app': 'x'},
                 {'tenant': 'acme', 'workspace': 'w', 'app': 'a',
                  'workflow': 'f', 'agent': 'g', 'toolset': 't'},
                 {'tenant': 'acme', 'app': 'x' * 128},
                 {'tenant': 'acme', 'app': 'a.B_c-9'},
                 {'tenant': 'acme', 'dimensions': {}},
                 {'tenant': 'acme', 'dimensions': {
                     'k%d' % i: 'ü' * 256 for i in range(16)}}]),
    ('action', [{'kind': 'é' * 64, 'name': '\U0001f600' * 256},
                {'kind': 'a', 'name': 'ü b', 'tags': []},
                {'kind': 'a', 'name': 'a', 'tags': ['é' * 64] * 10}]),
    ('estimate', [amount(0), amount(2 ** 53 + 1), amount(2 ** 62),
                  amount(1.0), amount(-0.0), amount(2.0 ** 53 - 1)]),
    ('ttl_ms', [1000, 86400000, 1000.0]),
    ('grace_period_ms', [0, 60000]),
    ('overage_policy', ['REJECT', 'ALLOW_IF_AVAILABLE',
                        'ALLOW_WITH_OVERDRAFT']),
    ('dry_run', [True, False]),
    ('metadata', [{}, {'a': None, 'b': [1, 2.5, {'c': 'é'}]},
                  {'n': -2 ** 63, 'x': 'x' * 30000}]),
]


def flat(table):
    return [(name, value) for name, values in table for value in values]


@pytest.mark.parametrize('name,value', flat(BAD))
def test_bad_value(api, name, value):
    r = api.send('reserve', **{name: value})
    body = refused(r, 400, 'INVALID_REQUEST')
    if '63' not in str(value) and value != amount(2 ** 64) \
            and value != amount(2 ** 63):
        assert '"%s' % name in body['message'] \
            or 'dimensions' in body['message'], body
    assert api.balance('tenant:acme')['is_over_limit'] is False


@pytest.mark.parametrize('name,value', flat(GOOD_VALUES))
def test_good_value(api, name, value):
    body = ok(api.send('reserve', **{name: value}))
    if 'reservation_id' in body:
        ok(api.release(body['reservation_id']))


@pytest.mark.parametrize('metrics,good', [
    ({'tokens_input': 0, 'tokens_output': 2 ** 40, 'latency_ms': 3,
      'model_version': 'é' * 128, 'custom': {'a': [1]}}, True),
    ({'tokens_input': -1}, False), ({'tokens_output': 1.5}, False),
    ({'latency_ms': '1'}, False), ({'model_version': 1}, False),
    ({'model_version': 'é' * 129}, False), ({'custom': 1}, False),
    ({'custom': {'a': 'x' * 40000}}, False),
    ({'tokens': 1}, False), ([], False), (None, False),
])
def test_metrics(api, metrics, good):
    r = api.send('event', metrics=metrics)
    if good:
        ok(r, 201)
    else:
        assert '"metrics' in refused(r, 400, 'INVALID_REQUEST')['message']


@pytest.mark.parametrize('operation,members', [
    ('extend', {'extend_by_ms': 0}), ('extend', {'extend_by_ms': 86400001}),
    ('extend', {'extend_by_ms': 1.5}), ('extend', {'metadata': 1}),
    ('release', {'reason': 1}), ('release', {'reason': 'é' * 257}),
    ('event', {'client_time_ms': -1}), ('event', {'client_time_ms': 'x'}),
    ('commit', {'actual': amount(-1)}), ('commit', {'actual': amount(0.1)}),
    ('extend', {'metadata': {'a\u0000b': 1}}),
])
def test_other_operations(api, operation, members):
    refused(api.send(operation, **members), 400, 'INVALID_REQUEST')


def text(**members):
    return json.dumps(dict(GOOD['reserve'], idempotency_key='raw', **members))


@pytest.mark.parametrize('raw,message', [
    (b'', 'not the JSON'), (b' ', 'not the JSON'), (b'{', 'not the JSON'),
    (b'[]', 'must be a JSON object'), (b'1', 'not the JSON'),
    (b'null', 'not the JSON'), (b'"x"', 'not the JSON'),
    (text().encode() + b'x', 'not the JSON'),
    (b'\xef\xbb\xbf' + text().encode(), 'not the JSON'),
    (text().replace('raw', 'r\xff').encode('latin-1'), 'not the JSON'),
    (text().replace('raw', 'r\xed\xa0\x80').encode('latin-1'),
     'not the JSON'),
    (text().replace('raw', '\\ud800').encode(), 'not the JSON'),
    (text().replace('"raw"', '"raw","idempotency_key":"b"').encode(),
     'duplicate'),
    (text().replace('"amount": 1', '"amount": 1, "amount": 2').encode(),
     'duplicate'),
    (text(metadata={'a': 1}).replace('"a": 1', '"a": 1, "a": 2').encode(),
     'duplicate'),
    (text().replace('"amount": 1', '"amount": NaN').encode(),
     'not the JSON'),
    (text().replace('"amount": 1', '"amount": 1e-2').encode(), 'integer'),
    (text().replace('"amount": 1', '"amount": 1e400').encode(), 'overflow'),
    (text().replace('"amount": 1', '"amount": 01').encode(), 'not the JSON'),
    (text().replace('"amount": 1', '"amount": 9223372036854775808').encode(),
     'too big'),
    (b'{"a":' * 33 + b'1' + b'}' * 33, '32 levels'),
    (b'[' * 1000000, '32 levels'),
    (b'{"metadata":' + b'[' * 31 + b']' * 31 + b'}', 'is missing'),
])
def test_not_json(api, raw, message):
    r = api.send('reserve', raw=raw)
    assert message in refused(r, 400, 'INVALID_REQUEST')['message']


def test_an_amount_is_exact_however_it_is_written(api):
    want = None
    for number in (b'90071992547409', b'90071992547409.0',
                   b'0.90071992547409e14'):
        r = api.send('reserve', raw=text().encode().replace(
            b'"amount": 1', b'"amount": ' + number).replace(b'raw', b'exact'))
        body = ok(r)
        assert body['reserved'] == amount(90071992547409)
        want = want or body['reservation_id']
        assert body['reservation_id'] == want
    ok(api.release(want))


def test_brackets_in_strings_are_no_levels(api):
    ok(api.send('decide', metadata={'a': '[' * 100 + '\\"{' * 50}))


def test_long_reservation_id(api):
    refused(api.call('GET', '/v1/reservations/' + 'x' * 129), 400,
            'INVALID_REQUEST')
    for name in 'x' * 128, '%C3%A9' * 128, '%ff':
        refused(api.call('GET', '/v1/reservations/' + name), 404,
                'NOT_FOUND')
    refused(api.call('GET', '/v1/reservations/' + '%C3%A9' * 129), 400,
            'INVALID_REQUEST')
    refused(api.call('GET', '/v1/reservations/%41%20%22'), 404, 'NOT_FOUND')


@pytest.mark.parametrize('query,status', [
    ('', 400), ('limit=1', 400), ('tenant=', 400), ('app=&agent=', 400),
    ('tenant=acme', 200), ('app=x', 200), ('tenant=other', 403),
    ('tenant=ACME', 403), ('tenant=acme&limit=0', 400),
    ('tenant=acme&limit=201', 400), ('tenant=acme&limit=200', 200),
    ('tenant=acme&limit=x', 400), ('tenant=acme&limit=1.0', 400),
    ('tenant=acme&cursor=x', 400), ('tenant=acme&cursor=-1', 400),
    ('tenant=acme&cursor=99999999999', 400),
    ('tenant=acme&cursor=7', 200), ('tenant=acme&include_children=x', 400),
    ('tenant=acme&include_children=true', 200), ('tenant=%61cme', 200),
    ('tenant=acme&unknown=1', 200), ('tenant=%25', 403),
])
def test_balances_query(api, query, status):
    r = api.balances(query)
    assert r.status == status, r.text
    if status == 403:
        refused(r, 403, 'FORBIDDEN')
