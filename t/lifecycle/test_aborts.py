# Copyright (C) nginx-cycles authors

"""How a request can end, state by state: what the authority is asked and
what the budget says afterwards, with both authorities and with buffering of
the reply on and off.  A client that leaves cuts its request short here;
test_drain.py is about those whose replies are read to the end.

Every request is of its own tenant, so that its story can be told exactly; the
last test adds up the stories of the whole run.
"""

import json

import pytest

import gateway
from gateway import (CLOSE, Conn, FakeProvider, Gate, Nginx, Reply, RESET,
                     STALL, build_request, chat, chat_request, chat_stream,
                     error, sse_events, wait_until)
from authorities import authority, chunk_tokens, cost, text_tokens, OUTPUT
from raw import Blackhole, H2Conn


BUDGET = 100000000
TENANTS = 400

MAX_TOKENS = 100

LEDGER = 'ledger'
CYCLES = 'cycles'

BOTH = [(kind, buffering) for kind in (LEDGER, CYCLES)
        for buffering in ('on', 'off')]
REMOTE = [item for item in BOTH if item[0] == CYCLES]


LOCATIONS = '''
    location /silent/ {
        %%GUARD%%
        proxy_read_timeout 300ms;
        proxy_pass http://provider;
    }

    location /patient/ {
        %%GUARD%%
        proxy_ignore_client_abort on;
        proxy_pass http://provider;
    }

    location /refused/ {
        %%GUARD%%
        proxy_pass http://127.0.0.1:%%DEAD%%;
    }

    location /hole/ {
        %%GUARD%%
        proxy_pass http://127.0.0.1:%%HOLE%%;
    }

    location /hole-timeout/ {
        %%GUARD%%
        proxy_connect_timeout 300ms;
        proxy_pass http://127.0.0.1:%%HOLE%%;
    }

    location /next/refused/ {
        %%GUARD%%
        proxy_next_upstream error timeout http_500 http_429 non_idempotent;
        proxy_pass http://refused_then_good;
    }

    location /next/ {
        %%GUARD%%
        proxy_read_timeout 300ms;
        proxy_next_upstream error timeout http_500 http_429 non_idempotent;
        proxy_pass http://bad_then_good;
    }

    location /page/ {
        %%GUARD%%
        error_page 502 504 /sorry.html;
        proxy_read_timeout 300ms;
        proxy_pass http://provider;
    }

    location /page/refused/ {
        %%GUARD%%
        error_page 502 504 /sorry.html;
        proxy_pass http://127.0.0.1:%%DEAD%%;
    }

    location = /sorry.html {
        root %%DIR%%;
    }

    location /fallback/ {
        %%GUARD%%
        error_page 502 503 504 = @fallback;
        proxy_intercept_errors on;
        proxy_pass http://provider;
    }

    location /fallback/refused/ {
        %%GUARD%%
        error_page 502 503 504 = @fallback;
        proxy_pass http://127.0.0.1:%%DEAD%%;
    }

    location @fallback {
        %%GUARD%%
        proxy_pass http://second;
    }

    location /elsewhere/ {
        internal;
        %%GUARD%%
        proxy_pass http://second;
    }

    location /static/ {
        internal;
        alias %%DIR%%/;
    }

    location /rewritten/ {
        %%GUARD%%
        return 200 "rewritten";
    }

    location /cached/ {
        %%GUARD%%
        proxy_cache replies;
        proxy_cache_methods POST;
        proxy_cache_key $request_uri;
        proxy_cache_valid 200 1h;
        proxy_pass http://provider;
    }
'''

HTTP = '''
    cycles_on_abort estimate;
    proxy_buffering %%BUFFERING%%;
    proxy_buffers 4 4k;
    proxy_buffer_size 4k;
    proxy_busy_buffers_size 4k;
    proxy_cache_path %%DIR%%/cache keys_zone=replies:1m;

    upstream second {
        server 127.0.0.1:%%SECOND%%;
        keepalive 8;
    }

    upstream refused_then_good {
        server 127.0.0.1:%%DEAD%% max_fails=0;
        server 127.0.0.1:%%SECOND%% max_fails=0 backup;
    }

    upstream bad_then_good {
        server 127.0.0.1:%%PROVIDER%% max_fails=0;
        server 127.0.0.1:%%SECOND%% max_fails=0 backup;
    }
'''


