# Copyright (C) nginx-cycles authors

"""Harness of the suites that run a real nginx (pytest; standard library only).

    from gateway import Nginx, FakeProvider, Gate, Conn, budgets, wait_until

A typical test (the fixtures "nginx" and "provider" are in t/conftest.py; what
they made is stopped and checked when the test ends):

    def test_spends(nginx, provider):
        ng = nginx(
            http='''
                cycles_ledger main path=%%DIR%%/ledger
                              budgets=%%DIR%%/budgets.json;
                cycles_price_table %%PRICES%%;
            ''',
            server='''
                location / {
                    cycles on;
                    cycles_authority ledger=main;
                    cycles_subject tenant $http_x_tenant;
                    proxy_pass http://127.0.0.1:%%PROVIDER%%;
                }
            ''',
            files={'budgets.json': budgets(('tenant:acme', 1000000))},
            provider=provider.port)

        r = ng.chat(tenant='acme')          # POST /v1/chat/completions
        assert r.status == 200
        assert r.header('x-cycles-decision') == 'ALLOW'
        wait_until(lambda: ng.budget('tenant:acme')['spent'] > 0)

ledger_gateway(provider, ...) gives the same as keyword arguments for Nginx.

class Nginx   a master with workers in a directory of its own under /tmp
    Nginx(main=, events=, http=, server=, files=, workers=2, h2=False,
          log_level='info', allow=[regex...], **variables)
        %%NAME%% is replaced in every text and file: PORT and H2PORT (where
        the server listens), STATUS_PORT, DIR (its directory), ROOT (of the
        repository), PRICES (t/prices.json), and each keyword argument in
        upper case; connections=N are those of each worker.  %%DIR%%/ledger
        exists and belongs to the workers' user.
    .port .h2_port .dir .workers() .master
    .start() .stop() .quit() .reload() .reconfigure(http=...)
    .kill9()          SIGKILL to all of it at once; start() starts it again
    .kill_worker()    SIGKILL to one worker, returns its pid
    .wait_workers()   until the configured number of new workers runs
    .get() .post() .chat() .connect()   see Conn and Response
    .status()         cycles_status?format=json of the port STATUS_PORT
    .metrics()        and its metrics for Prometheus, {name{labels}: number}
    .budget(scope)    {'allocated': int, 'remaining': ..., 'reserved': ...,
                      'spent': ..., 'debt': ...} of one scope path
    .live_reservations()
    .access_log()     list of dicts: status, uri, and each variable of
                      LOG_VARIABLES; .wait_access_log(n) polls for n lines
    .error_log()      text; .errors(level...) the lines of these levels
    .check()          no [alert], [crit], [emerg] that "allow" does not match,
                      no sanitizer report; called by the fixture at the end
    nginx_t(http=..., server=...) runs "nginx -t": (True or False, its output)

class FakeProvider   an OpenAI-like server in a thread, scripted by the test
    .port
    .default = reply             what to answer once the script is used up
    .script(reply, reply, ...)   answers in the order of the requests
    .requests                    list of Request: method, path, headers, body
                                 (bytes), json, conn (number), and as the
                                 reply goes on: sent, finished, peer_closed
    .wait_requests(n) .refuse() .listen() .reset_on_accept
    A reply is a Reply or a function of the Request that returns one.
    chat(...), chat_stream(...), error(status) make them; chat_auto (the
    default) is plain or a stream, as the request asks, with usage in a stream
    only if stream_options.include_usage says so.

    Reply(status, headers, steps, framing='length'|'chunked'|'close')
    steps: bytes (one write each), a Gate (the provider stops there until the
    test opens it), RESET (TCP reset), CLOSE (close without the end), STALL
    (send no more until the peer closes).  Nothing here sleeps.

    gate = Gate(); provider.script(chat_stream(8, gates={3: gate}))
    ... gate.wait_reached() ... gate.open()

Clients: Conn(port) is a raw connection: send(), send_request(chunked=...),
    read_head(), read_response(), read_until(bytes), close(), reset().
    request(port, ...) one exchange; burst(port, [bytes...]) many at the same
    moment; parallel(n, f) runs f(i) in threads; h2_request() uses curl;
    sse_events(body) cuts a stream into (event, data).

Environment: TEST_NGINX_BINARY (nginx), TEST_NGINX_MODULE (the .so; empty:
none), TEST_TIMEOUT_SCALE (slow builds), TEST_KEEP=1 (directories stay).
"""

import asyncio
import atexit
import collections
import concurrent.futures
import json
import os
import pwd
import random
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time


ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))

BINARY = os.environ.get('TEST_NGINX_BINARY') or '/usr/sbin/nginx'
MODULE = os.environ.get('TEST_NGINX_MODULE', os.path.join(
    ROOT, 'build', 'ngx_http_cycles_module.so'))

SCALE = float(os.environ.get('TEST_TIMEOUT_SCALE') or 1)
TIMEOUT = 20 * SCALE
KEEP = bool(os.environ.get('TEST_KEEP'))

USER = 'nobody'

LOG_VARIABLES = (
    'cycles_decision', 'cycles_reason', 'cycles_reservation_id',
    'cycles_estimate', 'cycles_actual', 'cycles_charged', 'cycles_remaining',
    'cycles_settlement', 'cycles_usage_source', 'cycles_provider',
    'cycles_model', 'cycles_price_key', 'cycles_tokens_input',
    'cycles_tokens_output', 'cycles_tokens_cached', 'cycles_tokens_reasoning',
    'cycles_scope', 'cycles_trace_id', 'cycles_request_id',
    'cycles_reserve_time', 'cycles_cutoff')

SANITIZER_OPTIONS = (
    'detect_odr_violation=0:detect_stack_use_after_return=0'
    ':print_stacktrace=1:log_path=%s')


class HarnessError(AssertionError):
    pass


