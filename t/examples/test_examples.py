# Copyright (C) nginx-cycles authors

"""Each file of conf-examples as it is: only ports, addresses and paths are
others, and it runs in front of stand-ins."""

import glob
import json
import os
import re
import shutil
import ssl
import subprocess

import pytest

import gateway
from gateway import (FakeProvider, Nginx, Reply, ROOT, chat, chat_stream,
                     sse_events, wait_until)
from fake_cycles import FakeCycles
from tls import TlsProvider, make_certificates, server_context


EXAMPLES = os.path.join(ROOT, 'conf-examples')

NAMES = ('api.openai.com', 'api.deepseek.com', 'api.groq.com',
         'api.mistral.ai', 'api.anthropic.com', 'cycles.internal',
         'generativelanguage.googleapis.com', 'our-resource.openai.azure.com',
         'bedrock-runtime.us-east-1.amazonaws.com')

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
            if os.path.isfile(path) and not path.endswith('/' + self.name):
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

        if 'cycles_journal' in text:
            yield '/var/lib/nginx/cycles-journal', self.path('ledger')

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


def json_reply(body, headers=None):
    return Reply(200, dict({'Content-Type': 'application/json'},
                           **headers or {}), [json.dumps(body).encode()])


def sample(name):
    with open(os.path.join(ROOT, 't', 'samples', name), 'rb') as file:
        return file.read()


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

    r = gateway.request(ng.ports[1], path='/cycles?format=json')
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


CLAUDE = {'type': 'message', 'role': 'assistant', 'model': 'claude-haiku-4-5',
          'content': [{'type': 'text', 'text': 'Hello.'}],
          'stop_reason': 'end_turn',
          'usage': {'input_tokens': 10, 'output_tokens': 5}}

CLAUDE_COST = 10 * 100 + 5 * 500

GEMINI = {'candidates': [{'content': {'role': 'model',
                                      'parts': [{'text': 'Hello.'}]},
                          'finishReason': 'STOP'}],
          'modelVersion': 'gemini-2.5-flash',
          'usageMetadata': {'promptTokenCount': 10, 'totalTokenCount': 15,
                            'candidatesTokenCount': 5}}

GEMINI_COST = 10 * 30 + 5 * 250

GEMINI_BODY = {'contents': [{'role': 'user', 'parts': [{'text': 'Hi.'}]}]}


def test_anthropic(example):
    ng, provider = example('anthropic.conf', 'api.anthropic.com:443')
    headers = {'x-api-key': 'sk-ant', 'anthropic-version': '2023-06-01'}

    def message(**kw):
        return ng.chat(path='/v1/messages', model='claude-haiku-4-5',
                       headers=headers, max_tokens=100, **kw)

    provider.script(json_reply(CLAUDE))
    r = message(tenant='acme')
    assert r.status == 200
    assert provider.requests[0].header('x-api-key') == 'sk-ant'
    assert provider.names == ['api.anthropic.com']
    assert ng.wait_access_log(1)[0]['cycles_charged'] == str(CLAUDE_COST)

    # a stream: 12 tokens of input with 9500 in a cache, and 300 of output

    provider.script(Reply(200, {'Content-Type': 'text/event-stream'},
                          [sample('anthropic-messages-stream.sse')]))
    assert message(tenant='acme', stream=True).status == 200
    line = ng.wait_access_log(2)[1]
    assert line['cycles_usage_source'] == 'reported'
    assert int(line['cycles_charged']) > CLAUDE_COST
    assert acme(ng)['spent'] == CLAUDE_COST + int(line['cycles_charged'])

    # in the words of Anthropic

    r = message(tenant='nobody')
    assert r.status == 429
    assert r.json['error']['type'] == 'rate_limit_error'
    assert len(provider.requests) == 2