class Scene:
    """One nginx with its providers and its authority, for all tests."""

    def __init__(self, kind, buffering):
        self.count = 0
        self.charged = 0                  # by all cases that have ended
        self.buffering = buffering
        self.provider = FakeProvider()
        self.second = FakeProvider()
        self.hole = Blackhole()
        self.authority = authority(
            kind, {'tenant:t%d' % n: BUDGET for n in range(TENANTS)})
        self.authority.__enter__()
        self.ng = Nginx(h2=True, second=self.second.port, hole=self.hole.port,
                        dead=gateway.free_port(), buffering=buffering,
                        **self.authority.gateway(
                            self.provider, server=LOCATIONS, http=HTTP,
                            location='cycles_retry initial=20ms;',
                            files={'sorry.html': 'sorry',
                                   'reply.json': '{}'}))
        self.authority.attach(self.ng)

    def start(self):
        try:
            self.ng.start()
        except Exception:
            self.ng.close()
            raise
        return self

    def close(self):
        try:
            self.ng.quit()                # complains of what is still open
            self.ng.check()
        finally:
            self.ng.close()
            self.hole.close()
            self.authority.__exit__()
            self.provider.stop()
            self.second.stop()

    def forget(self):
        """Replies that the last test did not use up."""

        for provider in self.provider, self.second:
            with provider._lock:
                provider._script.clear()

    def case(self, path='/v1/chat/completions', **members):
        """A request of a new tenant."""

        self.count += 1
        return Case(self, 't%d' % self.count, path, members)


class Case:

    def __init__(self, scene, tenant, path, members):
        self.max_tokens = members.setdefault('max_tokens', MAX_TOKENS)
        self.scene = scene
        self.tenant = tenant
        self.path, self.headers, self.body = chat_request(
            tenant=tenant, path=path + '?' + tenant, **members)
        self.asked = len(scene.provider.requests)

    def bytes(self):
        return build_request('POST', self.path, self.headers, self.body)

    def connect(self):
        conn = Conn(self.scene.ng.port)
        conn.send(self.bytes())
        return conn

    def send(self):
        with self.connect() as conn:
            return conn.read_response()

    def provider_request(self):
        """The request as the provider has it."""

        return self.scene.provider.wait_requests(self.asked + 1)

    def nothing_asked(self):
        return len(self.scene.provider.requests) == self.asked

    def logged(self):
        """Its line of the access log: nginx is done with the request."""

        def lines():
            return [line for line in self.scene.ng.access_log()
                    if line['uri'].endswith('?' + self.tenant)]

        wait_until(lines, what='access log of ' + self.tenant)
        return lines()[-1]

    def ends(self, *story):
        """story: ('commit', amount) and the like behind the reservation;
        amounts may be functions of (estimate, cost of its input).  Also what
        the budget says afterwards."""

        who = self.scene.authority
        kinds = [item[0] for item in story]
        found = who.wait_story(self.tenant, 'reserve', *kinds)

        estimate = found[0][1]
        prompt = estimate - self.max_tokens * OUTPUT
        assert prompt > 0 and prompt % 15 == 0

        expected = [('reserve', estimate)]
        for kind, *amount in story:
            amount = amount[0] if amount else None
            if callable(amount):
                amount = amount(estimate, prompt)
            expected.append((kind, amount))
        assert found == expected

        kept = [amount for kind, amount in expected
                if kind in ('commit', 'event')]
        spent = kept[-1] if kept else 0

        wait_until(lambda: self.budget()['reserved'] == 0,
                   what='the reservation to be settled')
        budget = self.budget()
        assert budget['spent'] == spent
        assert budget['remaining'] == BUDGET - spent
        assert budget['debt'] == 0
        self.scene.charged += spent

    def budget(self):
        return self.scene.authority.budget('tenant:' + self.tenant)

    def never_reserved(self):
        assert self.scene.authority.story(self.tenant) == []
        assert self.budget()['remaining'] == BUDGET