def wait_until(pred, timeout=None, what=None):
    """Polls until pred() is true and returns its value; bounded."""

    timeout = TIMEOUT if timeout is None else timeout * SCALE
    end = time.monotonic() + timeout
    pause = 0.002

    while True:
        value = pred()
        if value:
            return value

        if time.monotonic() > end:
            raise HarnessError('not within %g s: %s' % (
                timeout, what or getattr(pred, '__name__', pred)))

        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


# A port is ours as long as we hold the UDP socket of the same number, so
# suites that run in parallel never get the same one; the range is below that
# of outgoing connections.

_port_locks = []


def free_port():
    """A TCP port of 127.0.0.1 that nobody else of these suites will use."""

    for _ in range(1000):
        port = random.randrange(10000, 30000)
        lock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)

        try:
            lock.bind(('127.0.0.1', port))
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(('127.0.0.1', port))
        except OSError:
            lock.close()
            continue
        finally:
            probe.close()

        _port_locks.append(lock)
        return port

    raise HarnessError('no free port')


def _raise_file_limit():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    want = 65536 if hard == resource.RLIM_INFINITY else min(65536, hard)
    if soft < want:
        resource.setrlimit(resource.RLIMIT_NOFILE, (want, hard))
    return want


_file_limit = _raise_file_limit()


# ---------------------------------------------------------------- the client


class Response:
    """One reply: status, headers (list of pairs), body (bytes)."""

    def __init__(self, status, headers, body, complete):
        self.status = status
        self.headers = headers
        self.body = body
        self.complete = complete       # False: cut off before its end

    def header(self, name):
        for key, value in self.headers:
            if key.lower() == name.lower():
                return value
        return None

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        return self.body.decode('utf-8', 'replace')

    def __repr__(self):
        return '<%s %r %d bytes%s>' % (
            self.status, dict(self.headers), len(self.body),
            '' if self.complete else ', incomplete')


def build_request(method='GET', path='/', headers=None, body=None,
                  chunked=None, host='localhost'):
    """The bytes of a request; chunked: a list of bytes, one chunk each."""

    lines = ['%s %s HTTP/1.1' % (method, path)]
    pairs = list(headers.items() if isinstance(headers, dict)
                 else headers or [])
    names = {k.lower() for k, _ in pairs}

    if 'host' not in names:
        lines.append('Host: ' + host)

    for key, value in pairs:
        if value is not None:
            lines.append('%s: %s' % (key, value))

    if chunked is not None:
        lines.append('Transfer-Encoding: chunked')
    elif body is not None and 'content-length' not in names:
        lines.append('Content-Length: %d' % len(body))

    data = ('\r\n'.join(lines) + '\r\n\r\n').encode('latin-1')

    if chunked is not None:
        parts = [b'%x\r\n%s\r\n' % (len(part), part) for part in chunked]
        return b''.join([data] + parts + [b'0\r\n\r\n'])

    return data + (body or b'')


def _parse_head(head):
    lines = head.decode('latin-1').split('\r\n')
    status = int(lines[0].split(' ')[1])
    headers = []
    for line in lines[1:]:
        key, _, value = line.partition(':')
        headers.append((key, value.strip()))
    return status, headers


class Conn:
    """A raw HTTP/1.1 connection to 127.0.0.1."""

    def __init__(self, port, timeout=None):
        self.sock = socket.create_connection(
            ('127.0.0.1', port), TIMEOUT if timeout is None else timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = bytearray()
        self.eof = False

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def send(self, data):
        self.sock.sendall(data)

    def send_request(self, method='GET', path='/', headers=None, body=None,
                     chunked=None):
        self.send(build_request(method, path, headers, body, chunked))

    def send_chat(self, **kw):
        path, headers, body = chat_request(**kw)
        self.send_request('POST', path, headers, body)

    def _fill(self):
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            data = b''
        if not data:
            self.eof = True
            return False
        self.buf += data
        return True

    def read_until(self, mark):
        """Reads up to and including mark; b'' is left to read_response()."""

        seen = 0

        while True:
            end = self.buf.find(mark, seen)
            if end >= 0:
                return self._take(end + len(mark))
            seen = max(len(self.buf) - len(mark) + 1, 0)
            if not self._fill():
                raise HarnessError('closed before %r: %r' % (
                    mark, bytes(self.buf)))

    def _take(self, size):
        data = bytes(memoryview(self.buf)[:size])
        del self.buf[:size]
        return data

    def read_head(self):
        """(status, headers) of the next final reply."""

        while True:
            head = self.read_until(b'\r\n\r\n')[:-4]
            status, headers = _parse_head(head)
            if status != 100:
                return status, headers

    def read_response(self, method='GET', head=None):
        """The next Response; head: what read_head() has returned."""

        status, headers = head or self.read_head()
        fields = {k.lower(): v for k, v in headers}
        body = bytearray()
        complete = True

        try:
            if method == 'HEAD' or status in (204, 304):
                pass
            elif 'chunked' in fields.get('transfer-encoding', ''):
                while True:
                    size = int(self.read_until(b'\r\n').split(b';')[0], 16)
                    if size == 0:
                        self.read_until(b'\r\n')
                        break
                    body += self._read_exactly(size)
                    self.read_until(b'\r\n')
            elif 'content-length' in fields:
                body = self._read_exactly(int(fields['content-length']))
            else:
                while self._fill():
                    pass
                body = self._take(len(self.buf))
        except HarnessError:
            body += self._take(len(self.buf))
            complete = False

        return Response(status, headers, bytes(body), complete)

    def _read_exactly(self, size):
        while len(self.buf) < size:
            if not self._fill():
                raise HarnessError('closed inside a body')
        return self._take(size)

    def wait_closed(self, timeout=None):
        """True once the other side has closed; what came before is kept."""

        self.sock.settimeout(TIMEOUT if timeout is None else timeout)
        while self._fill():
            pass
        return True

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        self.sock.close()

    def reset(self):
        """Closes with a TCP reset."""

        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack('ii', 1, 0))
        self.sock.close()


