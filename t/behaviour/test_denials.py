# Copyright (C) nginx-cycles authors

"""Who is denied, how that looks, and that nothing else happens then."""

import json
import time

import pytest

import gateway
from gateway import Gate, budgets, chat, chat_request, free_port
from fake_cycles import FakeCycles
from meter import ALLOCATED, Scene, Whole, cost, estimate


ENOUGH = estimate(output=100)

REMOTE = '''
    cycles on;
    cycles_subject tenant $http_x_tenant;
    cycles_api_key secret;
'''

FIXED = 'cycles_action a b; cycles_estimate 10; '

LOCATIONS = {
    'plain': '',
    'auto': 'cycles_deny_status auto;',
    '402': 'cycles_deny_status 402;',
    '403': 'cycles_deny_status 403;',
    'message': '''
        cycles_deny_message "Tenant \\"$http_x_tenant\\" \\\\ $cycles_reason";
    ''',
    'openai': 'cycles_deny_format openai;',
    'off': 'cycles_response_headers off;',
    'on': 'cycles_response_headers on;',
    'amounts': 'cycles_response_headers amounts;',
    'fixed': FIXED + 'cycles_actual estimate;',
    'over': FIXED + 'cycles_actual 100;',
    'overdraft': FIXED + '''
        cycles_actual 100;
        cycles_overage_policy ALLOW_WITH_OVERDRAFT;
    ''',
    'server': Whole(REMOTE + 'cycles_authority @cycles;'),
    'server_amounts': Whole(REMOTE + '''
        cycles_authority @cycles;
        cycles_response_headers amounts;
    '''),
    'dead': Whole(REMOTE + 'cycles_authority @dead;'),
    'dead_allow': Whole(REMOTE + '''
        cycles_authority @dead;
        cycles_on_outage allow;
        cycles_retry attempts=0;
    '''),
}

SERVER = '''
    location @cycles { proxy_pass http://127.0.0.1:%%CYCLES%%; }
    location @dead { proxy_pass http://127.0.0.1:%%DEAD%%; }
'''


def limited(scope, amount, **more):
    return (scope, amount, more)


SMALL = [
    limited('tenant:zero', 0),
    limited('tenant:small', 100),
    limited('tenant:tight', 50),
    limited('tenant:one', ENOUGH + 10),
    limited('tenant:debtor', 50, overdraft_limit={
        'unit': 'USD_MICROCENTS', 'amount': 1000}),
]


@pytest.fixture(scope='module')
def cycles():
    with FakeCycles(free_port()) as server:
        yield server


@pytest.fixture(scope='module')
def scene(cycles):
    scene = Scene(LOCATIONS, server=SERVER, entries=SMALL,
                  cycles=cycles.port, dead=free_port())
    yield scene
    scene.finish()


def state(scene):
    return scene.ng.all_budgets(), scene.ng.live_reservations()


def check_denied(x, reason, status=429, transient=False):
    r = x.r
    error = r.json['error']

    assert r.status == status
    assert r.header('content-type') == 'application/json'
    assert r.header('cache-control') == 'no-store'
    assert r.header('content-length') == str(len(r.body))
    assert set(error) == {'message', 'type', 'param', 'code'}
    assert error['param'] is None
    assert error['message']

    if transient:
        assert r.header('x-should-retry') is None
        assert 1 <= int(r.header('retry-after')) <= 5
        assert error['code'] == 'budget_reserved'
        assert error['type'] == 'rate_limit_exceeded'
    else:
        assert r.header('x-should-retry') == 'false'
        assert r.header('retry-after') is None
        assert error['code'] == 'insufficient_quota'
        assert error['type'] == 'insufficient_quota'

    assert x.sent is None
    assert x.log['status'] == str(status)
    assert x.log['cycles_decision'] == 'DENY'
    assert x.log['cycles_reason'] == reason
    assert x.log['cycles_reservation_id'] == ''
    assert x.log['cycles_settlement'] == ''
    assert x.log['cycles_charged'] == ''
    assert len(x.log['cycles_trace_id']) == 32 or reason == 'UNKNOWN_PRICE'


