# Copyright (C) nginx-cycles authors

"""Corners of nginx in which a request could go free, be charged twice, or hold
its money for ever: replies that are none, caches, upgrades, other modules
between, and clients that settle what is not theirs."""

import hashlib
import json
import os

import pytest

import gateway
from gateway import (CLOSE, Conn, FakeProvider, Gate, Reply, STALL, budgets,
                     chat, chat_stream, error, wait_until)
from authorities import OUTPUT, Ledger, authority, chunk_tokens, cost


BUDGET = 10 ** 9
TENANTS = 60
MAX_TOKENS = 100
SECRET = 'cyc_of_a_tenant'

FIXED = '''
    cycles_action a b;
    cycles_estimate 500;
    cycles_actual estimate;
'''

SHORT = 'proxy_read_timeout 300ms;'

LOCATIONS = '''
    location /small/ {
        %%GUARD%%
        proxy_buffer_size 1k;
        proxy_pass http://provider;
    }

    location /next/ {
        %%GUARD%%
        proxy_next_upstream error invalid_header non_idempotent;
        proxy_pass http://bad_then_good;
    }

    location /stale/ {
        %%GUARD%%
        proxy_cache replies;
        proxy_cache_methods POST;
        proxy_cache_key $uri;
        proxy_cache_use_stale error timeout http_500;
        ''' + SHORT + '''
        proxy_pass http://provider;
    }

    location /locked/ {
        %%GUARD%%
        proxy_cache replies;
        proxy_cache_methods POST;
        proxy_cache_key $uri;
        proxy_cache_valid 200 1h;
        proxy_cache_lock on;
        proxy_pass http://provider;
    }

    location /upgrade/ {
        %%GUARD%%
        ''' + FIXED + '''
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection upgrade;
        proxy_pass http://provider;
    }

    location /try/ {
        %%GUARD%%
        try_files /nothing @metered;
    }

    location @metered {
        %%GUARD%%
        proxy_pass http://provider;
    }

    location /mirrored/ {
        %%GUARD%%
        mirror /copy/;
        proxy_pass http://provider;
    }

    location /copy/ {
        internal;
        proxy_pass http://second;
    }

    location /late/ {
        %%GUARD%%
        limit_req zone=late burst=5;
        proxy_pass http://provider;
    }

    location /added/ {
        %%GUARD%%
        add_before_body /fixed/before;
        add_after_body /fixed/after;
        addition_types application/json;
        proxy_pass http://provider;
    }

    location /ssi/ {
        %%GUARD%%
        ssi on;
        ssi_types application/json;
        proxy_pass http://provider;
    }

    location /fixed/ {
        %%GUARD%%
        ''' + FIXED + '''
        proxy_pass http://second;
    }

    location /threads/ {
        %%GUARD%%
        aio threads;
        aio_write on;
        proxy_temp_file_write_size 8k;
        proxy_buffers 4 4k;
        proxy_busy_buffers_size 4k;
        proxy_pass http://provider;
    }

    location /api/ {
        cycles_api ledger=main;
    }
'''

HTTP = '''
    proxy_cache_path %%DIR%%/cache keys_zone=replies:1m;
    limit_req_zone $http_x_tenant zone=late:1m rate=10r/s;

    upstream second { server 127.0.0.1:%%SECOND%%; keepalive 8; }

    upstream bad_then_good {
        server 127.0.0.1:%%PROVIDER%% max_fails=0;
        server 127.0.0.1:%%SECOND%% max_fails=0 backup;
    }
'''


