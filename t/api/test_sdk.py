# Copyright (C) nginx-cycles authors

"""The official Python SDK, as PyPI has it, against the API.

Between them is a proxy that checks each answer against the OpenAPI document.
"""

import asyncio

import pytest
from runcycles import (AsyncCyclesClient, BudgetExceededError, CyclesClient,
                       CyclesConfig, CyclesProtocolError,
                       DebtOutstandingError, OverdraftLimitExceededError,
                       cycles, get_cycles_context)
from runcycles.models import (Action, Amount, BalanceResponse, CommitRequest,
                              CommitResponse, DecisionRequest,
                              DecisionResponse, DryRunResult, ErrorCode,
                              ErrorResponse, EventCreateRequest,
                              EventCreateResponse, ReleaseRequest,
                              ReleaseResponse, ReservationCreateRequest,
                              ReservationCreateResponse, ReservationDetail,
                              ReservationExtendRequest,
                              ReservationExtendResponse,
                              ReservationListResponse, Subject, Unit)

import gateway
import ledger_log
from _api import KEYS, Api, amount, conf, keys
from _proxy import Proxy
from gateway import wait_until


BUDGETS = [
    ('tenant:acme', 1000),
    ('tenant:acme/app:capped', 100, {'caps': {
        'above_percent': 0, 'max_tokens': 7, 'tool_allowlist': ['read']}}),
    ('tenant:acme/app:debt', 100, {'overdraft_limit': amount(50)}),
    ('tenant:other', 1000),
]


@pytest.fixture
def api(nginx):
    api = Api(nginx(**conf(*BUDGETS)))
    with Proxy(api) as proxy:
        api.proxy = proxy
        yield api


def config(api, key=KEYS['acme'], **kw):
    return CyclesConfig(**dict(dict(
        base_url=api.proxy.url, api_key=key, tenant='acme', app='chat',
        journal_enabled=False, read_timeout=gateway.TIMEOUT), **kw))


@pytest.fixture
def client(api):
    with CyclesClient(config(api)) as client:
        yield client


SUBJECT = Subject(tenant='acme', app='chat')
ACTION = Action(kind='llm.completion', name='openai:gpt-4o-mini')


def money(n):
    return Amount(unit=Unit.USD_MICROCENTS, amount=n)


def reserve_rq(key, n, **kw):
    return ReservationCreateRequest(**dict(dict(
        idempotency_key=key, subject=SUBJECT, action=ACTION,
        estimate=money(n)), **kw))


def reserve(client, key, n, **kw):
    return client.create_reservation(reserve_rq(key, n, **kw))


def typed(r):
    """The error as the SDK's type.  That of 0.5.3 is closed and does not know
    "trace_id", which the protocol wants in every error."""

    body = dict(r.body)
    assert len(body.pop('trace_id')) == 32
    return ErrorResponse.model_validate(body)


def sums(api, scope='tenant:acme'):
    flat = api.balance(scope)
    return flat['spent'], flat['reserved']


# each call, and its answer as the SDK's own type, which is closed

def calls(key):
    """(name, arguments, status, type) of a life; "id" is the reservation."""

    yield ('create_reservation', [reserve_rq(key, 100, ttl_ms=30000,
                                             metadata={'n': 1})], 200,
           ReservationCreateResponse)
    yield ('extend_reservation', ['id', ReservationExtendRequest(
        idempotency_key=key, extend_by_ms=1000)], 200,
        ReservationExtendResponse)
    yield 'get_reservation', ['id'], 200, ReservationDetail
    yield ('commit_reservation', ['id', CommitRequest(
        idempotency_key=key, actual=money(60))], 200, CommitResponse)
    yield 'get_reservation', ['id'], 200, ReservationDetail
    yield ('create_reservation', [reserve_rq(key + '2', 50)], 200,
           ReservationCreateResponse)
    yield ('release_reservation', ['id', ReleaseRequest(
        idempotency_key=key, reason='changed its mind')], 200,
        ReleaseResponse)
    yield ('decide', [DecisionRequest(
        idempotency_key=key, subject=SUBJECT, action=ACTION,
        estimate=money(941))], 200, DecisionResponse)
    yield ('create_event', [EventCreateRequest(
        idempotency_key=key, subject=SUBJECT, action=ACTION,
        actual=money(40))], 201, EventCreateResponse)
    yield ('create_reservation', [reserve_rq(key + '3', 5000, dry_run=True)],
           200, DryRunResult)