def test_gemini(example):
    ng, provider = example(
        'gemini.conf', 'generativelanguage.googleapis.com:443')
    path = '/v1beta/models/gemini-2.5-flash:generateContent'

    provider.script(json_reply(GEMINI))
    r = ng.chat(path=path + '?key=AIza', tenant='acme', json_body=GEMINI_BODY)
    assert r.status == 200
    assert provider.requests[0].path == path + '?key=AIza'
    assert ng.wait_access_log(1)[0]['cycles_charged'] == str(GEMINI_COST)
    assert acme(ng)['spent'] == GEMINI_COST

    line = wait_until(lambda: ng._read('cycles.log'))
    assert 'AIza' not in line
    assert line.endswith('200 ALLOW %d\n' % GEMINI_COST)

    r = ng.chat(path=path, tenant='nobody', json_body=GEMINI_BODY)
    assert r.status == 429
    assert r.json['error']['status'] == 'RESOURCE_EXHAUSTED'
    assert len(provider.requests) == 1


def test_bedrock(example):
    ng, provider = example(
        'bedrock.conf', 'bedrock-runtime.us-east-1.amazonaws.com:443')
    body = {'messages': [{'role': 'user', 'content': [{'text': 'Hi.'}]}],
            'inferenceConfig': {'maxTokens': 100}}
    path = '/model/amazon.nova-lite-v1%3A0/converse'

    provider.script(
        json_reply({'output': {'message': {
            'role': 'assistant', 'content': [{'text': 'Hello.'}]}},
            'stopReason': 'end_turn', 'metrics': {'latencyMs': 5},
            'usage': {'inputTokens': 10, 'outputTokens': 5,
                      'totalTokens': 15}}),
        Reply(200, {'Content-Type': 'application/vnd.amazon.eventstream'},
              [sample('bedrock-converse-stream.bin')]))

    r = ng.chat(path=path, json_body=body,
                headers={'Authorization': 'Bearer bedrock-api-key'})
    assert r.status == 200
    assert provider.requests[0].header('Host') == \
        'bedrock-runtime.us-east-1.amazonaws.com'
    assert provider.requests[0].header('Authorization') == \
        'Bearer bedrock-api-key'

    line = ng.wait_access_log(1)[0]
    assert line['cycles_price_key'] == 'amazon.nova-lite-v1:0'
    assert line['cycles_charged'] == str(10 * 6 + 5 * 24)

    r = ng.chat(path=path + '-stream', json_body=body)
    assert r.body == sample('bedrock-converse-stream.bin')

    line = ng.wait_access_log(2)[1]
    assert line['cycles_usage_source'] == 'reported'
    assert acme(ng)['spent'] == 180 + int(line['cycles_charged'])


def test_azure(example):
    ng, provider = example('azure.conf', 'our-resource.openai.azure.com:443')
    path = ('/openai/deployments/our-small-one/chat/completions'
            '?api-version=2024-10-21')

    provider.script(chat(model='gpt-4o-mini-2024-07-18'))
    r = ng.chat(path=path, tenant='acme', headers={'api-key': 'azure-key'})
    assert r.status == 200
    assert provider.requests[0].path == path
    assert provider.requests[0].header('api-key') == 'azure-key'

    line = ng.wait_access_log(1)[0]
    assert line['cycles_price_key'] == 'azure/gpt-4o-mini'

    # 16.5 and 66 micro-cents

    assert line['cycles_charged'] == str(165 + 330)
    assert acme(ng)['spent'] == 495

    r = ng.chat(path=path.replace('small', 'large'), tenant='acme')
    assert r.header('X-Cycles-Reason') == 'UNKNOWN_PRICE'
    assert len(provider.requests) == 1


