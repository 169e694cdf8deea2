# Copyright (C) nginx-cycles authors

"""The rules of the protocol, told by the answers and the balances."""

import json

import pytest

import gateway
import ledger_log
from _api import (ACTION, INT64_MAX, KEYS, SUBJECT, Api, amount, conf, keys,
                  ok, refused)
from gateway import wait_until


BIG = 2 ** 53 + 1


@pytest.fixture
def make(nginx):
    return lambda *entries, **kw: Api(nginx(**conf(*entries, **kw)))


def test_reserve_and_commit(make):
    api = make(('tenant:acme', 1000), ('tenant:acme/app:chat', 500))
    body = ok(api.reserve(100, ttl_ms=30000))
    assert body['decision'] == 'ALLOW'
    assert body['affected_scopes'] == ['tenant:acme', 'tenant:acme/app:chat']
    assert body['scope_path'] == 'tenant:acme/app:chat'
    assert body['reserved'] == amount(100)
    assert 29000 < body['remaining_ttl_ms'] <= 30000
    for scope, whole in ('tenant:acme', 1000), ('tenant:acme/app:chat', 500):
        assert api.balance(scope)['reserved'] == 100
        assert api.balance(scope)['remaining'] == whole - 100

    body = ok(api.commit(body['reservation_id'], 60))
    assert body == {'status': 'COMMITTED', 'charged': amount(60),
                    'released': amount(40)}
    for scope, whole in ('tenant:acme', 1000), ('tenant:acme/app:chat', 500):
        assert api.balance(scope)['spent'] == 60
        assert api.balance(scope)['remaining'] == whole - 60


def test_exact_commit_has_no_released(make):
    api = make(('tenant:acme', 1000))
    rid = ok(api.reserve(100))['reservation_id']
    assert ok(api.commit(rid, 100)) == {'status': 'COMMITTED',
                                        'charged': amount(100)}


def test_release(make):
    api = make(('tenant:acme', 1000))
    rid = ok(api.reserve(100))['reservation_id']
    assert ok(api.release(rid, reason='x')) == {'status': 'RELEASED',
                                                'released': amount(100)}
    assert api.balance('tenant:acme')['remaining'] == 1000


@pytest.mark.parametrize('n', [BIG, 2 ** 62 + 3, INT64_MAX])
def test_amounts_are_exact(make, n):
    api = make(('tenant:acme', INT64_MAX))
    rid = ok(api.reserve(n))['reservation_id']
    assert api.balance('tenant:acme')['reserved'] == n
    assert api.get(rid).json['reserved'] == amount(n)
    assert ok(api.commit(rid, n - 1)) == {
        'status': 'COMMITTED', 'charged': amount(n - 1),
        'released': amount(1)}
    assert api.balance('tenant:acme')['remaining'] == INT64_MAX - n + 1
    r = refused(api.reserve(INT64_MAX), 409, 'BUDGET_EXCEEDED')
    assert r['details']['remaining'] == INT64_MAX - n + 1
    assert r['details']['requested'] == INT64_MAX


def test_denial_names_the_scope(make):
    api = make(('tenant:acme', 1000), ('tenant:acme/app:chat', 500))
    ok(api.reserve(100))
    body = refused(api.reserve(401), 409, 'BUDGET_EXCEEDED')
    assert body['details'] == {
        'scope': 'tenant:acme/app:chat', 'requested': 401, 'remaining': 400,
        'held': 100, 'unit': 'USD_MICROCENTS'}
    ok(api.reserve(400))


def test_denied_key_may_be_used_again(make):
    api = make(('tenant:acme', 100))
    rid = ok(api.reserve(60))['reservation_id']
    refused(api.reserve(50, key='again'), 409, 'BUDGET_EXCEEDED')
    ok(api.release(rid))
    ok(api.reserve(50, key='again'))


def test_no_budget(make):
    api = make(('tenant:other', 500))
    body = refused(api.reserve(1), 404, 'NOT_FOUND')
    assert body['message'].startswith('Budget not found for provided scope:')
    assert body['message'].endswith('tenant:acme/app:chat')
    refused(api.event(1), 404, 'NOT_FOUND')
    body = ok(api.reserve(1, dry_run=True))
    assert (body['decision'], body['reason_code']) \
        == ('DENY', 'BUDGET_NOT_FOUND')
    body = ok(api.decide(1))
    assert (body['decision'], body['reason_code']) \
        == ('DENY', 'BUDGET_NOT_FOUND')