def check_life(api, answers):
    (made, extended, live, committed, done, _, released, decision, event,
     dry) = answers
    assert made.reserved == money(100)
    assert extended.expires_at_ms == made.expires_at_ms + 1000
    assert (live.status, live.metadata) == ('ACTIVE', {'n': 1})
    assert (committed.charged, committed.released) == (money(60), money(40))
    assert (done.status, done.committed) == ('COMMITTED', money(60))
    assert released.released == money(50)
    assert (decision.decision, decision.reason_code) \
        == ('DENY', 'BUDGET_EXCEEDED')
    assert event.event_id
    assert (dry.decision, dry.reason_code) == ('DENY', 'BUDGET_EXCEEDED')
    assert sums(api) == (100, 0)


def test_life(api, client):
    answers, rid = [], None
    for name, args, status, kind in calls('a'):
        r = getattr(client, name)(*[rid if a == 'id' else a for a in args])
        assert r.status == status, r
        assert r.cycles_tenant == 'acme' and r.request_id
        answers.append(kind.model_validate(r.body))
        rid = r.body.get('reservation_id', rid)
    check_life(api, answers)


def test_life_async(api):
    async def run():
        answers, rid = [], None
        async with AsyncCyclesClient(config(api)) as client:
            for name, args, status, kind in calls('a'):
                r = await getattr(client, name)(
                    *[rid if a == 'id' else a for a in args])
                assert r.status == status, r
                answers.append(kind.model_validate(r.body))
                rid = r.body.get('reservation_id', rid)
        return answers

    check_life(api, asyncio.run(run()))


def test_list(api, client):
    made = [reserve(client, 'k%d' % i, i).body['reservation_id']
            for i in range(5)]
    client.release_reservation(made[0], ReleaseRequest(idempotency_key='r'))

    def listed(**query):
        body = client.list_reservations(**query).body
        for row in body['reservations']:
            row.pop('finalized_at_ms', None)    # not known to 0.5.3
        body = ReservationListResponse.model_validate(body)
        return body, [row.reservation_id for row in body.reservations]

    body, rids = listed(tenant='acme', app='chat', limit='3')
    assert rids == made[:1:-1] and body.has_more
    assert listed(tenant='acme', app='chat', limit='3',
                  cursor=body.next_cursor)[1] == made[1::-1]
    assert listed(status='RELEASED')[1] == made[:1]

    # who has lost an answer finds the reservation by its key

    assert listed(idempotency_key='k3')[1] == [made[3]]
    assert client.list_reservations(tenant='other').status == 403


def test_balances(api, client):
    r = client.get_balances(tenant='acme', app='debt')
    (balance,) = BalanceResponse.model_validate(r.body).balances
    assert (balance.scope, balance.scope_path) \
        == ('app:debt', 'tenant:acme/app:debt')
    assert balance.remaining.amount == balance.allocated.amount == 100
    assert balance.overdraft_limit == money(50)


def test_errors(api, client):
    def error(r, status, code):
        assert r.status == status
        error = typed(r)
        assert error.error_code is code
        assert error.request_id == r.request_id
        return error

    denied = error(reserve(client, 'a', 1001), 409, ErrorCode.BUDGET_EXCEEDED)
    assert denied.details['scope'] == 'tenant:acme'

    error(client.get_reservation('nobody'), 404, ErrorCode.NOT_FOUND)
    error(reserve(client, 'a', 1, subject=Subject(tenant='other')), 403,
          ErrorCode.FORBIDDEN)
    error(client.create_event(EventCreateRequest(
        idempotency_key='a', subject=SUBJECT, action=ACTION,
        actual=Amount(unit=Unit.TOKENS, amount=1))), 400,
        ErrorCode.UNIT_MISMATCH)

    rid = reserve(client, 'b', 1).body['reservation_id']
    error(reserve(client, 'b', 2), 409, ErrorCode.IDEMPOTENCY_MISMATCH)
    client.release_reservation(rid, ReleaseRequest(idempotency_key='b'))
    error(client.extend_reservation(rid, ReservationExtendRequest(
        idempotency_key='x', extend_by_ms=1)), 409,
        ErrorCode.RESERVATION_FINALIZED)

    with CyclesClient(config(api, 'wrong')) as other:
        error(reserve(other, 'a', 1), 401, ErrorCode.UNAUTHORIZED)


