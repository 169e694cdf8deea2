# Copyright (C) nginx-cycles authors

"""Calls to a Cycles server: however its replies arrive, they are read as one
that arrives at once, and what a call leaves behind serves the next one."""

import json
import threading

import pytest

from gateway import (CLOSE, FakeProvider, Reply, chat_request, free_port,
                     request, wait_until)


UNIT = 'USD_MICROCENTS'

CALLS = '''
    cycles_subject tenant $http_x_tenant;
    cycles_timeout 10m;
    cycles_connect_timeout 10m;
    cycles_ttl 1h;
    cycles_breaker off;
'''

HTTP = '''
    cycles_price_table %%PRICES%%;
    upstream provider { server 127.0.0.1:%%PROVIDER%%; }
    upstream cycles { server 127.0.0.1:%%CYCLES%%; keepalive 16; }
    upstream others { server 127.0.0.1:%%OTHERS%%; keepalive 16; }
    proxy_http_version 1.1;
    proxy_set_header Connection "";
''' + CALLS

LOCATION = '''
    location / {
        cycles on;
        cycles_authority @cycles;
        %%KEY%%
        proxy_pass http://provider;
    }
'''


class Raw(Reply):
    """Bytes as they are, each piece by itself."""

    def __init__(self, *pieces, keepalive=True):
        super().__init__(steps=pieces[1:], keepalive=keepalive)
        self.first = pieces[0]

    def head(self):
        return self.first


class Cycles(FakeProvider):
    """Grants everything, in the form of its reply; each id is another one."""

    def __init__(self):
        super().__init__(self.answer)
        self.form = whole
        self.fill = ''
        self.count = 0
        self.ids = []
        self.settled = threading.Semaphore(0)

    def answer(self, rq):
        body = {'scope_path': 'tenant:acme', 'filler': self.fill}

        if rq.path.endswith('/reservations'):
            self.count += 1
            body.update(
                decision='ALLOW', reservation_id='id-%d' % self.count,
                affected_scopes=['tenant:acme'],
                reserved={'unit': UNIT,
                          'amount': rq.json['estimate']['amount']},
                expires_at_ms=4102444800000, remaining_ttl_ms=3600000)
        else:
            assert rq.path.endswith('/commit')
            self.ids.append(rq.path.split('/')[-2])
            self.settled.release()
            body.update(status='COMMITTED', charged=rq.json['actual'])

        return self.form(json.dumps(body).encode())


def head(body, *lines, version='1.1', length=True):
    lines = ['HTTP/%s 200 OK' % version, *lines]
    if length:
        lines.append('Content-Length: %d' % len(body))
    return '\r\n'.join([*lines, '', '']).encode()


def chunk(data):
    return b'%x\r\n%s\r\n' % (len(data), data)


CHUNKED = {'length': False}
PLAIN = ('Content-Type: application/json', 'X-Request-Id: 7d1f',
         'X-Cycles-Trace-Id: 4bf92f35', 'Vary: Origin')


def whole(body):
    return Raw(head(body, *PLAIN) + body)


FORMS = {
    'whole': whole,
    'least': lambda body: Raw(head(body) + body),
    'kept': lambda body: Raw(head(body, 'Connection: keep-alive',
                                  'Keep-Alive: timeout=60') + body),
    'head apart': lambda body: Raw(head(body, *PLAIN), body),
    'head in two': lambda body: Raw(head(body)[:30], head(body)[30:] + body),
    'body in two': lambda body: Raw(head(body) + body[:40], body[40:]),
    'byte by byte': lambda body: Raw(*[
        bytes([byte]) for byte in head(body) + body]),
    'chunked': lambda body: Raw(
        head(body, 'Transfer-Encoding: chunked', **CHUNKED) + chunk(body)
        + b'0\r\n\r\n'),
    'in chunks': lambda body: Raw(
        head(body, 'Transfer-Encoding: chunked', **CHUNKED),
        chunk(body[:40]), chunk(body[40:]), b'0\r\n\r\n'),
    'closed': lambda body: Raw(
        head(body, 'Connection: close', *PLAIN) + body, keepalive=False),
    'without length': lambda body: Raw(
        head(body, 'Connection: close', **CHUNKED), body, CLOSE),
    'older': lambda body: Raw(head(body, version='1.0') + body,
                              keepalive=False),
    'whole again': whole,
}


@pytest.fixture
def cycles():
    with Cycles() as server:
        yield server


@pytest.fixture
def others():
    with Cycles() as server:
        yield server