def request(port, method='GET', path='/', headers=None, body=None,
            chunked=None, timeout=None):
    """One request on a connection of its own."""

    with Conn(port, timeout) as conn:
        headers = dict(headers or {})
        headers.setdefault('Connection', 'close')
        conn.send_request(method, path, headers, body, chunked)
        return conn.read_response(method)


def chat_request(tenant=None, model='gpt-4o-mini', content='Say hello.',
                 headers=None, path='/v1/chat/completions', json_body=None,
                 **members):
    """(path, headers, body) of a chat request; members go into the JSON."""

    body = json_body
    if body is None:
        body = {'model': model,
                'messages': [{'role': 'user', 'content': content}]}
        body.update(members)

    if not isinstance(body, bytes):
        body = json.dumps(body).encode()

    fields = {'Content-Type': 'application/json'}
    if tenant is not None:
        fields['X-Tenant'] = tenant
    fields.update(headers or {})

    return path, fields, body


def sse_events(body):
    """[(event or None, data)] of a complete event stream."""

    if isinstance(body, bytes):
        body = body.decode()

    events = []
    for block in re.split(r'\r?\n\r?\n', body):
        event, data = None, []
        for line in block.splitlines():
            name, _, value = line.partition(':')
            value = value[1:] if value.startswith(' ') else value
            if name == 'event':
                event = value
            elif name == 'data':
                data.append(value)
        if data:
            events.append((event, '\n'.join(data)))
    return events


def parallel(n, call, threads=64):
    """[call(0), ... call(n - 1)], run in threads."""

    with concurrent.futures.ThreadPoolExecutor(min(threads, n)) as pool:
        return list(pool.map(call, range(n)))


def burst(port, requests, timeout=None):
    """Opens a connection for each request (bytes), then sends them all at
    the same moment.  Returns a Response for each, None where none came."""

    timeout = TIMEOUT * 3 if timeout is None else timeout

    async def one(reader, writer, data):
        writer.write(data)
        try:
            raw = await reader.readuntil(b'\r\n\r\n')
            status, headers = _parse_head(raw[:-4])
            fields = {k.lower(): v for k, v in headers}
            body = b''
            if 'chunked' in fields.get('transfer-encoding', ''):
                while True:
                    size = int(await reader.readline(), 16)
                    body += await reader.readexactly(size)
                    await reader.readexactly(2)
                    if size == 0:
                        break
            elif 'content-length' in fields:
                body = await reader.readexactly(int(fields['content-length']))
            else:
                body = await reader.read()
            return Response(status, headers, body, True)
        except (asyncio.IncompleteReadError, OSError):
            return None
        finally:
            writer.close()

    async def run():
        conns = []
        for start in range(0, len(requests), 100):
            conns += await asyncio.gather(*[
                asyncio.open_connection('127.0.0.1', port)
                for _ in requests[start:start + 100]])
        return await asyncio.wait_for(asyncio.gather(*[
            one(r, w, data) for (r, w), data in zip(conns, requests)]),
            timeout)

    return asyncio.run(run())