# for ever


@pytest.mark.parametrize('h2', [False, True], ids=['http1', 'http2'])
@pytest.mark.parametrize('stream', [False, True], ids=['plain', 'stream'])
@pytest.mark.parametrize('tenant, model, reason', [
    ('zero', 'gpt-4o-mini', 'BUDGET_EXCEEDED'),
    ('small', 'gpt-4o-mini', 'BUDGET_EXCEEDED'),
    ('nobody', 'gpt-4o-mini', 'BUDGET_NOT_FOUND'),
    ('zero', 'no-price', 'UNKNOWN_PRICE'),
])
def test_terminal(scene, tenant, model, reason, stream, h2):
    before = state(scene)
    x = scene.chat('plain', tenant=tenant, model=model, stream=stream, h2=h2)
    check_denied(x, reason)
    assert state(scene) == before


def test_deeper_scope_denies(nginx, provider):
    ng = nginx(**gateway.ledger_gateway(
        provider, ('tenant:acme', ALLOCATED),
        ('tenant:acme/workspace:poor', 5)))

    r = ng.chat(tenant='acme', headers={'X-Workspace': 'poor'})
    assert r.status == 429
    assert provider.requests == []
    assert ng.budget('tenant:acme')['reserved'] == 0
    assert ng.budget('tenant:acme')['spent'] == 0

    r = ng.chat(tenant='acme', headers={'X-Workspace': 'rich'})
    assert r.status == 200
    assert ng.budget('tenant:acme')['spent'] == cost()
    assert ng.budget('tenant:acme/workspace:poor')['spent'] == 0


def test_over_limit(scene):
    """More was spent than was there: 50 of 100 are charged, and that is the
    end."""

    x = scene.chat('over', tenant='tight')
    assert x.r.status == 200
    assert x.spent == 50
    assert x.number('actual') == 100
    assert x.number('charged') == 50

    x = scene.chat('fixed', tenant='tight')
    check_denied(x, 'OVERDRAFT_LIMIT_EXCEEDED')
    assert x.spent == 0


def test_debt(scene):
    x = scene.chat('overdraft', tenant='debtor')
    assert x.r.status == 200
    assert x.number('charged') == 100
    balance = scene.ng.budget('tenant:debtor')
    assert balance['debt'] == 50
    assert balance['spent'] == 50
    assert balance['remaining'] == -50

    # debt is no denial by itself, an empty budget is

    x = scene.chat('overdraft', tenant='debtor')
    check_denied(x, 'BUDGET_EXCEEDED')


def test_rejected_commit_keeps_nothing_from_the_client(nginx, provider):
    """REJECT: the hold stays until it expires, the reply has been sent."""

    ng = nginx(**gateway.ledger_gateway(
        provider, ('tenant:a', 50), location=FIXED + '''
            cycles_actual 100; cycles_overage_policy REJECT;
            cycles_ttl 1s; cycles_grace_period 0;'''))

    assert ng.chat(tenant='a').status == 200
    log = ng.wait_access_log(1)[0]
    assert log['cycles_settlement'] == 'hold'
    assert log['cycles_actual'] == '100'
    assert log['cycles_charged'] == ''
    assert ng.budget('tenant:a')['spent'] == 0

    gateway.wait_until(lambda: ng.live_reservations() == 0)
    assert ng.budget('tenant:a')['remaining'] == 50


CODES = [
    # what a Cycles server says: status, code, transient
    (409, 'BUDGET_EXCEEDED', False),
    (409, 'BUDGET_FROZEN', False),
    (409, 'BUDGET_CLOSED', False),
    (409, 'OVERDRAFT_LIMIT_EXCEEDED', False),
    (409, 'DEBT_OUTSTANDING', False),
    (409, 'TENANT_CLOSED', False),
    (409, 'IDEMPOTENCY_MISMATCH', False),
    (404, 'NOT_FOUND', False),
    (400, 'UNIT_MISMATCH', False),
    (400, 'INVALID_REQUEST', False),
    (401, 'UNAUTHORIZED', False),
    (403, 'FORBIDDEN', False),
    (429, 'LIMIT_EXCEEDED', True),
]