@pytest.fixture
def gateway(nginx, provider, cycles, others):
    """start(cycles=..., others=...): directives of both locations."""

    def start(server='', location='', key='', **kw):
        return nginx(http=HTTP, server=LOCATION + '''
            location @cycles {
                proxy_pass http://cycles;
                ''' + location + '''
            }
        ''' + server, provider=provider.port, cycles=cycles.port,
            others=others.port, key=key, workers=1, **kw)

    return start


def ask(ng, server, port=None, headers=None):
    """One request, and the commit that follows it."""

    path, headers, body = chat_request(tenant='acme', headers=headers)
    r = request(port or ng.port, 'POST', path, headers, body)
    if r.status == 200:
        assert server.settled.acquire(timeout=60)
    return r.status


@pytest.mark.parametrize('location', [
    '', 'proxy_buffering off;', 'proxy_buffer_size 1k;',
    'proxy_buffers 8 32k; proxy_buffer_size 32k;'])
def test_forms_of_a_reply(gateway, cycles, location):
    """None is asked for twice, and each id is that of its own reply."""

    ng = gateway(location=location)

    for name, form in FORMS.items():
        cycles.form = form
        for _ in range(3):
            asked = len(cycles.requests)
            assert ask(ng, cycles) == 200, name
            assert len(cycles.requests) == asked + 2, name
            assert cycles.ids[-1] == 'id-%d' % cycles.count, name

    assert ng.quit(60) == 0
    assert len(cycles.requests) == 2 * 3 * len(FORMS)
    assert cycles.failures == []


def test_connection_is_kept(gateway, cycles):
    """The next call may come before the last one has given it back."""

    ng = gateway()

    for _ in range(10):
        assert ask(ng, cycles) == 200

    assert cycles.connections <= 2


def test_connection_that_is_closed(gateway, cycles):
    """By us, where the server leaves that to us."""

    cycles.form = lambda body: Raw(head(body, 'Connection: close') + body)
    ng = gateway()

    for _ in range(10):
        assert ask(ng, cycles) == 200

    assert cycles.connections == 20


def test_more_than_its_length(gateway, cycles):
    """What follows a reply is not the beginning of the next one."""

    cycles.form = lambda body: Raw(head(body) + body + b'HTTP/1.1 200 OK\r\n')
    ng = gateway(allow=['upstream sent more data than specified'])

    for _ in range(10):
        assert ask(ng, cycles) == 200

    assert cycles.connections == 20


def test_larger_than_its_buffer(gateway, cycles):
    ng = gateway(location='subrequest_output_buffer_size 1k;',
                 allow=["cycles reply can't be read",
                        'too big subrequest response'])

    assert ask(ng, cycles) == 200

    cycles.fill = 'x' * 2000
    assert ask(ng, cycles) == 503

    cycles.fill = ''
    assert ask(ng, cycles) == 200


def test_two_servers(gateway, cycles, others):
    """Locations of one name, each called by its own server."""

    port = free_port()
    ng = gateway(port2=port, server='''
        }

        server {
            listen 127.0.0.1:%%PORT2%%;

            location / {
                cycles on;
                cycles_authority @cycles;
                proxy_pass http://provider;
            }

            location @cycles {
                proxy_pass http://others;
            }
    ''')

    for i in range(1, 6):
        assert ask(ng, cycles) == 200
        assert ask(ng, others, port) == 200
        assert len(cycles.ids) == len(others.ids) == i


def test_quit_at_once(gateway, cycles):
    """Nothing is under way: what calls have left waits for no time."""

    ng = gateway()

    assert ask(ng, cycles) == 200
    wait_until(lambda: ng.metrics()['cycles_calls{state="running"}'] == 0)
    assert ng.quit(60) == 0


@pytest.mark.parametrize('ch, sent', [
    ('!', True), ('~', True), (' ', False), ('\x7f', False), ('\xff', False)])
def test_keys_that_are_no_headers(gateway, cycles, ch, sent):
    """The body has them, wherever what no header can be is in them."""

    ng = gateway(key='cycles_idempotency_key $http_x_key;')

    for at in (1, 6, 7, 8, 9, 15, 16, 17):
        key = 'k%017d' % at
        key = key[:at] + ch + key[at + 1:] + 'k'

        asked = len(cycles.requests)
        assert ask(ng, cycles, headers={'X-Key': key}) == 200

        rq = cycles.requests[asked]
        assert rq.json['idempotency_key'] == key.replace('\xff', '\ufffd')
        assert rq.header('x-idempotency-key') == (key if sent else None)