class Scene:

    def __init__(self):
        self.count = 0
        self.charged = 0
        self.provider = FakeProvider()
        self.second = FakeProvider()
        self.who = Ledger({'tenant:t%d' % n: BUDGET for n in range(TENANTS)})
        self.ng = gateway.Nginx(h2=True, second=self.second.port,
                                **self.who.gateway(
            self.provider, server=LOCATIONS, http=HTTP, files={
                'budgets.json': budgets(
                    *self.who.scopes.items(), ('tenant:poor', 1),
                    tenants=['t%d' % n for n in range(TENANTS)],
                    api_keys=[{
                        'tenant_id': 't%d' % n, 'name': 'key',
                        'secret_sha256': hashlib.sha256(
                            (SECRET + str(n)).encode()).hexdigest()}
                        for n in range(TENANTS)])}))
        self.who.attach(self.ng)

    def tenant(self):
        self.count += 1
        return 't%d' % self.count

    def send(self, tenant, path, **members):
        conn = Conn(self.ng.port)
        members.setdefault('max_tokens', MAX_TOKENS)
        conn.send_chat(tenant=tenant, path=path, **members)
        return conn

    def ask(self, tenant, path, **members):
        with self.send(tenant, path, **members) as conn:
            return conn.read_response()

    def ends(self, tenant, *story):
        """See Case.ends() of test_aborts.py."""

        found = self.who.wait_story(tenant, 'reserve',
                                    *[item[0] for item in story])
        estimate = found[0][1]
        prompt = estimate - MAX_TOKENS * OUTPUT
        charged = 0
        for (kind, *amount), have in zip(story, found[1:]):
            wanted = amount[0] if amount else None
            if callable(wanted):
                wanted = wanted(estimate, prompt)
            assert have == (kind, wanted)
            if kind == 'event':
                charged += wanted
            elif kind == 'commit':
                charged = wanted
        budget = self.who.budget('tenant:' + tenant)
        assert budget['spent'] == charged
        assert budget['reserved'] == 0
        self.charged += charged


@pytest.fixture(scope='module')
def stage():
    scene = Scene()
    try:
        scene.ng.start()
        yield scene
        scene.ng.quit()
        scene.ng.check()
    finally:
        scene.ng.close()
        scene.provider.stop()
        scene.second.stop()


@pytest.fixture
def scene(stage):
    for provider in stage.provider, stage.second:
        with provider._lock:
            provider._script.clear()
    return stage


def input_only(estimate, prompt):
    return prompt


class Raw(Reply):
    """These bytes, and the connection is closed."""

    def __init__(self, data, steps=(CLOSE,)):
        super().__init__(steps=list(steps), framing='close')
        self.data = data

    def head(self):
        return self.data


# ------------------------------------- what nginx can make nothing of


def test_header_that_is_too_big(scene):
    """The provider has done its work; the client gets a 502 of nginx's."""

    tenant = scene.tenant()
    scene.provider.script(chat(headers={'X-Large': 'x' * 2000}))
    assert scene.ask(tenant, '/small/').status == 502
    scene.ends(tenant, ('commit', input_only))


@pytest.mark.parametrize('data', [
    b'HTTP/1.1 200 OK\r\nContent-Type: app',
    b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello',
    b'HTTP/1.1 200 OK\r\nA\0b: c\r\n\r\n',
], ids=['broken off', 'two lengths', 'no header'])
def test_header_that_is_none(scene, data):
    tenant = scene.tenant()
    scene.provider.script(Raw(data))
    status = scene.ask(tenant, '/').status
    if status == 200:                         # two lengths, on nginx 1.22
        scene.who.wait_story(tenant, 'reserve', 'commit')
        scene.charged += scene.who.budget('tenant:' + tenant)['spent']
        return
    assert status == 502
    scene.ends(tenant, ('commit', input_only))


def test_header_that_takes_too_long(scene):
    tenant = scene.tenant()
    scene.provider.script(Raw(b'HTTP/1.1 200 OK\r\nContent', [STALL]))
    assert scene.ask(tenant, '/stale/' + tenant).status == 504
    scene.ends(tenant, ('commit', input_only))


def test_another_provider_behind_a_bad_header(scene):
    """What the second one reports is all that is known."""

    tenant = scene.tenant()
    scene.provider.script(Raw(b'HTTP/1.1 200 OK\r\nA\0b: c\r\n\r\n'))
    scene.second.script(chat(prompt=3, completion=2))
    assert scene.ask(tenant, '/next/').status == 200
    scene.ends(tenant, ('commit', cost(3, 2)))


# --------------------------------------------------------------- caches