@pytest.mark.parametrize('status, code, transient', CODES)
def test_answers_of_a_server(scene, cycles, status, code, transient):
    cycles.fault('reserve', {'apply': 0, 'status': status, 'body': {
        'error': code, 'message': 'no', 'request_id': 'rq-1'}})
    settled = cycles.count('commit')
    x = scene.chat('server', tenant='acme')
    check_denied(x, {'NOT_FOUND': 'BUDGET_NOT_FOUND'}.get(code, code),
                 transient=transient)
    assert cycles.count('commit') == settled


@pytest.mark.parametrize('member', ['error', 'message'])
def test_line_ends_of_a_server_do_not_reach_the_head(scene, cycles, member):
    cycles.fault('reserve', {'apply': 0, 'status': 409, 'body': dict({
        'error': 'BUDGET_EXCEEDED', 'message': 'no', 'request_id': 'r'},
        **{member: 'EVIL\r\nX-Evil: 1\r\n\r\nbody'})})
    x = scene.chat('server', tenant='acme')
    assert x.r.status == 429
    assert x.r.header('x-evil') is None
    assert x.r.json['error']['code'] == 'insufficient_quota'


def allowed(id):
    return {'apply': 0, 'status': 200, 'body': {
        'decision': 'ALLOW', 'affected_scopes': ['tenant:acme'],
        'reservation_id': id, 'expires_at_ms': 2 ** 41,
        'reserved': {'unit': 'USD_MICROCENTS', 'amount': 5}}}


@pytest.mark.parametrize('id, path', [
    ('a/../b', 'a%2F..%2Fb'), ('a b', 'a%20b'),
    ('a?x=1#y', 'a%3Fx%3D1%23y'), ('\u00e9', '%C3%A9')])
def test_strange_id_of_a_server(scene, cycles, id, path):
    """In the path of the next call it is no more than a name."""

    seen = cycles.count('commit')
    cycles.fault('reserve', allowed(id))
    x = scene.chat('server', tenant='acme')

    assert x.r.status == 200
    assert x.r.header('x-cycles-reservation-id').encode('latin-1') \
        == id.encode()
    cycles.wait(lambda: cycles.count('commit') == seen + 1)
    assert cycles.log('commit')[-1].path == \
        '/v1/reservations/%s/commit' % path


@pytest.mark.parametrize('id', ['', 1000 * 'a', None, 5, ['a'],
                                'a\r\nX-Evil: 1', 'a\u007f', 'a\u0000b'])
def test_no_id_of_a_server(scene, cycles, id):
    """That is no answer, so the same question is put once more."""

    seen = cycles.count('reserve')
    settled = cycles.count('commit') + cycles.count('release')
    cycles.fault('reserve', allowed(id), times=2)
    x = scene.chat('server', tenant='acme')

    assert x.r.status == 503
    assert x.r.header('x-evil') is None
    assert x.sent is None
    first, second = cycles.log('reserve')[seen:]
    assert first.body == second.body
    assert cycles.count('commit') + cycles.count('release') == settled


def exceeded(remaining, held, requested=None, code='BUDGET_EXCEEDED'):
    def amount(value):
        return {'unit': 'USD_MICROCENTS', 'amount': value}

    return {'apply': 0, 'status': 409, 'body': {
        'error': code, 'message': 'no', 'request_id': 'rq-1',
        'details': {'scope': 'tenant:acme',
                    'requested': amount(requested or ENOUGH),
                    'remaining': amount(remaining),
                    'held': amount(held)}}}


def test_reset_that_is_known(scene, cycles):
    """A terminal denial says when the budget is new, no other does."""

    fault = exceeded(5, 0)
    fault['body']['details']['reset_at_ms'] = int(
        (time.time() + 3600) * 1000)
    cycles.fault('reserve', fault)
    x = scene.chat('server', tenant='acme')
    assert x.r.status == 429
    assert x.r.json['error']['code'] == 'insufficient_quota'
    assert x.r.header('x-should-retry') == 'false'
    assert 3500 < int(x.r.header('retry-after')) <= 3600


