# Copyright (C) nginx-cycles authors

"""Each file of conf-examples as it is: only ports, addresses and paths are
others, and it runs in front of stand-ins."""

import glob
import os
import re
import shutil

import pytest

import gateway
from gateway import (FakeProvider, Nginx, Reply, ROOT, chat, chat_stream,
                     sse_events, wait_until)
from fake_cycles import FakeCycles
from tls import TlsProvider, make_certificates


EXAMPLES = os.path.join(ROOT, 'conf-examples')

NAMES = ('api.openai.com', 'api.deepseek.com', 'api.groq.com',
         'api.mistral.ai')

# at 15 and 60 micro-cents; the provider reports 10 and 5 tokens

COST = 10 * 15 + 5 * 60


@pytest.fixture(scope='module')
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp('certificates'), NAMES)


# the part of Debian's nginx.conf that matters to a file of conf.d

DROP_IN = '''
load_module modules/ngx_http_cycles_module.so;
worker_processes auto;
error_log /var/log/nginx/error.log notice;
events { worker_connections 768; }
http {
%s
}
'''


class Example(Nginx):
    """A file of conf-examples; places: {as written: as it is here}."""

    def __init__(self, name, places, **kw):
        self.name = name
        self.places = places
        super().__init__(**kw)

    def write_conf(self):
        for path in glob.glob(EXAMPLES + '/*'):
            if not path.endswith('/' + self.name):
                shutil.copy(path, self.dir)

        with open(os.path.join(EXAMPLES, self.name)) as file:
            text = file.read()

        if 'http {\n' not in text:
            text = DROP_IN % text
            os.makedirs(self.path('cycles'), exist_ok=True)
            for name in 'budgets.json', 'prices.json':
                shutil.copy(os.path.join(EXAMPLES, name), self.path('cycles'))

        for old, new in self.replacements(text):
            assert old in text, '%s has no "%s"' % (self.name, old)
            text = text.replace(old, new)

        self.text = text
        with open(self.path('nginx.conf'), 'w') as file:
            file.write(text)

    def replacements(self, text):
        yield 'load_module modules/ngx_http_cycles_module.so;', self._expand(
            '%%LOAD%% %%USER_LINE%% daemon off; pid %%DIR%%/nginx.pid;')
        yield 'worker_processes auto;', 'worker_processes 2;'
        yield '/var/log/nginx/', self.dir + '/'
        yield 'http {\n', self._expand('''http {
            log_format harness escape=json '{%%LOG_FIELDS%%}';
            access_log %%DIR%%/access.log harness;
            client_body_temp_path %%DIR%%/tmp_body;
            proxy_temp_path %%DIR%%/tmp_proxy;
            fastcgi_temp_path %%DIR%%/tmp_fastcgi;
            uwsgi_temp_path %%DIR%%/tmp_uwsgi;
            scgi_temp_path %%DIR%%/tmp_scgi;
            %%STATUS_SERVER%%
            ''')

        if 'cycles_ledger' in text:
            yield '/var/lib/nginx/cycles', self.path('ledger')

        ports = [self.port]
        for old in re.findall(r'listen (?:127\.0\.0\.1:)?80\d\d;', text):
            yield old, 'listen 127.0.0.1:%d;' % ports[-1]
            ports.append(gateway.free_port())
        self.ports = ports

        yield from self.places.items()


@pytest.fixture
def example(certificates, provider):
    """example('openai.conf', 'api.openai.com:443') starts it; each address
    of an upstream is that of the provider, with TLS where it is asked for.
    Returns (Example, the provider)."""

    with TlsProvider(certificates) as tls:
        started = []

        def start(name, *addresses, **places):
            places = dict(places.get('places') or {})
            used = provider

            for address in addresses:
                used = tls if address.endswith(':443') else provider
                places.setdefault(address, '127.0.0.1:%d' % used.port)

            if used is tls:
                places['/etc/ssl/certs/ca-certificates.crt'] = str(
                    certificates / 'ca.pem')

            ng = Example(name, places)
            started.append(ng)
            return ng.start(), used

        try:
            yield start
            for ng in started:
                ng.stop()
                ng.check()
        finally:
            for ng in started:
                ng.close()


