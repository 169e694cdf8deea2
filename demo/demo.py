#!/usr/bin/env python3
# Copyright (C) nginx-cycles authors

"""Shows budgets at work: nginx with the embedded ledger in front of a local
mock of a provider, or of api.openai.com if OPENAI_API_KEY is set.

On a terminal it stays up afterwards; otherwise it cleans up and exits 0.
"""

import http.client
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time


HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get('BUILD') or os.path.join(os.path.dirname(HERE),
                                                'build')
MODULE = os.path.join(BUILD, 'ngx_http_cycles_module.so')
NGINX = os.environ.get('NGINX') or '/usr/sbin/nginx'
KEY = os.environ.get('OPENAI_API_KEY')

MODEL = 'gpt-4o-mini'
MAX_TOKENS = 64
SPENDER = ('acme', 'chatbot')
OTHER = ('globex', 'search')

TLS = '''
        proxy_ssl_server_name on;
        proxy_ssl_name api.openai.com;
        proxy_ssl_verify on;
        proxy_ssl_verify_depth 3;
        proxy_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt;
        proxy_set_header Host api.openai.com;
'''


class DemoError(Exception):
    pass


def free_port():
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


def unprivileged_can_reach(path):
    """Whether the workers' user may enter the directory."""

    while True:
        if not os.stat(path).st_mode & 0o001:
            return False
        if path == '/':
            return True
        path = os.path.dirname(path)


