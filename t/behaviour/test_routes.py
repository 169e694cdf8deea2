# Copyright (C) nginx-cycles authors

"""Which requests are guarded, as what, and which pass free or not at all."""

import json

import pytest

import gateway
from gateway import Reply, chat
from meter import BASE, Scene, Whole, cost


TOKENS = BASE + 'cycles_unit TOKENS; cycles_max_output_tokens 1000;'

LOCATIONS = {
    'auto': '',
    'pass': 'cycles_websocket pass;',
    'mistral': 'cycles_provider mistral;',
    'anthropic': 'cycles_provider anthropic;',

    # the provider's name is not that of the client's request

    'named': Whole(TOKENS + 'proxy_pass http://groq; '
                   'proxy_http_version 1.1; proxy_set_header Connection "";'),

    # and here only the client names it

    'variable': Whole(TOKENS + 'set $to groq; proxy_pass http://$to; '
                      'proxy_http_version 1.1; '
                      'proxy_set_header Connection "";'),
    'rewritten': Whole(TOKENS + 'rewrite ^ /v1/messages break;'),
    'given': 'cycles_estimate 500; cycles_actual 300; cycles_action a b;',
}

HTTP = '''
    upstream groq {
        server 127.0.0.1:%%PROVIDER%%;
    }
    upstream api.groq.com {
        server 127.0.0.1:%%PROVIDER%%;
    }
'''

SERVER = '''
    location /host/ {
        %s
        proxy_pass http://api.groq.com;
    }
''' % TOKENS


@pytest.fixture(scope='module')
def scene():
    scene = Scene(LOCATIONS, base=TOKENS, unit='TOKENS', http=HTTP,
                  server=SERVER)
    yield scene
    scene.finish()


def said(**members):
    return Reply(200, {'Content-Type': 'application/json'},
                 [json.dumps(members).encode()])


USAGE = {'prompt_tokens': 10, 'completion_tokens': 5, 'total_tokens': 15}
HELLO = [{'role': 'user', 'content': 'Say hello.'}]


def free(x):
    return (x.log['cycles_decision'] == 'BYPASS' and x.sent is not None
            and x.r.header('x-cycles-decision') == 'BYPASS'
            and x.r.header('x-cycles-reservation-id') is None
            and x.spent == 0 and x.reserved == 0)


def guarded(x):
    return (x.log['cycles_decision'] == 'ALLOW' and x.sent is not None
            and x.log['cycles_settlement'] == 'commit')


@pytest.mark.parametrize('method', ['GET', 'HEAD', 'OPTIONS', 'DELETE'])
def test_methods_that_are_free(scene, method):
    x = scene.send('auto', method=method, path='/v1/models',
                   reply=Reply(200, {}, [b'' if method == 'HEAD' else b'{}']))
    assert free(x)


@pytest.mark.parametrize('header', ['X-HTTP-Method-Override',
                                    'X-HTTP-Method', 'x-http-method'])
def test_method_in_a_header_is_not_free(scene, header):
    x = scene.send('auto', json.dumps({'messages': HELLO}).encode(),
                   method='GET', headers={header: 'POST'},
                   reply=said(usage=USAGE))
    assert guarded(x)
    assert x.spent == 15


@pytest.mark.parametrize('path', [
    '/v1/responses/input_tokens', '/v1/messages/count_tokens',
    '/v1beta/models/gemini-2.5-pro:countTokens',
    '/model/us.anthropic.claude-v1%3A0/count-tokens', '/tokenize',
    '/v1/files', '/v1/responses/resp_1/cancel'])
def test_paths_that_are_free(scene, path):
    """Whatever the body is: it is not read."""

    for body in b'{"input":"a"}', b'not JSON', b'':
        assert free(scene.send('auto', body, path=path, reply=said(n=1)))


@pytest.mark.parametrize('path', [
    '/v1/chat/completions/..%2fv1/files', '/v1/x/%2e%2e/v1/files',
    '/v1/x;/v1/files'])
def test_paths_that_only_look_free(scene, path):
    x = scene.send('auto', json.dumps({'messages': HELLO}).encode(),
                   path=path, reply=said(usage=USAGE))
    assert guarded(x)