def test_unit_mismatch(make):
    api = make(('tenant:acme', 500))
    for call in (api.reserve, api.decide, api.event):
        body = refused(call(1, unit='TOKENS'), 400, 'UNIT_MISMATCH')
        assert body['details'] == {'scope': 'tenant:acme',
                                   'requested_unit': 'TOKENS',
                                   'expected_units': ['USD_MICROCENTS']}
    refused(api.reserve(1, unit='TOKENS', dry_run=True), 400,
            'UNIT_MISMATCH')
    rid = ok(api.reserve(1))['reservation_id']
    body = refused(api.commit(rid, 1, unit='CREDITS'), 400, 'UNIT_MISMATCH')
    assert body['details'] == {'requested_unit': 'CREDITS',
                               'expected_units': ['USD_MICROCENTS']}
    ok(api.commit(rid, 1))


def test_unit_mismatch_of_other_units(make):
    tokens = {'unit': 'TOKENS', 'allocated': amount(500, 'TOKENS')}
    points = {'unit': 'CREDITS', 'allocated': amount(500, 'CREDITS')}
    api = make(('tenant:acme', 0, tokens), ('tenant:acme', 0, points))
    body = refused(api.reserve(1), 400, 'UNIT_MISMATCH')
    assert body['details']['expected_units'] == ['TOKENS', 'CREDITS']
    rid = ok(api.reserve(5, unit='TOKENS'))['reservation_id']
    assert api.get(rid).json['reserved'] == amount(5, 'TOKENS')
    body = refused(api.commit(rid, 1), 400, 'UNIT_MISMATCH')
    assert body['details']['expected_units'] == ['TOKENS']
    assert ok(api.release(rid))['released'] == amount(5, 'TOKENS')
    assert ok(api.event(501, unit='CREDITS'), 201)['charged'] \
        == amount(500, 'CREDITS')


# replays

def test_replays(make):
    api = make(('tenant:acme', 1000))
    first = ok(api.reserve(100, key='a'))
    again = ok(api.reserve(100, key='a'))
    assert 0 <= again.pop('remaining_ttl_ms') \
        <= first.pop('remaining_ttl_ms')
    assert again == first
    rid = first['reservation_id']

    one = ok(api.extend(rid, 5000, key='a'))
    two = ok(api.extend(rid, 5000, key='a'))
    assert one['expires_at_ms'] == two['expires_at_ms'] \
        == first['expires_at_ms'] + 5000
    assert two['remaining_ttl_ms'] <= one['remaining_ttl_ms']

    assert ok(api.commit(rid, 60, key='a')) \
        == ok(api.commit(rid, 60, key='a'))
    assert ok(api.event(7, key='a'), 201) == ok(api.event(7, key='a'), 201)

    again = ok(api.reserve(100, key='a'))
    assert again.pop('remaining_ttl_ms') == 0
    assert again == first
    assert ok(api.extend(rid, 5000, key='a'))['remaining_ttl_ms'] == 0

    flat = api.balance('tenant:acme')
    assert (flat['spent'], flat['reserved']) == (67, 0)

    other = ok(api.reserve(10))['reservation_id']
    assert ok(api.release(other, key='a')) == ok(api.release(other, key='a'))


def test_mismatches(make):
    api = make(('tenant:acme', 1000))
    rid = ok(api.reserve(100, key='a'))['reservation_id']

    def mismatch(r):
        refused(r, 409, 'IDEMPOTENCY_MISMATCH')

    mismatch(api.reserve(101, key='a'))
    mismatch(api.reserve(100, key='a', ttl_ms=1000))
    mismatch(api.reserve(100, key='a', dry_run=True))
    mismatch(api.reserve(100, key='a', metadata={'x': 1}))
    mismatch(api.reserve(100, key='a', subject={'tenant': 'acme'}))

    ok(api.extend(rid, 1000, key='a'))
    mismatch(api.extend(rid, 1001, key='a'))
    mismatch(api.extend(rid, 1000, key='a', metadata={'beat': 1}))

    ok(api.commit(rid, 60, key='a'))
    mismatch(api.commit(rid, 61, key='a'))
    mismatch(api.commit(rid, 60, key='a', metrics={'tokens_input': 1}))
    mismatch(api.commit(rid, 60, key='a', metrics={'custom': {'a': 1}}))
    refused(api.commit(rid, 60, key='b'), 409, 'RESERVATION_FINALIZED')

    ok(api.event(1, key='a'), 201)
    mismatch(api.event(2, key='a'))
    mismatch(api.event(1, key='a', metrics={'custom': {}}))

    rid = ok(api.reserve(1))['reservation_id']
    ok(api.release(rid, key='a'))
    mismatch(api.release(rid, key='a', reason='x'))


def test_same_object_in_another_order(make):
    api = make(('tenant:acme', 1000))
    one = b'''{"idempotency_key":"a","subject":{"tenant":"acme","app":"x"},
        "action":{"kind":"a","name":"b"},"metadata":{"x":{"c":1,"d":[]},"y":2},
        "estimate":{"unit":"USD_MICROCENTS","amount":1}}'''
    two = b'''{"estimate":{"amount":1,"unit":"USD_MICROCENTS"},
        "grace_period_ms":5000,"ttl_ms":60000,"dry_run":false,
        "metadata":{"y":2,"x":{"d":[ ],"c":1}},
        "action":{"name":"b","kind":"a"},"subject":{"app":"x","tenant":"acme"},
        "idempotency_key":"\\u0061"}'''
    one = ok(api.call('POST', '/v1/reservations', raw=one))
    two = ok(api.call('POST', '/v1/reservations', raw=two))
    assert one['reservation_id'] == two['reservation_id']