@pytest.mark.parametrize('fails,ends', [
    (error(500), ('release',)),
    (CLOSE, ('release',)),
    (STALL, ('commit', input_only)),
], ids=['500', 'close', 'timeout'])
def test_stale_reply(scene, fails, ends):
    """The provider was asked, and a cached reply stands in for its own: it
    costs what that attempt has cost."""

    first, second = scene.tenant(), scene.tenant()
    path = '/stale/' + first

    # kept, and out of date at once

    scene.provider.script(chat(prompt=3, completion=2,
                               headers={'X-Accel-Expires': '@1000'}))
    scene.provider.script(fails)
    assert scene.ask(first, path).status == 200
    scene.ends(first, ('commit', cost(3, 2)))

    asked = len(scene.provider.requests)
    r = scene.ask(second, path)
    assert r.status == 200 and r.json['usage']['prompt_tokens'] == 3
    assert len(scene.provider.requests) == asked + 1
    scene.ends(second, ends)


def test_cache_lock(scene):
    """The second request waits for the first one's reply, which is for free;
    its client may leave meanwhile."""

    gate = Gate()
    tenants = [scene.tenant() for _ in range(3)]
    path = '/locked/' + tenants[0]
    scene.provider.script(chat(prompt=3, completion=2, gate=gate))
    conns = [scene.send(tenants[0], path)]
    gate.wait_reached()
    for tenant in tenants[1:]:
        conns.append(scene.send(tenant, path))
        scene.who.wait_story(tenant, 'reserve')
    conns[2].reset()
    gate.open()
    for conn in conns[:2]:
        assert conn.read_response().json['usage']['prompt_tokens'] == 3
        conn.close()
    scene.ends(tenants[0], ('commit', cost(3, 2)))
    scene.ends(tenants[1], ('release',))
    scene.ends(tenants[2], ('release',))


# ------------------------------------------------------------- upgrades


@pytest.mark.parametrize('leave', ['client', 'provider'])
def test_upgrade_with_a_fixed_cost(scene, leave):
    """A connection that was switched to another protocol was a reply."""

    gate = Gate()
    tenant = scene.tenant()
    scene.provider.script(Raw(
        b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n'
        b'Connection: upgrade\r\n\r\nhello', [gate, CLOSE]))
    conn = Conn(scene.ng.port)
    conn.send_request('GET', '/upgrade/', {
        'X-Tenant': tenant, 'Upgrade': 'x', 'Connection': 'upgrade'})
    conn.read_until(b'hello')
    assert scene.who.live() == 1
    if leave == 'client':
        conn.reset()
        wait_until(lambda: scene.who.live() == 0)
        gate.open()
    else:
        gate.open()
        conn.wait_closed()
        conn.close()
    scene.ends(tenant, ('commit', 500))


# -------------------------------------------------------- other modules


def test_try_files(scene):
    tenant = scene.tenant()
    scene.provider.script(chat(prompt=3, completion=2))
    assert scene.ask(tenant, '/try/').status == 200
    scene.ends(tenant, ('commit', cost(3, 2)))


def test_mirror_of_a_denied_request(scene):
    """It is not copied either."""

    asked = len(scene.second.requests)
    assert scene.ask('poor', '/mirrored/').status == 429
    tenant = scene.tenant()
    assert scene.ask(tenant, '/mirrored/', stream=True).status == 200
    scene.ends(tenant, ('commit', cost(10, 5)))
    copy = scene.second.wait_requests(asked + 1)
    assert copy.header('x-tenant') == tenant
    assert len(scene.second.requests) == asked + 1


def test_delayed_by_limit_req(scene):
    """Nothing is held before the request's turn has come, and its client may
    leave before."""

    tenant = scene.tenant()
    conns = [scene.send(tenant, '/late/') for _ in range(4)]
    conns[3].reset()
    for conn in conns[:3]:
        assert conn.read_response().status == 200
        conn.close()
    wait_until(lambda: len([kind for kind, _ in scene.who.story(tenant)
                            if kind == 'commit']) >= 3)
    scene.who.settled()
    story = scene.who.story(tenant)
    spent = scene.who.budget('tenant:' + tenant)['spent']
    assert spent == sum(amount for kind, amount in story if kind == 'commit')
    assert len([kind for kind, _ in story if kind == 'reserve']) in (3, 4)
    scene.charged += spent