@pytest.mark.parametrize('body', [
    b'{"model":"m","whatever":"Say hello."}', b'plain text', b'',
    b'{"broken', b'\xff\x00\x01', b'[1,2,3]'])
def test_unknown_path(scene, body):
    """Whatever it is: it is passed as it is, and reserved by its size and
    the configured output."""

    x = scene.send('auto', body, path='/v1/something/new',
                   reply=said(usage=USAGE))
    assert guarded(x)
    assert x.sent.body == body
    assert x.log['cycles_provider'] == 'other'
    assert 1000 <= x.number('estimate') <= 1000 + 2 * len(body)
    assert x.log['cycles_usage_source'] == 'reported'
    assert x.spent == 15


def test_unknown_path_without_usage(scene):
    for reply, source, most in (
            (said(result='x'), 'input_only', 100),
            (Reply(200, {'Content-Type': 'video/mp4'}, [b'\x00\x01']),
             'estimated', 2000)):
        x = scene.send('auto', b'{"prompt":"Say hello."}', path='/v1/videos',
                       reply=reply)
        assert guarded(x)
        assert x.log['cycles_usage_source'] == source
        assert 0 < x.spent < most


def test_unknown_path_with_limits(scene):
    x = scene.send('auto', b'{"model":"m","max_tokens":7,"n":2}',
                   path='/v1/something/new', reply=said(usage=USAGE))
    assert 14 < x.number('estimate') < 60


@pytest.mark.parametrize('headers, members, provider, usage, spent', [
    ({}, {}, 'openai', USAGE, 15),
    ({'anthropic-version': '2023-06-01'}, {'max_tokens': 9}, 'anthropic',
     {'input_tokens': 3, 'cache_read_input_tokens': 20, 'output_tokens': 5},
     28)])
def test_unknown_path_with_messages(scene, headers, members, provider, usage,
                                    spent):
    """A body with messages is what it looks like."""

    x = scene.send('auto', json.dumps(dict(members, model='m',
                                           messages=HELLO)).encode(),
                   path='/llm', headers=headers, reply=said(usage=usage))
    assert guarded(x)
    assert x.log['cycles_provider'] == provider
    assert x.spent == spent


def test_path_of_another_provider(scene):
    """What the path says is more than what the name stands for."""

    x = scene.send('anthropic', json.dumps({'messages': HELLO}).encode(),
                   path='/v1/chat/completions', reply=said(usage=USAGE))
    assert x.log['cycles_provider'] == 'anthropic'
    assert x.spent == 15

    x = scene.send('anthropic', b'{"max_tokens":5}', path='/llm',
                   reply=said(usage={'input_tokens': 1, 'output_tokens': 2,
                                     'cache_read_input_tokens': 4}))
    assert x.log['cycles_provider'] == 'anthropic'
    assert x.spent == 7


def test_rewritten_path(scene):
    x = scene.send('rewritten', b'{"max_tokens":5}',
                   path='/v1/chat/completions',
                   reply=said(usage={'input_tokens': 1, 'output_tokens': 2,
                                     'cache_read_input_tokens': 4}))
    assert x.sent.path.startswith('/v1/messages?')
    assert x.log['cycles_provider'] == 'anthropic'
    assert x.spent == 7


def test_name_of_the_upstream(scene):
    x = scene.chat('host', reply=chat())
    assert x.log['cycles_provider'] == 'groq'

    x = scene.chat('named', reply=chat())
    assert x.log['cycles_provider'] == 'openai'


def test_name_of_the_client(scene):
    """It is asked where nginx says nothing."""

    x = scene.chat('auto', headers={'Host': 'api.deepseek.com'},
                   reply=chat())
    assert x.log['cycles_provider'] == 'openai'


def test_route_that_is_kept(scene):
    """It is found again, but only for a request that is the same."""

    tenant = scene.tenant()

    for _ in range(2):
        for method, path, host, decision in (
                ('POST', '/v1/moderations', 'api.openai.com', 'BYPASS'),
                ('POST', '/v1/moderations', 'api.mistral.ai', 'ALLOW'),
                ('GET', '/v1/embeddings', 'api.openai.com', 'BYPASS'),
                ('PUT', '/v1/embeddings', 'api.openai.com', 'ALLOW'),
                ('POST', '/v1/files', 'api.openai.com', 'BYPASS'),
                ('POST', '/v1/fixes', 'api.openai.com', 'ALLOW')):
            scene.provider.script(said(a=1))
            r = scene.ng.request(method, '/variable' + path,
                                 {'Host': host, 'X-Tenant': tenant,
                                  'Content-Type': 'application/json'}, b'{}')
            scene.provider.unscript()
            assert r.header('x-cycles-decision') == decision, (path, host)


