# Copyright (C) nginx-cycles authors

"""The gateways that are compared, and what measures them."""

import json
import os
import shutil
import socket
import subprocess
import time

from gateway import ROOT, Nginx, budgets, free_port, wait_until


BUILD = os.environ.get('BUILD') or os.path.join(ROOT, 'build')
PEERS = os.path.join(ROOT, 'bench', 'peers')
MODULES = '/usr/lib/nginx/modules/'

RICH = 10 ** 16

# a second, and some more: records go into ledger.db that often
FOLDS_WITHIN = 1.2

# a turn of the event loop that stays in the cache, see docs/performance.md

EVENTS = 'use epoll; epoll_events 32;'

HTTP = '''
    access_log off;
    keepalive_requests 1000000;
    client_body_buffer_size 256k;
    client_header_buffer_size 4k;
    proxy_buffer_size 16k;
    proxy_buffers 8 16k;
    proxy_busy_buffers_size 32k;
    upstream provider { server 127.0.0.1:%%PROVIDER%%; keepalive 512;
                        keepalive_requests 1000000; }
'''

PROXY = '''
    proxy_buffering %%BUFFERING%%;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Accept-Encoding "";
'''

PASS = 'location / { proxy_pass http://provider; }'

LEDGER = '''
    cycles_ledger main path=%%DIR%%/ledger zone=%%ZONE%%
                  budgets=%%DIR%%/budgets.json sync=%%SYNC%%;
'''

CYCLES = '''
    cycles %%MODE%%;
    cycles_subject tenant $http_x_tenant;
    cycles_subject app $http_x_app;
    cycles_price_table %%PRICES%%;
'''

SERVER = '''
    location @cycles {
        proxy_pass http://provider;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_next_upstream error timeout non_idempotent;
    }
'''

AUTH = '''
    location / { auth_request /ask; proxy_pass http://provider; }
    location = /ask { internal; %s }
'''

LUA = '''
    location / {
        access_by_lua_block { budget.reserve() }
        body_filter_by_lua_block { budget.read() }
        log_by_lua_block { budget.settle() }
        proxy_pass http://provider;
    }
'''

NJS = '''
    set $budget_port %%PROVIDER%%;
    location / { auth_request /ask; proxy_pass http://provider; }
    location = /ask { internal; js_content budget.reserve; }
'''


def cores():
    return sorted(os.sched_getaffinity(0))


def load_core():
    """Where the load runs: no gateway does, if there are two."""

    return cores()[-1]


def pinned(argv, core):
    return ['taskset', '-c', str(core)] + argv if len(cores()) > 1 else argv


def cpu_us(pids):
    """What all threads of these processes have run, in microseconds."""

    total = 0
    for pid in pids:
        task = '/proc/%d/task' % pid
        for thread in os.listdir(task):
            try:
                with open('%s/%s/schedstat' % (task, thread)) as file:
                    total += int(file.read().split()[0])
            except FileNotFoundError:
                pass
    return total / 1000


def rest(pids):
    """Until they do next to nothing, for a while at most."""

    now = cpu_us(pids)
    for _ in range(50):
        time.sleep(0.2)
        last, now = now, cpu_us(pids)
        if now - last < 4000:
            return


def rss_kb(pids):
    total = 0
    for pid in pids:
        with open('/proc/%d/smaps_rollup' % pid) as file:
            for line in file:
                if line.startswith('Pss:'):
                    total += int(line.split()[1])
    return total


def descriptors(pids):
    return sum(len(os.listdir('/proc/%d/fd' % pid)) for pid in pids)


def wakeups(pids):
    total = 0
    for pid in pids:
        with open('/proc/%d/status' % pid) as file:
            for line in file:
                if line.startswith('voluntary_ctxt_switches'):
                    total += int(line.split()[1])
    return total


def children(pid):
    found = [pid]
    try:
        with open('/proc/%d/task/%d/children' % (pid, pid)) as file:
            for child in file.read().split():
                found += children(int(child))
    except FileNotFoundError:
        pass
    return found


class Ours:
    """nginx, with or without the module."""

    def __init__(self, provider, http='', server=PASS, module=None, main='',
                 workers=1, tenants=1, zone='64m', **variables):
        affinity = ''
        if workers == 1 and len(cores()) > 1:
            affinity = 'worker_cpu_affinity 1%s;' % ('0' * cores()[0])

        files = {}
        self.folds = 'cycles_ledger' in http
        if self.folds:
            files['budgets.json'] = self.budgets(tenants)
        kw = {} if module is None else {'module': module}

        self.nginx = Nginx(
            main=main + affinity, http=HTTP + http, server=PROXY + server,
            workers=workers, files=files, provider=provider,
            log_level='warn', zone=zone, connections=32768,
            log_variables=(), events=EVENTS, **kw,
            **dict({'mode': 'on', 'sync': 'interval', 'buffering': 'on'},
                   **variables))
        self.port = self.nginx.port
        self.patience = 20 + tenants // 5000

    @staticmethod
    def budgets(tenants):
        entries = []
        for n in range(tenants):
            name = 'tenant:t%08d' % n
            entries += [(name, RICH), (name + '/app:bench', RICH)]
        names = ['t%08d' % n for n in range(tenants)] + ['poor']
        return budgets(*entries, ('tenant:poor', 1), tenants=names)

    def start(self):
        self.nginx.start(self.patience)

    def pids(self):
        return self.nginx.workers()

    def rest(self):
        """What is written to ledger.db after a run has been its requests'."""

        if self.folds:
            time.sleep(FOLDS_WITHIN)
            rest(self.pids())

    def close(self):
        self.nginx.close()