scenes = {}


@pytest.fixture(scope='module', autouse=True)
def close_scenes():
    yield
    failures = []
    for scene in scenes.values():
        try:
            scene.close()
        except Exception as exc:
            failures.append(exc)
    if failures:
        raise failures[0]


def on_stage(kind, buffering):
    if (kind, buffering) not in scenes:
        scenes[kind, buffering] = Scene(kind, buffering).start()
    return scenes[kind, buffering]


@pytest.fixture
def scene(kind, buffering):
    found = on_stage(kind, buffering)
    found.forget()
    return found


def stages(items=BOTH):
    return pytest.mark.parametrize('kind,buffering', items,
                                   ids=['%s-%s' % item for item in items])


def leave_fin(conn):
    conn.close()


def leave_rst(conn):
    conn.reset()


LEAVES = pytest.mark.parametrize('leave', [leave_fin, leave_rst],
                                 ids=['FIN', 'RST'])


# amounts

def whole_estimate(estimate, prompt):
    return estimate


def input_only(estimate, prompt):
    return prompt


def passed(chunks, word='word '):
    """The input, and what is estimated for so many chunks."""

    return lambda estimate, prompt: (prompt + OUTPUT
                                     * chunk_tokens(chunks, word))


def split_reply(make, where, gate, end=None, framing='length'):
    """A plain reply with a gate inside; end: RESET, CLOSE or STALL there.
    The blanks fill nginx's buffer, or it would keep the first part back."""

    def reply(rq):
        whole = make(rq).steps[0].replace(where, b' ' * 8192 + where)
        at = whole.index(where)
        rest = whole[at:] if end is None else end
        return Reply(200, None, [whole[:at], gate, rest], framing,
                     length=len(whole))

    return reply


# ------------------------------------------------------- the client leaves


@stages()
@LEAVES
def test_leaves_inside_its_body(scene, leave):
    case = scene.case()
    head, _, body = case.bytes().partition(b'\r\n\r\n')
    conn = Conn(scene.ng.port)
    conn.send(head + b'\r\n\r\n' + body[:20])
    leave(conn)
    case.logged()
    case.never_reserved()
    assert case.nothing_asked()


@stages()
def test_leaves_inside_a_long_body(scene):
    """Part of it is in a file already."""

    case = scene.case(content='word ' * 40000)
    head, _, body = case.bytes().partition(b'\r\n\r\n')
    conn = Conn(scene.ng.port)
    conn.send(head + b'\r\n\r\n' + body[:-1])
    conn.close()
    case.logged()
    case.never_reserved()
    assert case.nothing_asked()


@stages(REMOTE)
@LEAVES
def test_leaves_during_reserve(scene, leave):
    """The reservation that comes too late is given back."""

    cycles = scene.authority.cycles
    case = scene.case()
    cycles.fault('reserve', 'hold')
    conn = case.connect()
    scene.authority.wait_story(case.tenant, 'reserve')
    leave(conn)
    assert case.logged()['status'] == '499'
    cycles.release()
    case.ends(('release',))
    assert case.nothing_asked()

    release, = scene.authority.entries(case.tenant, 'release')
    assert release.json['reason'] == 'client_disconnect'


@stages(REMOTE)
def test_leaves_during_reserve_that_is_denied(scene):
    cycles = scene.authority.cycles
    case = scene.case(max_tokens=16000, n=128)
    cycles.fault('reserve', 'hold')
    conn = case.connect()
    scene.authority.wait_story(case.tenant, 'reserve')
    conn.close()
    case.logged()
    cycles.release()
    cycles.wait(lambda: scene.authority.entries(case.tenant)[0].status)
    assert scene.authority.entries(case.tenant)[0].status == 409
    assert case.budget()['remaining'] == BUDGET
    assert len(scene.authority.story(case.tenant)) == 1


@stages()
@LEAVES
def test_leaves_while_the_provider_is_connected_to(scene, leave):
    case = scene.case(path='/hole/')
    conn = case.connect()
    scene.authority.wait_story(case.tenant, 'reserve')
    leave(conn)
    assert case.logged()['status'] == '499'
    case.ends(('release',))


