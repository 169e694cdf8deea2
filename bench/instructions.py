#!/usr/bin/env python3
# Copyright (C) nginx-cycles authors

"""How many instructions a request takes, by stage, counted by valgrind.

A gateway runs under callgrind as one process and answers one request after
the other; the counts of N1 requests are taken from those of N2, so that what
is not a request's falls out.  The same with a plain proxy_pass is beside it.

    instructions.py              prints the counts and, by function, the most
    instructions.py --write      and keeps them in bench/instructions.json
    instructions.py --check      compares them with that file
    instructions.py json sse100  only these scenarios

What is counted of ours: the instructions of the module itself and of what it
calls in libraries (libc, jansson, libcrypto), which go to the stage of the
caller.  What nginx does is the difference between both gateways.  Work that
comes by time and not by request (folding the log, timers) is left out.
"""

import argparse
import collections
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time


HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path[:0] = [HERE, os.path.join(ROOT, 't', 'lib')]

import traffic                                            # noqa: E402
from gateway import BINARY, MODULE, budgets, free_port    # noqa: E402


FILE = os.path.join(HERE, 'instructions.json')

# a function that no scenario needs, to tell callgrind where one ends

MARK = 'ngx_http_auth_basic_user'

# what of libc has called main()

START = '__libc_start_main@@GLIBC_2.34'

# the same functions of libc and libcrypto on every machine; AES-NI is all of
# what processors have of their own that is used

ENVIRONMENT = {
    'GLIBC_TUNABLES': 'glibc.cpu.hwcaps=-AVX2,-AVX,-AVX512F,-AVX512VL,'
                      '-AVX512BW,-BMI2,-ERMS,-FSRM,-SSE4_2,-SSE4_1,-SSSE3,'
                      '-RTM,-AVX_Fast_Unaligned_Load',
    'OPENSSL_ia32cap': '0x200000000000000:0',
}

CONF = '''
%(load)s
master_process off;
daemon off;
pid %(dir)s/nginx.pid;
error_log %(dir)s/error.log warn;
events { worker_connections 256; }
http {
    access_log off;
    keepalive_requests 1000000;
    client_body_buffer_size 256k;
    client_header_buffer_size 4k;
    client_body_temp_path %(dir)s/body;
    proxy_temp_path %(dir)s/proxy;
    fastcgi_temp_path %(dir)s/fastcgi;
    uwsgi_temp_path %(dir)s/uwsgi;
    scgi_temp_path %(dir)s/scgi;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Accept-Encoding "";
    upstream provider { server 127.0.0.1:%(provider)d; keepalive 16;
                        keepalive_requests 1000000; }
    %(http)s
    server {
        listen 127.0.0.1:%(port)d;
        location = /mark { auth_basic m; auth_basic_user_file /dev/null; }
        location / { proxy_pass http://provider; %(location)s }
        location /unbuffered/ { proxy_pass http://provider/;
                                proxy_buffering off; %(location)s }
        location /dry/ { proxy_pass http://provider/; %(dry)s }
        location /server/ { proxy_pass http://provider/; %(server)s }
        location @cycles { proxy_pass http://provider; }
    }
}
'''

LEDGER = '''
    cycles_ledger main path=%(dir)s/ledger zone=16m
                  budgets=%(dir)s/budgets.json;
    cycles_authority ledger=main;
    cycles_subject tenant $http_x_tenant;
    cycles_subject app $http_x_app;
    cycles_price_table %(root)s/t/prices.json;
'''

BUDGETS = budgets(('tenant:acme', 10 ** 16),
                  ('tenant:acme/app:bench', 10 ** 16),
                  ('tenant:poor', 1))


class Scenario:

    def __init__(self, body, reply, few, many, tenant='acme', status=200,
                 path='/v1/chat/completions', steps=None, paused=False,
                 calls=0):
        self.body = body.encode()
        self.reply = reply.encode()
        self.few = few
        self.many = many
        self.tenant = tenant
        self.status = status
        self.path = path
        self.steps = steps        # a reply in chunks
        self.paused = paused      # each waits for the one before it
        self.calls = calls        # to a Cycles server, for each request