def test_stream_usage_is_not_asked_for(scene):
    """Where a provider would refuse the whole request."""

    for location, path, asked in (
            ('auto', '/v1/chat/completions', True),
            ('mistral', '/v1/chat/completions', False),
            ('auto', '/v1/responses', False),
            ('auto', '/openai/deployments/d/chat/completions'
                     '?api-version=2024-02-01', False),
            ('auto', '/openai/deployments/d/chat/completions'
                     '?api-version=2024-10-21', True)):
        x = scene.chat_at(location, path, stream=True, reply=said(a=1))
        assert ('stream_options' in x.sent.json) == asked, path


def test_model_in_the_path(scene):
    x = scene.send('auto', json.dumps({'messages': [
        {'role': 'user', 'content': [{'text': 'hi'}]}]}).encode(),
        path='/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile'
             '%2Fus.amazon.nova-lite-v1%3A0/converse',
        reply=said(usage={'inputTokens': 3, 'outputTokens': 4}))
    assert x.log['cycles_model'] == 'us.amazon.nova-lite-v1:0'
    assert '%3Ainference-profile%2Fus' in x.sent.path
    assert x.spent == 7


def test_form(scene):
    """A form is read for its model, and passed as it is."""

    def part(name, value, more=''):
        return ('--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s'
                '\r\n' % (name, more, value)).encode()

    body = (part('file', 100000 * '\0', '; filename="a.mp3"')
            + part('model', 'whisper-1') + b'--x--\r\n')
    x = scene.send('auto', body, path='/v1/audio/transcriptions',
                   headers={'Content-Type':
                            'multipart/form-data; boundary="x"'},
                   reply=said(text='hello', usage={
                       'type': 'tokens', 'input_tokens': 14,
                       'output_tokens': 3, 'total_tokens': 17}))
    assert x.sent.body == body
    assert x.log['cycles_model'] == 'whisper-1'
    assert x.log['cycles_provider'] == 'openai-audio'
    assert x.spent == 17

    x = scene.send('auto', body[:-4], path='/v1/audio/transcriptions',
                   headers={'Content-Type':
                            'multipart/form-data; boundary="x"'})
    assert x.r.status == 400 and x.sent is None
    assert 'form in the body ends before' in x.r.text


UPGRADE = {'Upgrade': 'websocket', 'Connection': 'Upgrade'}


@pytest.mark.parametrize('method, path, headers', [
    ('GET', '/v1/realtime?model=gpt-realtime', UPGRADE),
    ('GET', '/v1/responses', dict(UPGRADE, Upgrade='WebSocket')),
    ('GET', '/v1/responses', dict(UPGRADE, Upgrade='h2c, websocket')),
    ('POST', '/v1/realtime/client_secrets', {}),
    ('POST', '/v1/realtime/calls', {})])
def test_what_can_not_be_metered(scene, method, path, headers):
    body = b'{}' if method == 'POST' else None
    x = scene.send('auto', body, method=method, path=path, headers=headers)
    assert x.r.status == 400 and x.sent is None
    assert "can't be metered" in x.r.text
    assert x.log['cycles_decision'] == 'DENY'
    assert x.log['cycles_reason'] == 'INVALID_REQUEST'

    x = scene.send('pass', body, method=method, path=path, headers=headers,
                   reply=said(a=1))
    assert x.r.status == 200
    assert free(x)


def test_realtime_can_be_read(scene):
    """A list of sessions is none."""

    assert free(scene.send('auto', method='GET', path='/v1/realtime/calls',
                           reply=said(a=1)))


def test_given_amounts(scene):
    """Nothing of the request matters then, an upgrade neither."""

    x = scene.send('given', method='GET', path='/v1/realtime',
                   headers=UPGRADE, reply=said(a=1))
    assert x.log['cycles_decision'] == 'ALLOW'
    assert x.spent == 300