def test_the_clients_clock_is_not_compared(make):
    api = make(('tenant:acme', 1000))
    body = ok(api.event(5, client_time_ms=1, key='a'), 201)
    for more in {'client_time_ms': 2 ** 62}, {}:
        assert ok(api.event(5, key='a', **more), 201) == body
    assert api.balance('tenant:acme')['spent'] == 5

    events = [rec for rec in ledger_log.Log(api.nginx.path('ledger'))
              .records() if rec.kind == 'event']
    assert [(rec.id, rec.client_time_ms) for rec in events] \
        == [(body['event_id'], 1)]


@pytest.mark.parametrize('name', ['decide', 'dry run'])
def test_decisions_are_repeated(make, name):
    """The answer to a key stays, whatever has become of the budget."""

    caps = {'caps': {'above_percent': 50, 'max_tokens': 9,
                     'tool_denylist': ['é']}}
    api = make(('tenant:acme', 1000, caps), ('tenant:other', 1000))

    def ask(n, key, **more):
        if name == 'decide':
            return api.decide(n, key=key, **more)
        return api.reserve(n, key=key, dry_run=True, **more)

    allowed = ok(ask(1000, 'allowed'))
    denied = ok(ask(1001, 'denied'))
    assert (allowed['decision'], denied['decision']) == ('ALLOW', 'DENY')
    assert denied['reason_code'] == 'BUDGET_EXCEEDED'

    rid = ok(api.reserve(500))['reservation_id']
    capped = ok(ask(1, 'capped'))
    assert capped['caps'] == {'max_tokens': 9, 'tool_denylist': ['é']}
    ok(api.release(rid))
    ok(api.reserve(0))

    def again():
        assert ok(ask(1000, 'allowed')) == allowed
        assert ok(ask(1001, 'denied')) == denied
        assert ok(ask(1, 'capped')) == capped
        for n, key in (1001, 'allowed'), (1000, 'denied'), (2, 'capped'):
            refused(ask(n, key), 409, 'IDEMPOTENCY_MISMATCH')
        refused(ask(1000, 'allowed', metadata={}), 409,
                'IDEMPOTENCY_MISMATCH')

    again()
    api.nginx.kill9()
    api.nginx.start()
    again()

    # a reserve has the keys of dry runs, not those of decisions

    if name == 'decide':
        ok(api.reserve(1000, key='allowed'))
    else:
        refused(api.reserve(1000, key='allowed'), 409,
                'IDEMPOTENCY_MISMATCH')
        ok(api.decide(7, key='allowed'))
    again()

    records = [rec for rec in ledger_log.Log(api.nginx.path('ledger'))
               .records() if rec.kind == 'decision' and rec.amount != 7]
    assert [(rec.key, rec.amount, rec.decide, rec.decision, rec.reason)
            for rec in records] \
        == [('allowed', 1000, name == 'decide', 1, ''),
            ('denied', 1001, name == 'decide', 0, 'BUDGET_EXCEEDED'),
            ('capped', 1, name == 'decide', 2, '')]


def test_refused_decisions_are_not_remembered(make):
    tokens = {'unit': 'TOKENS', 'allocated': amount(5, 'TOKENS')}
    api = make(('tenant:acme', 0, tokens))
    refused(api.decide(1, key='a'), 400, 'UNIT_MISMATCH')
    assert ok(api.decide(1, key='a', unit='TOKENS'))['decision'] == 'ALLOW'


def test_trace_ids_are_in_the_log(make):
    api = make(('tenant:acme', 1000))

    def call(path, body):
        return api.call('POST', path, dict(body, idempotency_key=api.key()),
                        headers={'X-Cycles-Trace-Id': '%032x' % api.count})

    terms = {'subject': SUBJECT, 'action': ACTION}
    path = '/v1/reservations'
    a = ok(call(path, dict(terms, estimate=amount(1))))['reservation_id']
    ok(call('%s/%s/extend' % (path, a), {'extend_by_ms': 1}))
    ok(call('%s/%s/commit' % (path, a), {'actual': amount(1)}))
    b = ok(call(path, dict(terms, estimate=amount(1))))['reservation_id']
    ok(call('%s/%s/release' % (path, b), {}))
    ok(call('/v1/events', dict(terms, actual=amount(1))), 201)
    ok(call('/v1/decide', dict(terms, estimate=amount(1))))

    records = [rec for rec in ledger_log.Log(api.nginx.path('ledger'))
               .records() if hasattr(rec, 'trace_id')]
    assert [rec.kind for rec in records] == [
        'reserve', 'extend', 'commit', 'reserve', 'release', 'event',
        'decision']
    assert [int(rec.trace_id, 16) for rec in records] \
        == [int(rec.key[4:]) for rec in records]