SCENARIOS = {
    'json': Scenario(traffic.request(), traffic.COMPLETION, 20, 120),
    'sse100': Scenario(traffic.stream_request(), '', 5, 25,
                       steps=traffic.events(100)),
    'sse1m': Scenario(traffic.stream_request(), '', 1, 3,
                      steps=traffic.events(5000)),
    'trickle': Scenario(traffic.stream_request(), '', 2, 8, paused=True,
                        steps=traffic.events(100),
                        path='/unbuffered/v1/chat/completions'),
    'long': Scenario(traffic.long_request(), traffic.COMPLETION, 2, 8),
    'denied': Scenario(traffic.request(), traffic.COMPLETION, 20, 120,
                       tenant='poor', status=429),
    'dry_run': Scenario(traffic.request(), traffic.COMPLETION, 20, 120,
                        path='/dry/v1/chat/completions'),
    'server': Scenario(traffic.request(), traffic.COMPLETION, 20, 120,
                       path='/server/v1/chat/completions', calls=2),
}

# what a Cycles server answers, as the reference server does


def amount(number):
    return {'unit': 'USD_MICROCENTS', 'amount': number}


BALANCES = [{'scope': path.split('/')[-1], 'scope_path': path,
             'remaining': amount(10 ** 16 - 10 ** 6), 'reserved': amount(15),
             'spent': amount(10 ** 6), 'allocated': amount(10 ** 16),
             'debt': amount(0), 'overdraft_limit': amount(0),
             'is_over_limit': False}
            for path in ('tenant:acme', 'tenant:acme/app:bench')]

RESERVED = json.dumps({
    'decision': 'ALLOW',
    'reservation_id': 'a3c8a9a4-2f57-4a55-9d4c-8a3fb1a4a8a5',
    'affected_scopes': [balance['scope_path'] for balance in BALANCES],
    'expires_at_ms': 4102444800000, 'remaining_ttl_ms': 60000,
    'scope_path': 'tenant:acme/app:bench', 'reserved': amount(15),
    'balances': BALANCES})

COMMITTED = json.dumps({
    'status': 'COMMITTED', 'charged': amount(10), 'released': amount(5),
    'balances': BALANCES})


# Groups of source files, in the order of a request's life.

STAGES = [
    ('request', r'ngx_http_cycles_(request|route|handler|trust|caps)\.c|'
                r'llm_(request|request_value|route|text|tools|turns|json|form|'
                r'request_form|caps|bound)\.c|cycles_scan\.c'),
    ('estimate', r'ngx_http_cycles_cost\.c|llm_(estimate|factors|decimal|'
                 r'price\w*|bedrock\w*|region)\.c|'
                 r'avx\w*\.h'),            # its first instructions
    ('terms', r'ngx_http_cycles_(terms|variables|prices|module|abort|'
              r'heartbeat)\.c'),
    ('background', r'cycles_ledger_(fold|db|load|tables|recall|start|prune|'
                   r'define|definition|query)\.c|ngx_http_cycles_ledger_fold'
                   r'\.c'),
    ('log', r'cycles_ledger_(log|record)\.c'),
    ('ledger', r'cycles_ledger\w*\.c|ngx_http_cycles_ledger\w*\.c|'
               r'cycles_hash\.c|cycles_period\.c|cycles_calendar\.c'),
    ('calls', r'(ngx_http_)?cycles_(call|client|settlement|journal|breaker|'
              r'replay|protocol|reply|head)\w*\.c|cycles_(json|tree)\.c'),
    ('denial', r'ngx_http_cycles_deny\.c|llm_error\.c'),
    ('settle', r'ngx_http_cycles_settle\.c|ngx_http_cycles_status\.c|'
               r'ngx_http_cycles_zone_module\.c'),
    ('reply', r'ngx_http_cycles_(filter_module|inflate)\.c|llm_\w+\.c'),
    ('other', r''),
]

STAGES = [(name, re.compile('(%s)$' % files if files else ''))
          for name, files in STAGES]

UNCOUNTED = 'background'