def test_throttled(scene, cycles):
    """The authority's own wait is passed on."""

    cycles.fault('reserve', {
        'apply': 0, 'status': 429, 'headers': {'Retry-After': '7'},
        'body': {'error': 'LIMIT_EXCEEDED', 'message': 'slow down',
                 'request_id': 'rq'}})
    x = scene.chat('server', tenant='acme')
    assert x.r.status == 429
    assert x.r.json['error']['code'] == 'budget_reserved'
    assert x.r.header('x-should-retry') is None
    assert 6 <= int(x.r.header('retry-after')) <= 7


# for a moment


def test_transient(scene):
    """The budget would do for it, were it not held by another request."""

    gate = Gate()
    scene.provider.script(chat(gate=gate))
    y, path = scene.begin('plain', 'one')

    with scene.ng.connect() as conn:
        conn.send_chat(path=path, tenant='one', max_tokens=100)
        gate.wait_reached()

        for status, location in ((429, 'plain'), (429, 'auto'),
                                 (402, '402'), (403, '403')):
            x = scene.chat(location, tenant='one', max_tokens=100)
            check_denied(x, 'BUDGET_EXCEEDED', status, transient=True)
            assert (x.spent, x.reserved) == (0, 0)

        # what is larger than the whole budget is not a matter of time

        x = scene.chat('plain', tenant='one', max_tokens=200)
        check_denied(x, 'BUDGET_EXCEEDED')

        # and what fits into the rest passes

        x = scene.chat('fixed', tenant='one', reply=chat())
        assert x.r.status == 200
        assert x.reserved == 0 and x.spent == 10

        gate.open()
        assert conn.read_response().status == 200

    assert y.reserved == 0
    assert y.spent == cost() + 10


def test_transient_ends(nginx, provider):
    gate = Gate()
    provider.script(chat(gate=gate))
    ng = nginx(**gateway.ledger_gateway(provider, ('tenant:a', ENOUGH + 500)))

    with ng.connect() as conn:
        conn.send_chat(tenant='a', max_tokens=100)
        gate.wait_reached()
        r = ng.chat(tenant='a', max_tokens=100)
        assert r.status == 429
        assert r.json['error']['code'] == 'budget_reserved'
        gate.open()
        assert conn.read_response().status == 200

    assert ng.chat(tenant='a', max_tokens=100).status == 200


# the form


@pytest.mark.parametrize('location, status', [
    ('plain', 429), ('auto', 402), ('402', 402), ('403', 403),
    ('openai', 429)])
def test_status(scene, location, status):
    x = scene.chat(location, tenant='zero')
    check_denied(x, 'BUDGET_EXCEEDED', status)

    x = scene.chat(location, tenant='zero', model='no-price')
    check_denied(x, 'UNKNOWN_PRICE', status)


def test_status_is_not_for_other_refusals(scene):
    for location in 'plain', 'auto', '402':
        assert scene.send(location, b'nonsense').r.status == 400


def test_message(scene):
    x = scene.chat('message', tenant='zero')
    check_denied(x, 'BUDGET_EXCEEDED')
    assert x.r.json['error']['message'] == \
        'Tenant "zero" \\ BUDGET_EXCEEDED'


def test_message_says_what_to_do(scene):
    x = scene.chat('plain', tenant='zero', model='no-price')
    assert 'no price' in x.r.json['error']['message']
    x = scene.chat('plain', tenant='zero')
    assert 'budget' in x.r.json['error']['message']


def cycles_headers(r):
    return {name.lower() for name, _ in r.headers
            if name.lower().startswith('x-cycles')}


def test_response_headers_off(scene):
    x = scene.chat('off')
    assert x.r.status == 200
    assert cycles_headers(x.r) == set()
    assert x.log['cycles_decision'] == 'ALLOW'

    x = scene.chat('off', tenant='zero')
    check_denied(x, 'BUDGET_EXCEEDED')
    assert cycles_headers(x.r) == set()