@stages()
@LEAVES
def test_leaves_before_the_first_byte(scene, leave):
    """The provider took the request: its input was paid for."""

    scene.provider.script(STALL)
    case = scene.case()
    conn = case.connect()
    rq = case.provider_request()
    leave(conn)
    case.ends(('commit', input_only))
    assert rq.peer_closed.wait(gateway.TIMEOUT)
    assert case.logged()['cycles_usage_source'] == 'input_only'


@stages()
@LEAVES
def test_leaves_behind_the_header(scene, leave):
    gate = Gate()
    scene.provider.script(chat_stream(8, gates={0: gate}))
    case = scene.case(stream=True)
    conn = case.connect()
    gate.wait_reached()
    if scene.buffering == 'off':
        assert conn.read_head()[0] == 200
    leave(conn)
    case.ends(('commit', input_only))
    gate.open()


@stages()
@LEAVES
def test_leaves_inside_a_stream(scene, leave):
    gate = Gate()
    scene.provider.script(chat_stream(8, gates={5: gate}))
    case = scene.case(stream=True)
    conn = case.connect()
    for _ in range(5):
        conn.read_until(b'"content": "word "')
        conn.read_until(b'\n\n')
    leave(conn)
    case.ends(('commit', passed(5)))
    gate.open()
    assert case.logged()['cycles_usage_source'] == 'estimated'


@stages()
@LEAVES
def test_leaves_inside_a_plain_reply(scene, leave):
    gate = Gate()
    body = chat(content='one two three four', completion=4)
    scene.provider.script(split_reply(body, b'"usage"', gate))
    case = scene.case()
    conn = case.connect()
    conn.read_until(b'three four')
    leave(conn)
    case.ends(('commit', lambda estimate, prompt: prompt + OUTPUT
               * text_tokens('one two three four')))
    gate.open()


@stages([item for item in BOTH if item[1] == 'on'])
@LEAVES
def test_leaves_without_reading_a_long_reply(scene, leave):
    """nginx has all of the reply, in a file, the client nothing of it; what
    it costs is settled while the client still has not read."""

    chunks, word = 6000, 'word ' * 300
    scene.provider.script(chat_stream(chunks, prompt=20, word=word))
    case = scene.case(stream=True, max_tokens=8000)
    conn = case.connect()
    scene.authority.wait_story(case.tenant, 'reserve', 'commit')
    leave(conn)
    line = case.logged()
    assert line['cycles_usage_source'] == 'reported'
    assert int(line['bytes']) < chunks * len(word)
    case.ends(('commit', cost(20, chunks)))


@stages()
@LEAVES
def test_leaves_without_reading_a_short_reply(scene, leave):
    scene.provider.script(chat_stream(3, prompt=20, completion=3))
    case = scene.case(stream=True)
    conn = case.connect()
    scene.authority.wait_story(case.tenant, 'reserve', 'commit')
    leave(conn)
    case.ends(('commit', cost(20, 3)))


@stages([item for item in BOTH if item[1] == 'on'])
@LEAVES
def test_leaves_and_is_ignored(scene, leave):
    """With proxy_ignore_client_abort the provider is read to its end; nginx
    only does so when it buffers."""

    gate = Gate()
    scene.provider.script(chat(prompt=8, completion=9, gate=gate))
    case = scene.case(path='/patient/')
    conn = case.connect()
    gate.wait_reached()
    leave(conn)
    gate.open()
    case.ends(('commit', cost(8, 9)))


@stages()
def test_leaves_before_a_second_try(scene):
    """Nobody waits any more when the first provider fails."""

    gate = Gate()

    def late_error(rq):
        rq.gate_before_head = gate
        return error(500)

    asked = len(scene.second.requests)
    scene.provider.script(late_error)
    case = scene.case(path='/next/')
    conn = case.connect()
    gate.wait_reached()
    conn.close()
    case.logged()
    gate.open()
    case.ends(('commit', input_only))
    assert len(scene.second.requests) == asked


