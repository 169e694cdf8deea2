# Copyright (C) nginx-cycles authors

"""cycles dry_run: everything is evaluated and shown, nothing is blocked and
nothing is held."""

import pytest

from gateway import Gate, Reply, chat, chat_stream, error, free_port
from fake_cycles import FakeCycles
from meter import ALLOCATED, BASE, Scene, Whole, cost, estimate


DRY = BASE.replace('cycles on', 'cycles dry_run')

REMOTE = '''
    cycles dry_run;
    cycles_subject tenant $http_x_tenant;
    cycles_api_key secret;
'''

LOCATIONS = {
    'dry': '',
    'amounts': 'cycles_response_headers amounts;',
    'off': 'cycles_response_headers off;',
    'server': Whole(REMOTE + 'cycles_authority @cycles;'),
    'dead': Whole(REMOTE + 'cycles_authority @dead;'),
    'fixed': '''
        cycles_action a b;
        cycles_estimate 700;
        cycles_actual estimate;
    ''',
    'live': Whole(BASE),
}

SERVER = '''
    location @cycles { proxy_pass http://127.0.0.1:%%CYCLES%%; }
    location @dead { proxy_pass http://127.0.0.1:%%DEAD%%; }
'''

ENTRIES = [
    ('tenant:zero', 0),
    ('tenant:capped', ALLOCATED, {
        'caps': {'above_percent': 0, 'max_tokens': 50}}),
]


@pytest.fixture(scope='module')
def cycles():
    with FakeCycles(free_port()) as server:
        yield server


@pytest.fixture(scope='module')
def scene(cycles):
    scene = Scene(LOCATIONS, server=SERVER, entries=ENTRIES, base=DRY,
                  cycles=cycles.port, dead=free_port())
    yield scene
    scene.finish()


def check_passed(x, decision, dry_run, reason=''):
    """The provider's own reply, with what would have been said of it."""

    assert x.r.status == 200
    assert len(x.requests) == 1
    assert x.log['cycles_decision'] == decision
    assert x.r.header('x-cycles-decision') == decision
    assert x.r.header('x-cycles-dry-run') == dry_run
    assert x.log['cycles_reason'] == reason
    assert x.r.header('x-cycles-reason') == (reason or None)
    assert x.r.header('x-cycles-reservation-id') is None
    assert x.r.header('x-should-retry') is None
    assert x.r.header('retry-after') is None
    assert x.log['cycles_reservation_id'] == ''
    assert x.log['cycles_settlement'] == ''
    assert x.log['cycles_charged'] == ''
    assert (x.spent, x.reserved) == (0, 0)


@pytest.mark.parametrize('h2', [False, True], ids=['http1', 'http2'])
@pytest.mark.parametrize('stream', [False, True], ids=['plain', 'stream'])
def test_allow(scene, stream, h2):
    x = scene.chat('dry', stream=stream, max_tokens=100, h2=h2, reply=(
        chat_stream if stream else chat)(prompt=25, completion=7))
    check_passed(x, 'DRY_RUN_ALLOW', 'ALLOW')
    assert x.number('estimate') == estimate(output=100)
    assert x.number('actual') == 795
    assert x.number('tokens_input') == 25
    assert x.log['cycles_usage_source'] == 'reported'
    assert x.log['cycles_price_key'] == 'gpt-4o-mini'


def test_allow_with_caps(scene):
    """The caps would be applied, so they are not."""

    x = scene.chat('dry', tenant='capped', max_tokens=100)
    check_passed(x, 'DRY_RUN_ALLOW', 'ALLOW_WITH_CAPS')
    assert x.sent.json['max_tokens'] == 100

    x = scene.chat('live', tenant='capped', max_tokens=100)
    assert x.sent.json['max_tokens'] == 50


@pytest.mark.parametrize('stream', [False, True], ids=['plain', 'stream'])
def test_spent(scene, stream):
    x = scene.chat('dry', tenant='zero', stream=stream)
    check_passed(x, 'DRY_RUN_DENY', 'DENY', 'BUDGET_EXCEEDED')
    assert x.number('actual') == cost()

    x = scene.chat('live', tenant='zero', stream=stream)
    assert x.r.status == 429


def test_no_budget(scene):
    x = scene.chat('dry', tenant='nobody')
    assert x.r.status == 200
    assert x.r.header('x-cycles-dry-run') == 'DENY'
    assert x.log['cycles_decision'] == 'DRY_RUN_DENY'
    assert x.log['cycles_reason'] == 'BUDGET_NOT_FOUND'