@pytest.mark.parametrize('location', ['on', 'plain'])
def test_response_headers_on(scene, location):
    x = scene.chat(location)
    assert cycles_headers(x.r) == {
        'x-cycles-decision', 'x-cycles-reservation-id',
        'x-cycles-trace-id'}
    assert x.r.header('x-cycles-decision') == 'ALLOW'
    assert x.r.header('x-cycles-reservation-id') == \
        x.log['cycles_reservation_id']
    assert x.r.header('x-cycles-trace-id') == x.log['cycles_trace_id']

    x = scene.chat(location, tenant='zero')
    check_denied(x, 'BUDGET_EXCEEDED')
    assert cycles_headers(x.r) == {
        'x-cycles-decision', 'x-cycles-reason', 'x-cycles-trace-id'}
    assert x.r.header('x-cycles-decision') == 'DENY'
    assert x.r.header('x-cycles-reason') == 'BUDGET_EXCEEDED'
    assert b'zero' not in x.r.body and b'tenant' not in x.r.body
    assert not any(ch.isdigit() for ch in x.r.text)


def test_response_headers_amounts(scene):
    x = scene.chat('amounts', max_tokens=100)
    assert cycles_headers(x.r) == {
        'x-cycles-decision', 'x-cycles-reservation-id', 'x-cycles-trace-id',
        'x-cycles-estimate', 'x-cycles-remaining'}
    assert x.r.header('x-cycles-estimate') == str(ENOUGH)
    assert int(x.r.header('x-cycles-remaining')) == \
        x.before['remaining'] - ENOUGH

    x = scene.chat('amounts', tenant='small', max_tokens=100)
    assert x.r.status == 429
    assert x.r.header('x-cycles-estimate') == str(ENOUGH)
    assert x.r.json['error']['cycles'] == {
        'scope': 'tenant:small', 'unit': 'USD_MICROCENTS',
        'requested': ENOUGH, 'remaining': 100, 'held': 0}


def test_amounts_of_a_server(scene, cycles):
    cycles.fault('reserve', exceeded(5, 0))
    x = scene.chat('server_amounts', tenant='acme')
    assert x.r.json['error']['cycles']['scope'] == 'tenant:acme'
    assert x.r.json['error']['cycles']['remaining'] == 5

    cycles.fault('reserve', exceeded(5, 0))
    x = scene.chat('server', tenant='acme')
    check_denied(x, 'BUDGET_EXCEEDED')
    assert b'acme' not in x.r.body


@pytest.mark.parametrize('remaining, held, transient', [
    (5, 0, False), (5, ENOUGH, True), (0, ENOUGH, True),
    (0, ENOUGH - 1, False), (-10, ENOUGH, False), (-10, ENOUGH + 10, True),
    (2 ** 62, 2 ** 62, True), (-2 ** 62, 1, False)])
def test_held_by_others(scene, cycles, remaining, held, transient):
    cycles.fault('reserve', exceeded(remaining, held))
    x = scene.chat('server', tenant='acme')
    check_denied(x, 'BUDGET_EXCEEDED', transient=transient)


def test_frozen_is_terminal_whatever_is_held(scene, cycles):
    cycles.fault('reserve', exceeded(ENOUGH, ENOUGH, code='BUDGET_FROZEN'))
    x = scene.chat('server', tenant='acme')
    check_denied(x, 'BUDGET_FROZEN')


# the connection


def test_connection_goes_on(scene):
    """Also when the body was never read."""

    body = json.dumps({'model': 'x', 'pad': 'y' * 300000}).encode()
    with scene.ng.connect() as conn:
        for location in 'fixed', 'plain', 'fixed':
            x, path = scene.begin(location, 'zero')
            conn.send_request('POST', path, {'X-Tenant': 'zero'}, body)
            assert conn.read_response().status == 429
        x, path = scene.begin('plain')
        conn.send_chat(path=path, tenant=x.tenant)
        assert conn.read_response().status == 200
    assert x.spent == cost()