@stages(REMOTE)
@LEAVES
def test_leaves_during_commit(scene, leave):
    cycles = scene.authority.cycles
    cycles.fault('commit', 'hold')
    case = scene.case()
    conn = case.connect()
    assert conn.read_response().status == 200
    scene.authority.wait_story(case.tenant, 'reserve', 'commit')
    leave(conn)
    cycles.release()
    case.ends(('commit', cost(10, 5)))


@stages(REMOTE)
def test_leaves_before_a_commit_that_fails(scene):
    cycles = scene.authority.cycles
    cycles.fault('commit', 'unavailable')
    cycles.fault('commit', 'drop_after')
    case = scene.case()
    conn = case.connect()
    assert conn.read_response().status == 200
    conn.reset()
    case.ends(('commit', cost(10, 5)), ('commit', cost(10, 5)),
              ('commit', cost(10, 5)))
    commits = scene.authority.entries(case.tenant, 'commit')
    assert len({entry.body for entry in commits}) == 1


# HTTP/2


def h2_case(scene, **members):
    case = scene.case(**members)
    conn = H2Conn(scene.ng.h2_port)
    stream = conn.request('POST', case.path, case.headers, case.body)
    return case, conn, stream


def h2_reset(conn, stream):
    conn.reset(stream)


def h2_close(conn, stream):
    conn.close()


H2_LEAVES = pytest.mark.parametrize('leave', [h2_reset, h2_close],
                                    ids=['RST_STREAM', 'close'])


@stages()
@H2_LEAVES
def test_h2_leaves_inside_its_body(scene, leave):
    case = scene.case()
    with H2Conn(scene.ng.h2_port) as conn:
        stream = conn.request('POST', case.path, case.headers,
                              case.body[:20], end=False)
        leave(conn, stream)
        case.logged()
        case.never_reserved()
    assert case.nothing_asked()


@stages(REMOTE)
@H2_LEAVES
def test_h2_leaves_during_reserve(scene, leave):
    cycles = scene.authority.cycles
    cycles.fault('reserve', 'hold')
    case, conn, stream = h2_case(scene)
    scene.authority.wait_story(case.tenant, 'reserve')
    leave(conn, stream)
    assert case.logged()['status'] == '499'
    cycles.release()
    case.ends(('release',))
    assert case.nothing_asked()
    conn.close()


@stages()
@H2_LEAVES
def test_h2_leaves_before_the_first_byte(scene, leave):
    scene.provider.script(STALL)
    case, conn, stream = h2_case(scene)
    case.provider_request()
    leave(conn, stream)
    case.ends(('commit', input_only))
    conn.close()


@stages()
@H2_LEAVES
def test_h2_leaves_inside_a_stream(scene, leave):
    gate = Gate()
    scene.provider.script(chat_stream(8, gates={5: gate}))
    case, conn, stream = h2_case(scene, stream=True)
    conn.read_until(lambda: conn.data[stream].count(b'word ') == 5
                    and conn.data[stream].endswith(b'\n\n'))
    leave(conn, stream)
    case.ends(('commit', passed(5)))
    gate.open()
    conn.close()


@stages()
def test_h2_streams_settle_one_by_one(scene):
    """One stream of a connection is reset, its neighbours go on."""

    gates = [Gate() for _ in range(3)]
    with H2Conn(scene.ng.h2_port) as conn:
        cases, streams = [], []
        for gate in gates:
            scene.provider.script(chat_stream(4, prompt=7, gates={2: gate}))
            case = scene.case(stream=True)
            stream = conn.request('POST', case.path, case.headers, case.body)
            conn.read_until(lambda: conn.data[stream].count(b'word ') == 2)
            cases.append(case)
            streams.append(stream)

        conn.reset(streams[1])
        cases[1].ends(('commit', passed(2)))
        for gate in gates:
            gate.open()
        for n in (0, 2):
            assert b'[DONE]' in conn.read_response(streams[n])
            cases[n].ends(('commit', cost(7, 4)))


# --------------------------------------------------------- the provider fails