def test_expired(api, client):
    rid = reserve(client, 'a', 10, ttl_ms=1000,
                  grace_period_ms=0).body['reservation_id']
    wait_until(lambda: client.get_reservation(rid).status == 410)
    r = client.commit_reservation(rid, CommitRequest(
        idempotency_key='a', actual=money(5)))
    assert r.status == 410
    assert typed(r).error_code is ErrorCode.RESERVATION_EXPIRED


# the decorator

def test_decorator(api, client):
    @cycles(estimate=lambda n: n, actual=lambda n: n - 10, client=client,
            action_kind='llm.completion', action_name='openai:x')
    def work(n):
        assert sums(api) == (0, 100)
        context = get_cycles_context()
        assert context.reservation_id
        return n

    assert work(100) == 100
    assert sums(api) == (90, 0)

    with pytest.raises(BudgetExceededError) as e:
        work(911)
    assert (e.value.status, e.value.error_code) == (409, 'BUDGET_EXCEEDED')
    assert e.value.is_budget_exceeded() and not e.value.is_retryable()

    @cycles(estimate=100, client=client, action_kind='a', action_name='b')
    def fails():
        raise KeyError('x')

    with pytest.raises(KeyError):
        fails()
    wait_until(lambda: sums(api) == (90, 0))


def test_decorator_dry_run(api, client):
    def work():
        raise AssertionError('must not run')

    def dry(n, **kw):
        result = cycles(estimate=n, client=client, action_kind='a',
                        action_name='b', dry_run=True, **kw)(work)()
        assert isinstance(result, DryRunResult)
        return result

    assert dry(1000).is_allowed()
    assert dry(1, app='capped').caps.max_tokens == 7
    assert sums(api) == (0, 0)

    with pytest.raises(CyclesProtocolError) as e:
        dry(1001)
    assert (e.value.status, e.value.reason_code) == (200, 'BUDGET_EXCEEDED')


def test_decorator_caps(api, client):
    @cycles(estimate=1, client=client, action_kind='a', action_name='b',
            app='capped')
    def work():
        return get_cycles_context().caps

    caps = work()
    assert caps.max_tokens == 7
    assert caps.is_tool_allowed('read') and not caps.is_tool_allowed('rm')


def test_typed_errors_of_the_decorator(api, client):
    def spend(estimate, actual, app, **kw):
        return cycles(estimate=estimate, actual=actual, client=client,
                      action_kind='a', action_name='b', app=app,
                      **kw)(lambda: None)()

    # 130 of 100: debt of 30, and its limit is 50

    spend(100, 130, 'debt', overage_policy='ALLOW_WITH_OVERDRAFT')
    assert api.balance('tenant:acme/app:debt')['debt'] == 30
    with pytest.raises(BudgetExceededError):
        spend(1, 1, 'debt')

    # 150 of 100 without a limit: charged as far as it goes

    spend(1, 150, 'capped')
    with pytest.raises(OverdraftLimitExceededError) as e:
        spend(0, 0, 'capped')
    assert e.value.is_overdraft_limit_exceeded()

    api.nginx.reconfigure(files={'budgets.json': conf(*[
        ('tenant:acme', 1000),
        ('tenant:acme/app:debt', 100, {'overdraft_limit': amount(0)}),
        ('tenant:other', 1000)])['files']['budgets.json']})

    def code():
        with pytest.raises(CyclesProtocolError) as e:
            spend(0, 0, 'debt')
        return type(e.value)

    wait_until(lambda: code() in (DebtOutstandingError,
                                  OverdraftLimitExceededError))


def test_decorator_with_a_wrong_key(api):
    with CyclesClient(config(api, 'wrong')) as client:
        @cycles(estimate=1, client=client, action_kind='a', action_name='b')
        def work():
            raise AssertionError('must not run')

        with pytest.raises(CyclesProtocolError) as e:
            work()
        assert e.value.status == 401


