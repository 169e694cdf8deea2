# Copyright (C) nginx-cycles authors

"""What the memory of the ledger has forgotten is in its tables: after a start
every key gets its first answer, and every reservation is what it was."""

import copy
import json

import pytest

from _api import Api, SUBJECT, conf, ok, refused
from gateway import parallel, wait_until


@pytest.fixture
def start(nginx):
    def start(*entries, **kw):
        return Api(nginx(**conf(*(entries or (('tenant:acme', 10 ** 9),)),
                                **kw)))
    return start


def restart(api, how='quit'):
    if how == 'kill':
        api.nginx.kill9()
    else:
        api.nginx.quit()
    api.nginx.start()


def without_ttl(body):
    body = copy.deepcopy(body)
    left = body.pop('remaining_ttl_ms', None)
    assert left is None or left >= 0
    body.pop('balances', None)
    return body


def same(first, again, status=200):
    assert first.status == again.status == status, (first, again)
    assert without_ttl(first.json) == without_ttl(again.json)


def shown(api):
    return api.nginx.budget('tenant:acme')


@pytest.mark.parametrize('how', ['quit', 'kill'])
def test_replays_after_a_start(start, how):
    api = start(('tenant:acme', 10 ** 9), ('tenant:acme/app:chat', 10 ** 6))

    live = api.reserve(10, key='live', ttl_ms=3600000)
    r = api.reserve(20, key='committed', metadata={'a': {'b': [1, None]}})
    done = r.json['reservation_id']
    extended = api.extend(done, 5000, key='extended')
    committed = api.commit(done, 25, key='c', metadata={'x': 'y'},
                           metrics={'tokens_input': 7})
    gone = ok(api.reserve(30, key='released'))['reservation_id']
    released = api.release(gone, key='r', reason='no need')
    event = api.event(40, key='e', metadata={'z': 1})
    decision = api.decide(50, key='d')
    denied = api.decide(10 ** 8, key='denied')
    dry = api.reserve(60, key='dry', dry_run=True)
    before = shown(api)

    restart(api, how)

    assert shown(api) == before
    again = api.reserve(10, key='live', ttl_ms=3600000)
    same(live, again)
    assert again.json['remaining_ttl_ms'] > 3500000

    same(r, api.reserve(20, key='committed', metadata={'a': {'b': [1, None]}}))
    same(extended, api.extend(done, 5000, key='extended'))
    same(committed, api.commit(done, 25, key='c', metadata={'x': 'y'},
                               metrics={'tokens_input': 7}))
    same(released, api.release(gone, key='r', reason='no need'))
    same(event, api.event(40, key='e', metadata={'z': 1}), status=201)
    same(decision, api.decide(50, key='d'))
    same(denied, api.decide(10 ** 8, key='denied'))
    same(dry, api.reserve(60, key='dry', dry_run=True))
    assert shown(api) == before

    # and once more, when memory knows it again

    same(committed, api.commit(done, 25, key='c', metadata={'x': 'y'},
                               metrics={'tokens_input': 7}))
    same(event, api.event(40, key='e', metadata={'z': 1}), status=201)
    assert shown(api) == before


def test_other_payloads_after_a_start(start):
    api = start()
    done = ok(api.reserve(20, key='k'))['reservation_id']
    ok(api.commit(done, 25, key='c'))
    gone = ok(api.reserve(30, key='k2'))['reservation_id']
    ok(api.release(gone, key='r'))
    assert api.event(40, key='e').status == 201
    ok(api.decide(50, key='d'))
    before = shown(api)

    restart(api)

    refused(api.reserve(21, key='k'), 409, 'IDEMPOTENCY_MISMATCH')
    refused(api.reserve(20, key='k', dry_run=True), 409,
            'IDEMPOTENCY_MISMATCH')
    refused(api.commit(done, 24, key='c'), 409, 'IDEMPOTENCY_MISMATCH')
    refused(api.release(gone, key='r', reason='x'), 409,
            'IDEMPOTENCY_MISMATCH')
    refused(api.event(41, key='e'), 409, 'IDEMPOTENCY_MISMATCH')
    refused(api.decide(51, key='d'), 409, 'IDEMPOTENCY_MISMATCH')

    refused(api.commit(done, 25, key='c2'), 409, 'RESERVATION_FINALIZED')
    refused(api.commit(gone, 25, key='c'), 409, 'RESERVATION_FINALIZED')
    refused(api.release(done, key='r2'), 409, 'RESERVATION_FINALIZED')
    refused(api.extend(done, 1000), 409, 'RESERVATION_FINALIZED')
    assert shown(api) == before