@stages()
def test_provider_refuses(scene):
    case = scene.case(path='/refused/')
    assert case.send().status == 502
    case.ends(('release',))


@stages()
def test_provider_can_not_be_connected_to(scene):
    case = scene.case(path='/hole-timeout/')
    assert case.send().status == 504
    case.ends(('release',))


@stages()
@pytest.mark.parametrize('mark', [RESET, CLOSE], ids=['reset', 'close'])
def test_provider_ends_before_a_byte(scene, mark):
    scene.provider.script(mark)
    case = scene.case()
    assert case.send().status == 502
    case.ends(('release',))
    assert len(scene.provider.requests) == case.asked + 1


@stages()
@pytest.mark.parametrize('framing', ['length', 'chunked'])
@pytest.mark.parametrize('mark', [RESET, CLOSE], ids=['reset', 'close'])
def test_plain_reply_is_cut(scene, framing, mark):
    gate = Gate()
    body = chat(content='one two three four', completion=4)
    scene.provider.script(split_reply(body, b'"usage"', gate, mark, framing))
    case = scene.case()
    with case.connect() as conn:
        conn.read_until(b'three four')
        gate.open()
        conn.wait_closed()
        assert b'usage' not in conn.buf
        assert not conn.buf.endswith(b'0\r\n\r\n')
    case.ends(('commit', lambda estimate, prompt: prompt + OUTPUT
               * text_tokens('one two three four')))


@stages()
@pytest.mark.parametrize('mark', [RESET, CLOSE], ids=['reset', 'close'])
def test_stream_is_cut(scene, mark):
    gate = Gate()
    scene.provider.script(chat_stream(8, gates={5: gate}, cut=(5, mark)))
    case = scene.case(stream=True)
    with case.connect() as conn:
        for _ in range(5):
            conn.read_until(b'"content": "word "')
        gate.open()
        conn.wait_closed()
        assert not conn.buf.endswith(b'0\r\n\r\n')
    case.ends(('commit', passed(5)))


@stages()
def test_stream_is_cut_within_an_event(scene):
    """What has passed of it counts as well."""

    def reply(rq):
        made = chat_stream(4, end=False, with_usage=False)(rq)
        part, word, _ = made.steps[3].partition(b'"content": "word "')
        made.steps[3:] = [part + word, gate, CLOSE]
        return made

    gate = Gate()
    scene.provider.script(reply)
    case = scene.case(stream=True, stream_options={'include_usage': True})
    with case.connect() as conn:
        for _ in range(4):
            conn.read_until(b'"content": "word "')
        gate.open()
        conn.wait_closed()
    case.ends(('commit', passed(4)))


@stages()
@pytest.mark.parametrize('mark', [RESET, CLOSE], ids=['reset', 'close'])
def test_stream_is_cut_behind_its_usage(scene, mark):
    """What was reported counts, whatever followed."""

    def reply(rq):
        made = chat_stream(4, prompt=11, end=False)(rq)
        made.steps += [gate, mark]
        return made

    gate = Gate()
    scene.provider.script(reply)
    case = scene.case(stream=True, stream_options={'include_usage': True})
    with case.connect() as conn:
        conn.read_until(b'"total_tokens"')
        gate.open()
        conn.wait_closed()
    case.ends(('commit', cost(11, 4)))


@stages()
def test_stream_ends_with_its_connection(scene):
    scene.provider.script(chat_stream(4, prompt=11, framing='close'))
    case = scene.case(stream=True)
    events = sse_events(case.send().body)
    assert events[-1][1] == '[DONE]' and len(events) == 5
    case.ends(('commit', cost(11, 4)))


@stages()
def test_provider_takes_too_long_to_answer(scene):
    scene.provider.script(STALL)
    case = scene.case(path='/silent/')
    assert case.send().status == 504
    case.ends(('commit', input_only))
    assert case.logged()['cycles_usage_source'] == 'input_only'


@stages()
def test_provider_takes_too_long_inside_a_stream(scene):
    scene.provider.script(chat_stream(8, cut=(5, STALL)))
    case = scene.case(path='/silent/', stream=True)
    with case.connect() as conn:
        conn.wait_closed()
        assert conn.buf.count(b'word ') == 5
    case.ends(('commit', passed(5)))