def test_keys_are_by_tenant_and_operation(make):
    api = make(('tenant:acme', 1000), ('tenant:other', 1000))
    one = ok(api.reserve(10, key='a'))
    two = ok(api.reserve(20, key='a', subject={'tenant': 'other'},
                         api_key=KEYS['other']))
    assert one['reservation_id'] != two['reservation_id']
    ok(api.event(5, key='a'), 201)
    ok(api.decide(6, key='a'))


# tenants

def test_tenants_are_apart(make):
    api = make(('tenant:acme', 1000), ('tenant:other', 1000))
    other = KEYS['other']
    rid = ok(api.reserve(100))['reservation_id']

    for r in (api.commit(rid, 1, api_key=other),
              api.release(rid, api_key=other),
              api.extend(rid, 1000, api_key=other),
              api.get(rid, api_key=other),
              api.reserve(1, api_key=other),
              api.balances('tenant=acme', api_key=other),
              api.reserve(1, subject={'tenant': 'ACME'})):
        refused(r, 403, 'FORBIDDEN')

    body = ok(api.balances('app=chat', api_key=other))
    assert body['balances'] == []
    ok(api.commit(rid, 1))


def test_a_subject_need_not_name_its_tenant(make):
    api = make(('tenant:acme', 1000), ('app:chat', 50))
    body = ok(api.reserve(100, subject={'app': 'chat'}))
    assert body['affected_scopes'] == ['tenant:acme', 'tenant:acme/app:chat']
    assert api.balance('tenant:acme')['reserved'] == 100


def test_case_of_a_subject(make):
    api = make(('tenant:acme', 1000), ('tenant:acme/app:chat', 500))
    body = ok(api.reserve(100, subject={'tenant': 'acme', 'app': 'Chat'}))
    assert body['scope_path'] == 'tenant:acme/app:chat'
    assert api.balance('tenant:acme/app:chat')['reserved'] == 100


# what is asked first

def test_precedence(make):
    api = make(('tenant:acme', 1000), ('tenant:other', 10))
    rid = ok(api.reserve(100))['reservation_id']
    path = '/v1/reservations/%s/commit' % rid
    nobody = '/v1/reservations/%s/commit' % ('0' * 8)

    # 404 and 405 before 401, 401 before 415, 415 before 400
    refused(api.call('POST', '/v1/x', key=None), 404, 'NOT_FOUND')
    assert api.call('GET', path, key=None).status == 405
    refused(api.call('POST', path, raw=b'{', content_type='a/b', key=None),
            401, 'UNAUTHORIZED')
    assert api.call('POST', path, raw=b'{', content_type='a/b').status == 415

    # 400 before 404, 404 before 403, 403 before the rest
    refused(api.call('POST', nobody, {}), 400, 'INVALID_REQUEST')
    refused(api.commit('0' * 8, 1), 404, 'NOT_FOUND')
    r = api.call('POST', path, {'idempotency_key': 'a', 'actual': amount(1)},
                 headers={'X-Idempotency-Key': 'b'}, key=KEYS['other'])
    refused(r, 400, 'INVALID_REQUEST')
    refused(api.commit(rid, 1, unit='TOKENS', api_key=KEYS['other']), 403,
            'FORBIDDEN')

    # 403 before the budget is looked at
    refused(api.reserve(10 ** 9, subject={'tenant': 'other'}), 403,
            'FORBIDDEN')

    # the end of a reservation before its unit
    ok(api.commit(rid, 1))
    refused(api.commit(rid, 1, unit='TOKENS'), 409, 'RESERVATION_FINALIZED')
    refused(api.release(rid), 409, 'RESERVATION_FINALIZED')
    refused(api.extend(rid, 1000), 409, 'RESERVATION_FINALIZED')


# the formulas, with amounts that no double holds: a budget of so much and its
# overdraft limit, the policy, what is reserved (None: an event), what is
# charged (None: it is released); the code, "charged", and then the budget's
# spent, reserved and debt, and whether it is over its limit

