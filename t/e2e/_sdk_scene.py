# Copyright (C) nginx-cycles authors

"""Where the SDKs of test_sdks_*.py run: one nginx on an embedded ledger that
has a server for each thing that may happen to a request, and aimock behind
it, or a provider of ours where aimock has no usage.

    with Scene() as scene:
        scene.base('ok', row)           # for the SDK of this row
        scene.lines(key)                # of the access log, by the API key
"""

import base64
import contextlib
import json
import os
import socket
import struct
import subprocess
import tempfile
import zlib

import gateway
from fake_cycles import FakeCycles
from gateway import Conn, FakeProvider, Gate, Nginx, Reply, wait_until
from relay import Relay


PROMPT = 'a poem'
TEXT = 'Tokens fall like rain,\nthe ledger counts every drop: ü, 雨.'
INPUT, OUTPUT = 17, 21

# micro-cents for a token of input and of output

PRICES = {
    'gpt-4o-mini': (15, 60),
    'claude-opus-4-8': (300, 1500),
    'gemini-2.5-flash': (30, 250),
    'anthropic.claude-3-5-haiku-20241022-v1:0': (80, 400),
    'mistral-small-latest': (10, 30),
    'command-r-plus': (250, 1000),
    'llama3.2': (1, 2),
}

ENOUGH = 10 ** 12