def unbuffered(make):
    """As streams are proxied that have to arrive event by event."""

    return lambda provider: make(provider, buffering='off')


def plain(provider, **kw):
    return Ours(provider, module='', **kw)


def ledger(provider, **kw):
    return Ours(provider, http=LEDGER,
                server=CYCLES + 'cycles_authority ledger=main;' + PASS, **kw)


def cycles(provider):
    """The stand-in ends with each run, and the calls under way with it: that
    is no outage to be remembered in the next one."""

    return Ours(provider, server=CYCLES + 'cycles_authority @cycles;'
                'cycles_breaker failures=1000;' + SERVER + PASS)


def auth_local(provider):
    return Ours(provider, module='', server=AUTH % 'return 204;')


def auth_proxied(provider):
    return Ours(provider, module='', server=AUTH % (
        'proxy_pass http://provider/auth; proxy_pass_request_body off; '
        'proxy_set_header Connection ""; '
        'proxy_set_header Content-Length "";'))


def lua(provider):
    with open(os.path.join(PEERS, 'lua.conf')) as file:
        return Ours(provider, module='', http=file.read(), server=LUA,
                    main='load_module %sndk_http_module.so;'
                         'load_module %sngx_http_lua_module.so;'
                         % (MODULES, MODULES))


def njs(provider):
    with open(os.path.join(PEERS, 'njs.conf')) as file:
        return Ours(provider, module='', http=file.read(), server=NJS,
                    main='load_module %sngx_http_js_module.so;' % MODULES)


def api(workers, sync):
    """The HTTP API of a ledger; nothing is proxied."""

    gateway = Ours(1, http=LEDGER, workers=workers, sync=sync,
                   server='location /v1/ { cycles_api ledger=main; }')
    text = json.loads(Ours.budgets(1))
    text['api_keys'] = [{
        'tenant_id': 't00000000', 'name': 'bench', 'secret_sha256':
        'c6a71feb0f4c36ed09898a8c7255ee7752324bf6b9d9a943de83c404680c7828'}]
    gateway.nginx.files['budgets.json'] = json.dumps(text)
    gateway.nginx.write_conf()
    return gateway


class Other:
    """A gateway that is no nginx."""

    seconds = 60

    def __init__(self, provider):
        self.provider = provider
        self.port = free_port()
        self.dir = os.path.join(BUILD, 'bench', 'peer-%d' % self.port)
        os.makedirs(self.dir, exist_ok=True)
        self.process = None

    def file(self, name):
        """A file of bench/peers with the ports filled in."""

        with open(os.path.join(PEERS, name)) as source:
            text = source.read() % {'port': self.port,
                                    'provider': self.provider}
        path = os.path.join(self.dir, name)
        with open(path, 'w') as target:
            target.write(text)
        return path

    def start(self):
        with open(os.path.join(self.dir, 'log'), 'w') as log:
            self.process = subprocess.Popen(
                pinned(self.argv(), cores()[0]), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env=dict(os.environ, **self.env()))

        def listens():
            if self.process.poll() is not None:
                with open(os.path.join(self.dir, 'log')) as log:
                    raise RuntimeError(log.read()[-2000:])
            try:
                socket.create_connection(('127.0.0.1', self.port), 1).close()
                return True
            except OSError:
                return False

        wait_until(listens, self.seconds, '%r' % self.argv())

    def env(self):
        return {}

    def pids(self):
        return children(self.process.pid)

    def rest(self):
        pass

    def close(self):
        if self.process:
            for pid in self.pids()[::-1]:
                try:
                    os.kill(pid, 15)
                except ProcessLookupError:
                    pass
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


class HAProxy(Other):

    def argv(self):
        return ['haproxy', '-db', '-f', self.file('haproxy.cfg')]


class LiteLLM(Other):

    seconds = 120

    def argv(self):
        return [os.path.join(BUILD, 'peer-litellm', 'bin', 'litellm'),
                '--config', self.file('litellm.yaml'), '--port',
                str(self.port), '--host', '127.0.0.1', '--num_workers', '1']

    def env(self):
        return {'LITELLM_LOG': 'ERROR', 'LITELLM_LOCAL_MODEL_COST_MAP': 'True'}


class Portkey(Other):

    def argv(self):
        return [os.path.join(BUILD, 'node', 'bin', 'node'),
                os.path.join(BUILD, 'peer-portkey', 'node_modules',
                             '@portkey-ai', 'gateway', 'build',
                             'start-server.js'),
                '--port=%d' % self.port, '--headless']


class Redis(Other):

    def argv(self):
        return ['redis-server', '--port', str(self.port), '--dir', self.dir,
                '--save', '', '--appendonly', 'yes', '--appendfsync',
                'everysec', '--bind', '127.0.0.1']

    def cli(self, *args):
        return subprocess.run(
            ['redis-cli', '-p', str(self.port), *args], check=True,
            stdout=subprocess.PIPE).stdout.decode().strip()

    def script(self, name):
        with open(os.path.join(PEERS, name)) as file:
            return self.cli('script', 'load', file.read())

    def run(self, number, *command):
        """CPU microseconds of the server for one command, and commands/s."""

        before, begin = cpu_us(self.pids()), time.monotonic()
        subprocess.run(
            pinned(['redis-benchmark', '-p', str(self.port), '-c', '32', '-n',
                    str(number), '-r', '1000000000', '-q', *command],
                   load_core()), check=True, stdout=subprocess.DEVNULL)
        wall = time.monotonic() - begin
        return (cpu_us(self.pids()) - before) / number, number / wall