FORMULAS = {
    'held': (2 * BIG, 0, 'REJECT', BIG + 1, ..., 200, None,
             (0, BIG + 1, 0, False)),
    'released': (2 * BIG, 0, 'REJECT', BIG + 1, None, 200, None,
                 (0, 0, 0, False)),
    'less': (2 * BIG, 0, 'REJECT', BIG + 4, BIG, 200, BIG,
             (BIG, 0, 0, False)),
    'equal': (BIG, 0, 'REJECT', BIG, BIG, 200, BIG, (BIG, 0, 0, False)),
    'more, rejected': (4 * BIG, 0, 'REJECT', BIG, BIG + 1, 409, None,
                       (0, BIG, 0, False)),
    'more, available': (4 * BIG, 0, 'ALLOW_IF_AVAILABLE', BIG, 2 * BIG + 1,
                        200, 2 * BIG + 1, (2 * BIG + 1, 0, 0, False)),
    'more, capped': (2 * BIG, 5 * BIG, 'ALLOW_IF_AVAILABLE', BIG, 3 * BIG,
                     200, 2 * BIG, (2 * BIG, 0, 0, True)),
    'more, in debt': (2 * BIG, 2 * BIG, 'ALLOW_WITH_OVERDRAFT', BIG,
                      3 * BIG + 1, 200, 3 * BIG + 1,
                      (2 * BIG, 0, BIG + 1, False)),
    'more, to the limit': (2 * BIG, BIG, 'ALLOW_WITH_OVERDRAFT', BIG, 3 * BIG,
                           200, 3 * BIG, (2 * BIG, 0, BIG, False)),
    'more, beyond the limit': (2 * BIG, BIG, 'ALLOW_WITH_OVERDRAFT', BIG,
                               3 * BIG + 1, 409, None, (0, BIG, 0, False)),
    'more, no limit': (2 * BIG, 0, 'ALLOW_WITH_OVERDRAFT', BIG, 3 * BIG, 200,
                       2 * BIG, (2 * BIG, 0, 0, True)),
    'event, covered': (BIG, 0, 'REJECT', None, BIG, 201, None,
                       (BIG, 0, 0, False)),
    'event, rejected': (BIG, 0, 'REJECT', None, BIG + 1, 409, None,
                        (0, 0, 0, False)),
    'event, capped': (BIG, 0, 'ALLOW_IF_AVAILABLE', None, BIG + 3, 201, BIG,
                      (BIG, 0, 0, True)),
    'event, in debt': (BIG, 2 * BIG, 'ALLOW_WITH_OVERDRAFT', None,
                       2 * BIG + 1, 201, None, (BIG, 0, BIG + 1, False)),
    'event, beyond the limit': (BIG, BIG, 'ALLOW_WITH_OVERDRAFT', None,
                                2 * BIG + 1, 409, None, (0, 0, 0, False)),
}


def test_formulas(make):
    api = make(('tenant:acme', INT64_MAX, {
        'overdraft_limit': amount(INT64_MAX)}), *(
        ('tenant:acme/app:%d' % i, row[0], {'overdraft_limit':
                                            amount(row[1])})
        for i, row in enumerate(FORMULAS.values())))
    spent = 0

    for i, (name, row) in enumerate(FORMULAS.items()):
        allocated, _, policy, n, actual, status, charged, after = row
        subject = {'tenant': 'acme', 'app': str(i)}
        if n is None:
            r = api.event(actual, subject=subject, overage_policy=policy)
        else:
            r = api.reserve(n, subject=subject, overage_policy=policy)
            rid = ok(r)['reservation_id']
            if actual is None:
                r = api.release(rid)
            elif actual is not ...:
                r = api.commit(rid, actual)

        assert r.status == status, (name, r.text)
        assert r.json.get('charged') == (None if charged is None
                                         else amount(charged)), name
        flat = api.balance('tenant:acme/app:%d' % i)
        assert (flat['spent'], flat['reserved'], flat.get('debt', 0),
                flat['is_over_limit']) == after, name
        assert flat['remaining'] == allocated - sum(after[:3])
        spent += after[0] + after[2]
        assert api.balance('tenant:acme')['spent'] == spent, name


# overage

@pytest.mark.parametrize('policy,budget,event,code', [
    ('REJECT', {}, False, 'BUDGET_EXCEEDED'),
    ('REJECT', {}, True, 'BUDGET_EXCEEDED'),
    ('ALLOW_WITH_OVERDRAFT', {'overdraft_limit': amount(10)}, False,
     'OVERDRAFT_LIMIT_EXCEEDED'),
    ('ALLOW_WITH_OVERDRAFT', {'overdraft_limit': amount(10)}, True,
     'OVERDRAFT_LIMIT_EXCEEDED'),
])
def test_overage_refused(make, policy, budget, event, code):
    api = make(('tenant:acme', 100, budget))
    before = api.balance('tenant:acme')
    if event:
        body = refused(api.event(111, overage_policy=policy), 409, code)
        assert api.balance('tenant:acme') == before
    else:
        rid = ok(api.reserve(50, overage_policy=policy))['reservation_id']
        body = refused(api.commit(rid, 111), 409, code)
        assert api.balance('tenant:acme')['reserved'] == 50
        assert api.get(rid).json['status'] == 'ACTIVE'
        ok(api.commit(rid, 50))
    assert body['details']['scope'] == 'tenant:acme'
    assert body['details']['requested'] == 111