class Demo:

    def __init__(self):
        self.processes = []
        self.port = free_port()
        self.count = 0
        self.make_dir()

    def make_dir(self):
        """build/demo, or /tmp if the checkout is closed to others."""

        self.dir = os.path.join(BUILD, 'demo')
        shutil.rmtree(self.dir, ignore_errors=True)
        self.temporary = (os.geteuid() == 0
                          and not unprivileged_can_reach(BUILD))
        if self.temporary:
            self.dir = tempfile.mkdtemp(prefix='cycles-demo-', dir='/tmp')
        else:
            os.makedirs(self.dir)
        os.chmod(self.dir, 0o755)

        ledger = os.path.join(self.dir, 'ledger')
        os.mkdir(ledger, 0o700)
        if os.geteuid() == 0:
            user = pwd.getpwnam('nobody')
            os.chown(ledger, user.pw_uid, user.pw_gid)

    def spawn(self, argv, log):
        with open(os.path.join(self.dir, log), 'wb') as out:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, start_new_session=True)
        self.processes.append(process)
        return process

    def wait_port(self, process, port, log):
        end = time.monotonic() + 30

        while time.monotonic() < end:
            try:
                socket.create_connection(('127.0.0.1', port), 1).close()
                return
            except OSError:
                pass
            if process.poll() is not None:
                break
            time.sleep(0.05)

        text = ''
        for name in log, 'error.log':
            path = os.path.join(self.dir, name)
            if os.path.exists(path):
                with open(path, errors='replace') as file:
                    text += file.read()
        raise DemoError('%s did not start:\n%s' % (
            os.path.basename(process.args[0]), text))

    def start_provider(self):
        """The address that nginx proxies to."""

        if KEY:
            return 'api.openai.com:443'

        port = free_port()
        bin_dir = os.path.join(BUILD, 'node')
        process = self.spawn(
            [os.path.join(bin_dir, 'bin', 'node'),
             os.path.join(bin_dir, 'node_modules', '.bin', 'llmock'),
             '-p', str(port), '--log-level', 'warn', '-f',
             os.path.join(HERE, 'replies.json')], 'provider.log')
        self.wait_port(process, port, 'provider.log')
        return '127.0.0.1:%d' % port

    def start_nginx(self, provider):
        with open(os.path.join(HERE, 'nginx.conf')) as file:
            conf = file.read()

        values = {
            'MODULE': MODULE, 'DIR': self.dir, 'PORT': str(self.port),
            'PRICES': os.path.join(HERE, 'prices.json'),
            'PROVIDER': provider, 'SCHEME': 'https' if KEY else 'http',
            'TLS': TLS.strip() if KEY else '',
            'USER': 'user nobody nogroup;' if os.geteuid() == 0 else ''}
        for name, value in values.items():
            conf = conf.replace('%%' + name + '%%', value)

        path = os.path.join(self.dir, 'nginx.conf')
        with open(path, 'w') as file:
            file.write(conf)
        shutil.copy(os.path.join(HERE, 'budgets.json'), self.dir)

        process = self.spawn(
            [NGINX, '-p', self.dir, '-c', path, '-e',
             os.path.join(self.dir, 'error.log')], 'nginx.log')
        self.wait_port(process, self.port, 'nginx.log')

    def stop(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if self.temporary:
            shutil.rmtree(self.dir, ignore_errors=True)

    # requests

    def chat(self, who, content, stream=False, dry_run=False):
        """(status, headers, body, line of the access log)"""

        self.count += 1
        name = 'demo-%d' % self.count
        body = {'model': MODEL, 'max_completion_tokens': MAX_TOKENS,
                'messages': [{'role': 'user', 'content': content}]}
        if stream:
            body['stream'] = True

        headers = {'Content-Type': 'application/json', 'X-Demo-Id': name,
                   'X-Tenant': who[0], 'X-App': who[1],
                   'Authorization': 'Bearer ' + (KEY or 'demo')}

        conn = http.client.HTTPConnection('127.0.0.1', self.port, timeout=60)
        conn.request('POST', ('/dry-run' if dry_run else '')
                     + '/v1/chat/completions', json.dumps(body), headers)
        response = conn.getresponse()
        data = response.read()
        conn.close()

        return response.status, response.headers, data, self.log_line(name)

    def log_line(self, name):
        end = time.monotonic() + 10

        while time.monotonic() < end:
            with open(os.path.join(self.dir, 'access.log')) as file:
                for line in file:
                    if not line.endswith('\n'):
                        break
                    entry = json.loads(line)
                    if entry['id'] == name:
                        return entry
            time.sleep(0.02)

        raise DemoError('%s is not in the access log' % name)

    def balances(self):
        conn = http.client.HTTPConnection('127.0.0.1', self.port, timeout=10)
        conn.request('GET', '/cycles?format=json')
        status = json.loads(conn.getresponse().read())
        conn.close()
        return status['budgets']


ROW = '%-3s %-16s %-20s %6s  %-14s %9s %9s %12s'


def number(text):
    return '{:,}'.format(int(text)) if text else '-'


def row(demo, who, title, result):
    status, headers, _, entry = result
    decision = headers.get('X-Cycles-Dry-Run')
    if decision:
        decision = 'dry run: ' + decision
    else:
        decision = headers.get('X-Cycles-Decision') or entry['decision']

    print(ROW % (demo.count, '/'.join(who), title, status, decision,
                 number(entry['estimate']), number(entry['actual']),
                 number(entry['remaining'])), flush=True)


def show_denial(result):
    status, headers, body, _ = result

    print('\nThe denial, as an OpenAI client sees it (its SDK does not '
          'retry it):\n')
    print('    HTTP %d' % status)
    for name in ('Content-Type', 'X-Should-Retry', 'Retry-After',
                 'X-Cycles-Decision', 'X-Cycles-Reason'):
        if headers.get(name):
            print('    %s: %s' % (name, headers[name]))
    text = json.dumps(json.loads(body), indent=2)
    print('\n    ' + text.replace('\n', '\n    ') + '\n')


def amount(item, name):
    value = item.get(name) or 0
    return value['amount'] if isinstance(value, dict) else value


def show_balances(demo):
    line = '    %-26s %14s %14s %10s %14s'

    print('What is left per scope:\n')
    print(line % ('scope', 'allocated', 'spent', 'reserved', 'remaining'))
    for item in sorted(demo.balances(), key=lambda b: b['scope_path']):
        print(line % tuple([item['scope_path']] + [
            '{:,}'.format(amount(item, name)) for name in (
                'allocated', 'spent', 'reserved', 'remaining')]))
    print()


def scenario(demo):
    question = 'What does a budget gateway do?'
    poem = 'Write a haiku about budgets.'

    print('\nAmounts are micro-cents: 1 USD = 100,000,000. '
          '"remaining" is the least over the scopes.\n')
    print(ROW % ('#', 'tenant/app', 'request', 'status', 'decision',
                 'estimate', 'actual', 'remaining'))

    denied = None

    for i in range(60):
        stream = i % 2 == 1
        result = demo.chat(SPENDER, poem if stream else question, stream)
        row(demo, SPENDER, 'chat, streaming' if stream else 'chat', result)

        if i < 2:
            other = demo.chat(OTHER, question, i == 1)
            row(demo, OTHER, 'chat, streaming' if i == 1 else 'chat', other)
            if other[0] != 200:
                raise DemoError('a request failed: %r' % other[2])

        # a 429 may also be OpenAI's own

        if result[1].get('X-Cycles-Decision') == 'DENY':
            denied = result
            break
        if result[0] != 200:
            raise DemoError('a request failed: %r' % result[2])

    if denied is None:
        raise DemoError('the budget was never spent')

    result = demo.chat(SPENDER, question, dry_run=True)
    row(demo, SPENDER, 'chat, dry run', result)
    if result[0] != 200:
        raise DemoError('dry run blocked a request: %r' % result[2])

    result = demo.chat(OTHER, question)
    row(demo, OTHER, 'chat', result)

    show_denial(denied)
    show_balances(demo)


def stay(demo):
    url = 'http://127.0.0.1:%d' % demo.port
    key = "-H 'Authorization: Bearer '\"$OPENAI_API_KEY\" " if KEY else ''
    body = ('{"model":"%s","max_completion_tokens":%d,"messages":'
            '[{"role":"user","content":"Write a haiku."}]}'
            % (MODEL, MAX_TOKENS))

    print('It keeps running; try from another terminal:\n')
    for tenant, path in (('globex', ''), ('acme', ''), ('acme', '/dry-run')):
        app = 'X-App: %s' % ('chatbot' if tenant == 'acme' else 'search')
        print("    curl -i %s%s/v1/chat/completions %s\\\n"
              "         -H 'X-Tenant: %s' -H '%s' \\\n"
              "         -H 'Content-Type: application/json' \\\n"
              "         -d '%s'\n" % (url, path, key, tenant, app, body))
    print("    curl '%s/cycles?format=json'\n" % url)
    print('Raise a limit in %s/budgets.json, then: kill -HUP $(cat '
          '%s/nginx.pid)\n' % (demo.dir, demo.dir))
    print('Ctrl-C ends it.', flush=True)

    try:
        signal.pause()
    except KeyboardInterrupt:
        print()


def main():
    demo = Demo()

    try:
        provider = demo.start_provider()
        demo.start_nginx(provider)
        print('nginx on 127.0.0.1:%d in front of %s (%s)' % (
            demo.port, provider, 'the real one' if KEY else 'aimock'))
        scenario(demo)
        if sys.stdin.isatty() and sys.stdout.isatty():
            stay(demo)
    except DemoError as exc:
        print('\nThe demo failed: %s' % exc, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        demo.stop()
    return 0


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