def test_unknown_price(scene):
    x = scene.chat('dry', model='no-price')
    check_passed(x, 'DRY_RUN_DENY', 'DENY', 'UNKNOWN_PRICE')


BODIES = [b'', b'nonsense', b'{"model":', b'[1]',
          b'{"model":"a","model":"b"}', b'{"max_tokens":0}']


@pytest.mark.parametrize('body', BODIES)
def test_not_understood(scene, body):
    x = scene.send('dry', body, reply=Reply(200, {}, [b'{}']))
    check_passed(x, 'DRY_RUN_DENY', 'DENY', 'INVALID_REQUEST')
    assert x.sent.body == body


@pytest.mark.parametrize('headers', [{'X-Tenant': 'a b'}, {'X-Tenant': ''}])
def test_subject(scene, headers):
    x = scene.chat('dry', headers=headers)
    check_passed(x, 'DRY_RUN_DENY', 'DENY', 'INVALID_REQUEST')


def test_authority_is_down(scene):
    x = scene.chat('dead')
    assert x.r.status == 200
    assert len(x.requests) == 1
    assert x.log['cycles_decision'] == 'OUTAGE_ALLOW'
    assert x.r.header('retry-after') is None


def test_server_is_asked_but_never_told(scene, cycles):
    cycles.reset()
    cycles.budget('tenant:t0', 10 ** 9)
    cycles.budget('tenant:t1', 0)

    x = scene.chat('server', tenant='t0')
    check_passed(x, 'DRY_RUN_ALLOW', 'ALLOW')
    x = scene.chat('server', tenant='t1')
    check_passed(x, 'DRY_RUN_DENY', 'DENY', 'BUDGET_EXCEEDED')

    assert [entry.endpoint for entry in cycles.log()] == 2 * ['reserve']
    assert all(entry.json['dry_run'] is True for entry in cycles.log())
    assert cycles.scope('tenant:t0')['reserved'] == 0


@pytest.mark.parametrize('status, code', [
    (409, 'BUDGET_FROZEN'), (401, 'UNAUTHORIZED'), (403, 'FORBIDDEN'),
    (429, 'LIMIT_EXCEEDED'), (400, 'INVALID_REQUEST')])
def test_refusals_of_a_server(scene, cycles, status, code):
    cycles.fault('reserve', {'apply': 0, 'status': status, 'body': {
        'error': code, 'message': 'no', 'request_id': 'rq'}})
    x = scene.chat('server')
    check_passed(x, 'DRY_RUN_DENY', 'DENY', code)


def test_amounts(scene):
    x = scene.chat('amounts', max_tokens=100)
    check_passed(x, 'DRY_RUN_ALLOW', 'ALLOW')
    assert x.r.header('x-cycles-estimate') == str(estimate(output=100))
    assert int(x.r.header('x-cycles-remaining')) == \
        ALLOCATED - estimate(output=100)


def test_headers_off(scene):
    x = scene.chat('off', tenant='zero')
    assert x.r.status == 200
    assert not [name for name, _ in x.r.headers
                if name.lower().startswith('x-cycles')]
    assert x.log['cycles_decision'] == 'DRY_RUN_DENY'


def test_nothing_is_held_meanwhile(scene):
    gate = Gate()
    scene.provider.script(chat(gate=gate))
    x, path = scene.begin('dry')

    with scene.ng.connect() as conn:
        conn.send_chat(path=path, tenant=x.tenant)
        gate.wait_reached()
        assert scene.ng.live_reservations() == 0
        assert x.reserved == 0
        gate.open()
        assert conn.read_response().status == 200

    assert x.spent == 0


def test_errors_of_the_provider(scene):
    for reply in error(500), Reply(204, {}, [b'']):
        x = scene.chat('dry', reply=reply)
        assert x.r.status == reply.status
        assert (x.spent, x.reserved) == (0, 0)


def test_fixed(scene):
    x = scene.send('fixed', method='GET', reply=chat())
    check_passed(x, 'DRY_RUN_ALLOW', 'ALLOW')
    assert x.number('estimate') == x.number('actual') == 700


def test_free_methods(scene):
    x = scene.send('dry', method='GET')
    assert x.log['cycles_decision'] == 'BYPASS'
    assert x.r.header('x-cycles-dry-run') is None


def test_usage_is_measured_and_hidden(scene):
    x = scene.chat('dry', stream=True, reply=chat_stream(3))
    assert x.sent.json['stream_options'] == {'include_usage': True}
    assert b'prompt_tokens' not in x.r.body
    assert x.number('actual') == cost(completion=3)