def test_providers(example):
    ng, provider = example(
        'providers.conf', 'api.openai.com:443', 'api.anthropic.com:443',
        'generativelanguage.googleapis.com:443')

    provider.script(chat(), json_reply(CLAUDE), json_reply(GEMINI))

    r = ng.chat(headers={'Authorization': 'Bearer key-acme'})
    assert r.status == 200
    r = ng.chat(path='/v1/messages', model='claude-haiku-4-5', max_tokens=100,
                headers={'x-api-key': 'key-acme'})
    assert r.status == 200
    r = ng.chat(path='/v1beta/models/gemini-2.5-flash:generateContent',
                json_body=GEMINI_BODY, headers={'x-goog-api-key': 'key-acme'})
    assert r.status == 200

    seen = [[rq.header(name) for name in (
        'Host', 'Authorization', 'x-api-key', 'x-goog-api-key')]
        for rq in provider.requests]
    assert seen == [
        ['api.openai.com', 'Bearer sk-of-openai', None, None],
        ['api.anthropic.com', None, 'sk-of-anthropic', None],
        ['generativelanguage.googleapis.com', None, None, 'key-of-gemini']]

    assert sorted(int(line['cycles_charged'])
                  for line in ng.wait_access_log(3)) == [
                      COST, GEMINI_COST, CLAUDE_COST]
    assert acme(ng)['spent'] == COST + CLAUDE_COST + GEMINI_COST

    assert ng.chat(headers={'Authorization': 'Bearer stolen'}).status == 401
    assert len(provider.requests) == 3


def test_fail_open(example, tmp_path):
    key = tmp_path / 'cycles.key'
    key.write_text('cyc_live_example\n')

    with FakeCycles(gateway.free_port()) as cycles:
        cycles.budget('tenant:acme', 10 ** 9)
        cycles.budget('tenant:globex', 1)

        ng, provider = example(
            'fail-open.conf', 'api.openai.com:443',
            places={'open=2s': 'open=100ms',
                    '127.0.0.1:7878': '127.0.0.1:%d' % cycles.port,
                    '/etc/nginx/cycles.key': str(key)})

        # an outage passes, a denial does not

        assert ng.chat(tenant='globex').status == 429

        cycles.close()
        r = ng.chat(tenant='acme')
        assert r.status == 200
        assert r.header('X-Cycles-Decision') == 'OUTAGE_ALLOW'

        cycles.listen()
        cycles.wait(lambda: cycles.scope('tenant:acme')['spent'] == COST,
                    timeout=gateway.TIMEOUT)
        assert cycles.count('commit') == 0
        assert cycles.scope('tenant:acme')['reserved'] == 0

        # until the breaker has closed there are more of them

        requests = 1

        while r.header('X-Cycles-Decision') != 'ALLOW':
            r = ng.chat(tenant='acme')
            assert r.status == 200
            requests += 1

        cycles.wait(lambda: cycles.scope('tenant:acme')['spent']
                    == requests * COST, timeout=gateway.TIMEOUT)
        assert cycles.count('commit') == 1
        assert cycles.scope('tenant:acme')['reserved'] == 0
        assert len(provider.requests) == requests
        assert ng._read('cycles.log').count(
            ' OUTAGE_ALLOW ') == requests - 1


def test_cycles_cluster(example, certificates, tmp_path):
    key = tmp_path / 'cycles.key'
    key.write_text('cyc_live_example\n')
    context = server_context(certificates)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificates / 'ca.pem')

    cycles = FakeCycles(gateway.free_port())
    cycles.tls = context
    other = gateway.free_port()

    with cycles:
        cycles.budget('tenant:acme', 10 ** 9)
        cycles.keys({'cyc_live_example': 'acme'})

        ng, provider = example(
            'cycles-cluster.conf', 'api.openai.com:443',
            places={'fail_timeout=5s': 'fail_timeout=1s',
                    '10.0.0.11:7443': '127.0.0.1:%d' % cycles.port,
                    '10.0.0.12:7443': '127.0.0.1:%d' % other,
                    '/etc/nginx/cycles.key': str(key),
                    '/etc/nginx/cycles-ca.pem': str(certificates / 'ca.pem'),
                    '/etc/nginx/gateway.pem': str(certificates / 'cert.pem'),
                    '/etc/nginx/gateway.key': str(certificates / 'key.pem')})

        # the second one is not there, and then the first one is not; the
        # second one is found again when its fail_timeout is over and the
        # breaker has closed

        for n in range(4):
            assert ng.chat(tenant='acme').status == 200

        cycles.close()
        cycles.port = other
        cycles.listen()

        for n in range(2):
            wait_until(lambda: ng.chat(tenant='acme').status == 200)

        cycles.wait(lambda: cycles.scope('tenant:acme')['spent'] == 6 * COST)
        assert cycles.scope('tenant:acme')['reserved'] == 0
        assert {e.headers.get('X-Cycles-API-Key') or e.headers.get(
            'x-cycles-api-key') for e in cycles.log('reserve')} == {
                'cyc_live_example'}