@stages()
@pytest.mark.parametrize('status', [400, 401, 404, 429, 500, 503])
def test_provider_answers_with_an_error(scene, status):
    scene.provider.script(error(status, headers={'Retry-After': '7'}))
    case = scene.case()
    r = case.send()
    assert r.status == status
    assert r.header('retry-after') == '7'
    assert r.json['error']['message'] == 'failed'
    case.ends(('release',))


@stages()
@pytest.mark.parametrize('status', [400, 500])
def test_error_that_reports_usage(scene, status):
    def reply(rq):
        made = chat(prompt=30, completion=2)(rq)
        made.status = status
        return made

    scene.provider.script(reply)
    case = scene.case()
    assert case.send().status == status
    case.ends(('commit', cost(30, 2)))


@stages()
def test_reply_without_usage(scene):
    scene.provider.script(chat(content='one two', with_usage=False))
    case = scene.case()
    assert case.send().status == 200
    case.ends(('commit', lambda estimate, prompt: prompt + OUTPUT
               * text_tokens('one two')))


@stages()
def test_stream_without_usage(scene):
    scene.provider.script(chat_stream(5, with_usage=False))
    case = scene.case(stream=True)
    case.send()
    case.ends(('commit', passed(5)))


# -------------------------------------------------- more than one attempt


@stages()
def test_next_upstream_behind_a_refusal(scene):
    scene.second.script(chat(prompt=3, completion=2))
    case = scene.case(path='/next/refused/')
    assert case.send().status == 200
    case.ends(('commit', cost(3, 2)))


@stages()
@pytest.mark.parametrize('bad', [error(500), error(429), RESET, CLOSE, STALL],
                         ids=['500', '429', 'reset', 'close', 'timeout'])
def test_next_upstream(scene, bad):
    """The body that we have changed, too long for a buffer, goes to both."""

    asked = len(scene.second.requests)
    scene.provider.script(bad)
    scene.second.script(chat_stream(2, prompt=3))
    case = scene.case(path='/next/', stream=True, content='word ' * 20000)
    r = case.send()
    assert r.status == 200 and r.complete
    assert sse_events(r.body)[-1][1] == '[DONE]'
    assert len(scene.provider.requests) == case.asked + 1
    assert len(scene.second.requests) == asked + 1
    first = scene.provider.requests[case.asked]
    second = scene.second.requests[asked]
    assert first.body == second.body
    sent = dict(first.json)
    assert sent.pop('stream_options') == {'include_usage': True}
    assert sent == json.loads(case.body)
    case.ends(('commit', cost(3, 2)))


@stages()
@pytest.mark.parametrize('bad,ends', [
    ((error(500), error(500)), ('release',)),
    ((error(500), RESET), ('release',)),
    ((STALL, error(500)), ('commit', input_only)),
    ((RESET, STALL), ('commit', input_only)),
], ids=['500-500', '500-reset', 'timeout-500', 'reset-timeout'])
def test_next_upstream_that_fails_as_well(scene, bad, ends):
    scene.provider.script(bad[0])
    scene.second.script(bad[1])
    case = scene.case(path='/next/')
    assert case.send().status >= 500
    case.ends(ends)


@stages()
def test_next_upstream_inside_a_stream(scene):
    """Once the reply has begun there is no other attempt."""

    gate = Gate()
    asked = len(scene.second.requests)
    scene.provider.script(chat_stream(8, gates={2: gate}, cut=(2, RESET)))
    case = scene.case(path='/next/', stream=True)
    with case.connect() as conn:
        conn.read_until(b'word ')
        conn.read_until(b'word ')
        gate.open()
        conn.wait_closed()
    assert len(scene.second.requests) == asked
    case.ends(('commit', passed(2)))


@stages()
def test_error_page_that_is_a_file(scene):
    case = scene.case(path='/page/refused/')
    r = case.send()
    assert r.status == 502 and r.body == b'sorry'
    case.ends(('release',))