def test_overage_capped(make):
    api = make(('tenant:acme', 100))
    rid = ok(api.reserve(50))['reservation_id']
    assert ok(api.commit(rid, 150))['charged'] == amount(100)
    flat = api.balance('tenant:acme')
    assert (flat['spent'], flat['remaining'], flat['is_over_limit']) \
        == (100, 0, True)

    refused(api.reserve(0), 409, 'OVERDRAFT_LIMIT_EXCEEDED')
    body = ok(api.reserve(0, dry_run=True))
    assert body['reason_code'] == 'OVERDRAFT_LIMIT_EXCEEDED'
    assert ok(api.event(5), 201)['charged'] == amount(0)


def test_overage_in_debt(make):
    api = make(('tenant:acme', 100, {'overdraft_limit': amount(60)}))
    rid = ok(api.reserve(
        50, overage_policy='ALLOW_WITH_OVERDRAFT'))['reservation_id']
    assert ok(api.commit(rid, 150)) == {'status': 'COMMITTED',
                                        'charged': amount(150)}
    flat = api.balance('tenant:acme')
    assert (flat['spent'], flat['debt'], flat['remaining']) == (100, 50, -50)


def test_event(make):
    api = make(('tenant:acme', 100))
    body = ok(api.event(60, metrics={'tokens_input': 3},
                        client_time_ms=5, metadata={'a': 1}), 201)
    assert set(body) == {'status', 'event_id'}
    body = ok(api.event(60), 201)
    assert body['charged'] == amount(40)
    assert api.balance('tenant:acme')['spent'] == 100


def test_default_policies(make):
    api = make(
        ('tenant:acme', 1000), ('tenant:other', 1000),
        ('tenant:other/app:mild', 1000,
         {'commit_overage_policy': 'ALLOW_IF_AVAILABLE'}),
        tenants=[{'tenant_id': 'acme', 'name': 'Acme'},
                 {'tenant_id': 'other', 'name': 'Other',
                  'default_commit_overage_policy': 'REJECT',
                  'default_reservation_ttl_ms': 2000,
                  'max_reservation_ttl_ms': 5000}])

    def charged(app, **more):
        r = api.reserve(1, subject={'tenant': 'other', 'app': app},
                        api_key=KEYS['other'], **more)
        return api.commit(ok(r)['reservation_id'], 2, api_key=KEYS['other'])

    refused(charged('x'), 409, 'BUDGET_EXCEEDED')
    ok(charged('mild'))
    ok(charged('x', overage_policy='ALLOW_IF_AVAILABLE'))

    body = ok(api.reserve(1, subject={'tenant': 'other'},
                          api_key=KEYS['other']))
    assert 1000 < body['remaining_ttl_ms'] <= 2000
    body = ok(api.reserve(1, subject={'tenant': 'other'}, ttl_ms=86400000,
                          api_key=KEYS['other']))
    assert 4000 < body['remaining_ttl_ms'] <= 5000


# caps, dry run, decide

def test_caps(make):
    api = make(('tenant:acme', 1000, {'caps': {
        'above_percent': 50, 'max_tokens': 7, 'tool_denylist': ['web']}}))
    assert ok(api.decide(1))['decision'] == 'ALLOW'
    rid = ok(api.reserve(600))['reservation_id']
    caps = {'max_tokens': 7, 'tool_denylist': ['web']}
    body = ok(api.reserve(1, key='a'))
    assert (body['decision'], body['caps']) == ('ALLOW_WITH_CAPS', caps)
    again = ok(api.reserve(1, key='a'))
    assert again['caps'] == caps
    assert ok(api.decide(1))['caps'] == caps
    assert ok(api.reserve(1, dry_run=True))['caps'] == caps
    ok(api.release(rid))


def test_dry_run_and_decide_change_nothing(make):
    api = make(('tenant:acme', 1000))
    before = api.balance('tenant:acme')
    for n in (10, 1001):
        body = ok(api.reserve(n, dry_run=True, key='same-%d' % n))
        assert not {'reservation_id', 'expires_at_ms', 'reserved',
                    'remaining_ttl_ms'} & set(body)
        assert body['affected_scopes'] == ['tenant:acme',
                                           'tenant:acme/app:chat']
        decision = ok(api.decide(n))
        assert decision['decision'] == body['decision']
        assert decision.get('reason_code') == body.get('reason_code')
    assert body['decision'] == 'DENY'
    assert body['reason_code'] == 'BUDGET_EXCEEDED'
    assert api.balance('tenant:acme') == before
    refused(api.reserve(10, key='same-10'), 409, 'IDEMPOTENCY_MISMATCH')


# time

def test_expiry(make):
    api = make(('tenant:acme', 1000))
    rid = ok(api.reserve(100, ttl_ms=1000, grace_period_ms=0))[
        'reservation_id']
    ok(api.extend(rid, 1))
    wait_until(lambda: api.nginx.budget('tenant:acme')['reserved'] == 0)
    for r in (api.commit(rid, 1), api.release(rid), api.extend(rid, 1000),
              api.get(rid)):
        refused(r, 410, 'RESERVATION_EXPIRED')
    flat = api.balance('tenant:acme')
    assert (flat['remaining'], flat['spent']) == (1000, 0)


