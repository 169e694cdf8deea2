# Copyright (C) nginx-cycles authors

"""A client that leaves while its reply comes: the reply is read to its end
and its true cost is committed, within bounds; or what "cycles_on_abort" and
"cycles_on_missing_usage" say instead."""

import pytest

from gateway import (CLOSE, Conn, Gate, Reply, STALL, chat, chat_request,
                     chat_stream, wait_until)
from authorities import authority, chunk_tokens, cost, OUTPUT
from raw import Blackhole, H2Conn


BUDGET = 100000000
MAX_TOKENS = 100

BOTH = pytest.mark.parametrize('kind', ['ledger', 'cycles'])
BUFFERING = pytest.mark.parametrize('buffering', ['on', 'off'])
LEAVES = pytest.mark.parametrize('leave', ['close', 'reset', 'h2'])


class Scene:

    def __init__(self, nginx, provider, who, conf, **kw):
        self.who = who
        self.provider = provider
        self.ng = who.attach(nginx(**who.gateway(
            provider, location='''
                proxy_buffers 4 4k;
                proxy_buffer_size 4k;
                proxy_busy_buffers_size 4k;
                proxy_max_temp_file_size 0;
                cycles_retry initial=20ms;
            ''' + conf, **kw)))

    def leave(self, how, **members):
        """A request whose client leaves when the provider is at a gate."""

        if how == 'h2':
            conn = H2Conn(self.ng.h2_port)
            path, headers, body = chat_request(
                tenant='acme', max_tokens=MAX_TOKENS, **members)
            stream = conn.request('POST', path, headers, body)
            return lambda: conn.reset(stream)

        conn = Conn(self.ng.port)
        conn.send_chat(tenant='acme', max_tokens=MAX_TOKENS, **members)
        return conn.close if how == 'close' else conn.reset

    def story(self, *kinds):
        return self.who.wait_story('acme', 'reserve', *kinds)

    def spent(self):
        return self.who.budget('tenant:acme')['spent']


@pytest.fixture
def scene(nginx, provider):
    opened = []

    def start(kind, conf='', **kw):
        who = authority(kind, {'tenant:acme': BUDGET})
        opened.append(who.__enter__())
        return Scene(nginx, provider, who, conf, **kw)

    yield start

    for who in opened:
        who.__exit__()


# ------------------------------------------------------------- it is drained


@BOTH
@BUFFERING
@LEAVES
def test_leaves_inside_a_stream(scene, provider, kind, buffering, leave):
    """What is reported at the end is committed; nothing is cut."""

    s = scene(kind, 'proxy_buffering %s;' % buffering, h2=True)
    gate = Gate()
    provider.script(chat_stream(400, prompt=10, completion=400,
                                gates={3: gate}))
    left = s.leave(leave, stream=True)
    gate.wait_reached()
    left()
    s.ng.wait_error_log('client has left, its reply is read to the end')
    gate.open()
    assert s.story('commit')[1] == ('commit', cost(10, 400))
    assert s.spent() == cost(10, 400)
    s.who.audit()


@BOTH
@BUFFERING
def test_leaves_before_the_reply(scene, provider, kind, buffering):
    s = scene(kind, 'proxy_buffering %s;' % buffering)
    gate = Gate()

    def reply(rq):
        whole = chat(prompt=12, completion=7)(rq)
        return Reply(200, None, [gate] + list(whole.steps),
                     length=len(whole.steps[0]))

    provider.script(reply)
    left = s.leave('close')
    gate.wait_reached()
    left()
    s.ng.wait_error_log('client has left, its reply is read to the end')
    gate.open()
    assert s.story('commit')[1] == ('commit', cost(12, 7))
    s.who.audit()


@BOTH
def test_leaves_before_the_request_was_sent(scene, provider, kind):
    """Then the provider is not asked: it goes back."""

    hole = Blackhole()
    try:
        s = scene(kind, hole=hole.port, server='''
            location /hole/ {
                %%GUARD%%
                proxy_pass http://127.0.0.1:%%HOLE%%;
            }
        ''')
        before = hole.waiting()
        left = s.leave('close', path='/hole/')
        wait_until(lambda: hole.waiting() > before,
                   what='nginx to connect to the provider')
        left()
        s.story('release')
        s.ng.wait_error_log('client has left before its request was sent')
        s.who.audit()
        assert s.spent() == 0
    finally:
        hole.close()


def test_a_half_closed_client_gets_its_reply(scene, provider):
    """Closing the sending side alone is no leave for whoever reads on."""

    s = scene('ledger', 'proxy_buffering off;')
    gate = Gate()
    provider.script(chat_stream(5, gates={2: gate}))
    with Conn(s.ng.port) as conn:
        conn.send_chat(tenant='acme', max_tokens=MAX_TOKENS, stream=True)
        head = conn.read_head()
        gate.wait_reached()
        conn.half_close()
        s.ng.wait_error_log('client has left, its reply is read to the end')
        gate.open()
        r = conn.read_response(head=head)
    assert r.complete and r.text.count('word ') == 5
    assert s.story('commit')[1] == ('commit', cost(10, 5))


# ---------------------------------------------------------------- its bounds


def test_bounded_in_time(scene, provider):
    s = scene('ledger', 'proxy_buffering off; cycles_drain timeout=50ms;')
    gate = Gate()
    provider.script(chat_stream(9, gates={3: gate}))
    left = s.leave('close', stream=True)
    gate.wait_reached()
    left()
    s.ng.wait_error_log(r'\[warn\].*goes beyond "cycles_drain"')
    amount = s.story('commit')[1][1]
    gate.open()
    assert amount > 0 and amount != cost(10, 9)
    assert (amount - OUTPUT * chunk_tokens(3)) % 15 == 0
    s.who.audit()