def test_new_keys_after_a_start(start):
    api = start()
    ok(api.reserve(20, key='k'))
    restart(api)

    rid = ok(api.reserve(20, key='other'))['reservation_id']
    ok(api.commit(rid, 20))
    assert api.event(5, key='k').status == 201
    ok(api.decide(5, key='k'))
    refused(api.commit('00000000-0000-4000-8000-000000000000', 1), 404,
            'NOT_FOUND')
    assert shown(api)['spent'] == 25
    assert shown(api)['reserved'] == 20


def test_expired_after_a_start(start):
    api = start()
    rid = ok(api.reserve(20, ttl_ms=1000, grace_period_ms=0))[
        'reservation_id']
    wait_until(lambda: shown(api)['reserved'] == 0)
    restart(api)

    refused(api.commit(rid, 1), 410, 'RESERVATION_EXPIRED')
    refused(api.release(rid), 410, 'RESERVATION_EXPIRED')
    refused(api.extend(rid, 1000), 410, 'RESERVATION_EXPIRED')
    assert shown(api)['spent'] == 0


def test_caps_after_a_start(start):
    """As they were granted, whatever the budget says by now."""

    entry = {'scope': 'tenant:acme', 'unit': 'USD_MICROCENTS',
             'allocated': {'unit': 'USD_MICROCENTS', 'amount': 1000},
             'caps': {'above_percent': 0, 'max_tokens': 5,
                      'tool_denylist': ['x', 'y']}}
    kw = conf()
    text = json.loads(kw['files']['budgets.json'])
    api = start()
    api.nginx.files['budgets.json'] = dict(text, budgets=[entry])
    api.nginx.write_conf()
    api.nginx.reload()

    first = api.reserve(10, key='k')
    assert first.json['decision'] == 'ALLOW_WITH_CAPS'
    assert first.json['caps'] == {'max_tokens': 5,
                                  'tool_denylist': ['x', 'y']}
    decision = api.decide(10, key='d')

    entry['caps'] = {'max_tokens': 9}
    api.nginx.files['budgets.json'] = dict(text, budgets=[entry])
    api.nginx.write_conf()
    restart(api)

    same(first, api.reserve(10, key='k'))
    same(decision, api.decide(10, key='d'))


def test_other_tenants_after_a_start(start):
    api = start(('tenant:acme', 10 ** 6), ('tenant:other', 10 ** 6))
    other = dict(SUBJECT, tenant='other')
    rid = ok(api.reserve(20, key='k'))['reservation_id']
    ok(api.commit(rid, 20, key='c'))
    restart(api)

    secret = 'cyc_live_other'
    refused(api.commit(rid, 20, key='c', api_key=secret), 403, 'FORBIDDEN')
    mine = ok(api.reserve(20, key='k', subject=other, api_key=secret))
    assert mine['reservation_id'] != rid


def test_a_full_memory(start):
    """A zone that forgets soon: what it has forgotten is found."""

    api = start(ledger='zone=1m')
    rid = ok(api.reserve(20, key='k'))['reservation_id']
    committed = api.commit(rid, 15, key='c')
    first = api.event(7, key='first')

    def event(n):
        return api.nginx.request(
            'POST', '/v1/events',
            {'X-Cycles-API-Key': 'cyc_live_acme',
             'Content-Type': 'application/json'},
            b'{"idempotency_key":"n%d","subject":{"tenant":"acme"},"action":'
            b'{"kind":"a","name":"b"},"actual":{"unit":"USD_MICROCENTS",'
            b'"amount":1}}' % n).status

    assert set(parallel(4000, event, threads=8)) == {201}
    spent = shown(api)['spent']
    assert spent == 15 + 7 + 4000

    same(committed, api.commit(rid, 15, key='c'))
    same(first, api.event(7, key='first'), status=201)
    refused(api.commit(rid, 15, key='c2'), 409, 'RESERVATION_FINALIZED')
    assert set(parallel(200, event, threads=8)) == {201}
    assert shown(api)['spent'] == spent