HTTP = '''
    cycles_ledger main path=%%DIR%%/ledger budgets=%%DIR%%/budgets.json;

    map $http_authorization$http_x_api_key$http_x_goog_api_key $key {
        "~(?<word>key[0-9]+[a-z]+)" $word;
    }

    # the input, and less than half of the output

    map $cycles_model $some {
        <some>
    }
'''.replace('<some>', '\n'.join(
    '%s %d;' % (model, INPUT * a + OUTPUT // 2 * b)
    for model, (a, b) in PRICES.items()))

SERVER = '''
    server {
        listen 127.0.0.1:%%<name>%%;
        listen 127.0.0.1:%%<name>_H2%% http2;

        cycles on;
        cycles_authority <authority>;
        cycles_subject tenant "<tenant>";
        <more>

        proxy_http_version 1.1;
        proxy_set_header Connection "";

        # what AWS's SDKs have signed

        proxy_set_header Host $http_host;

        location / {
            proxy_pass http://127.0.0.1:%%AIMOCK%%;
        }

        location ~ "^/api/|-stream$" {
            proxy_pass http://127.0.0.1:%%SCRIPTED%%;
        }

        location /mistral/ {
            cycles_provider mistral;
            proxy_pass http://127.0.0.1:%%SCRIPTED%%;
        }

        location /hold {
            cycles_action test hold;
            cycles_estimate <hold>;
            cycles_actual estimate;
            proxy_pass http://127.0.0.1:%%SCRIPTED%%;
        }

        location @down {
            proxy_pass http://127.0.0.1:%%NOBODY%%;
        }

        location @cycles {
            proxy_pass http://127.0.0.1:%%CYCLES%%;
            access_log off;
        }
    }
'''

# name: authority, tenant, more

SERVERS = {
    'ok': ('ledger=main', 'acme', ''),
    'spent': ('ledger=main', 'spent', ''),
    'auto': ('ledger=main', 'spent', 'cycles_deny_status auto;'),
    'year': ('ledger=main', 'year', ''),
    'held': ('ledger=main', 'held', ''),
    'freed': ('@cycles', 'acme', 'cycles_api_key key;'
                                 'cycles_subject agent $key;'),
    'cut': ('ledger=main', 'cut', 'cycles_stream_cutoff on;'
                                  'cycles_estimate $some;'),
    'bad': ('ledger=main', '$http_host', ''),
    'down': ('@down', 'acme', 'cycles_api_key key;'),
}


def server(name):
    authority, tenant, more = SERVERS[name]
    text = SERVER
    for word, value in (('name', name.upper()), ('authority', authority),
                        ('tenant', tenant), ('more', more),
                        ('hold', ENOUGH)):
        text = text.replace('<%s>' % word, str(value))
    return text


LOG = gateway.LOG_VARIABLES + ('msec', 'key')


class AiMock:

    def __init__(self, directory):
        self.port = gateway.free_port()
        self.path = os.path.join(directory, 'fixtures.json')
        with open(self.path, 'w') as file:
            json.dump({'fixtures': [{
                'match': {'userMessage': 'poem'},
                'response': {'content': TEXT, 'usage': {
                    'prompt_tokens': INPUT, 'completion_tokens': OUTPUT,
                    'total_tokens': INPUT + OUTPUT}}}]}, file)

    def __enter__(self):
        build = os.environ.get('BUILD') or os.path.join(gateway.ROOT,
                                                        'build')
        self.process = subprocess.Popen(
            ['node', os.path.join(build, 'node/node_modules/.bin/llmock'),
             '-p', str(self.port), '-f', self.path, '--log-level', 'warn',
             '--strict'], stdin=subprocess.DEVNULL)
        wait_until(self.listens, what='aimock to listen')
        return self

    def listens(self):
        assert self.process.poll() is None
        try:
            socket.create_connection(('127.0.0.1', self.port), 1).close()
            return True
        except OSError:
            return False

    def __exit__(self, *exc):
        self.process.terminate()
        self.process.wait(gateway.TIMEOUT)


# where aimock has no usage, or events that AWS's SDK for Python refuses


def events(*items):
    return [b'data: %s\n\n' % (
        item if isinstance(item, bytes)
        else json.dumps(item, ensure_ascii=False).encode())
        for item in items]


def mistral(rq):
    base = {'id': 'c1', 'model': rq.json['model'], 'created': 1700000000}
    usage = {'prompt_tokens': INPUT, 'completion_tokens': OUTPUT,
             'total_tokens': INPUT + OUTPUT}

    if not rq.json.get('stream'):
        return Reply(steps=json.dumps(dict(
            base, object='chat.completion', usage=usage, choices=[{
                'index': 0, 'finish_reason': 'stop', 'message': {
                    'role': 'assistant', 'content': TEXT}}])).encode())

    def chunk(text, finish=None, **more):
        return dict(base, object='chat.completion.chunk', choices=[{
            'index': 0, 'finish_reason': finish,
            'delta': {'content': text}}], **more)

    return Reply(headers={'Content-Type': 'text/event-stream'},
                 framing='chunked', steps=events(
        chunk(TEXT[:20]), chunk(TEXT[20:]), chunk('', 'stop', usage=usage),
        b'[DONE]'))


def ollama(rq):
    base = {'model': rq.json['model'], 'created_at': '2026-01-01T00:00:00Z'}
    end = {'done': True, 'done_reason': 'stop', 'total_duration': 5,
           'prompt_eval_count': INPUT, 'eval_count': OUTPUT}

    def part(text, **more):
        return json.dumps(dict(base, message={
            'role': 'assistant', 'content': text}, **more),
            ensure_ascii=False).encode() + b'\n'

    if rq.json.get('stream') is False:
        return Reply(steps=part(TEXT, **end))

    return Reply(headers={'Content-Type': 'application/x-ndjson'},
                 framing='chunked',
                 steps=[part(TEXT[:20], done=False),
                        part(TEXT[20:], done=False), part('', **end)])


def frame(event, value):
    """A message of AWS's event stream."""

    payload = json.dumps(value).encode()
    headers = b''
    for name, text in ((':message-type', 'event'), (':event-type', event),
                       (':content-type', 'application/json')):
        headers += struct.pack('>B%dsBH%ds' % (len(name), len(text)),
                               len(name), name.encode(), 7, len(text),
                               text.encode())

    size = 16 + len(headers) + len(payload)
    head = struct.pack('>II', size, len(headers))
    head += struct.pack('>I', zlib.crc32(head))
    data = head + headers + payload
    return data + struct.pack('>I', zlib.crc32(data))


def frames(*items):
    return Reply(headers={'Content-Type':
                          'application/vnd.amazon.eventstream'},
                 framing='chunked', steps=[frame(*item) for item in items])


def converse(rq):
    def delta(text):
        return 'contentBlockDelta', {'contentBlockIndex': 0,
                                     'delta': {'text': text}}

    return frames(
        ('messageStart', {'role': 'assistant'}),
        delta(TEXT[:20]), delta(TEXT[20:]),
        ('contentBlockStop', {'contentBlockIndex': 0}),
        ('messageStop', {'stopReason': 'end_turn'}),
        ('metadata', {'metrics': {'latencyMs': 5}, 'usage': {
            'inputTokens': INPUT, 'outputTokens': OUTPUT,
            'totalTokens': INPUT + OUTPUT}}))


def invoke(rq):
    def chunk(type, **members):
        event = json.dumps(dict({'type': type}, **members)).encode()
        return 'chunk', {'bytes': base64.b64encode(event).decode(),
                         'p': 'abcdef'}

    def delta(text):
        return chunk('content_block_delta', index=0,
                     delta={'type': 'text_delta', 'text': text})

    return frames(
        chunk('message_start', message={
            'id': 'm1', 'type': 'message', 'role': 'assistant',
            'model': 'claude-3-5-haiku-20241022', 'content': [],
            'usage': {'input_tokens': INPUT, 'output_tokens': 1}}),
        delta(TEXT[:20]), delta(TEXT[20:]),
        chunk('message_delta', delta={'stop_reason': 'end_turn'},
              usage={'output_tokens': OUTPUT}),
        chunk('message_stop', **{'amazon-bedrock-invocationMetrics': {
            'inputTokenCount': INPUT, 'outputTokenCount': OUTPUT,
            'invocationLatency': 5, 'firstByteLatency': 5}}))


def scripted(rq):
    return {'chat': ollama, 'completions': mistral,
            'converse-stream': converse,
            'invoke-with-response-stream': invoke,
            }[rq.path.rpartition('/')[2]](rq)


class Scene:

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self._start(stack.enter_context)
            self._stack = stack.pop_all()
        return self

    def _start(self, enter):
        self.ports = {name: gateway.free_port()
                      for server in SERVERS for name in (server,
                                                         server + '_h2')}

        # the bytes on both sides of the server "ok"

        aimock = enter(AiMock(enter(tempfile.TemporaryDirectory())))
        self.provider = enter(FakeProvider(scripted))
        self.cycles = enter(FakeCycles(gateway.free_port()))
        self.cycles.budget('tenant:acme', ENOUGH)
        self.client_side = enter(Relay(self.ports['ok']))
        self.aimock_side = enter(Relay(aimock.port))
        self.scripted_side = enter(Relay(self.provider.port))

        self.ng = enter(Nginx(
            http=HTTP + ''.join(
                'cycles_price %s input_cost_per_token=%de-8 '
                'output_cost_per_token=%de-8;\n' % (model, *prices)
                for model, prices in PRICES.items()
            ) + ''.join(map(server, SERVERS)),
            files={'budgets.json': gateway.budgets(
                ('tenant:acme', ENOUGH), ('tenant:held', ENOUGH),
                ('tenant:cut', ENOUGH),
                ('tenant:spent', 1), ('tenant:year', ENOUGH, {'period': {
                    'type': 'calendar', 'every': 'year',
                    'timezone': 'UTC'}}))},
            log_variables=LOG, aimock=self.aimock_side.port,
            scripted=self.scripted_side.port, cycles=self.cycles.port,
            nobody=gateway.free_port(),
            **self.ports))

        # the tenant "year" spends all that it has

        self.provider.script(Reply(steps=b'{}'))
        assert gateway.request(self.ports['year'], 'POST', '/hold',
                               body=b'{}').status == 200

        # from now on all of the tenant "held" is reserved

        self.gate = Gate()
        self.provider.script(lambda rq: Reply(steps=[self.gate, b'{}'],
                                              length=2))
        self.holder = enter(Conn(self.ports['held']))
        self.holder.send_request('POST', '/hold', body=b'{}')
        self.provider.wait_requests(2)

    def __exit__(self, *exc):
        self.gate.open()
        with self._stack:
            assert self.holder.read_response().status == 200
        return False

    def base(self, server, row):
        port = self.ports[server + ('_h2' if row.h2 else '')]
        if server == 'ok' and not row.h2:
            port = self.client_side.port
        return 'http://127.0.0.1:%d%s' % (port, row.prefix)

    def lines(self, key, n=1):
        """At least so many of the access log, with this API key."""

        def find():
            found = [line for line in self.ng.access_log()
                     if line['key'] == key]
            return found if len(found) >= n else None

        return wait_until(find, what='%d lines of %s' % (n, key))

    def upstream(self, key):
        """The exchanges with the provider."""

        return self.aimock_side.find(key) + self.scripted_side.find(key)