def stage_of(file):
    name = os.path.basename(file)
    for stage, pattern in STAGES:
        if pattern.match(name):
            return stage
    return 'other'


def object_of(path):
    if path == '???':
        return 'stub'
    name = os.path.basename(path)
    if name.startswith('nginx'):
        return 'nginx'
    return 'module' if name == os.path.basename(MODULE) else 'library'


class Profile:
    """A dump of callgrind: {function: count} of the module, where a count has
    what the function calls in libraries; of nginx it is one number."""

    def __init__(self, path):
        self.functions = collections.Counter()
        self.files = {}
        self.nginx = 0
        self._stubs = {}                # of calls across objects
        self._calls = []
        self._read(path)

    def _read(self, path):
        owner = function = file = callee = None
        call = False

        with open(path, errors='replace') as lines:
            for line in lines:
                key, equals, value = line.rstrip('\n').partition('=')

                if key == 'ob':
                    owner = object_of(value)
                elif key == 'fl':
                    file = value
                elif key == 'fn':
                    function = value
                    callee = owner
                    if owner == 'module':
                        self.files.setdefault(function, file)
                elif key == 'cob':
                    callee = object_of(value)
                elif key == 'cfn':
                    called = value
                elif key == 'calls':
                    call = True
                elif line[:1].isdigit():
                    count = int(line.split()[1])
                    if call:
                        self._calls.append((owner, function, callee, called,
                                            count))
                        if owner == 'stub':
                            self._stubs[function] = callee
                    else:
                        self._add(owner, function, count)
                    call = False
                    callee = owner

        for owner, function, callee, called, count in self._calls:
            if callee == 'stub':
                callee = self._stubs.get(called, 'library')
            if callee == 'library' and called != START:
                self._add(owner, function, count)

    def _add(self, owner, function, count):
        if owner == 'module':
            self.functions[function] += count
        elif owner == 'nginx':
            self.nginx += count

    def minus(self, other):
        self.functions.subtract(other.functions)
        self.files = dict(other.files, **self.files)
        self.nginx -= other.nginx

    def per(self, n):
        for name in self.functions:
            self.functions[name] /= n
        self.nginx /= n
        return self

    def stages(self):
        counts = collections.Counter()
        for name, count in self.functions.items():
            counts[stage_of(self.files[name])] += count
        counts.pop(UNCOUNTED, None)
        return counts