def test_ledger_api(example):
    ng, provider = example('ledger-api.conf', 'api.openai.com:443')

    def api(path, body, key='cyc_example'):
        return gateway.request(
            ng.ports[1], 'POST', path, body=json.dumps(body).encode(),
            headers={'Content-Type': 'application/json',
                     'X-Cycles-API-Key': key})

    reserve = {
        'idempotency_key': 'k-1', 'subject': {'tenant': 'acme'},
        'action': {'kind': 'llm.completion', 'name': 'openai:gpt-4o'},
        'estimate': {'unit': 'USD_MICROCENTS', 'amount': 1000},
        'ttl_ms': 60000}

    assert api('/v1/reservations', reserve, key='cyc_other').status == 401
    r = api('/v1/reservations', reserve)
    assert r.status == 200
    assert r.json['decision'] == 'ALLOW'

    r = api('/v1/reservations/%s/commit' % r.json['reservation_id'],
            {'idempotency_key': 'k-2',
             'actual': {'unit': 'USD_MICROCENTS', 'amount': 700}})
    assert r.status == 200

    # the same budget, through the gateway

    assert ng.chat(tenant='acme').status == 200
    ng.wait_access_log(3)
    assert acme(ng)['spent'] == 700 + COST
    assert ng.live_reservations() == 0


def test_agents(example):
    ng, provider = example('agents.conf', 'api.openai.com:443')
    headers = {'X-Agent': 'researcher', 'X-Toolset': 'web', 'X-Run': '42'}
    tools = [{'type': 'function', 'function': {
        'name': name, 'parameters': {'type': 'object', 'properties': {}}}}
        for name in ('web_search', 'calculator')]

    def step(**kw):
        return ng.chat(tenant='acme', headers=headers, tools=tools,
                       max_completion_tokens=1000, **kw)

    # what the agent does with these tools has the smallest budget

    r = step()
    assert r.status == 200
    assert r.header('X-Cycles-Decision') == 'ALLOW'
    assert int(r.header('X-Cycles-Remaining')) < 20000000
    assert len(provider.requests[0].json['tools']) == 2

    r = step(model='gpt-4o', n=60)
    assert r.header('X-Cycles-Reason') == 'MAX_ESTIMATE_EXCEEDED'

    provider.script(chat(prompt=10, completion=330000))
    assert step().status == 200
    r = step(model='gpt-4o')
    assert r.status == 429
    assert r.header('X-Cycles-Reason') == 'BUDGET_EXCEEDED'

    # without tools of the web, until more than a half is spent

    del headers['X-Toolset']
    provider.script(chat(prompt=10, completion=600000))
    assert step().status == 200
    ng.wait_access_log(5)

    r = step()
    assert r.status == 200
    assert r.header('X-Cycles-Decision') == 'ALLOW_WITH_CAPS'

    body = provider.requests[-1].json
    assert body['max_completion_tokens'] == 256
    assert [t['function']['name'] for t in body['tools']] == ['calculator']

    ng.wait_access_log(6)
    web = COST + 150 + 330000 * 60
    assert acme(ng, scope='tenant:acme/agent:researcher/toolset:web')[
        'spent'] == web
    assert acme(ng)['spent'] == web + 150 + 600000 * 60 + COST
    assert ng.live_reservations() == 0