def h2_request(port, method='GET', path='/', headers=None, body=None,
               timeout=None):
    """One HTTP/2 request (prior knowledge) by curl."""

    with tempfile.TemporaryDirectory() as tmp:
        out = os.path.join(tmp, 'body')
        argv = ['curl', '-sS', '--http2-prior-knowledge', '-X', method,
                '--max-time', str(timeout or TIMEOUT), '-D', '-', '-o', out,
                'http://127.0.0.1:%d%s' % (port, path)]
        for key, value in (headers or {}).items():
            argv += ['-H', '%s: %s' % (key, value)]
        if body is not None:
            argv += ['--data-binary', '@-']

        done = subprocess.run(argv, input=body, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
        head = done.stdout.strip()
        if not head.startswith(b'HTTP/2'):
            raise HarnessError('curl: %r %r' % (done.stdout, done.stderr))

        status, fields = _parse_head(head)
        with open(out, 'rb') as file:
            return Response(status, fields, file.read(),
                            done.returncode == 0)


# -------------------------------------------------------------- the provider


class Gate:
    """A place in a reply where the provider waits for the test."""

    def __init__(self):
        self._reached = threading.Event()
        self._opened = threading.Event()
        self._waiters = []
        self._lock = threading.Lock()

    def wait_reached(self, timeout=None):
        if not self._reached.wait(TIMEOUT if timeout is None else timeout):
            raise HarnessError('the provider did not come to the gate')

    def open(self):
        with self._lock:
            self._opened.set()
            waiters, self._waiters = self._waiters, []
        for loop, event in waiters:
            loop.call_soon_threadsafe(event.set)

    async def _pass(self, closed):
        self._reached.set()
        event = asyncio.Event()
        with self._lock:
            if self._opened.is_set():
                return
            self._waiters.append((asyncio.get_running_loop(), event))
        await _first(event.wait(), closed.wait())


async def _first(*awaitables):
    tasks = [asyncio.ensure_future(a) for a in awaitables]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


class _Mark:
    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return self.name


RESET = _Mark('RESET')
CLOSE = _Mark('CLOSE')
STALL = _Mark('STALL')


class Reply:
    """framing 'length' declares the sum of the steps, or length= if given;
    'chunked' makes each step a chunk; 'close' ends with the connection."""

    def __init__(self, status=200, headers=None, steps=(), framing='length',
                 length=None, keepalive=True):
        self.status = status
        self.headers = dict(headers or {})
        self.steps = [steps] if isinstance(steps, bytes) else list(steps)
        self.framing = framing
        self.length = length
        self.keepalive = keepalive

    def head(self):
        lines = ['HTTP/1.1 %d Reply' % self.status]
        names = {k.lower() for k in self.headers}
        if 'content-type' not in names:
            lines.append('Content-Type: application/json')
        lines += ['%s: %s' % item for item in self.headers.items()]

        if self.framing == 'chunked':
            lines.append('Transfer-Encoding: chunked')
        elif self.framing == 'length':
            size = self.length
            if size is None:
                size = sum(len(s) for s in self.steps if isinstance(s, bytes))
            lines.append('Content-Length: %d' % size)

        if self.framing == 'close' or not self.keepalive:
            lines.append('Connection: close')

        return ('\r\n'.join(lines) + '\r\n\r\n').encode('latin-1')


def usage(prompt=10, completion=5, cached=None, reasoning=None):
    """A usage object in OpenAI's form."""

    value = {'prompt_tokens': prompt, 'completion_tokens': completion,
             'total_tokens': prompt + completion}
    if cached is not None:
        value['prompt_tokens_details'] = {'cached_tokens': cached}
    if reasoning is not None:
        value['completion_tokens_details'] = {'reasoning_tokens': reasoning}
    return value


def chat(content='Hello.', prompt=10, completion=5, cached=None,
         reasoning=None, with_usage=True, model=None, framing='length',
         headers=None, gate=None, parts=1, extra=None):
    """A plain reply; gate: before its first byte; parts: cut its body."""

    def make(rq):
        body = {'id': 'chatcmpl-test', 'object': 'chat.completion',
                'created': 1700000000,
                'model': model or (rq.json or {}).get('model', 'unknown'),
                'choices': [{'index': 0, 'finish_reason': 'stop',
                             'message': {'role': 'assistant',
                                         'content': content}}]}
        if with_usage:
            body['usage'] = usage(prompt, completion, cached, reasoning)
        body.update(extra or {})
        data = json.dumps(body).encode()

        size = -(-len(data) // parts)
        steps = [data[i:i + size] for i in range(0, len(data), size)]
        if gate is not None:
            rq.gate_before_head = gate
        return Reply(200, headers, steps, framing)

    return make


def chat_stream(chunks=5, prompt=10, completion=None, cached=None,
                with_usage=None, gates=None, cut=None, end=True, eol='\n',
                framing='chunked', model=None, headers=None, word='word ',
                gate=None, before=None):
    """A stream of so many content chunks.

    with_usage: True or False; None: as the request's stream_options says.
    gates: {chunk number: Gate to pass before it}; a gate at the number
    "chunks" is before the usage chunk (or [DONE]).  cut: (number, mark): do
    RESET, CLOSE or STALL instead of that chunk.  end: send "data: [DONE]".
    gate: before the head.  before: bytes ahead of the first event.
    """

    gates = gates or {}
    completion = chunks if completion is None else completion

    def event(data):
        return ('data: ' + data + eol + eol).encode()

    def make(rq):
        body = rq.json or {}
        options = body.get('stream_options') or {}
        asked = bool(options.get('include_usage'))
        wanted = asked if with_usage is None else with_usage
        base = {'id': 'chatcmpl-test', 'object': 'chat.completion.chunk',
                'created': 1700000000,
                'model': model or body.get('model', 'unknown')}
        if asked:
            base['usage'] = None

        steps = [before] if before else []

        for i in range(chunks + 1):
            if i in gates:
                steps.append(gates[i])
            if cut is not None and cut[0] == i:
                steps.append(cut[1])
                break
            if i < chunks:
                delta = {'content': word}
                if i == 0:
                    delta['role'] = 'assistant'
                finish = 'stop' if i == chunks - 1 else None
                steps.append(event(json.dumps(dict(base, choices=[
                    {'index': 0, 'delta': delta, 'finish_reason': finish}]))))
                continue
            if wanted:
                steps.append(event(json.dumps(dict(
                    base, choices=[],
                    usage=usage(prompt, completion, cached)))))
            if end:
                steps.append(event('[DONE]'))

        if gate is not None:
            rq.gate_before_head = gate

        fields = {'Content-Type': 'text/event-stream'}
        fields.update(headers or {})
        return Reply(200, fields, steps, framing)

    return make


def chat_auto(rq):
    """What an OpenAI-like provider does: a stream if asked for."""

    if (rq.json or {}).get('stream'):
        return chat_stream()(rq)
    return chat()(rq)


def error(status=500, message='failed', headers=None):
    body = json.dumps({'error': {'message': message, 'type': 'server_error',
                                 'param': None, 'code': None}}).encode()
    return Reply(status, headers, [body])


class Request:
    """What the provider has received, and how far its reply has come."""

    def __init__(self, method, path, headers, body, conn):
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.conn = conn
        self.time = time.monotonic()
        self.sent = 0                          # steps of the reply written
        self.finished = threading.Event()      # the whole reply is written
        self.peer_closed = threading.Event()   # the gateway has closed
        self.gate_before_head = None

    def header(self, name):
        for key, value in self.headers:
            if key.lower() == name.lower():
                return value
        return None

    @property
    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def __repr__(self):
        return '<%s %s %d bytes>' % (self.method, self.path, len(self.body))


class _ProviderConn(asyncio.Protocol):

    def __init__(self, provider, number):
        self.provider = provider
        self.number = number
        self.buf = bytearray()
        self.more = asyncio.Event()
        self.closed = asyncio.Event()
        self.current = None

    def connection_made(self, transport):
        self.transport = transport
        self.provider._conns.add(self)
        if self.provider.reset_on_accept:
            self._reset()
            return
        self.task = asyncio.ensure_future(self._serve())

    def data_received(self, data):
        self.buf += data
        self.more.set()

    def connection_lost(self, exc):
        self.provider._conns.discard(self)
        self.closed.set()
        self.more.set()
        if self.current is not None:
            self.current.peer_closed.set()

    def _reset(self):
        sock = self.transport.get_extra_info('socket')
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                        struct.pack('ii', 1, 0))
        self.transport.abort()

    async def _fill(self):
        if self.closed.is_set():
            raise ConnectionError
        self.more.clear()
        await self.more.wait()

    async def _until(self, mark):
        seen = 0
        while True:
            end = self.buf.find(mark, seen)
            if end >= 0:
                data = await self._exactly(end)
                del self.buf[:len(mark)]
                return data
            seen = max(len(self.buf) - len(mark) + 1, 0)
            await self._fill()

    async def _exactly(self, size):
        while len(self.buf) < size:
            await self._fill()
        data = bytes(memoryview(self.buf)[:size])
        del self.buf[:size]
        return data

    async def _read(self):
        head = (await self._until(b'\r\n\r\n')).decode('latin-1')
        lines = head.split('\r\n')
        method, path, _ = lines[0].split(' ')
        headers = []
        for line in lines[1:]:
            key, _, value = line.partition(':')
            headers.append((key, value.strip()))
        fields = {k.lower(): v for k, v in headers}

        if 'chunked' in fields.get('transfer-encoding', ''):
            body = bytearray()
            while True:
                size = int(await self._until(b'\r\n'), 16)
                body += await self._exactly(size)
                await self._until(b'\r\n')
                if size == 0:
                    break
            body = bytes(body)
        else:
            body = await self._exactly(int(fields.get('content-length', 0)))

        return Request(method, path, headers, body, self.number)

    async def _serve(self):
        try:
            while True:
                self.current = None
                rq = self.current = await self._read()
                reply = self.provider._take(rq)
                if not await self._answer(rq, reply):
                    return
        except ConnectionError:
            pass
        except Exception as exc:
            self.provider.failures.append(exc)
            self.transport.abort()
            raise

    async def _answer(self, rq, reply):
        if reply in (RESET, CLOSE, STALL):
            return await self._mark(reply)

        if rq.gate_before_head is not None:
            await rq.gate_before_head._pass(self.closed)

        self._write(reply.head())

        # a body would be taken for the reply to the next request

        for step in reply.steps if rq.method != 'HEAD' else []:
            if self.closed.is_set():
                return False
            if isinstance(step, Gate):
                await step._pass(self.closed)
                continue
            if isinstance(step, _Mark):
                return await self._mark(step)
            if reply.framing == 'chunked':
                step = b'%x\r\n%s\r\n' % (len(step), step)
            self._write(step)
            rq.sent += 1
            await asyncio.sleep(0)

        if reply.framing == 'chunked' and rq.method != 'HEAD':
            self._write(b'0\r\n\r\n')

        rq.finished.set()

        if reply.framing == 'close' or not reply.keepalive:
            self.transport.close()
            return False

        return not self.closed.is_set()

    def _write(self, data):
        if not self.closed.is_set():
            self.transport.write(data)

    async def _mark(self, mark):
        if mark is RESET:
            self._reset()
        elif mark is CLOSE:
            self.transport.close()
        else:
            await self.closed.wait()
        return False


class FakeProvider:

    def __init__(self, default=chat_auto):
        self.default = default
        self.requests = []
        self.failures = []
        self.reset_on_accept = False
        self.connections = 0
        self.port = free_port()
        self._script = collections.deque()
        self._lock = threading.Lock()
        self._conns = set()
        self._server = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever,
                                        daemon=True)
        self._thread.start()
        self.listen()

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(
            coroutine, self._loop).result(TIMEOUT)

    def _connect(self):
        self.connections += 1
        return _ProviderConn(self, self.connections)

    def listen(self):
        """(Again) accepts connections."""

        async def start():
            self._server = await self._loop.create_server(
                self._connect, '127.0.0.1', self.port, backlog=4096,
                reuse_address=True)

        if self._server is None:
            self._call(start())

    def refuse(self):
        """Connections are refused from now on; those open are closed."""

        async def stop():
            self._server.close()
            for conn in list(self._conns):
                conn.transport.abort()

        if self._server is not None:
            self._call(stop())
            self._server = None

    def close_idle(self):
        """Closes the connections that wait for a request."""

        async def stop():
            for conn in list(self._conns):
                if conn.current is None or conn.current.finished.is_set():
                    conn.transport.close()

        self._call(stop())

    def script(self, *replies):
        with self._lock:
            self._script.extend(replies)

    def _take(self, rq):
        with self._lock:
            self.requests.append(rq)
            reply = self._script.popleft() if self._script else self.default
        return reply(rq) if callable(reply) else reply

    def wait_requests(self, n=1, timeout=None):
        """Polls until n requests have come; returns the n-th."""

        wait_until(lambda: len(self.requests) >= n, timeout,
                   '%d requests at the provider, there are %d' % (
                       n, len(self.requests)))
        return self.requests[n - 1]

    def stop(self):
        if self._thread is None:
            return
        self.refuse()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(TIMEOUT)
        self._loop.close()
        self._thread = None
        if self.failures:
            raise HarnessError('the provider failed: %r' % self.failures)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()