class Provider(threading.Thread):
    """Answers what the scenario says, all of it in one write."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.socket()
        self.socket.bind(('127.0.0.1', 0))
        self.socket.listen(16)
        self.port = self.socket.getsockname()[1]
        self.scenario = None
        self.turn = threading.Semaphore(0)
        self.calls = threading.Semaphore(0)
        self.start()

    def run(self):
        while True:
            conn, _ = self.socket.accept()
            threading.Thread(target=self.serve, args=(conn,),
                             daemon=True).start()

    def serve(self, conn):
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        file = conn.makefile('rb')
        while True:
            length = 0
            line = file.readline()
            if not line:
                return
            path = line.split()[1]
            while line not in (b'\r\n', b''):
                if line.lower().startswith(b'content-length:'):
                    length = int(line[15:])
                line = file.readline()
            file.read(length)
            if path.startswith(b'/v1/reservations'):
                self.authorize(conn, path)
            else:
                self.answer(conn, self.scenario)

    def authorize(self, conn, path):
        body = COMMITTED if path.endswith(b'/commit') else RESERVED
        conn.sendall(('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n'
                      'X-Request-Id: %s\r\nX-Cycles-Trace-Id: %s\r\n'
                      'Content-Length: %d\r\n\r\n%s' % (
                          '7' * 36, '3' * 32, len(body), body)).encode())
        self.calls.release()

    def answer(self, conn, scenario):
        kind = ('text/event-stream' if b'"stream": true' in scenario.body
                else 'application/json')
        head = 'HTTP/1.1 200 OK\r\nContent-Type: %s\r\n' % kind

        if scenario.steps is None:
            head += 'Content-Length: %d\r\n\r\n' % len(scenario.reply)
            conn.sendall(head.encode() + scenario.reply)
            return

        head += 'Transfer-Encoding: chunked\r\n\r\n'
        chunks = [b'%x\r\n%s\r\n' % (len(step), step.encode())
                  for step in scenario.steps]

        if not scenario.paused:
            conn.sendall(head.encode() + b''.join(chunks) + b'0\r\n\r\n')
            return

        conn.sendall(head.encode())
        for chunk in chunks:
            self.turn.acquire()
            conn.sendall(chunk)
        conn.sendall(b'0\r\n\r\n')


class Gateway:
    """nginx under callgrind, one process."""

    def __init__(self, provider, http='', location='', dry='', server='',
                 load=''):
        self.provider = provider
        self.dir = tempfile.mkdtemp(prefix='cycles-callgrind-')
        os.mkdir(os.path.join(self.dir, 'ledger'))
        self.port = free_port()
        self.dumps = 0

        with open(os.path.join(self.dir, 'budgets.json'), 'w') as file:
            file.write(BUDGETS)

        with open(os.path.join(self.dir, 'nginx.conf'), 'w') as file:
            file.write(CONF % {
                'dir': self.dir, 'load': load, 'location': location,
                'dry': dry, 'server': server, 'provider': provider.port,
                'port': self.port,
                'http': http % {'dir': self.dir, 'root': ROOT}})

        with open(os.path.join(self.dir, 'valgrind.log'), 'w') as log:
            self.process = subprocess.Popen(
                ['valgrind', '--tool=callgrind', '--compress-strings=no',
                 '--compress-pos=no', '--dump-line=no',
                 '--separate-threads=yes', '--dump-before=' + MARK,
                 '--callgrind-out-file=' + os.path.join(self.dir, 'out'),
                 BINARY, '-p', self.dir, '-c',
                 os.path.join(self.dir, 'nginx.conf')],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env=dict(os.environ, **ENVIRONMENT))

    def wait(self):
        end = time.monotonic() + 60
        while True:
            try:
                self.socket = socket.create_connection(
                    ('127.0.0.1', self.port), 60)
                break
            except ConnectionRefusedError:
                if (self.process.poll() is not None
                        or time.monotonic() > end):
                    raise RuntimeError(self.log())
                time.sleep(0.05)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log(self):
        text = ''
        for name in 'valgrind.log', 'error.log':
            path = os.path.join(self.dir, name)
            if os.path.exists(path):
                with open(path) as file:
                    text += file.read()
        return text

    def send(self, scenario):
        self.socket.sendall((
            'POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: '
            'application/json\r\nX-Tenant: %s\r\nX-App: bench\r\n'
            'Content-Length: %d\r\n\r\n' % (
                scenario.path, scenario.tenant, len(scenario.body))
        ).encode() + scenario.body)

    def more(self):
        data = self.socket.recv(1 << 20)
        if not data:
            raise RuntimeError('closed\n' + self.log())
        return data

    def ask(self, scenario):
        """One request and its whole reply."""

        self.provider.scenario = scenario
        self.send(scenario)
        data = b''
        while b'\r\n\r\n' not in data:
            data += self.more()
        head, _, body = data.partition(b'\r\n\r\n')

        if b'chunked' in head:
            chunks = 0
            while not body.endswith(b'0\r\n\r\n'):
                if scenario.paused:
                    self.provider.turn.release()
                    chunks += 1
                    while (body.count(b'\n\n') < chunks
                           and not body.endswith(b'0\r\n\r\n')):
                        body += self.more()
                else:
                    body += self.more()
        else:
            length = int(re.search(rb'(?i)content-length: (\d+)',
                                   head).group(1))
            while len(body) < length:
                body += self.more()

        return int(head.split()[1])

    def mark(self):
        with socket.create_connection(('127.0.0.1', self.port), 60) as conn:
            conn.sendall(b'GET /mark HTTP/1.0\r\n\r\n')
            while conn.recv(4096):
                pass
        self.dumps += 1
        return os.path.join(self.dir, 'out.%d-01' % self.dumps)

    def times(self, number, scenario, enforced):
        """So many requests, and what they have a Cycles server do."""

        status = scenario.status if enforced else 200
        for _ in range(number):
            answer = self.ask(scenario)
            if answer != status:
                raise RuntimeError('%d\n%s' % (answer, self.log()))
            for _ in range(scenario.calls if enforced else 0):
                self.provider.calls.acquire()
        return self.mark()

    def run(self, scenario, enforced):
        self.times(2, scenario, enforced)
        profiles = [Profile(self.times(number, scenario, enforced))
                    for number in (scenario.few, scenario.many)]

        profiles[1].minus(profiles[0])
        return profiles[1].per(scenario.many - scenario.few)

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir)


def measure(names):
    """{scenario: (profile of the plain gateway, of that with a ledger)}"""

    profiles = {name: {} for name in names}
    failures = []

    def run(kind, gateway):
        try:
            gateway.wait()
            for name in names:
                profiles[name][kind] = gateway.run(
                    SCENARIOS[name], kind == 'ledger')
        except Exception as exc:
            failures.append(exc)

    gateways = {
        'plain': Gateway(Provider()),
        'ledger': Gateway(Provider(), load='load_module %s;' % MODULE,
                          http=LEDGER, location='cycles on;',
                          dry='cycles dry_run;',
                          server='cycles on; cycles_authority @cycles;')}

    threads = [threading.Thread(target=run, args=item)
               for item in gateways.items()]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for gateway in gateways.values():
            gateway.close()

    if failures:
        raise failures[0]
    return {name: (p['plain'], p['ledger']) for name, p in profiles.items()}


def counts(plain, ledger):
    stages = ledger.stages()
    result = {stage: round(stages[stage]) for stage, _ in STAGES
              if round(stages[stage])}
    result['module'] = round(sum(stages.values()))
    result['nginx'] = round(ledger.nginx - plain.nginx)
    result['plain'] = round(plain.nginx)
    return result


def differences(kept, found, tolerance):
    """What of the module's counts is not what was kept, in words."""

    words = []
    for name in found:
        old = kept[name]['module']
        new = found[name]['module']
        if abs(new - old) > old * tolerance:
            words.append('%s: %d instructions, not %d (%+.1f %%)' % (
                name, new, old, (new / old - 1) * 100))
            for stage in sorted(set(kept[name]) | set(found[name])):
                a, b = kept[name].get(stage, 0), found[name].get(stage, 0)
                if stage not in ('module', 'nginx', 'plain') and a != b:
                    words.append('    %s: %d, was %d' % (stage, b, a))
    return words


