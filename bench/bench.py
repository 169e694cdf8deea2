#!/usr/bin/env python3
# Copyright (C) nginx-cycles authors

"""What budgets cost: the same requests through a plain proxy_pass, through
the gateway in each of its forms, and through what else there is.

Every comparison runs in alternating rounds, or in turns of a quarter of a
second; a gateway is one worker on one core, the clients and the provider are
one process on another (bench/load.c).
CPU per request is what the kernel has accounted to all threads of a gateway,
background work included, divided by its requests: the figure that noise
changes least.

    bench.py [--rounds N] [--seconds S] [--only NAME,...] [--out DIR]

BENCH_PEERS=0 leaves out what is not ours; BENCH_QUICK=1 is one short round
of the most important.  Writes build/bench/report.md, report.json and plots.
"""

import argparse
import contextlib
import json
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time


ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, 't', 'lib'), os.path.join(ROOT, 'bench')]

FILES = 65536

with contextlib.suppress(OSError, ValueError):
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))

import gateways                                           # noqa: E402
import report                                             # noqa: E402
import traffic                                            # noqa: E402
from gateway import BINARY, free_port, wait_until         # noqa: E402
from gateways import BUILD, cpu_us                        # noqa: E402


UNITS = os.path.join(BUILD, 'unit')
LOAD = os.path.join(UNITS, 'load')
LEDGER = os.path.join(UNITS, 'bench_ledger')

QUICK = bool(os.environ.get('BENCH_QUICK'))
WITH_PEERS = os.environ.get('BENCH_PEERS') != '0' and not QUICK

TENANT = 't%TENANT%'
KEY = '%IDEMPOTENCYKEY%'
ID = '%===========RESERVATION_ID=========%'
API_KEY = 'cyc_live_bench'

# workers and durability of the HTTP API; the first one is the figure

API_RUNS = ((2, 'interval'), (1, 'interval'), (4, 'interval'), (1, 'always'),
            (2, 'always'), (4, 'always'))


# of a round, where a ratio is to be known well: what the neighbours of a
# machine do lasts for longer than a turn, and is the same for all

TURNS = 2 if QUICK else 8


class BenchError(Exception):
    pass


class Failed(Exception):
    """A peer that can't be had or does not run: the rest goes on."""


def message(path, body, **headers):
    lines = ['POST %s HTTP/1.1' % path, 'Host: bench',
             'Content-Type: application/json']
    lines += ['%s: %s' % (name.replace('_', '-'), value)
              for name, value in headers.items()]
    lines.append('Content-Length: %d' % len(body))
    return '\r\n'.join(lines) + '\r\n\r\n' + body


def chat(body, tenant=TENANT, **headers):
    return message('/v1/chat/completions', body, X_Tenant=tenant,
                   X_App='bench', **headers)


def reply(body, kind='application/json'):
    return ('HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n'
            '\r\n%s' % (kind, len(body), body))


def stream(number):
    """A chunk for each event, as providers send them."""

    return ('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n'
            'Transfer-Encoding: chunked\r\n\r\n%s0\r\n\r\n' % ''.join(
                '%x\r\n%s\r\n' % (len(event), event)
                for event in traffic.events(number)))


ANSWER = reply(traffic.COMPLETION)

EVENT_MS = 5

# name: request, reply, more options of the load

SCENARIOS = {
    'json': (chat(traffic.request()), ANSWER, {}),
    'sse100': (chat(traffic.stream_request()), stream(100), {}),
    'sse1m': (chat(traffic.stream_request()), stream(5000), {}),
    'trickle': (chat(traffic.stream_request()), stream(20),
                {'pause': 50, 'connections': 256, 'spin': 0}),
    'long': (chat(traffic.long_request()), ANSWER, {}),
    'denied': (chat(traffic.request(), 'poor'), ANSWER, {'status': 429}),
    'c256': (chat(traffic.request()), ANSWER, {'connections': 256}),
    'hold': (chat(traffic.stream_request()), stream(100),
             {'hold': 1, 'spin': 0}),
    'events': (chat(traffic.stream_request()),
               stream(400 if QUICK else 1400),
               {'pause': EVENT_MS, 'spin': 0}),
    'bearer': (chat(traffic.request(), Authorization='Bearer none',
                    x_portkey_provider='openai',
                    x_portkey_custom_host='http://127.0.0.1:%PROVIDER%/v1'),
               ANSWER, {}),
}