def test_methods(scene):
    for method in 'GET', 'DELETE', 'PUT':
        x = scene.send('fixed', method=method, tenant='zero')
        check_denied(x, 'BUDGET_EXCEEDED')

    x = scene.send('fixed', method='HEAD', tenant='zero')
    assert x.r.status == 429
    assert x.r.body == b''
    assert int(x.r.header('content-length')) > 50
    assert x.r.header('x-should-retry') == 'false'


def test_expect_continue(scene):
    x, path = scene.begin('plain', 'zero')
    body = chat_request()[2]
    with scene.ng.connect() as conn:
        conn.send(gateway.build_request('POST', path, {
            'X-Tenant': 'zero', 'Content-Length': str(len(body)),
            'Expect': '100-continue'}))
        conn.read_until(b'100 Continue\r\n\r\n')
        conn.send(body)
        assert conn.read_response().status == 429


def test_denial_is_logged_once(scene):
    mark = len(scene.ng.error_log())
    x = scene.chat('plain', tenant='zero')
    lines = [line for line in scene.ng.error_log()[mark:].splitlines()
             if 'denying request' in line]
    assert len(lines) == 1
    assert '[warn]' in lines[0]
    assert 'BUDGET_EXCEEDED' in lines[0]
    assert x.log['cycles_trace_id'] in lines[0]


# the authority is not there


def test_outage(scene):
    x = scene.chat('dead')
    error = x.r.json['error']
    assert x.r.status == 503
    assert int(x.r.header('retry-after')) > 0
    assert x.r.header('x-should-retry') is None
    assert x.r.header('cache-control') == 'no-store'
    assert x.r.header('content-type') == 'application/json'
    assert error['code'] == 'budget_unavailable'
    assert error['type'] == 'server_error'
    assert x.log['cycles_decision'] == 'OUTAGE_DENY'
    assert x.r.header('x-cycles-decision') == 'OUTAGE_DENY'
    assert x.sent is None


def test_outage_allow(scene):
    x = scene.chat('dead_allow', reply=chat(prompt=25, completion=7))
    assert x.r.status == 200
    assert x.sent is not None
    assert x.log['cycles_decision'] == 'OUTAGE_ALLOW'
    assert x.number('actual') == 795
    assert x.log['cycles_charged'] == ''


def test_outage_allow_is_not_for_denials(scene, cycles):
    x = scene.chat('dead_allow', model='no-price')
    check_denied(x, 'UNKNOWN_PRICE')
    assert scene.send('dead_allow', b'nonsense').r.status == 400


# raising the budget helps


def test_raised_budget(nginx, provider):
    kw = gateway.ledger_gateway(provider, ('tenant:a', 0))
    ng = nginx(**kw)
    assert ng.chat(tenant='a').status == 429
    ng.reconfigure(files={'budgets.json': budgets(('tenant:a', ALLOCATED))})
    assert ng.chat(tenant='a').status == 200
    assert ng.budget('tenant:a')['spent'] == cost()


def test_no_debt_may_be_left_once_it_is_not_allowed(nginx, provider):
    def file(limit):
        return budgets(('tenant:a', 50, {'overdraft_limit': {
            'unit': 'USD_MICROCENTS', 'amount': limit}}))

    ng = nginx(**gateway.ledger_gateway(
        provider, files={'budgets.json': file(1000)},
        location=FIXED + '''cycles_actual 100;
            cycles_overage_policy ALLOW_WITH_OVERDRAFT;'''))

    assert ng.chat(tenant='a').status == 200
    assert ng.budget('tenant:a')['debt'] == 50

    ng.reconfigure(files={'budgets.json': file(0)})
    assert ng.chat(tenant='a').status == 429
    reason = ng.wait_access_log(2)[-1]['cycles_reason']
    assert reason in ('DEBT_OUTSTANDING', 'OVERDRAFT_LIMIT_EXCEEDED')