def test_grace_is_for_settling_only(make):
    api = make(('tenant:acme', 1000))
    body = ok(api.reserve(100, ttl_ms=1000, grace_period_ms=60000))
    rid = body['reservation_id']
    ok(api.extend(rid, 1, key='a'))

    # a replay tells how long the lease still has

    wait_until(lambda: ok(api.extend(rid, 1, key='a'))['remaining_ttl_ms']
               == 0)
    assert ok(api.get(rid))['status'] == 'ACTIVE'
    refused(api.extend(rid, 1000), 410, 'RESERVATION_EXPIRED')
    assert ok(api.commit(rid, 60))['charged'] == amount(60)


def test_max_extensions(make):
    api = make(('tenant:acme', 1000), tenants=[
        {'tenant_id': 'acme', 'name': 'A', 'max_reservation_extensions': 2},
        {'tenant_id': 'other', 'name': 'B'}])
    rid = ok(api.reserve(1))['reservation_id']
    ok(api.extend(rid, 1000))
    ok(api.extend(rid, 1000, key='a'))
    refused(api.extend(rid, 1000), 409, 'MAX_EXTENSIONS_EXCEEDED')
    ok(api.extend(rid, 1000, key='a'))


# reading

def test_detail(make):
    api = make(('tenant:acme', BIG + 5))
    subject = {'tenant': 'acme', 'agent': 'A.b',
               'dimensions': {'team': 'é"x', 'z': ''}}
    body = ok(api.reserve(BIG, key='the "key"', subject=subject,
                          metadata={'b': [1, {'c': None}], 'a': 'x'}))
    rid = body['reservation_id']
    detail = ok(api.get(rid))
    assert detail['status'] == 'ACTIVE'
    assert detail['idempotency_key'] == 'the "key"'
    assert detail['subject'] == subject
    assert detail['action'] == ACTION
    assert detail['reserved'] == amount(BIG)
    assert detail['expires_at_ms'] == body['expires_at_ms']
    assert detail['created_at_ms'] == body['expires_at_ms'] - 60000
    assert detail['scope_path'] == 'tenant:acme/agent:a.b'
    assert detail['affected_scopes'] == body['affected_scopes']
    assert detail['metadata'] == {'b': [1, {'c': None}], 'a': 'x'}
    assert not {'committed', 'finalized_at_ms',
                'committed_metadata'} & set(detail)

    ok(api.extend(rid, 7000))
    ok(api.commit(rid, BIG - 1, metadata={'late': True}))
    detail = ok(api.get(rid))
    assert detail['status'] == 'COMMITTED'
    assert detail['committed'] == amount(BIG - 1)
    assert detail['committed_metadata'] == {'late': True}
    assert detail['metadata'] == {'b': [1, {'c': None}], 'a': 'x'}
    assert detail['expires_at_ms'] == body['expires_at_ms'] + 7000
    assert detail['finalized_at_ms'] >= detail['created_at_ms']

    rid = ok(api.reserve(1))['reservation_id']
    ok(api.release(rid))
    detail = ok(api.get(rid))
    assert detail['status'] == 'RELEASED' and 'committed' not in detail


def test_detail_in_a_long_log(make):
    api = make(('tenant:acme', 10 ** 9))
    rids = [ok(api.reserve(n, metadata={'n': n, 'x': 'x' * 9000}))[
        'reservation_id'] for n in range(1, 121)]
    for n, rid in enumerate(rids, 1):
        detail = ok(api.get(rid))
        assert detail['reserved'] == amount(n)
        assert detail['metadata']['n'] == n


def test_detail_after_a_restart(make):
    api = make(('tenant:acme', 1000))
    rid = ok(api.reserve(5, metadata={'a': 1}))['reservation_id']
    before = ok(api.get(rid))
    api.nginx.kill9()
    api.nginx.start()
    assert ok(api.get(rid)) == before
    ok(api.commit(rid, 5))


