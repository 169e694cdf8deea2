# Copyright (C) nginx-cycles authors

"""docker/ as far as it goes without an engine: the Dockerfile and the compose
file are linted and validated, what they refer to is there, the configurations
run in this machine's nginx, and setup.sh against a ledger's admin plane.  No
image is pulled, and no container is started; make package-test does the steps
of the Dockerfile in bare roots."""

import copy
import hashlib
import json
import os
import re
import stat
import subprocess
import sys

import compose_spec
import pytest
import pytest
import yaml

import gateway
from fake_cycles import FakeCycles
from gateway import Nginx, ROOT, budgets


DOCKER = os.path.join(ROOT, 'docker')


def read(name):
    with open(os.path.join(DOCKER, name)) as file:
        return file.read()


COMPOSE = yaml.safe_load(read('compose.yaml'))
SERVICES = COMPOSE['services']
DOCKERFILE = re.sub(r'\\\n', ' ', re.sub(r'^\s*#.*\n', '', read('Dockerfile'),
                                         flags=re.M))


def stages():
    return re.split(r'^FROM ', DOCKERFILE, flags=re.M)[1:]


def test_dockerfile_is_linted():
    hadolint = os.path.join(os.path.dirname(sys.executable), 'hadolint')
    done = subprocess.run(
        [hadolint, '--no-color', '--failure-threshold', 'style',
         os.path.join(DOCKER, 'Dockerfile')],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert (done.returncode, done.stdout) == (0, b'')


def test_dockerfile():
    build, final = stages()

    assert build.split()[0] == final.split()[0] == 'debian:bookworm-slim'
    for word in 'gcc', 'make ', 'nginx-dev', '-dev':
        assert word not in final
    assert re.search(r'^USER 33:33$', final, re.M)
    assert final.index('USER') < final.index('CMD')
    assert 'STOPSIGNAL SIGQUIT' in final

    with open(os.path.join(ROOT, '.dockerignore')) as file:
        ignored = file.read().split()

    for args in re.findall(r'^COPY (?!--from)(.*)$', DOCKERFILE, re.M):
        for name in args.split()[:-1]:
            assert os.path.exists(os.path.join(ROOT, name)), name
            assert name.split('/')[0] not in ignored


def test_build_stage_has_what_the_module_needs(tmp_path):
    """What is copied there is enough to configure and build."""

    for args in re.findall(r'^COPY (.*)$', stages()[0], re.M):
        *names, target = args.split()
        for name in names:
            subprocess.run(['cp', '-r', os.path.join(ROOT, name),
                            str(tmp_path / target)], check=True)

    command = re.search(r'^RUN (make.*)$', stages()[0], re.M).group(1)
    environ = {k: v for k, v in os.environ.items() if k != 'BUILD'}
    done = subprocess.run(command.split() + ['-n'], cwd=tmp_path, env=environ,
                          stdout=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 0
    assert '%s/build/ngx_http_cycles_module.so' % tmp_path in done.stdout
    for name in re.findall(r'tools/\S+', done.stdout):
        assert (tmp_path / name).exists()


def test_compose_is_valid():
    def check(compose):
        compose_spec.PyCompose.from_yaml(
            yaml.safe_dump(compose)).validate()

    check(COMPOSE)

    wrong = copy.deepcopy(COMPOSE)
    wrong['services']['gateway']['depend_on'] = ['provider']
    with pytest.raises(ValueError):
        check(wrong)


def test_compose_refers_to_what_is_there():
    for name, service in SERVICES.items():
        for other in service.get('depends_on', ()):
            assert other in SERVICES, name
            assert set(SERVICES[other].get('profiles', ())) <= set(
                service.get('profiles', ())), name

        for volume in service.get('volumes', ()):
            source = volume.split(':')[0]
            if source.startswith('.'):
                assert os.path.isfile(os.path.join(DOCKER, source)), volume
            else:
                assert source in COMPOSE['volumes'], volume

        for port in service.get('ports', ()):
            assert port.startswith('127.0.0.1:'), name

    assert {'gateway', 'provider', 'redis', 'cycles-server', 'prometheus',
            'grafana'} < set(SERVICES)


def test_prometheus_asks_the_gateway():
    config = yaml.safe_load(read('prometheus.yml'))
    job = config['scrape_configs'][0]
    host, port = job['static_configs'][0]['targets'][0].split(':')
    assert host in SERVICES
    assert 'listen %s;' % port in read('nginx.conf')
    assert 'location = %s ' % job['metrics_path'] in read('nginx.conf')

    mounted = {volume.split(':')[1]: volume.split(':')[0]
               for name in ('prometheus', 'grafana')
               for volume in SERVICES[name]['volumes']}
    for name in config['rule_files']:
        assert '/etc/prometheus/' + name in mounted

    dashboards = yaml.safe_load(read('grafana/dashboards.yaml'))
    path = dashboards['providers'][0]['options']['path']
    assert any(name.startswith(path + '/') for name in mounted)

    source = yaml.safe_load(read('grafana/datasource.yaml'))['datasources'][0]
    assert source['url'].split('//')[1].split(':')[0] in SERVICES


class Image(Nginx):
    """A file of docker/, with other places."""

    def __init__(self, name, **places):
        self.name = name
        self.places = places
        super().__init__()

    def write_conf(self):
        text = read(self.name)
        for old, new in (
                ('load_module /usr/lib/nginx/modules/'
                 'ngx_http_cycles_module.so;',
                 self._expand('%%LOAD%% %%USER_LINE%% daemon off;')),
                ('error_log stderr notice;', 'error_log %s/error.log notice;'
                 % self.dir),
                ('/dev/stdout', self.dir + '/access.log'),
                ('/run/nginx', self.dir),
                ('/var/lib/cycles', self.path('ledger')),
                ('/etc/nginx/cycles/budgets.json',
                 os.path.join(DOCKER, 'budgets.json')),
                ('/etc/nginx/cycles/prices.json',
                 os.path.join(ROOT, 'demo/prices.json')),
                ('listen 8080;', 'listen 127.0.0.1:%d;' % self.port)):
            assert old in text or 'budgets' in old, old
            text = text.replace(old, new)
        for old, new in self.places.items():
            old = old.replace('_', '-').replace('--', ':').replace(
                'SLASH', '/')
            assert old in text, old
            text = text.replace(old, new)
        with open(self.path('nginx.conf'), 'w') as file:
            file.write(text)


def balance(ng):
    r = gateway.request(ng.port, path='/cycles?format=json')
    return gateway.flat_balance(r.json['budgets'][0])


def test_gateway(provider):
    ng = Image('nginx.conf', provider__4010='127.0.0.1:%d' % provider.port)
    try:
        ng.start()
        assert ng.chat(tenant='acme').status == 200
        gateway.wait_until(lambda: balance(ng)['spent'] == 450)
        assert ng.chat(tenant='nobody').status == 429
        assert len(provider.requests) == 1
        ng.stop()
        ng.check()
    finally:
        ng.close()


def test_gateway_of_a_server(provider, tmp_path):
    key = tmp_path / 'cycles.key'
    key.write_text('cyc_live_x\n')

    with FakeCycles(gateway.free_port()) as cycles:
        cycles.budget('tenant:acme', 10 ** 9)
        cycles.keys({'cyc_live_x': 'acme'})

        ng = Image('cycles.conf',
                   provider__4010='127.0.0.1:%d' % provider.port,
                   cycles_server__7878='127.0.0.1:%d' % cycles.port,
                   SLASHkeysSLASHcycles=str(tmp_path / 'cycles'))
        try:
            ng.start()
            assert ng.chat(tenant='acme').status == 200
            cycles.wait(
                lambda: cycles.scope('tenant:acme')['spent'] == 450)
            ng.stop()
            ng.check()
        finally:
            ng.close()


def test_setup(nginx, tmp_path):
    """The ledger has the admin plane of the reference server; the key that
    the script leaves is one that can reserve."""

    admin = 'admin-of-the-test'
    declared = json.loads(budgets())
    declared['admin_key_sha256'] = hashlib.sha256(admin.encode()).hexdigest()
    ng = nginx(http='cycles_ledger main path=%%DIR%%/ledger '
                    'budgets=%%DIR%%/budgets.json;',
               server='location / { cycles_api ledger=main; }',
               files={'budgets.json': json.dumps(declared)})

    key = tmp_path / 'cycles.key'

    def setup():
        script = os.path.join(DOCKER, 'setup.sh')
        assert os.stat(script).st_mode & stat.S_IXUSR
        return subprocess.run(
            ['sh', script], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=dict(os.environ, ADMIN_API_KEY=admin, KEY_FILE=str(key),
                     ADMIN_URL='http://127.0.0.1:%d' % ng.port))

    assert setup().returncode == 0
    secret = key.read_text().strip()

    r = gateway.request(
        ng.port, 'POST', '/v1/reservations',
        {'Content-Type': 'application/json', 'X-Cycles-API-Key': secret},
        json.dumps({'idempotency_key': 'k', 'subject': {'tenant': 'acme'},
                    'action': {'kind': 'a', 'name': 'b'}, 'ttl_ms': 1000,
                    'estimate': {'unit': 'USD_MICROCENTS', 'amount': 5}}
                   ).encode())
    assert r.status == 200
    assert r.json['decision'] == 'ALLOW'

    # again: the key stays; without a server: no key

    assert setup().returncode == 0
    assert key.read_text().strip() == secret

    key.unlink()
    ng.stop()
    done = subprocess.run(
        ['sh', os.path.join(DOCKER, 'setup.sh')], stderr=subprocess.PIPE,
        env=dict(os.environ, ADMIN_API_KEY=admin, KEY_FILE=str(key),
                 ADMIN_URL='file:///nowhere'))
    assert done.returncode != 0
    assert not key.exists()