# ----------------------------------------------------------------- nginx


# A suite that is ended from outside (its time is up, the user gives up) goes
# through its fixtures like one that ends by itself, and nothing stays.

_running = set()


def _interrupted(number, frame):
    raise KeyboardInterrupt


def _kill_all():
    for server in list(_running):
        server.kill9()


if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGTERM, _interrupted)

atexit.register(_kill_all)


def budgets(*entries, unit='USD_MICROCENTS', tenants=None, **members):
    """The text of a budgets file.  An entry is (scope, amount) or a pair
    with a dict of more members of that budget as its third part."""

    names = tenants
    if names is None:
        names = []
        for entry in entries:
            name = entry[0].split('/')[0].partition(':')[2]
            if name not in names:
                names.append(name)

    items = []
    for scope, amount, *more in entries:
        item = {'scope': scope, 'unit': unit,
                'allocated': {'unit': unit, 'amount': amount}}
        for extra in more:
            item.update(extra)
        items.append(item)

    value = {'tenants': [{'tenant_id': n, 'name': n} for n in names],
             'budgets': items}
    value.update(members)
    return json.dumps(value, indent=2)


CONF = '''
%%LOAD%%
%%USER_LINE%%
daemon off;
worker_processes %%WORKERS%%;
worker_rlimit_nofile %%NOFILE%%;
pid %%DIR%%/nginx.pid;
error_log %%DIR%%/error.log %%LOG_LEVEL%%;

# for the new binary of an upgrade

env ASAN_OPTIONS;
env UBSAN_OPTIONS;
env LSAN_OPTIONS;

%%MAIN%%

events {
    worker_connections %%CONNECTIONS%%;
    %%EVENTS%%
}

http {
    log_format harness escape=json '{%%LOG_FIELDS%%}';
    access_log %%DIR%%/access.log harness;
    client_body_temp_path %%DIR%%/tmp_body;
    proxy_temp_path %%DIR%%/tmp_proxy;
    fastcgi_temp_path %%DIR%%/tmp_fastcgi;
    uwsgi_temp_path %%DIR%%/tmp_uwsgi;
    scgi_temp_path %%DIR%%/tmp_scgi;

    %%HTTP%%

    server {
        listen 127.0.0.1:%%PORT%% backlog=4096;
        %%H2_LISTEN%%
        server_name localhost;

        %%SERVER%%
    }

    %%STATUS_SERVER%%
}
'''