def test_a_late_commit_becomes_an_event(api, client):
    """The SDK records spend that comes after the end of a lease."""

    @cycles(estimate=100, actual=70, client=client, action_kind='a',
            action_name='b', ttl_ms=1000, grace_period_ms=0)
    def work():
        rid = get_cycles_context().reservation_id
        wait_until(lambda: api.get(rid).status == 410)

    work()
    wait_until(lambda: sums(api) == (70, 0))
    assert 201 in api.proxy.statuses('POST', '/v1/events')


# streams

def test_stream(api, client):
    with client.stream_reservation(action=ACTION,
                                   estimate=money(100)) as stream:
        assert sums(api) == (0, 100)
        stream.usage.add_input_tokens(3)
        stream.usage.actual_cost = 70
    assert sums(api) == (70, 0)

    with pytest.raises(KeyError):
        with client.stream_reservation(action=ACTION, estimate=money(100)):
            raise KeyError('x')
    wait_until(lambda: sums(api) == (70, 0))

    with pytest.raises(BudgetExceededError):
        with client.stream_reservation(action=ACTION, estimate=money(931)):
            raise AssertionError('must not run')

    commit = [rec for rec in ledger_log.Log(
        api.nginx.path('ledger')).records() if rec.kind == 'commit'][0]
    assert (commit.charged, commit.tokens_input) == (70, 3)


def test_stream_async(api):
    async def run():
        async with AsyncCyclesClient(config(api)) as client:
            async with client.stream_reservation(
                    action=ACTION, estimate=money(100)) as stream:
                stream.usage.actual_cost = 70

    asyncio.run(run())
    assert sums(api) == (70, 0)


def test_heartbeat(api):
    """A stream that outlives its lease, which the SDK extends."""

    short = dict(connect_timeout=0.2, read_timeout=0.3)

    def extends():
        return [s for m, p, s in api.proxy.calls if p.endswith('/extend')]

    with CyclesClient(config(api, **short)) as client:
        with client.stream_reservation(action=ACTION, estimate=money(100),
                                       ttl_ms=4000,
                                       grace_period_ms=0) as stream:
            wait_until(lambda: 200 in extends())
            stream.usage.actual_cost = 70
    assert sums(api) == (70, 0)


def test_async(api):
    async def run():
        async with AsyncCyclesClient(config(api)) as client:
            @cycles(estimate=10, client=client, action_kind='a',
                    action_name='b')
            async def work():
                await asyncio.sleep(0)

            await asyncio.gather(*[work() for _ in range(20)])

            with pytest.raises(BudgetExceededError):
                await cycles(estimate=801, client=client, action_kind='a',
                             action_name='b')(work)()

    asyncio.run(run())
    assert sums(api) == (200, 0)


# together with the gateway

def test_one_budget_with_the_gateway(nginx, provider):
    kw = gateway.ledger_gateway(
        provider, ('tenant:acme', 10 ** 6),
        server='location /cycles/ { cycles_api ledger=main; }')
    kw['files']['budgets.json'] = gateway.budgets(
        ('tenant:acme', 10 ** 6), api_keys=keys(acme=KEYS['acme']))
    ng = nginx(**kw)
    api = Api(ng, '/cycles')

    assert ng.chat(tenant='acme').status == 200
    wait_until(lambda: sums(api)[1] == 0)
    spent = sums(api)[0]
    assert spent > 0

    url = 'http://127.0.0.1:%d/cycles' % ng.port
    with CyclesClient(CyclesConfig(base_url=url, api_key=KEYS['acme'],
                                   tenant='acme', journal_enabled=False)) \
            as client:
        @cycles(estimate=10 ** 6 - spent, actual=1000, client=client,
                action_kind='a', action_name='b')
        def work():
            assert ng.chat(tenant='acme').status == 429

        work()
        assert sums(api) == (spent + 1000, 0)

        assert ng.chat(tenant='acme').status == 200
        wait_until(lambda: sums(api) == (2 * spent + 1000, 0))

        r = client.get_balances(tenant='acme')
        assert r.body['balances'][0]['remaining']['amount'] \
            == 10 ** 6 - 2 * spent - 1000