def test_parts_that_are_added_to_a_reply(scene):
    """Subrequests before and behind, into metered locations: one reservation,
    one commit, and the usage is the main reply's."""

    tenant = scene.tenant()
    scene.second.script(Reply(200, {}, [b'before']))
    scene.second.script(Reply(200, {}, [b'after']))
    scene.provider.script(chat(prompt=3, completion=2))
    r = scene.ask(tenant, '/added/')
    assert r.status == 200 and r.complete
    assert b'"prompt_tokens": 3' in r.body
    scene.ends(tenant, ('commit', cost(3, 2)))


def test_includes_in_a_metered_reply(scene):
    tenant = scene.tenant()
    scene.second.script(chat(prompt=50, completion=50))
    scene.provider.script(chat(prompt=3, completion=2,
                               content="<!--#include virtual='/fixed/' -->"))
    r = scene.ask(tenant, '/ssi/')
    assert r.status == 200 and b'"prompt_tokens": 50' in r.body
    scene.ends(tenant, ('commit', cost(3, 2)))


@pytest.mark.parametrize('leave', [False, True], ids=['reads', 'leaves'])
def test_temporary_files_in_threads(scene, leave):
    """A long reply is written to a file by a thread while its client does not
    read it."""

    chunks, word = 3000, 'word ' * 100
    tenant = scene.tenant()
    scene.provider.script(chat_stream(chunks, prompt=20, word=word))
    conn = scene.send(tenant, '/threads/', stream=True)
    scene.who.wait_story(tenant, 'reserve', 'commit')
    if leave:
        conn.reset()
    else:
        r = conn.read_response()
        assert r.complete and r.text.count('word ') == 100 * chunks
        conn.close()
    scene.ends(tenant, ('commit', cost(20, chunks)))


def test_leaves_while_a_thread_writes(scene):
    tenant = scene.tenant()
    gate = Gate()
    scene.provider.script(chat_stream(2000, prompt=20, word='word ' * 100,
                                      gates={1900: gate}))
    conn = scene.send(tenant, '/threads/', stream=True)
    gate.wait_reached()
    conn.reset()
    gate.open()
    found = scene.who.wait_story(tenant, 'reserve', 'commit')
    scene.charged += found[1][1]
    prompt = found[0][1] - MAX_TOKENS * OUTPUT
    assert prompt <= found[1][1] <= max(
        cost(20, 2000), prompt + OUTPUT * chunk_tokens(2000, 'word ' * 100))


# ------------------------------------------------- clients of the API


@pytest.mark.parametrize('operation', ['release', 'commit'])
def test_reservation_that_its_tenant_settles(scene, operation):
    """The identifier of the reservation is in the reply, and the tenant has a
    key of the API: it can't make its own request one of no cost."""

    tenant = scene.tenant()
    gate = Gate()
    scene.provider.script(chat_stream(6, prompt=20, gates={3: gate}))
    conn = scene.send(tenant, '/', stream=True)
    head = conn.read_head()
    id = dict(head[1])['X-Cycles-Reservation-Id']
    gate.wait_reached()

    body = {'idempotency_key': 'mine'}
    if operation == 'commit':
        body['actual'] = {'unit': 'USD_MICROCENTS', 'amount': 0}
    r = scene.ng.request('POST', '/api/v1/reservations/%s/%s' % (
        id, operation), {'X-Cycles-API-Key': SECRET + tenant[1:],
                         'Content-Type': 'application/json'},
        json.dumps(body).encode())
    assert r.status == 200, r.body

    gate.open()
    assert conn.read_response(head=head).complete
    conn.close()
    scene.ends(tenant, (operation, 0) if operation == 'commit'
               else (operation,), ('event', cost(20, 6)))
    assert 'was settled by another' in scene.ng.error_log()


# ------------------------------------------------------------ all of it


def test_nothing_is_left(scene):
    sums = scene.who.audit()
    assert sums['expired'] == 0
    assert scene.charged == sum(
        scene.who.budget('tenant:t%d' % n)['spent'] for n in range(TENANTS))