STATUS_SERVER = '''
    server {
        listen 127.0.0.1:%%STATUS_PORT%%;
        access_log off;
        location / { cycles_status; }
    }
'''


class Nginx:

    def __init__(self, main='', events='', http='', server='', files=None,
                 workers=2, h2=False, log_level='info', allow=(),
                 module=MODULE, status=True, binary=BINARY, env=None,
                 log_variables=LOG_VARIABLES, **variables):
        self.binary = binary
        self.module = module
        self.port = free_port()
        self.h2_port = free_port() if h2 else None
        self.status_port = free_port() if module and status else None
        self.nworkers = workers
        self.allow = list(allow)
        self.process = None
        self.hurried = False
        self.killed = False
        self.texts = {'MAIN': main, 'EVENTS': events, 'HTTP': http,
                      'SERVER': server}
        self.files = dict(files or {})
        self.log_variables = log_variables if module else ()
        self.env = dict(env or {})
        self.log_level = log_level
        self.variables = {}

        self._make_dir()
        self.set(**variables)
        self.write_conf()

    def set(self, **variables):
        """Sets %%NAME%% variables; write_conf() or reconfigure() uses them."""

        for name, value in variables.items():
            self.variables[name.upper()] = str(value)

    def _make_dir(self):
        self.dir = tempfile.mkdtemp(prefix='cycles-t-', dir='/tmp')
        os.chmod(self.dir, 0o755)
        for name in 'ledger', 'reports':
            path = os.path.join(self.dir, name)
            os.mkdir(path, 0o700)
            if os.geteuid() == 0:
                user = pwd.getpwnam(USER)
                os.chown(path, user.pw_uid, user.pw_gid)

        # a copy: the workers' user may not see the repository

        shutil.copy(os.path.join(ROOT, 't', 'lib', 'lsan.supp'), self.dir)

    def path(self, name):
        return os.path.join(self.dir, name)

    def _expand(self, text):
        values = {'CONNECTIONS': '4096'}
        values.update(self.variables)
        values.update({
            'PORT': str(self.port), 'DIR': self.dir, 'ROOT': ROOT,
            'H2PORT': str(self.h2_port), 'WORKERS': str(self.nworkers),
            'STATUS_PORT': str(self.status_port),
            'PRICES': os.path.join(ROOT, 't', 'prices.json'),
            'LOG_LEVEL': self.log_level, 'NOFILE': str(_file_limit),
            'LOAD': 'load_module %s;' % self.module if self.module else '',
            'USER_LINE': '', 'H2_LISTEN': '', 'STATUS_SERVER': '',
            'LOG_FIELDS': self._log_fields()})

        if os.geteuid() == 0:
            group = 'nogroup'
            values['USER_LINE'] = 'user %s %s;' % (USER, group)
        if self.h2_port:
            values['H2_LISTEN'] = ('listen 127.0.0.1:%d http2;'
                                   % self.h2_port)
        if self.status_port:
            values['STATUS_SERVER'] = STATUS_SERVER

        for name, value in self.texts.items():
            values.setdefault(name, value)

        def replace(match):
            if match.group(1) not in values:
                raise HarnessError('unknown %%%%%s%%%%' % match.group(1))
            return values[match.group(1)]

        for _ in range(4):
            text = re.sub(r'%%([A-Z0-9_]+)%%', replace, text)
        return text

    def _log_fields(self):
        fields = ['"status":"$status"', '"uri":"$request_uri"',
                  '"method":"$request_method"', '"bytes":"$body_bytes_sent"',
                  '"upstream_status":"$upstream_status"',
                  '"time":"$request_time"']
        fields += ['"%s":"$%s"' % (name, name) for name in self.log_variables]
        return ','.join(fields)

    def write_conf(self):
        for name, text in self.files.items():
            if isinstance(text, (dict, list)):
                text = json.dumps(text)
            with open(self.path(name), 'w') as file:
                file.write(self._expand(text))
        with open(self.path('nginx.conf'), 'w') as file:
            file.write(self._expand(CONF))

    # life

    def _argv(self, *more):
        return [self.binary, '-p', self.dir, '-c', self.path('nginx.conf'),
                '-e', self.path('error.log')] + list(more)

    def _environ(self, leaks=True):
        env = dict(os.environ)
        options = SANITIZER_OPTIONS % self.path('reports/report')
        env['ASAN_OPTIONS'] = env['UBSAN_OPTIONS'] = options
        env['LSAN_OPTIONS'] = ('print_suppressions=0:suppressions='
                               + self.path('lsan.supp'))
        if not leaks:
            env['ASAN_OPTIONS'] += ':detect_leaks=0'
        env.update(self.env)
        return env

    def start(self, timeout=None):
        """Starts it and returns once it listens with all its workers."""

        with open(self.path('stderr.log'), 'ab') as err:
            self.process = subprocess.Popen(
                self._argv(), stdin=subprocess.DEVNULL, stdout=err,
                stderr=err, env=self._environ(), start_new_session=True)
        _running.add(self)

        def listens():
            if self.process.poll() is not None:
                raise HarnessError('nginx did not start:\n' + self._output())
            if len(self.workers()) < self.nworkers:
                return False
            try:
                socket.create_connection(('127.0.0.1', self.port), 1).close()
            except OSError:
                return False
            return True

        try:
            wait_until(listens, timeout, what='nginx to listen')
        except HarnessError:
            self.kill9()
            raise
        return self

    def _output(self):
        text = ''
        for name in 'stderr.log', 'error.log':
            if os.path.exists(self.path(name)):
                with open(self.path(name), errors='replace') as file:
                    text += file.read()[-4000:]
        return text

    @property
    def master(self):
        return self.process.pid

    def workers(self):
        """The pids of the workers that are not shutting down."""

        return [pid for pid, title in self._children()
                if 'worker process' in title and 'shutting' not in title]

    def _children(self):
        try:
            with open('/proc/%d/task/%d/children' % (
                    self.master, self.master)) as file:
                pids = [int(p) for p in file.read().split()]
        except OSError:
            return []

        found = []
        for pid in pids:
            title = process_title(pid)
            if title:
                found.append((pid, title))
        return found

    def wait_workers(self, old=(), timeout=None):
        """Until the configured number of workers runs, none of them old."""

        def fresh():
            pids = self.workers()
            return (len(pids) == self.nworkers and not set(pids) & set(old)
                    and pids)

        return wait_until(fresh, timeout, 'workers')

    def reload(self, wait_old=False):
        """HUP; returns once the new workers serve and the old ones accept
        no more.  wait_old: once the old ones have ended."""

        old = self.workers()
        mark = len(self.error_log())
        os.kill(self.master, signal.SIGHUP)

        def done():
            text = self.error_log()[mark:]
            if '[emerg]' in text:
                raise HarnessError('reload failed:\n' + text)
            pids = self.workers()
            if len(pids) != self.nworkers or set(pids) & set(old):
                return False
            return not wait_old or not any(process_title(p) for p in old)

        wait_until(done, what='reload')

    def reconfigure(self, **texts):
        """New main, events, http, server or files, then reload()."""

        self.files.update(texts.pop('files', {}))
        for name, text in texts.items():
            self.texts[name.upper()] = text
        self.write_conf()
        self.reload()

    def send_signal(self, number):
        os.kill(self.master, number)

    def _wait_end(self, timeout):
        try:
            return self.process.wait(TIMEOUT if timeout is None
                                     else timeout * SCALE)
        except subprocess.TimeoutExpired:
            self.kill9()
            raise HarnessError('nginx did not end:\n' + self._output())

    def quit(self, timeout=None):
        """Graceful end (QUIT); returns the exit code."""

        os.kill(self.master, signal.SIGQUIT)
        return self._wait_end(timeout)

    def finish(self):
        """Graceful end if that is possible within a second, else a fast one:
        what is under way when nginx is told to end fast looks like a leak."""

        if self.process is None or self.process.poll() is not None:
            return
        os.kill(self.master, signal.SIGQUIT)
        try:
            self.process.wait(SCALE)
        except subprocess.TimeoutExpired:

            # a client that keeps an unused connection open holds nginx up,
            # and is an alert of nginx's own once it ends all the same; a
            # worker that waits for a busy disk is killed by its master

            self.allow += [r'open socket #\d+ left in connection',
                           r'\d#\d+: aborting$', 'exited on signal 9']
            self.hurried = True
            self.stop()

    def stop(self, timeout=None):
        """Fast end (TERM); returns the exit code."""

        if self.process is None or self.process.poll() is not None:
            return None

        # nginx kills a worker that has not ended after a second and a half,
        # which a machine that is said to be slow may be the cause of

        if SCALE > 1:
            self.allow.append(r'worker process \d+ exited on signal 9')

        os.kill(self.master, signal.SIGTERM)
        return self._wait_end(timeout)

    def kill9(self):
        """SIGKILL to the master and every process of it, all at once."""

        if self.process is None:
            return
        self.killed = True
        children = [pid for pid, _ in self._children()]
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(TIMEOUT)

        # a new one may need what they had: the ports, the locks

        wait_until(lambda: not any(process_title(pid) for pid in children),
                   what='the end of what was killed')

    def kill_worker(self, pid=None, number=signal.SIGKILL):
        """Kills one worker (any); returns its pid."""

        self.killed = True
        pid = pid or random.choice(self.workers())
        self.allow.append('worker process %d exited on signal' % pid)
        os.kill(pid, number)
        return pid

    def close(self):
        """Ends what still runs and removes the directory."""

        try:
            self.stop()
        finally:
            self.kill9()
            _running.discard(self)
            if not KEEP:
                shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *exc):
        try:
            self.finish()
            if kind is None:
                self.check()
        finally:
            self.close()

    # logs

    def _read(self, name):
        try:
            with open(self.path(name), errors='replace') as file:
                return file.read()
        except FileNotFoundError:
            return ''

    def error_log(self):
        return self._read('error.log')

    def errors(self, *levels):
        marks = ['[%s]' % level for level in levels]
        return [line for line in self.error_log().splitlines()
                if any(mark in line for mark in marks)]

    def wait_error_log(self, pattern, timeout=None):
        return wait_until(lambda: re.search(pattern, self.error_log()),
                          timeout, 'error.log: ' + pattern)

    def access_log(self):
        lines = []
        for line in self._read('access.log').split('\n')[:-1]:
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:

                # what is killed may have written a part of a line

                if not self.killed:
                    raise
        return lines

    def wait_access_log(self, n=1, timeout=None):
        wait_until(lambda: len(self.access_log()) >= n, timeout,
                   '%d lines in access.log' % n)
        return self.access_log()

    def reports(self):
        """Texts of the sanitizers' reports."""

        found = []
        log = self.error_log()
        for name in sorted(os.listdir(self.path('reports'))):
            text = self._read(os.path.join('reports', name))
            pid = name.rpartition('.')[2]

            # an nginx that can't start leaves its memory to the system

            if ('LeakSanitizer' in text and '[emerg] %s#' % pid in log
                    and '%s: start worker' % pid not in log):
                continue
            if text.strip():
                found.append(text)
        return found

    def check(self):
        bad = [line for line in self.errors('alert', 'crit', 'emerg')
               if not any(re.search(a, line) for a in self.allow)]
        if bad:
            raise HarnessError('error.log has:\n' + '\n'.join(bad[:20]))

        reports = [text for text in self.reports()
                   if not (self.hurried and 'LeakSanitizer' in text)]
        if reports:
            raise HarnessError('sanitizer report:\n' + reports[0][:6000])

    # requests

    def connect(self):
        return Conn(self.port)

    def request(self, method='GET', path='/', headers=None, body=None,
                chunked=None, timeout=None):
        return request(self.port, method, path, headers, body, chunked,
                       timeout)

    def get(self, path='/', headers=None):
        return self.request('GET', path, headers)

    def post(self, path='/', body=b'', headers=None, chunked=None):
        return self.request('POST', path, headers, body, chunked)

    def chat(self, **kw):
        """See chat_request() for the arguments."""

        path, headers, body = chat_request(**kw)
        return self.request('POST', path, headers, body)

    # the ledger's numbers

    def status(self):
        """All of it, with the budgets of all pages."""

        status = self._status('')
        cursor = status.pop('next_cursor', None)
        while cursor:
            page = self._status('&part=budgets&cursor=' + cursor)
            cursor = page.get('next_cursor')
            for item in page['budgets']:
                status['budgets'].append(item)
                status['ledgers'][item['ledger']]['budgets'].append(item)
        return status

    def _status(self, args):
        r = request(self.status_port, path='/?format=json' + args)
        if r.status != 200:
            raise HarnessError('cycles_status: %r' % r)
        return r.json

    def metrics(self):
        """What Prometheus would see: {name and labels as in a line: number},
        in integers where they are some."""

        r = request(self.status_port, path='/?format=prometheus')
        if r.status != 200:
            raise HarnessError('cycles_status: %r' % r)
        found = {}
        for line in r.text.splitlines():
            if line[0] != '#':
                name, _, value = line.rpartition(' ')
                found[name] = float(value) if '.' in value else int(value)
        return found

    def budget(self, scope, unit=None):
        """The balance of one scope path, amounts as plain integers."""

        for item in self.status()['budgets']:
            flat = flat_balance(item)
            if item.get('scope_path') == scope and unit in (None,
                                                            flat['unit']):
                return flat
        return None

    def all_budgets(self):
        """{scope path: balance}; each is checked to add up."""

        found = {}
        for item in self.status()['budgets']:
            flat = flat_balance(item)
            found[item['scope_path']] = flat
        return found

    def live_reservations(self):
        return self.status()['live_reservations']