def test_balances_pages(make):
    entries = [('tenant:acme', 10)]
    entries += [('tenant:acme/app:a%02d' % i, i + 1) for i in range(25)]
    entries += [('tenant:other', 10), ('app:a01', 10),
                ('tenant:acme/app:a01/agent:x', 3)]
    api = make(*entries)

    mine = sorted(e[0] for e in entries if e[0].startswith('tenant:acme'))
    body = ok(api.balances())
    assert sorted(b['scope_path'] for b in body['balances']) == mine
    assert body['has_more'] is False and 'next_cursor' not in body

    for limit in (1, 7, 26, 27, 28):
        seen, query = [], 'tenant=acme&limit=%d' % limit
        while True:
            body = ok(api.balances(query))
            assert len(body['balances']) <= limit
            seen += [b['scope_path'] for b in body['balances']]
            if not body['has_more']:
                break
            assert len(body['balances']) == limit
            query = 'tenant=acme&limit=%d&cursor=%s' % (
                limit, body['next_cursor'])
        assert sorted(seen) == mine

    def scopes(query):
        return sorted(b['scope_path']
                      for b in ok(api.balances(query))['balances'])

    assert scopes('app=a01') == ['tenant:acme/app:a01',
                                 'tenant:acme/app:a01/agent:x']
    assert scopes('app=A01&agent=x') == ['tenant:acme/app:a01/agent:x']
    assert scopes('agent=x') == ['tenant:acme/app:a01/agent:x']
    assert scopes('workspace=x') == []
    assert [b['scope'] for b in ok(api.balances('agent=x'))['balances']] \
        == ['agent:x']


# together with the gateway

def test_one_budget_with_the_gateway(nginx, provider):
    kw = gateway.ledger_gateway(
        provider, ('tenant:acme', BIG),
        server='location /cycles/ { cycles_api ledger=main; }')
    kw['files']['budgets.json'] = gateway.budgets(
        ('tenant:acme', BIG), api_keys=keys(acme=KEYS['acme']))
    ng = nginx(**kw)
    api = Api(ng, '/cycles')

    assert ng.chat(tenant='acme').status == 200
    wait_until(lambda: ng.budget('tenant:acme')['reserved'] == 0)
    spent = api.balance('tenant:acme')['spent']
    assert spent > 0

    rid = ok(api.reserve(BIG - spent, subject={'tenant': 'acme'}))[
        'reservation_id']
    assert ng.chat(tenant='acme').status == 429
    ok(api.release(rid))
    assert ng.chat(tenant='acme').status == 200
    wait_until(lambda: ng.budget('tenant:acme')['reserved'] == 0)
    assert api.balance('tenant:acme')['spent'] == 2 * spent


def test_the_gateways_reservations_can_be_read(nginx, provider):
    kw = gateway.ledger_gateway(
        provider, ('tenant:acme', 10 ** 10),
        server='location /cycles/ { cycles_api ledger=main; }')
    kw['files']['budgets.json'] = gateway.budgets(
        ('tenant:acme', 10 ** 10), api_keys=keys(acme=KEYS['acme']))
    ng = nginx(**kw)
    r = ng.chat(tenant='acme')
    rid = r.header('x-cycles-reservation-id')
    api = Api(ng, '/cycles')
    wait_until(lambda: api.get(rid).json['status'] == 'COMMITTED')
    detail = ok(api.get(rid))
    assert detail['committed']['amount'] \
        == api.balance('tenant:acme')['spent']


# durability

@pytest.mark.parametrize('event', [False, True])
def test_sync_always(make, event):
    api = make(('tenant:acme', 10 ** 6), ledger='sync=always')

    def on_disk(r, status=200):
        ledger = api.nginx.status()['ledgers']['main']
        assert ledger['synced'] == ledger['records']
        return ok(r, status)

    if event:
        for n in range(10):
            on_disk(api.event(1), 201)
    else:
        rid = on_disk(api.reserve(10, key='a'))['reservation_id']
        assert ok(api.reserve(10, key='a'))['reservation_id'] == rid
        on_disk(api.extend(rid, 1000))
        on_disk(api.commit(rid, 10))
        rid = on_disk(api.reserve(3))['reservation_id']
        on_disk(api.release(rid))

    api.nginx.kill9()
    api.nginx.start()
    assert api.balance('tenant:acme')['spent'] == 10


def test_sync_always_many_at_once(make):
    api = make(('tenant:acme', 10 ** 6), ledger='sync=always')
    replies = gateway.parallel(
        200, lambda i: api.reserve(1, key='k%d' % (i % 100)), threads=16)
    assert {r.status for r in replies} == {200}
    assert len({r.json['reservation_id'] for r in replies}) == 100
    assert api.balance('tenant:acme')['reserved'] == 100


def test_client_leaves_while_it_waits_for_the_disk(make):
    api = make(('tenant:acme', 10 ** 6), ledger='sync=always')
    for n in range(20):
        body = json.dumps({
            'idempotency_key': 'gone-%d' % n, 'subject': SUBJECT,
            'action': ACTION, 'estimate': amount(1)}).encode()
        conn = gateway.Conn(api.nginx.port)
        conn.send_request('POST', '/v1/reservations', {
            'X-Cycles-API-Key': KEYS['acme'],
            'Content-Type': 'application/json'}, body)
        conn.reset()
    wait_until(lambda: api.balance('tenant:acme')['reserved'] >= 1)
    for n in range(20):
        ok(api.reserve(1, key='gone-%d' % n))
    assert api.balance('tenant:acme')['reserved'] == 20