@stages()
def test_error_page_behind_a_timeout(scene):
    scene.provider.script(STALL)
    case = scene.case(path='/page/')
    r = case.send()
    assert r.status == 504 and r.body == b'sorry'
    case.ends(('commit', input_only))


@stages()
def test_error_page_that_asks_another_provider(scene):
    scene.second.script(chat(prompt=3, completion=2))
    case = scene.case(path='/fallback/refused/')
    assert case.send().status == 200
    case.ends(('commit', cost(3, 2)))
    assert case.logged()['cycles_decision'] == 'ALLOW'


@stages()
def test_intercepted_error_asks_another_provider(scene):
    scene.provider.script(error(503))
    scene.second.script(chat_stream(3, prompt=3))
    case = scene.case(path='/fallback/', stream=True)
    r = case.send()
    assert r.status == 200
    assert sse_events(r.body)[-1][1] == '[DONE]'
    case.ends(('commit', cost(3, 3)))


@stages()
def test_both_providers_fail(scene):
    scene.provider.script(error(503))
    scene.second.script(error(500))
    case = scene.case(path='/fallback/')
    assert case.send().status == 500
    case.ends(('release',))


@stages()
def test_accel_redirect_to_another_provider(scene):
    scene.provider.script(Reply(200, {'X-Accel-Redirect': '/elsewhere/'},
                                b'{}'))
    scene.second.script(chat(prompt=3, completion=2))
    case = scene.case()
    assert case.send().status == 200
    case.ends(('commit', cost(3, 2)))


@stages()
def test_accel_redirect_to_a_file(scene):
    """The provider took the request and we will never see its usage."""

    scene.provider.script(Reply(
        200, {'X-Accel-Redirect': '/static/reply.json'}, b'{}'))
    case = scene.case()
    r = case.send()
    assert r.status == 200 and r.body == b'{}'
    case.ends(('commit', whole_estimate))


@stages()
def test_answer_of_the_rewrite_phase(scene):
    case = scene.case(path='/rewritten/')
    assert case.send().body == b'rewritten'
    case.logged()
    case.never_reserved()


@stages()
def test_cached_reply(scene):
    """A reply that no provider gave costs nothing."""

    if scene.buffering == 'off':
        return                                    # nginx caches none then

    path = '/cached/%d' % scene.count
    first, second = scene.case(path), scene.case(path)
    second.path = first.path
    scene.provider.script(chat(prompt=3, completion=2))
    assert first.send().status == 200
    first.ends(('commit', cost(3, 2)))

    r = second.send()
    assert r.status == 200 and r.json['usage']['prompt_tokens'] == 3
    second.ends(('release',))
    assert len(scene.provider.requests) == second.asked + 1


@stages()
def test_pipelined_requests(scene):
    """Two requests in one packet have two reservations."""

    scene.provider.script(chat(prompt=3, completion=2),
                          chat(prompt=4, completion=3))
    first, second = scene.case(), scene.case()
    with Conn(scene.ng.port) as conn:
        conn.send(first.bytes() + second.bytes())
        assert conn.read_response().json['usage']['prompt_tokens'] == 3
        assert conn.read_response().json['usage']['prompt_tokens'] == 4
    first.ends(('commit', cost(3, 2)))
    second.ends(('commit', cost(4, 3)))


@stages()
def test_pipelined_request_of_a_client_that_leaves(scene):
    gate = Gate()
    scene.provider.script(chat_stream(4, gates={2: gate}))
    first, second = scene.case(stream=True), scene.case()
    conn = Conn(scene.ng.port)
    conn.send(first.bytes() + second.bytes())
    conn.read_until(b'word ')
    conn.read_until(b'word ')
    conn.reset()
    gate.open()
    first.logged()
    first.ends(('commit', passed(2)))
    second.never_reserved()


# --------------------------------------------------------------- all of it


@stages()
def test_the_whole_run_adds_up(scene):
    """Nothing is live, each reservation has one settlement, retries were the
    same bytes: audit() of t/lib/authorities.py."""

    sums = scene.authority.audit()
    assert sums['reserved'] > 0
    assert sums['expired'] == 0
    assert sums['charged'] == scene.charged