def flat_balance(item):
    """A Balance of the protocol with its Amounts as plain integers."""

    flat = {}
    for name, value in item.items():
        if isinstance(value, dict) and 'amount' in value:
            flat.setdefault('unit', value.get('unit'))
            value = value['amount']
        flat[name] = value
    for name in 'reserved', 'spent', 'debt', 'overdraft_limit':
        flat.setdefault(name, 0)
    return flat


def process_title(pid):
    """The command line of a process that runs, or ''."""

    try:
        with open('/proc/%d/stat' % pid) as file:
            fields = file.read().rsplit(')', 1)[1].split()
        if fields[0] == 'Z':

            # its threads may still have what it had open

            return 'zombie' if int(fields[17]) > 1 else ''
        with open('/proc/%d/cmdline' % pid, 'rb') as file:
            title = file.read().decode('latin-1').replace('\0', ' ').strip()

        # one that ends gives back its memory before it closes its files

        return title or 'ending'
    except OSError:
        return ''


def nginx_t(main='', http='', server='', files=None, **kw):
    """Runs "nginx -t" on a configuration: (accepted, output)."""

    ng = Nginx(main=main, http=http, server=server, files=files, **kw)
    try:
        # nginx leaves its memory to the system after a test

        done = subprocess.run(ng._argv('-t'), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT,
                              env=ng._environ(leaks=False), timeout=TIMEOUT)
        reports = ng.reports()
        if reports:
            raise HarnessError('sanitizer report:\n' + reports[0][:6000])
        return done.returncode == 0, done.stdout.decode('utf-8', 'replace')
    finally:
        ng.close()


def ledger_gateway(provider, *entries, http='', location='', server='',
                   cycles='on', ledger='', files=None, **kw):
    """Arguments for Nginx: the embedded ledger in front of a provider, the
    tenant from X-Tenant, the workspace from X-Workspace.  entries: as for
    budgets(); location, server and http: more directives there."""

    files = dict(files or {})
    files.setdefault('budgets.json', budgets(*entries))

    return dict(
        http='''
            cycles_ledger main path=%%DIR%%/ledger
                          budgets=%%DIR%%/budgets.json ''' + ledger + ''';
            cycles_price_table %%PRICES%%;
            upstream provider {
                server 127.0.0.1:%%PROVIDER%%;
                keepalive 64;
            }
        ''' + http,
        server='''
            location / {
                cycles ''' + cycles + ''';
                cycles_authority ledger=main;
                cycles_subject tenant $http_x_tenant;
                cycles_subject workspace $http_x_workspace;
                proxy_pass http://provider;
                proxy_http_version 1.1;
                proxy_set_header Connection "";
                ''' + location + '''
            }
        ''' + server,
        files=files, provider=provider.port, **kw)