def acme(ng, unit='USD_MICROCENTS', scope='tenant:acme'):
    return ng.budget(scope, unit)


def test_each_file_is_tested():
    with open(__file__) as file:
        text = file.read()

    for path in glob.glob(EXAMPLES + '/*.conf'):
        name = os.path.basename(path)
        if name != 'openai-key.conf':
            assert re.search(r"\bexample\(\s*'%s'" % name, text), (
                name + ' has no test')


def test_openai(example):
    ng, provider = example('openai.conf', 'api.openai.com:443')

    r = ng.chat(tenant='acme', headers={'X-App': 'chatbot',
                                        'Authorization': 'Bearer sk-user'})
    assert r.status == 200
    assert provider.requests[0].header('Host') == 'api.openai.com'
    assert provider.requests[0].header('Authorization') == 'Bearer sk-user'
    assert provider.requests[0].path == '/v1/chat/completions'
    assert provider.names == ['api.openai.com']

    lines = wait_until(lambda: ng._read('cycles.log').splitlines())

    r = ng.chat(tenant='acme', stream=True)
    assert sse_events(r.body)[-1] == (None, '[DONE]')

    ng.wait_access_log(2)
    assert acme(ng)['spent'] == 2 * COST
    assert acme(ng, scope='tenant:acme/app:chatbot')['spent'] == COST
    assert ng.live_reservations() == 0

    assert re.fullmatch(
        r'127\.0\.0\.1 \[.*\] "POST /v1/chat/completions HTTP/1\.1" 200 '
        r'ALLOW - "gpt-4o-mini" estimate=\d+ charged=450 '
        r'remaining=\d+ [0-9a-f-]{36}', lines[0]), lines[0]

    r = gateway.request(ng.ports[1], path='/cycles')
    assert r.json['live_reservations'] == 0

    # no tenant of that name

    r = ng.chat(tenant='nobody')
    assert r.status == 429
    assert r.header('X-Cycles-Reason') == 'BUDGET_NOT_FOUND'
    assert len(provider.requests) == 2


def test_site(example):
    ng, provider = example('site.conf', 'api.openai.com:443')

    r = ng.chat(tenant='acme', headers={'Authorization': 'Bearer sk-user'})
    assert r.status == 200
    assert int(r.header('X-Cycles-Remaining')) < 5000000000
    assert provider.requests[0].header('Authorization') == 'Bearer sk-user'
    assert provider.names == ['api.openai.com']

    ng.wait_access_log(1)
    assert acme(ng)['spent'] == COST

    r = ng.chat(tenant='nobody')
    assert r.status == 429
    assert r.header('X-Cycles-Reason') == 'BUDGET_NOT_FOUND'
    assert len(provider.requests) == 1

    r = gateway.request(ng.port, path='/cycles?format=json')
    assert r.json['live_reservations'] == 0


def test_api_keys(example):
    ng, provider = example('api-keys.conf', 'api.openai.com:443')

    r = ng.chat(headers={'Authorization': 'Bearer key-acme',
                         'X-Tenant': 'globex'})
    assert r.status == 200
    assert provider.requests[0].header('Authorization') == \
        'Bearer sk-of-openai'

    r = ng.chat(headers={'Authorization': 'Bearer key-globex'})
    assert r.status == 200

    for headers in {}, {'Authorization': 'Bearer key-other'}:
        r = ng.chat(headers=headers)
        assert r.status == 401
        assert r.header('Content-Type') == 'application/json'
        assert r.json['error']['code'] == 'invalid_api_key'
        assert r.header('X-Cycles-Decision') is None

    ng.wait_access_log(4)
    assert acme(ng)['spent'] == COST
    assert acme(ng, scope='tenant:globex')['spent'] == COST
    assert len(provider.requests) == 2