SUBJECT = {'tenant': 't00000000', 'app': 'bench'}
AMOUNT = {'unit': 'USD_MICROCENTS', 'amount': 10000}

API_RESERVE = message('/v1/reservations', json.dumps({
    'idempotency_key': KEY, 'subject': SUBJECT, 'estimate': AMOUNT,
    'action': {'kind': 'llm.completion', 'name': 'openai:gpt-4o-mini'},
    'ttl_ms': 60000}), X_Cycles_API_Key=API_KEY)
API_COMMIT = message('/v1/reservations/%s/commit' % ID, json.dumps({
    'idempotency_key': KEY, 'actual': AMOUNT}), X_Cycles_API_Key=API_KEY)


class Meter:
    """What a gateway takes for its runs, and for what it does after them."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.pids = gateway.pids()
        self.before = self.cpu()
        self.during = self.woken = self.others = 0
        self.runs = []

    def cpu(self):
        return cpu_us(self.pids)

    def run(self, load, meters):
        others = [meter for meter in meters if meter is not self]
        taken = sum(meter.cpu() for meter in others)
        cpu, woken = self.cpu(), gateways.wakeups(self.pids)
        self.runs.append(load())
        self.during += self.cpu() - cpu
        self.woken += gateways.wakeups(self.pids) - woken
        self.others += sum(meter.cpu() for meter in others) - taken

    def result(self):
        """Requests/s: all have the same core, so what one of them does
        outside of its runs is time of its own, and not of theirs."""

        self.gateway.rest()
        cpu = self.cpu() - self.before

        def total(name):
            return sum(run[name] for run in self.runs)

        def middle(name):
            return statistics.median(run[name] for run in self.runs)

        n, seconds = total('requests'), total('seconds')
        used = seconds + (cpu - self.during - self.others) / 1e6
        return {'rps': n / used, 'cpu_us': cpu / n,
                'gateway_busy': self.during / 1e6 / seconds,
                'load_busy': 1 - total('blank_turns') / total('turns'),
                'p50_us': middle('p50_us'), 'p99_us': middle('p99_us'),
                'ttfb_us': middle('ttfb_p50_us'),
                'wakeups': self.woken / n,
                'rss_mb': gateways.rss_kb(self.pids) / 1024,
                'broken': total('broken')}


class Bench:

    def __init__(self, options):
        self.options = options
        self.dir = tempfile.mkdtemp(prefix='cycles-bench-')
        self.results = {}           # {(comparison, gateway): [round, ...]}
        self.figures = {}
        self.notes = []
        self.begin = time.monotonic()

    def say(self, text):
        print('%4d s  %s' % (time.monotonic() - self.begin, text),
              file=sys.stderr, flush=True)

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)

    # one run of the load

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, 'w') as file:
            file.write(text)
        return path

    def load(self, scenario, port, provider, **options):
        request, answer, more = SCENARIOS[scenario]
        request = request.replace('%PROVIDER%', str(provider))
        args = dict({'port': port, 'stub': provider, 'connections': 32,
                     'seconds': self.options.seconds, 'tenants': 1, 'spin': 1,
                     'request': self.write(scenario + '.rq', request),
                     'reply': self.write(scenario + '.rp', answer)},
                    **dict(more, **options))
        if '%TENANT%' not in request:
            args['tenants'] = 0
        if len(gateways.cores()) < 2:
            args['spin'] = 0
        return self.run_load(args, gateways.load_core())

    def run_load(self, args, core=None):
        argv = [LOAD] + ['%s=%s' % item for item in args.items()]
        if core is not None:
            argv = gateways.pinned(argv, core)
        done = subprocess.run(argv, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE,
                              timeout=float(args['seconds']) + 120)
        if done.returncode:
            raise BenchError(done.stderr.decode())
        result = json.loads(done.stdout)
        if result['bad'] or not result['requests']:
            raise BenchError('%r: %r' % (argv, result))
        return result

    # comparisons

    def compare(self, name, scenario, kinds, rounds=None, turns=1, warm=0.2,
                each=None, **options):
        """kinds: {name: make(provider)}, in alternating rounds, each of which
        is for all of them at the same time, in turns, if there are several.
        each: {name: options} of one of them.
        """

        self.say(name)

        def more(kind, seconds):
            return dict(options, seconds=seconds, status=self.status(
                kind, scenario, options), **(each or {}).get(kind, {}))

        provider = free_port()
        with contextlib.ExitStack() as stack:
            running = {}
            for kind, make in kinds.items():
                try:
                    gateway = make(provider)
                    stack.callback(gateway.close)
                    gateway.start()
                    self.load(scenario, gateway.port, provider,
                              **more(kind, warm))
                    gateway.rest()
                    running[kind] = gateway
                except (Failed, OSError, RuntimeError, BenchError,
                        AssertionError) as exc:
                    if kind in ('plain', 'ledger'):
                        raise
                    self.notes.append('%s of "%s" did not run: %s' % (
                        kind, name, str(exc)[-300:]))

            seconds = options.get('seconds', self.options.seconds) / turns

            def one_turn(kind):
                return self.load(scenario, running[kind].port, provider,
                                 **more(kind, seconds))

            for i in range(rounds or self.options.rounds):
                order = list(running)[::-1 if i % 2 else 1]
                for group in [order] if turns > 1 else zip(order):
                    self.one_round(name, {kind: running[kind]
                                          for kind in group}, turns, one_turn)

            for kind, gateway in running.items():
                if kind == 'ledger' and scenario == 'json':
                    self.check_settled(gateway)

    def one_round(self, name, running, turns, one_turn):
        meters = {kind: Meter(gateway) for kind, gateway in running.items()}
        for turn in range(turns):
            for kind in list(meters)[::-1 if turn % 2 else 1]:
                meters[kind].run(lambda kind=kind: one_turn(kind),
                                 meters.values())
        for kind, meter in meters.items():
            self.results.setdefault((name, kind), []).append(meter.result())

    def status(self, kind, scenario, options):
        wanted = SCENARIOS[scenario][2].get('status', 200)
        return 200 if kind == 'plain' else options.get('status', wanted)

    def check_settled(self, gateway):
        """All that was measured has been paid for."""

        balance = wait_until(
            lambda: (lambda b: b['reserved'] == 0 and b)(
                gateway.nginx.budget('tenant:t00000000')),
            what='the ledger to have settled everything')
        if balance['spent'] <= 0:
            raise BenchError('nothing was spent: %r' % balance)

    def half_load(self):
        """Latency at half of what the ledger can do, the same for both."""

        rate = statistics.median(
            r['rps'] for r in self.results['json', 'ledger']) / 2
        self.compare('half', 'json', {'plain': gateways.plain,
                                      'ledger': gateways.ledger}, rate=rate)

    def ledger_alone(self):
        seconds = '1' if QUICK else '3'
        runs = {'1 budget': [], '1000 budgets': ['-b', '1000']}
        if not QUICK:
            runs.update({
                '1,000,000 budgets': ['-b', '1000000'],
                '100,000 live': ['-l', '100000'],
                '2 processes': ['-p', '2'],
                'sync=always, 64 processes': ['-y', '-p', '64'],
            })
        self.say('the ledger alone')
        table = {}
        for name, args in runs.items():
            done = subprocess.run(
                [LEDGER, '-s', seconds, '-d', self.dir, *args], check=True,
                stdout=subprocess.PIPE, timeout=600)
            table[name] = json.loads(done.stdout)
        self.figures['ledger_alone'] = table

    def api_pairs(self):
        """Reserve and commit over the HTTP API of a ledger."""

        self.figures['api'] = {
            '%d workers, sync=%s' % (workers, sync):
            self.api_rounds(workers, sync)
            for workers, sync in API_RUNS[:1 if QUICK else None]}

    def api_rounds(self, workers, sync):
        self.say('the HTTP API, %d workers, sync=%s' % (workers, sync))
        gateway = gateways.api(workers, sync)
        reserve = self.write('reserve.rq', API_RESERVE)
        commit = self.write('commit.rq', API_COMMIT)
        values = []
        try:
            gateway.start()
            pids = gateway.pids()
            for _ in range(self.options.rounds):
                before = cpu_us(pids)
                r = self.run_load({
                    'port': gateway.port, 'connections': 64, 'request':
                    reserve, 'commit': commit, 'seconds':
                    self.options.seconds})
                pairs = r['requests'] / 2
                values.append({
                    'pairs_per_s': pairs / r['seconds'],
                    'cpu_us': (cpu_us(pids) - before) / pairs,
                    'p50_us': r['p50_us'], 'p99_us': r['p99_us']})
        finally:
            gateway.close()
        return values

    def redis(self):
        """The same with EVALSHA, by server CPU."""

        if not shutil.which('redis-server'):
            self.notes.append('redis-server is not installed')
            return
        self.say('Redis')
        server = gateways.Redis(0)
        number = 2000 if QUICK else 10000
        budgets = ['budget:t', 'budget:t:app']
        try:
            server.start()
            for name in budgets:
                server.cli('hset', name, 'remaining', str(10 ** 15),
                           'reserved', '0', 'spent', '0')
            reserve, commit = (server.script(name)
                               for name in ('reserve.lua', 'commit.lua'))
            values = []
            for _ in range(1 if QUICK else 3):
                a, rate_a = server.run(
                    number, 'evalsha', reserve, '4', 'key:r:__rand_int__',
                    'reservation:__rand_int__', *budgets, '10000',
                    '1700000000000')
                b, rate_b = server.run(
                    number, 'evalsha', commit, '4', 'key:c:__rand_int__',
                    'reservation:__rand_int__', *budgets, '7000', '10000')
                values.append({'cpu_us': a + b,
                               'pairs_per_s': 1 / (1 / rate_a + 1 / rate_b)})
            self.figures['redis'] = values
        finally:
            server.close()

    def streams(self):
        """Many streams that are open at the same time, and one by itself."""

        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        number = 200 if QUICK else min(10000, files // 2 - 200)
        self.say('%d streams' % number)
        sizes = {}
        wakeups = {}
        for kind in 'plain', 'ledger':
            make = gateways.unbuffered(getattr(gateways, kind))
            try:
                sizes[kind] = self.stream_size(make, number)
            except Failed as exc:
                self.notes.append('%d streams: %s' % (number, exc))
                return
            wakeups[kind] = self.event_wakeups(make)
        self.figures['streams'] = dict(sizes, number=number, wakeups=wakeups)

    def stream_size(self, make, number):
        """Bytes of a stream that waits for its next event."""

        provider = free_port()
        gateway = make(provider)
        seconds = 2 if QUICK else 12
        try:
            gateway.start()
            pids = gateway.pids()
            self.load('hold', gateway.port, provider, connections=32,
                      seconds=0.3)
            before = gateways.rss_kb(pids)
            load = self.start_load('hold', gateway.port, provider, number,
                                   seconds)

            # all of them are open, and none goes on yet

            samples = []
            end = time.monotonic() + seconds - 0.5
            while time.monotonic() < end:
                if gateways.descriptors(pids) >= 2 * number:
                    samples.append(gateways.rss_kb(pids))
                time.sleep(0.2)

            done = json.loads(load.communicate()[0])
            if done['requests'] < number or done['bad']:
                raise BenchError('streams: %r' % done)
            if len(samples) < 3:
                raise Failed('this machine takes too long to open them')
            return (max(samples) - before) * 1024 / number
        finally:
            gateway.close()

    def event_wakeups(self, make):
        """How often an event wakes a worker that has one stream: several
        come at the same time, and wake it together."""

        provider = free_port()
        gateway = make(provider)
        seconds = 1 if QUICK else 5
        try:
            gateway.start()
            pids = gateway.pids()
            load = self.start_load('events', gateway.port, provider, 1, 0.1)
            time.sleep(1)
            begin, woken = time.monotonic(), gateways.wakeups(pids)
            time.sleep(seconds)
            woken = gateways.wakeups(pids) - woken
            took = time.monotonic() - begin
            load.communicate()
            return woken / took * EVENT_MS / 1000
        finally:
            gateway.close()

    def start_load(self, scenario, port, provider, connections, seconds):
        request, answer, more = SCENARIOS[scenario]
        args = dict({'port': port, 'stub': provider, 'tenants': 1,
                     'connections': connections, 'seconds': seconds,
                     'request': self.write(scenario + '.rq', request),
                     'reply': self.write(scenario + '.rp', answer)}, **more)
        return subprocess.Popen([LOAD] + ['%s=%s' % item
                                          for item in args.items()],
                                stdout=subprocess.PIPE)

    # all of it

    def run(self):
        only = self.options.only
        ours = {'plain': gateways.plain, 'ledger': gateways.ledger}
        always = {'always': lambda p: gateways.ledger(p, sync='always')}
        dry = {'dry_run': lambda p: gateways.ledger(p, mode='dry_run')}
        calls = {'cycles': gateways.cycles}
        auth = {'auth_local': gateways.auth_local,
                'auth_proxied': gateways.auth_proxied}
        peers = {'haproxy': gateways.HAProxy, 'lua': gateways.lua,
                 'njs': gateways.njs} if WITH_PEERS else {}

        steps = {
            'json': lambda: self.compare(
                'json', 'json', {**ours, **calls} if QUICK else
                {**ours, **always, **dry, **calls, **auth, **peers}),
            'turns': lambda: self.compare('turns', 'json',
                                          {**ours, **calls}, turns=TURNS),
            'sse100': lambda: self.compare('sse100', 'sse100', {
                **ours, **({} if QUICK else calls),
                **({k: v for k, v in peers.items() if k != 'njs'})},
                turns=TURNS),
            'sse1m': lambda: self.compare('sse1m', 'sse1m', ours,
                                          turns=TURNS),
            'trickle': lambda: self.compare(
                'trickle', 'trickle', {
                    kind: gateways.unbuffered(make)
                    for kind, make in ours.items()},
                turns=2, seconds=2 * max(self.options.seconds, 2)),
            'c256': lambda: self.compare('c256', 'c256',
                                         {**ours, **always}, turns=TURNS),
            'alone': self.ledger_alone,
            'api': self.api_pairs,
            'redis': self.redis,
        }
        if not QUICK:
            steps.update({
                'half': self.half_load,
                'long': lambda: self.compare('long', 'long', ours),
                'denied': lambda: self.compare('denied', 'denied', ours),
                'workers': self.workers,
                'tenants': self.tenants,
                'streams': self.streams,
            })
        if WITH_PEERS:
            steps['slow_peers'] = self.slow_peers

        for name, step in steps.items():
            if not only or name in only:
                step()

    def workers(self):
        self.compare('workers', 'c256', {
            '%d workers' % n: (lambda n: lambda p: gateways.ledger(
                p, workers=n))(n) for n in (1, 2, 4)}, rounds=3)

    def tenants(self):
        """Of two budgets each.  Memory that is used for the first time is
        not what a request takes."""

        def make(n):
            return lambda p: gateways.ledger(
                p, tenants=n, zone='2048m' if n > 100000 else '512m')

        sizes = {'1 tenant': 1, '1,000 tenants': 1000,
                 '100,000 tenants': 100000, '500,000 tenants': 500000}
        self.compare('tenants', 'json',
                     {name: make(n) for name, n in sizes.items()},
                     turns=TURNS, warm=4,
                     each={name: {'tenants': n} for name, n in sizes.items()})

    def slow_peers(self):
        kinds = {'ledger': gateways.ledger,
                 'off': lambda p: gateways.ledger(p, mode='off'),
                 'litellm': gateways.LiteLLM, 'portkey': gateways.Portkey}
        for kind in 'litellm', 'portkey':
            try:
                self.say('getting %s' % kind)
                subprocess.run([os.path.join(ROOT, 'tools',
                                             'bench-peers.sh'), kind],
                               check=True, stdout=subprocess.DEVNULL)
            except subprocess.CalledProcessError:
                self.notes.append('%s could not be installed' % kind)
                del kinds[kind]
        self.compare('slow_peers', 'bearer', kinds, rounds=3,
                     seconds=max(3, self.options.seconds))


def machine(bench):
    version = subprocess.run([BINARY, '-v'], stderr=subprocess.PIPE)
    model = platform.machine()
    with open('/proc/cpuinfo') as file:
        match = re.search(r'model name\s*: (.*)', file.read())
        model = match.group(1) if match else model
    return {'cpu': model, 'cores': len(gateways.cores()),
            'kernel': platform.release(),
            'nginx': version.stderr.decode().strip(),
            'load_average': os.getloadavg()[0],
            'date': time.strftime('%Y-%m-%d'),
            'took_s': round(time.monotonic() - bench.begin)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=1 if QUICK else 5)
    parser.add_argument('--seconds', type=float,
                        default=0.3 if QUICK else 2)
    parser.add_argument('--only', type=lambda s: s.split(','), default=[])
    parser.add_argument('--out', default=os.path.join(BUILD, 'bench'))
    options = parser.parse_args()

    bench = Bench(options)
    try:
        bench.run()
    except BenchError as exc:
        print('bench: %s' % exc, file=sys.stderr)
        return 1
    finally:
        bench.close()

    report.write(options.out, bench, machine(bench))
    with open(os.path.join(options.out, 'report.md')) as file:
        print(file.read())
    return 0


if __name__ == '__main__':
    sys.exit(main())