def test_bounded_in_size(scene, provider):
    s = scene('ledger', 'proxy_buffering off; cycles_drain size=4k;')
    gate, last = Gate(), Gate()
    provider.script(chat_stream(400, gates={3: gate, 100: last}))
    left = s.leave('close', stream=True)
    gate.wait_reached()
    left()
    s.ng.wait_error_log('its reply is read to the end')
    gate.open()
    s.ng.wait_error_log(r'\[warn\].*goes beyond "cycles_drain" after \d+ '
                        r'bytes')
    (_, estimate), (_, amount) = s.story('commit')
    last.open()
    prompt = estimate - MAX_TOKENS * OUTPUT
    assert (prompt + OUTPUT * chunk_tokens(3) < amount
            <= prompt + OUTPUT * chunk_tokens(100))
    s.who.audit()


def test_bounded_in_number(scene, provider):
    """One is read to its end, the next one is cut."""

    s = scene('ledger', 'proxy_buffering off; cycles_drain number=1;',
              workers=1)
    gates = [Gate(), Gate()]
    for gate in gates:
        provider.script(chat_stream(9, gates={3: gate}))
        left = s.leave('close', stream=True)
        gate.wait_reached()
        left()
        s.ng.wait_error_log('its reply is read to the end'
                            if gate is gates[0] else
                            'as many replies as "cycles_drain" allows')
    wait_until(lambda: len(s.who.story('acme')) == 3, what='a commit')
    gates[0].open()
    wait_until(lambda: s.who.live() == 0, what='the other commit')
    amounts = sorted(a for k, a in s.who.story('acme') if k == 'commit')
    assert cost(10, 9) in amounts and len(amounts) == 2
    gates[1].open()

    # and there is room for another one

    gate = Gate()
    provider.script(chat_stream(7, gates={3: gate}))
    left = s.leave('close', stream=True)
    gate.wait_reached()
    left()
    wait_until(lambda: s.ng.error_log().count('read to the end') == 2)
    gate.open()
    wait_until(lambda: ('commit', cost(10, 7)) in s.who.story('acme'))
    s.who.audit()


def test_a_provider_that_breaks_off_while_drained(scene, provider):
    s = scene('ledger', 'proxy_buffering off;')
    gate = Gate()

    def reply(rq):
        whole = chat_stream(4)(rq)
        steps = list(whole.steps)[:3]
        return Reply(200, {'Content-Type': 'text/event-stream'},
                     steps + [gate, CLOSE], 'chunked')

    provider.script(reply)
    left = s.leave('close', stream=True)
    gate.wait_reached()
    left()
    s.ng.wait_error_log('its reply is read to the end')
    gate.open()
    assert s.story('commit')[1][1] > 0
    s.who.audit()


# ----------------------------------------------------------- what else it may


@BOTH
@pytest.mark.parametrize('policy', ['estimate', 'input', 'hold'])
def test_on_abort(scene, provider, kind, policy):
    s = scene(kind, '''
        proxy_buffering off;
        cycles_ttl 1s;
        cycles_timeout 200ms;
        cycles_grace_period 0;
        cycles_on_abort %s;
    ''' % policy)
    gate = Gate()
    provider.script(chat_stream(9, gates={3: gate}))
    left = s.leave('close', stream=True)
    gate.wait_reached()
    left()

    if policy == 'hold':
        s.ng.wait_error_log('is left to its expiry')
        s.who.settled(10)
        gate.open()
        assert s.spent() == 0
        kinds = [k for k, _ in s.who.story('acme')]
        assert 'commit' not in kinds and 'release' not in kinds
        return

    (_, estimate), (_, amount) = s.story('commit')
    gate.open()
    prompt = estimate - MAX_TOKENS * OUTPUT
    assert amount == prompt + (OUTPUT * chunk_tokens(3)
                               if policy == 'estimate' else 0)
    s.who.audit()


@BOTH
@pytest.mark.parametrize('policy', ['estimate', 'release', 'hold'])
def test_on_missing_usage(scene, provider, kind, policy):
    """A whole reply that says nothing of its cost."""

    s = scene(kind, '''
        cycles_ttl 1s;
        cycles_timeout 200ms;
        cycles_grace_period 0;
        cycles_on_missing_usage %s;
    ''' % policy)
    provider.script(lambda rq: Reply(
        200, {'Content-Type': 'application/json'},
        [b'{"choices":[{"message":{"content":"word word"}}]}']))
    r = s.ng.chat(tenant='acme', max_tokens=MAX_TOKENS)
    assert r.status == 200

    if policy == 'estimate':
        assert s.story('commit')[1][1] > 0
    elif policy == 'release':
        s.story('release')
        s.ng.wait_error_log(r'\[warn\].*reply without usage, reservation '
                            r'"[^"]+" is released')
    else:
        s.ng.wait_error_log('is left to its expiry')
        s.who.settled(10)
        assert 'commit' not in [k for k, _ in s.who.story('acme')]

    if policy != 'estimate':
        assert s.spent() == 0


@BOTH
def test_a_timeout_is_no_reply(scene, provider, kind):
    """The page that nginx answers with is not the provider's: it took the
    request, and that is not for nothing."""

    s = scene(kind, '''
        proxy_read_timeout 300ms;
        cycles_on_missing_usage release;
        cycles_on_abort hold;
    ''')
    provider.script(STALL)
    assert s.ng.chat(tenant='acme', max_tokens=MAX_TOKENS).status == 504
    (_, estimate), (_, amount) = s.story('commit')
    assert amount == estimate - MAX_TOKENS * OUTPUT
    s.who.audit()
