# Copyright (C) nginx-cycles authors

"""A denial in the words of each provider: the whole body, the headers that
its SDKs read, and the status that they never retry."""

import json
import re

import pytest

from gateway import budgets


CHAT = {'model': 'gpt-4o-mini', 'max_tokens': 100,
        'messages': [{'role': 'user', 'content': 'Hello.'}]}
GENERATE = {'contents': [{'role': 'user', 'parts': [{'text': 'Hello.'}]}],
            'generationConfig': {'maxOutputTokens': 100}}
CONVERSE = {'messages': [{'role': 'user', 'content': [{'text': 'Hello.'}]}],
            'inferenceConfig': {'maxTokens': 100}}

TEXT = ('The budget for this request is used up or not available. Trying '
        'again will not help until it is raised.')

QUOTA = {'message': TEXT, 'type': 'insufficient_quota', 'param': None,
         'code': 'insufficient_quota'}


def openai(status):
    return {'error': QUOTA}


def anthropic(status):
    return {'type': 'error', 'error': {
        'type': {402: 'billing_error', 429: 'rate_limit_error'}[status],
        'message': TEXT,
        'details': {'error_code': 'enforced_spend_limit_reached'}},
        'request_id': 'REQUEST_ID'}


def google(status):
    return {'error': {
        'code': status, 'message': TEXT,
        'status': {403: 'PERMISSION_DENIED',
                   429: 'RESOURCE_EXHAUSTED'}[status],
        'details': [{'@type': 'type.googleapis.com/google.rpc.ErrorInfo',
                     'reason': 'insufficient_quota', 'domain': 'cycles'}]}}


def flat(status):
    return {'message': TEXT}


def mistral(status):
    return dict(QUOTA, object='error')


def ollama(status):
    return {'error': TEXT}


def openrouter(status):
    return {'error': {'code': status, 'message': TEXT,
                      'metadata': {'error_type': 'insufficient_quota'}}}


def llamacpp(status):
    return {'error': {'code': status, 'message': TEXT,
                      'type': 'insufficient_quota'}}


def vllm(status):
    return {'error': dict(QUOTA, code=status)}


# provider (its location), path, request, body, status of "auto"

APIS = [
    ('auto', '/v1/chat/completions', CHAT, openai, 402),
    ('auto', '/v1/responses', {'model': 'gpt-4o-mini', 'input': 'Hello.'},
     openai, 402),
    ('auto', '/v1/embeddings', {'model': 'gpt-4o-mini', 'input': 'Hello.'},
     openai, 402),
    ('auto', '/v1/messages', CHAT, anthropic, 402),
    ('auto', '/v1beta/models/gemini-x:generateContent', GENERATE, google,
     403),
    ('auto', '/model/anthropic.claude-x/converse', CONVERSE, flat, 400),
    ('auto', '/model/anthropic.claude-x/invoke', CHAT, flat, 400),
    ('cohere', '/v2/chat', CHAT, flat, 402),
    ('mistral', '/v1/chat/completions', CHAT, mistral, 402),
    ('auto', '/api/chat', CHAT, ollama, 402),
    ('openrouter', '/api/v1/chat/completions', CHAT, openrouter, 402),
    ('llamacpp', '/completion', {'prompt': 'Hello.', 'n_predict': 100},
     llamacpp, 402),
    ('vllm', '/v1/chat/completions', CHAT, vllm, 402),
    ('groq', '/v1/chat/completions', CHAT, openai, 402),
]

NAMES = sorted({provider for provider, *_ in APIS})
FORMATS = {'openai': openai, 'anthropic': anthropic, 'gemini': google,
           'bedrock': flat, 'mistral': mistral, 'cohere': flat,
           'ollama': ollama, 'openrouter': openrouter, 'llamacpp': llamacpp,
           'vllm': vllm}