def test_auth_request(example):
    with FakeProvider() as auth:
        ng, provider = example(
            'auth-request.conf', 'api.openai.com:443',
            places={'127.0.0.1:9000': '127.0.0.1:%d' % auth.port})

        auth.script(
            Reply(204, {'X-Tenant': 'acme', 'X-App': 'chatbot'}),
            Reply(401),
            Reply(204, {'X-Tenant': 'acme', 'X-App': 'chatbot'}),
            Reply(204, {'X-Tenant': 'acme', 'X-App': 'chatbot'}))

        r = ng.chat(headers={'X-Tenant': 'globex'},
                    max_completion_tokens=100)
        assert r.status == 200
        assert auth.requests[0].body == b''
        assert auth.requests[0].path == '/auth'
        assert int(r.header('X-Cycles-Estimate')) >= 6000
        assert int(r.header('X-Cycles-Remaining')) > 0

        assert ng.chat().status == 401

        # 400,000,000 of 500,000,000 spent: the caps are in force

        provider.script(chat(prompt=10, completion=6666666))
        assert ng.chat(max_completion_tokens=7000000).status == 200

        r = ng.chat(max_completion_tokens=1000)
        assert r.status == 200
        assert r.header('X-Cycles-Decision') == 'ALLOW_WITH_CAPS'
        assert provider.requests[-1].json['max_completion_tokens'] == 256

        ng.wait_access_log(4)
        assert len(provider.requests) == 3
        assert ng.live_reservations() == 0
        assert acme(ng, scope='tenant:globex')['spent'] == 0
        assert acme(ng, scope='tenant:acme/app:chatbot')['spent'] == (
            2 * COST + 150 + 6666666 * 60)


def test_dry_run(example):
    ng, provider = example('dry-run.conf', 'api.openai.com:443')

    assert ng.chat(tenant='acme').header('X-Cycles-Dry-Run') == 'ALLOW'
    wait_until(lambda: ng._read('dry-run.log').count('\n') == 1)

    denied = ({'tenant': 'globex', 'max_completion_tokens': 100000000},
              {'tenant': 'acme', 'model': 'unheard-of'},
              {'tenant': 'not a name'}, {'tenant': 'acme', 'json_body': b'{'})

    for i, kw in enumerate(denied):
        r = ng.chat(**kw)
        assert r.status == 200
        assert r.header('X-Cycles-Dry-Run') == 'DENY'
        wait_until(lambda: ng._read('dry-run.log').count('\n') == i + 2)

    lines = ng._read('dry-run.log').splitlines()
    assert len(provider.requests) == 5
    assert acme(ng)['spent'] == acme(ng)['reserved'] == 0

    assert re.fullmatch(r'DRY_RUN_ALLOW - estimate=\d+ actual=450 '
                        r'gpt-4o-mini acme', lines[0]), lines[0]
    assert re.fullmatch(r'DRY_RUN_DENY BUDGET_EXCEEDED estimate=\d+ '
                        r'actual=450 gpt-4o-mini globex', lines[1]), lines[1]


def test_local_models(example):
    ng, provider = example('local-models.conf', '127.0.0.1:11434',
                           '127.0.0.1:8000')

    r = ng.chat(tenant='acme', path='/ollama/v1/chat/completions',
                model='llama3.2')
    assert r.status == 200
    assert provider.requests[0].path == '/v1/chat/completions'

    line = ng.wait_access_log(1)[0]
    assert int(line['cycles_estimate']) > 1024
    assert line['cycles_charged'] == '15'

    r = ng.chat(tenant='acme', path='/vllm/v1/chat/completions',
                model='Qwen/Qwen3-8B', stream=True, max_tokens=50)
    assert r.status == 200
    ng.wait_access_log(2)
    assert acme(ng, 'TOKENS')['spent'] == 30
    assert acme(ng)['spent'] == 0


