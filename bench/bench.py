#!/usr/bin/env python3
# Copyright (C) nginx-cycles authors

"""What budgets cost: requests/s and worker CPU per request of a plain
proxy_pass, of the same with the embedded ledger, and of the same with a
Cycles server, in alternating rounds of one run.

Each gateway is one worker pinned to one core; wrk and the stubs (nginx with
constant replies) share another.  CPU per request is the worker's user and
system time divided by its requests: the stable figure on a noisy machine.

    bench.py [--rounds N] [--seconds S] [--connections C] [--smoke]

Writes build/bench/report.md and report.json.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time


ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, 't', 'lib'))

from gateway import (BINARY, Nginx, budgets, free_port,   # noqa: E402
                     wait_until)


BUILD = os.environ.get('BUILD') or os.path.join(ROOT, 'build')
TICKS = os.sysconf('SC_CLK_TCK')

COMPLETION = json.dumps({
    'id': 'chatcmpl-bench', 'object': 'chat.completion',
    'created': 1700000000, 'model': 'gpt-4o-mini',
    'choices': [{'index': 0, 'finish_reason': 'stop', 'logprobs': None,
                 'message': {'role': 'assistant', 'refusal': None,
                             'content': 'All is well. ' * 40}}],
    'usage': {'prompt_tokens': 230, 'completion_tokens': 161,
              'total_tokens': 391,
              'prompt_tokens_details': {'cached_tokens': 0},
              'completion_tokens_details': {'reasoning_tokens': 0}}})

# a request of about 1 KB

REQUEST = json.dumps({
    'model': 'gpt-4o-mini', 'max_completion_tokens': 256,
    'messages': [
        {'role': 'system', 'content': 'You are a helpful assistant. ' * 4},
        {'role': 'user', 'content': 'Tell me what you know of rivers. ' * 23},
    ]})


def stream_text(events):
    base = {'id': 'chatcmpl-bench', 'object': 'chat.completion.chunk',
            'created': 1700000000, 'model': 'gpt-4o-mini'}
    lines = []
    for _ in range(events - 1):
        lines.append(dict(base, choices=[{
            'index': 0, 'delta': {'content': 'word '}}], usage=None))
    lines.append(dict(base, choices=[], usage={
        'prompt_tokens': 230, 'completion_tokens': events,
        'total_tokens': 230 + events}))
    text = ''.join('data: %s\n\n' % json.dumps(line, separators=(',', ':'))
                   for line in lines)
    return text + 'data: [DONE]\n\n'


STREAM_REQUEST = json.dumps(dict(
    json.loads(REQUEST), stream=True,
    stream_options={'include_usage': True}))


# A Cycles server that says yes to everything and keeps nothing.

AMOUNT = '"unit":"USD_MICROCENTS","amount":10000'
RESERVED = ('{"decision":"ALLOW","reservation_id":"rsv-bench","affected_scopes'
            '":["tenant:acme"],"expires_at_ms":4102444800000,'
            '"remaining_ttl_ms":60000,"scope_path":"tenant:acme",'
            '"reserved":{%s}}' % AMOUNT)
COMMITTED = ('{"status":"COMMITTED","charged":{%s},"released":{%s}}'
             % (AMOUNT, AMOUNT))
EXTENDED = ('{"status":"ACTIVE","expires_at_ms":4102444800000,'
            '"remaining_ttl_ms":60000}')

COMMON = '''
    access_log off;
    keepalive_requests 1000000;
    client_body_buffer_size 64k;
    client_header_buffer_size 4k;
'''

STUBS = COMMON + '''
    server {
        listen 127.0.0.1:%%CYCLES_PORT%%;
        default_type application/json;
        location = /v1/reservations { return 200 '%%RESERVED%%'; }
        location ~ /commit$ { return 200 '%%COMMITTED%%'; }
        location ~ /extend$ { return 200 '%%EXTENDED%%'; }
        location / { return 404; }
    }
'''

# The long stream is a file: a POST of it has to come in as an error page.

STUB_SERVER = '''
    location = /v1/chat/completions {
        default_type application/json;
        error_page 405 =200 /stream;
        if ($http_x_scenario = sse100) { return 405; }
        return 200 '%%COMPLETION%%';
    }
    location = /stream {
        internal;
        default_type text/event-stream;
        root %%DIR%%;
        open_file_cache max=8;
    }
'''

GATEWAY_HTTP = COMMON + '''
    upstream provider { server 127.0.0.1:%%PROVIDER%%; keepalive 64;
                        keepalive_requests 1000000; }
'''

PROXY = '''
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Accept-Encoding "";
'''

CYCLES = '''
    cycles on;
    cycles_subject tenant $http_x_tenant;
    cycles_subject app $http_x_app;
    cycles_price_table %%PRICES%%;
'''

LEDGER_HTTP = GATEWAY_HTTP + '''
    cycles_ledger main path=%%DIR%%/ledger zone=16m
                  budgets=%%DIR%%/budgets.json;
'''

SERVER_HTTP = GATEWAY_HTTP + '''
    upstream cycles { server 127.0.0.1:%%CYCLES_PORT%%; keepalive 64;
                      keepalive_requests 1000000; }
'''

PASS = 'location / { proxy_pass http://provider; }'

CYCLES_LOCATION = '''
    location @cycles {
        proxy_pass http://cycles;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_next_upstream error timeout non_idempotent;
    }
'''

BUDGETS = budgets(('tenant:acme', 10 ** 16), ('tenant:acme/app:bench',
                                              10 ** 16))

WRK = '''
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["X-Tenant"] = "acme"
wrk.headers["X-App"] = "bench"
wrk.headers["X-Scenario"] = "%s"
wrk.body = [==[%s]==]

function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        "RESULT %%d %%d %%d %%d %%d %%d\\n", summary.requests,
        summary.duration, errors.status,
        errors.connect + errors.read + errors.write + errors.timeout,
        latency:percentile(50), latency:percentile(99)))
end
'''


class BenchError(Exception):
    pass


def cpu_seconds(pid):
    with open('/proc/%d/stat' % pid) as file:
        fields = file.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Bench:

    def __init__(self, options):
        self.options = options
        self.cores = sorted(os.sched_getaffinity(0))
        self.servers = {}
        self.results = {}
        self.script = {}

    def pinned(self, which):
        """main{} text that pins a server to the first or the last core."""

        if len(self.cores) < 2:
            return ''
        core = self.cores[0] if which == 'gateway' else self.cores[-1]
        return 'worker_cpu_affinity 1%s;' % ('0' * core)

    def start(self):
        cycles_port = free_port()
        stubs = Nginx(
            workers=1, module='', main=self.pinned('load'), http=STUBS,
            server=STUB_SERVER, files={'stream': stream_text(100)},
            cycles_port=cycles_port, completion=COMPLETION,
            reserved=RESERVED, committed=COMMITTED, extended=EXTENDED)
        self.servers['stubs'] = stubs
        stubs.start()

        main = self.pinned('gateway')
        common = dict(workers=1, main=main, provider=stubs.port,
                      cycles_port=cycles_port, log_level='warn')

        self.servers['plain'] = Nginx(
            module='', http=GATEWAY_HTTP, server=PROXY + PASS, **common)
        self.servers['ledger'] = Nginx(
            http=LEDGER_HTTP, files={'budgets.json': BUDGETS},
            server=PROXY + CYCLES + 'cycles_authority ledger=main;' + PASS,
            **common)
        self.servers['cycles'] = Nginx(
            http=SERVER_HTTP, server=PROXY + CYCLES
            + 'cycles_authority @cycles;' + CYCLES_LOCATION + PASS, **common)

        for name in 'plain', 'ledger', 'cycles':
            self.servers[name].start()

        for name, body in ('json', REQUEST), ('sse100', STREAM_REQUEST):
            path = stubs.path(name + '.lua')
            with open(path, 'w') as file:
                file.write(WRK % (name, body))
            self.script[name] = path

    def stop(self):
        for server in self.servers.values():
            server.close()

    def wrk(self, port, scenario, seconds):
        argv = ['wrk', '-t', '1', '-c', str(self.options.connections), '-d',
                '%ds' % seconds, '-s', self.script[scenario],
                'http://127.0.0.1:%d/v1/chat/completions' % port]
        if len(self.cores) > 1:
            argv = ['taskset', '-c', str(self.cores[-1])] + argv

        done = subprocess.run(argv, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=seconds + 60)
        match = re.search(r'^RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)',
                          done.stdout.decode(), re.M)
        if not match:
            raise BenchError('wrk: %s' % done.stdout.decode())

        requests, usec, bad, broken, p50, p99 = map(int, match.groups())
        if bad or broken or not requests:
            raise BenchError('%s: %d requests, %d not 2xx, %d broken' % (
                scenario, requests, bad, broken))
        return requests, usec / 1e6, p50 / 1000, p99 / 1000

    def measure(self, name, scenario):
        server = self.servers[name]
        pid = server.workers()[0]
        before = cpu_seconds(pid)
        requests, wall, p50, p99 = self.wrk(server.port, scenario,
                                            self.options.seconds)
        cpu = cpu_seconds(pid) - before

        self.results.setdefault((name, scenario), []).append({
            'rps': requests / wall, 'cpu_us': cpu * 1e6 / requests,
            'busy': cpu / wall, 'p50_ms': p50, 'p99_ms': p99})

    def check(self, name):
        """One request through a gateway does what it should."""

        r = self.servers[name].chat(tenant='acme', json_body=REQUEST.encode(),
                                    headers={'X-App': 'bench'})
        if r.status != 200 or b'"usage"' not in r.body:
            raise BenchError('%s: %r %s' % (name, r, r.text[:500]))
        decision = r.header('X-Cycles-Decision')
        if name != 'plain' and decision != 'ALLOW':
            raise BenchError('%s: decision %s' % (name, decision))

    def check_ledger(self):
        """All that was measured has been paid for."""

        ledger = self.servers['ledger']
        balance = wait_until(
            lambda: (lambda b: b['reserved'] == 0 and b)(
                ledger.budget('tenant:acme')),
            what='the ledger to have settled everything')
        if balance['spent'] <= 0:
            raise BenchError('nothing was spent: %r' % balance)
        return balance

    def run(self):
        names = ['plain', 'ledger', 'cycles']
        plan = [(name, 'json') for name in names]
        plan += [(name, 'sse100') for name in names[:2]]

        for name in names:
            self.check(name)

        self.direct = {s: self.wrk(self.servers['stubs'].port, s, 1)[0:2]
                       for s in ('json', 'sse100')}

        for i in range(self.options.rounds):
            print('round %d of %d' % (i + 1, self.options.rounds),
                  file=sys.stderr, flush=True)
            for name, scenario in plan if i % 2 == 0 else plan[::-1]:
                self.measure(name, scenario)

        self.balance = self.check_ledger()


def spread(values, digits):
    return {'median': round(statistics.median(values), digits),
            'min': round(min(values), digits),
            'max': round(max(values), digits)}


def ratio_of(bench, name, scenario, what):
    plain = bench.results['plain', scenario]
    other = bench.results[name, scenario]
    return spread([b[what] / a[what] for a, b in zip(plain, other)], 3)


def summarize(bench):
    ratios, spreads = {}, {}

    for name, scenario in bench.results:
        if name == 'plain':
            continue
        for what, short in ('cpu_us', 'cpu'), ('rps', 'rps'):
            key = '%s_%s_%s' % (name, scenario, short)
            spreads[key] = ratio_of(bench, name, scenario, what)
            ratios[key] = spreads[key]['median']

    measured = {}
    for (name, scenario), rounds in bench.results.items():
        measured['%s_%s' % (name, scenario)] = {
            what: spread([r[what] for r in rounds], digits)
            for what, digits in (('rps', 0), ('cpu_us', 1), ('busy', 2),
                                 ('p50_ms', 2), ('p99_ms', 2))}

    version = subprocess.run([BINARY, '-v'], stderr=subprocess.PIPE)

    return {
        'ratios': ratios, 'ratio_spreads': spreads, 'measured': measured,
        'stubs_direct_rps': {s: round(n / t)
                             for s, (n, t) in bench.direct.items()},
        'rounds': bench.options.rounds, 'seconds': bench.options.seconds,
        'connections': bench.options.connections,
        'machine': {'cpu': cpu_model(), 'cores': len(bench.cores),
                    'kernel': platform.release(),
                    'nginx': version.stderr.decode().strip()},
        'date': time.strftime('%Y-%m-%d')}


def cpu_model():
    with open('/proc/cpuinfo') as file:
        for line in file:
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    return platform.machine()


LABELS = {'plain': 'plain proxy_pass', 'ledger': '+ embedded ledger',
          'cycles': '+ Cycles server (stand-in)'}


def markdown(summary):
    out = ['# Benchmark', '',
           '%(cpu)s, %(cores)d cores, Linux %(kernel)s, %(nginx)s' %
           summary['machine'],
           '%d rounds of %d s, %d connections, one worker per gateway; '
           'medians (min-max over the rounds)' % (
               summary['rounds'], summary['seconds'],
               summary['connections']), '',
           '## Against plain proxy_pass', '',
           '| ratio | median | min-max |', '|---|---|---|']

    for key, value in summary['ratio_spreads'].items():
        out.append('| %s | **%.2f** | %.2f-%.2f |' % (
            key, value['median'], value['min'], value['max']))

    out += ['', '## Measured', '',
            '| gateway | reply | requests/s | CPU us/request | p50 ms | '
            'p99 ms | worker busy |', '|---|---|---|---|---|---|---|']

    for key, value in summary['measured'].items():
        name, scenario = key.rsplit('_', 1)
        cells = ['%g (%g-%g)' % (v['median'], v['min'], v['max'])
                 for v in (value['rps'], value['cpu_us'], value['p50_ms'],
                           value['p99_ms'])]
        out.append('| %s | %s | %s | %d %% |' % (
            LABELS[name], scenario, ' | '.join(cells),
            round(value['busy']['median'] * 100)))

    direct = summary['stubs_direct_rps']
    out += ['', 'The stubs alone answer %d (json) and %d (sse100) '
            'requests/s with the same load generator; a worker that is '
            'busy near 100 %% shows that the gateway, not they, is the '
            'limit.' % (direct['json'], direct['sse100']),
            'The spread of a column is the noise of this machine; CPU per '
            'request and the ratios are steadier than requests/s.', '']
    return '\n'.join(out)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--seconds', type=int, default=3)
    parser.add_argument('--connections', type=int, default=32)
    parser.add_argument('--out', default=os.path.join(BUILD, 'bench'))
    parser.add_argument('--smoke', action='store_true',
                        help='one short round, for the tests')
    options = parser.parse_args()
    if options.smoke:
        options.rounds, options.seconds = 1, 1

    bench = Bench(options)
    try:
        bench.start()
        bench.run()
    except BenchError as exc:
        print('bench: %s' % exc, file=sys.stderr)
        return 1
    finally:
        bench.stop()

    summary = summarize(bench)
    os.makedirs(options.out, exist_ok=True)
    with open(os.path.join(options.out, 'report.json'), 'w') as file:
        json.dump(summary, file, indent=2)
        file.write('\n')
    with open(os.path.join(options.out, 'report.md'), 'w') as file:
        file.write(markdown(summary))
    print(markdown(summary))
    return 0


if __name__ == '__main__':
    sys.exit(main())