@pytest.fixture(scope='module')
def ng():
    import gateway

    def location(prefix, more):
        return '''
            location /%s/ {
                cycles on;
                cycles_unknown_price gpt-4o-mini;
                %s
                proxy_pass http://127.0.0.1:1;
            }
        ''' % (prefix, more)

    server = ''
    for name in NAMES:
        for status in '429', 'auto':
            server += location('%s-%s' % (status, name), '''
                cycles_provider %s;
                cycles_deny_status %s;
            ''' % (name, status))
    for name in FORMATS:
        server += location('format-' + name,
                           'cycles_deny_format %s;' % name)
    server += location('amounts', 'cycles_response_headers amounts;')

    with gateway.Nginx(http='''
        cycles_ledger main path=%%DIR%%/ledger budgets=%%DIR%%/budgets.json;
        cycles_price_table %%PRICES%%;
        cycles_authority ledger=main;
        cycles_subject tenant acme;
    ''', server=server, files={'budgets.json': budgets(('tenant:acme', 1))}
    ) as found:
        yield found


def ask(ng, path, request):
    return ng.post(path, json.dumps(request).encode(),
                   {'Content-Type': 'application/json'})


def check(r, status, body):
    assert r.status == status
    assert r.header('Content-Type') == 'application/json'
    assert r.header('Cache-Control') == 'no-store'
    assert r.header('x-should-retry') == 'false'

    expected = body(status)
    if body is anthropic:
        id = r.header('request-id')
        assert re.fullmatch(r'req_[0-9a-f-]{36}', id)
        expected['request_id'] = id
    assert r.json == expected


@pytest.mark.parametrize('status', ['429', 'auto'])
@pytest.mark.parametrize('provider,path,request_,body,never', APIS,
                         ids=['%s%s' % case[:2] for case in APIS])
def test_denial(ng, status, provider, path, request_, body, never):
    r = ask(ng, '/%s-%s%s' % (status, provider, path), request_)
    check(r, 429 if status == '429' else never, body)
    assert r.header('x-amzn-errortype') == amzn_type(path, r.status)


def amzn_type(path, status):
    """AWS's SDK for Python stops after a 429 if it knows the name."""

    if not path.startswith('/model/'):
        return None
    if path.endswith('/converse') and status == 429:
        return 'AccessDeniedException'
    return 'ServiceQuotaExceededException'


@pytest.mark.parametrize('name', sorted(FORMATS))
def test_format(ng, name):
    """The operator's word is over that of the path."""

    check(ask(ng, '/format-%s/v1/chat/completions' % name, CHAT), 429,
          FORMATS[name])


def test_amzn_type_of_an_operator_s_format(ng):
    r = ask(ng, '/format-bedrock/v1/chat/completions', CHAT)
    assert r.header('x-amzn-errortype') == 'ServiceQuotaExceededException'


def test_bad_request(ng):
    """What can't be understood is told in the same words."""

    r = ask(ng, '/429-auto/v1/messages', [])
    assert r.status == 400
    assert r.json['type'] == 'error'
    assert r.json['error']['type'] == 'invalid_request_error'
    assert 'details' not in r.json['error']

    r = ask(ng, '/429-auto/v1beta/models/x:generateContent', [])
    assert r.status == 400
    assert r.json['error']['status'] == 'INVALID_ARGUMENT'


@pytest.mark.parametrize('path,request_,where', [
    ('/v1/chat/completions', CHAT, lambda j: j['error']),
    ('/v1/messages', CHAT, lambda j: j['error']),
    ('/v1beta/models/x:generateContent', GENERATE, lambda j: j['error']),
    ('/model/x/converse', CONVERSE, lambda j: j),
    ('/api/chat', CHAT, lambda j: j),
])
def test_amounts(ng, path, request_, where):
    r = ask(ng, '/amounts' + path, request_)
    assert r.status == 429
    details = where(r.json)['cycles']
    assert details['scope'] == 'tenant:acme'
    assert details['remaining'] == 1
    assert details['requested'] > 1