def test_compatible(example):
    ng, provider = example('compatible.conf', 'api.deepseek.com:443',
                           'api.groq.com:443', 'api.mistral.ai:443')

    table = (('deepseek', 'deepseek-chat', '/v1', 10 * 28 + 5 * 42),
             ('groq', 'llama-3.1-8b-instant', '/openai/v1', 10 * 5 + 5 * 8),
             ('mistral', 'mistral-small-latest', '/v1', 10 * 10 + 5 * 30))
    spent = 0

    # two of them report usage without being asked

    provider.script(chat_stream(), chat_stream(with_usage=True),
                    chat_stream(with_usage=True))

    for i, (name, model, path, cost) in enumerate(table):
        r = ng.chat(tenant='acme', path='/%s/v1/chat/completions' % name,
                    model=model, stream=True)
        assert r.status == 200

        rq = provider.requests[-1]
        assert rq.path == path + '/chat/completions'
        assert rq.header('Host') == provider.names[-1]
        assert ('stream_options' in rq.json) == (name == 'deepseek')

        spent += cost
        assert ng.wait_access_log(i + 1)[-1]['cycles_charged'] == str(cost)

    assert provider.names == ['api.deepseek.com', 'api.groq.com',
                              'api.mistral.ai']
    assert acme(ng)['spent'] == spent


def test_cycles_server(example, tmp_path):
    key = tmp_path / 'cycles.key'
    key.write_text('cyc_live_example\n')

    with FakeCycles(gateway.free_port()) as cycles:
        cycles.budget('tenant:acme', 10 ** 9)
        cycles.keys({'cyc_live_example': 'acme'})

        ng, provider = example(
            'cycles-server.conf', 'api.openai.com:443',
            places={'127.0.0.1:7878': '127.0.0.1:%d' % cycles.port,
                    '/etc/nginx/cycles.key': str(key)})

        r = ng.chat(tenant='acme', headers={'X-App': 'chatbot'})
        assert r.status == 200

        cycles.wait(lambda: cycles.count('commit') == 1)
        assert cycles.scope('tenant:acme')['spent'] == COST
        assert cycles.log('reserve')[0].json['metadata'] == {
            'client': '127.0.0.1'}

        line = ng.wait_access_log(1)[0]
        assert line['cycles_decision'] == 'ALLOW'
        assert line['cycles_reservation_id'] == \
            r.header('X-Cycles-Reservation-Id')

        # what it promises of a connection that the server closes: the same
        # request again, and one reservation

        cycles.fault('reserve', 'drop_after')
        assert ng.chat(tenant='acme').status == 200
        cycles.wait(lambda: cycles.count('commit') == 2)

        first, second = cycles.log('reserve')[-2:]
        assert first.body == second.body
        assert cycles.scope('tenant:acme')['spent'] == 2 * COST
        assert cycles.scope('tenant:acme')['reserved'] == 0

        cycles.close()
        r = ng.chat(tenant='acme')
        assert r.status == 503
        assert r.header('X-Cycles-Decision') == 'OUTAGE_DENY'
        assert len(provider.requests) == 2


def test_paid_api(example):
    ng, provider = example('paid-api.conf', '127.0.0.1:9200',
                           '127.0.0.1:9300')

    def reply(cost=None, status=200):
        headers = {'X-Cost': str(cost)} if cost is not None else {}
        return Reply(status, headers, [b'{"found":1}'])

    provider.script(reply(), reply(7), reply(status=500), reply(0))

    get = {'X-Tenant': 'acme'}
    table = (('GET', '/search/?q=nginx', 200, '5', '5', 'commit'),
             ('POST', '/maps/', 200, '20', '7', 'commit'),
             ('GET', '/search/', 500, '5', '0', 'release'),
             ('GET', '/maps/', 200, '20', '0', 'commit'))

    for i, (method, path, status, estimate, charged, how) in enumerate(table):
        r = ng.request(method, path, get, b'not json' if method == 'POST'
                       else None)
        assert r.status == status

        line = ng.wait_access_log(i + 1)[-1]
        assert line['cycles_estimate'] == estimate
        assert line['cycles_charged'] == charged
        assert line['cycles_settlement'] == how

    assert provider.requests[0].path == '/?q=nginx'
    assert provider.requests[1].body == b'not json'
    assert acme(ng, 'CREDITS')['spent'] == 12

    # 988 left: the rest in one go, then a refusal

    provider.script(reply(988))
    assert ng.get('/maps/', get).status == 200
    r = ng.get('/maps/', get)
    assert r.status == 402
    assert r.json['error']['code'] == 'insufficient_quota'
