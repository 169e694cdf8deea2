# Copyright (C) nginx-cycles authors

"""The official Python SDK, as PyPI has it, against the API."""

import asyncio

import pytest
from runcycles import (AsyncCyclesClient, BudgetExceededError, CyclesClient,
                       CyclesConfig, CyclesProtocolError, cycles)
from runcycles.models import (Action, Amount, CommitRequest, DecisionRequest,
                              ErrorCode, ErrorResponse, EventCreateRequest,
                              ReleaseRequest, ReservationCreateRequest,
                              ReservationExtendRequest, Subject, Unit)

from _api import KEYS, Api, conf
from gateway import wait_until


@pytest.fixture
def api(nginx):
    return Api(nginx(**conf(('tenant:acme', 1000), ('tenant:other', 1000))))


def config(api, key=KEYS['acme'], **kw):
    return CyclesConfig(base_url='http://127.0.0.1:%d' % api.nginx.port,
                        api_key=key, tenant='acme', app='chat',
                        journal_enabled=False, **kw)


@pytest.fixture
def client(api):
    with CyclesClient(config(api)) as client:
        yield client


SUBJECT = Subject(tenant='acme', app='chat')
ACTION = Action(kind='llm.completion', name='openai:gpt-4o-mini')


def money(n):
    return Amount(unit=Unit.USD_MICROCENTS, amount=n)


def reserve(client, key, n, **kw):
    return client.create_reservation(ReservationCreateRequest(
        idempotency_key=key, subject=SUBJECT, action=ACTION,
        estimate=money(n), **kw))


def typed(r):
    """The error as the SDK's type.  That of 0.5.3 is closed and does not know
    "trace_id", which the protocol wants in every error."""

    body = dict(r.body)
    assert len(body.pop('trace_id')) == 32
    return ErrorResponse.model_validate(body)


def test_life(api, client):
    r = reserve(client, 'a', 100, ttl_ms=30000)
    assert r.status == 200 and r.body['decision'] == 'ALLOW'
    assert r.cycles_tenant == 'acme' and r.request_id
    rid = r.body['reservation_id']

    r = client.extend_reservation(rid, ReservationExtendRequest(
        idempotency_key='a', extend_by_ms=1000))
    assert r.status == 200 and r.body['status'] == 'ACTIVE'

    r = client.get_reservation(rid)
    assert r.status == 200 and r.body['status'] == 'ACTIVE'

    r = client.commit_reservation(rid, CommitRequest(
        idempotency_key='a', actual=money(60)))
    assert r.status == 200 and r.body['charged']['amount'] == 60

    rid = reserve(client, 'b', 100).body['reservation_id']
    r = client.release_reservation(rid, ReleaseRequest(
        idempotency_key='b', reason='changed its mind'))
    assert r.status == 200 and r.body['released']['amount'] == 100

    r = client.decide(DecisionRequest(
        idempotency_key='c', subject=SUBJECT, action=ACTION,
        estimate=money(941)))
    assert r.status == 200 and r.body['decision'] == 'DENY'
    assert r.body['reason_code'] == 'BUDGET_EXCEEDED'

    r = client.create_event(EventCreateRequest(
        idempotency_key='d', subject=SUBJECT, action=ACTION,
        actual=money(40)))
    assert r.status == 201 and r.body['status'] == 'APPLIED'

    r = client.get_balances(tenant='acme')
    assert r.status == 200
    assert r.body['balances'][0]['remaining']['amount'] == 900
    assert api.balance('tenant:acme')['spent'] == 100


def test_dry_run(api, client):
    r = reserve(client, 'a', 100, dry_run=True)
    assert r.status == 200 and r.body['decision'] == 'ALLOW'
    assert api.balance('tenant:acme')['reserved'] == 0


def test_errors(api, client):
    r = reserve(client, 'a', 1001)
    assert r.status == 409
    error = typed(r)
    assert error.error_code is ErrorCode.BUDGET_EXCEEDED
    assert error.details['scope'] == 'tenant:acme'

    r = client.get_reservation('nobody')
    assert r.status == 404
    assert client.list_reservations().status == 404

    with CyclesClient(config(api, 'wrong')) as other:
        assert reserve(other, 'a', 1).status == 401
    with CyclesClient(config(api, KEYS['other'])) as other:
        assert reserve(other, 'a', 1).status == 403


def test_decorator(api, client):
    @cycles(estimate=lambda n: n, actual=lambda n: n - 10, client=client,
            action_kind='llm.completion', action_name='openai:x')
    def work(n):
        return n

    assert work(100) == 100
    flat = api.balance('tenant:acme')
    assert (flat['spent'], flat['reserved']) == (90, 0)

    with pytest.raises(BudgetExceededError) as e:
        work(911)
    assert e.value.status == 409
    assert e.value.error_code == 'BUDGET_EXCEEDED'

    @cycles(estimate=100, client=client, action_kind='a', action_name='b')
    def fails():
        raise KeyError('x')

    with pytest.raises(KeyError):
        fails()
    wait_until(lambda: api.balance('tenant:acme')['reserved'] == 0)
    assert api.balance('tenant:acme')['spent'] == 90


def test_decorator_with_a_wrong_key(api):
    with CyclesClient(config(api, 'wrong')) as client:
        @cycles(estimate=1, client=client, action_kind='a', action_name='b')
        def work():
            raise AssertionError('must not run')

        with pytest.raises(CyclesProtocolError) as e:
            work()
        assert e.value.status == 401


def test_stream(api, client):
    with client.stream_reservation(action=ACTION,
                                   estimate=money(100)) as stream:
        assert api.balance('tenant:acme')['reserved'] == 100
        stream.usage.actual_cost = 70
    flat = api.balance('tenant:acme')
    assert (flat['spent'], flat['reserved']) == (70, 0)


def test_async(api):
    async def run():
        async with AsyncCyclesClient(config(api)) as client:
            @cycles(estimate=10, client=client, action_kind='a',
                    action_name='b')
            async def work():
                await asyncio.sleep(0)

            await asyncio.gather(*[work() for _ in range(20)])

    asyncio.run(run())
    flat = api.balance('tenant:acme')
    assert (flat['spent'], flat['reserved']) == (200, 0)


def test_expired(api, client):
    rid = reserve(client, 'a', 10, ttl_ms=1000,
                  grace_period_ms=0).body['reservation_id']
    wait_until(lambda: client.get_reservation(rid).status == 410)
    r = client.commit_reservation(rid, CommitRequest(
        idempotency_key='a', actual=money(5)))
    assert r.status == 410
    assert typed(r).error_code is ErrorCode.RESERVATION_EXPIRED