def table(found):
    stages = [stage for stage, _ in STAGES
              if any(stage in row for row in found.values())]
    stages += ['module', 'nginx', 'plain']
    lines = ['%-10s' % '' + ''.join('%10s' % name for name in found)]
    for stage in stages:
        lines.append('%-10s' % stage + ''.join(
            '%10d' % row.get(stage, 0) for row in found.values()))
    return '\n'.join(lines)


def top(name, profile, number):
    lines = ['', name]
    for function, count in profile.functions.most_common(number):
        if count >= 1:
            lines.append('%10d  %-9s %s' % (
                count, stage_of(profile.files[function]), function))
    return '\n'.join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0])
    parser.add_argument('scenarios', nargs='*', choices=[[], *SCENARIOS])
    parser.add_argument('--write', action='store_true')
    parser.add_argument('--check', action='store_true')
    parser.add_argument('--tolerance', type=float, default=0.03)
    parser.add_argument('--top', type=int, default=25)
    options = parser.parse_args()

    names = options.scenarios or list(SCENARIOS)
    profiles = measure(names)
    found = {name: counts(*profiles[name]) for name in names}

    if not options.check:
        for name in names:
            print(top(name, profiles[name][1], options.top))
        print()
    print(table(found))

    if options.write:
        with open(FILE, 'w') as file:
            json.dump(found, file, indent=1)
            file.write('\n')

    if options.check:
        with open(FILE) as file:
            words = differences(json.load(file), found, options.tolerance)
        print('\n'.join(words))
        return 1 if words else 0

    return 0


if __name__ == '__main__':
    sys.exit(main())