def test_litellm(example):
    ng, provider = example('litellm.conf', '127.0.0.1:4000')

    r = ng.chat(tenant='acme', model='fast', stream=True)
    assert r.status == 200
    assert provider.requests[0].header('X-Cycles-Reservation-Id') == \
        r.header('X-Cycles-Reservation-Id')
    line = ng.wait_access_log(1)[0]
    assert line['cycles_price_key'] == 'gpt-4o-mini'
    assert line['cycles_charged'] == str(COST)

    # it has fallen back, and the name that was asked for counts

    provider.script(chat(model='gpt-4o-mini'))
    assert ng.chat(tenant='acme', model='good').status == 200
    line = ng.wait_access_log(2)[1]
    assert line['cycles_model'] == 'gpt-4o-mini'
    assert line['cycles_charged'] == str(10 * 250 + 5 * 1000)
    assert acme(ng)['spent'] == COST + 7500


# systemd: the unit of Debian's nginx with our drop-in

DROP_IN_UNIT = os.path.join(EXAMPLES, 'systemd', 'cycles.conf')

UNIT = '''
[Unit]
Description=nginx
[Service]
Type=forking
PIDFile=/run/nginx.pid
ExecStart=/usr/sbin/nginx -g 'daemon on; master_process on;'
ExecStop=-/bin/false
TimeoutStopSec=5
KillMode=mixed
'''


def analyze(tmp_path, *args):
    (tmp_path / 'nginx.service').write_text(UNIT)
    return subprocess.run(
        ('systemd-analyze', '--no-pager') + args
        + (str(tmp_path / 'nginx.service'),),
        env=dict(os.environ, SYSTEMD_UNIT_PATH='%s:' % tmp_path,
                 SYSTEMD_PAGER='cat', LC_ALL='C.UTF-8'),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        universal_newlines=True)


def exposure(tmp_path):
    done = analyze(tmp_path, 'security', '--offline=true')
    return float(re.search(r'exposure level .*: ([\d.]+)',
                           done.stdout).group(1))


def test_systemd_unit(tmp_path):
    """What systemd itself says of it; it is not run by systemd here, which
    would have to be the first process of the machine."""

    before = exposure(tmp_path)
    (tmp_path / 'nginx.service.d').mkdir()
    shutil.copy(DROP_IN_UNIT, tmp_path / 'nginx.service.d')

    done = analyze(tmp_path, 'verify')
    assert (done.returncode, done.stdout) == (0, '')
    assert exposure(tmp_path) < 3.5 < 9 < before


class Hardened(Example):
    """With the capabilities that the unit leaves, and no new privileges."""

    def _argv(self):
        with open(DROP_IN_UNIT) as file:
            kept = re.search(r'^CapabilityBoundingSet=(.*)$', file.read(),
                             re.M).group(1).lower().split()
        sets = []
        if os.geteuid() == 0:
            sets = ['--bounding-set', ','.join(
                ['-all'] + [name.replace('cap_', '+') for name in kept])]
        return ['setpriv', '--no-new-privs'] + sets + ['--'] + super()._argv()


def test_systemd_capabilities(provider):
    ng = Hardened('litellm.conf',
                  {'127.0.0.1:4000': '127.0.0.1:%d' % provider.port})
    try:
        ng.start()
        assert ng.chat(tenant='acme', model='fast').status == 200
        ng.wait_access_log(1)
        ng.reload()
        assert ng.chat(tenant='acme', model='fast').status == 200
        ng.wait_access_log(2)
        assert acme(ng)['spent'] == 2 * COST
        ng.stop()
        ng.check()
    finally:
        ng.close()
