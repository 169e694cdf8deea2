# Copyright (C) nginx-cycles authors

"""The cases of t/pricing/cases.json as replies of providers through a real
nginx: each usage in the words of an API that can say it, plain and as a
stream, is charged what the case expects."""

import json
import os

import pytest

from gateway import ROOT, Reply
from meter import Scene


with open(os.path.join(ROOT, 't/pricing/cases.json')) as _file:
    CASES = json.load(_file)['cases']

MESSAGES = [{'role': 'user', 'content': 'Hello.'}]
PARTS = [{'role': 'user', 'parts': [{'text': 'Hello.'}]}]

# no reply says that

UNSAID = {
    'a batch': 'a file has the replies',
    'a batch: what has no batch price of its own': 'likewise',
    'a batch: half of the price of the context': 'likewise',
    'a batch of a model without prices of batches': 'likewise',
    'the largest usage': 'no JSON number is read that is over 2^53',
    'nothing is reported': 'it is estimated',
    'nothing was used': 'usages of zeros are none',
    'characters': 'they are those of the request',
    'audio and images, in and out': 'Realtime is a websocket',
    'cached audio': 'likewise',
    'the cache has served audio, but does not tell so': 'likewise',
    'a geography without a factor': 'no reply of Anthropic is from there',
}


def chat(u):
    """OpenAI's own words; what is beside them is of its dialects."""

    usage = {'prompt_tokens': u['input'], 'completion_tokens': u['output'],
             'total_tokens': u['input'] + u['output'],
             'prompt_tokens_details': {
                 'cached_tokens': u.get('cached_input', 0),
                 'cache_write_tokens': u.get('cache_write', 0)},
             'completion_tokens_details': {
                 'reasoning_tokens': u.get('reasoning', 0)}}
    for name in 'citation_tokens', 'num_search_queries':
        if name in u:
            usage[name] = u[name]
    value = {'id': 'x', 'model': 'm', 'choices': [], 'usage': usage}
    if 'tier' in u:
        value['service_tier'] = u['tier']
    return value


def messages(u):
    written = u.get('cache_write', 0)
    usage = {'input_tokens': u['input'] - u.get('cached_input', 0) - written,
             'cache_read_input_tokens': u.get('cached_input', 0),
             'cache_creation_input_tokens': written,
             'cache_creation': {'ephemeral_1h_input_tokens':
                                u.get('cache_write_1h', 0)},
             'output_tokens': u['output']}
    if 'web_searches' in u:
        usage['server_tool_use'] = {'web_search_requests': u['web_searches']}
    if 'geo' in u:
        usage['inference_geo'] = u['geo']
    if 'fast' in u:
        usage['speed'] = 'fast'
    if 'tier' in u:
        usage['service_tier'] = u['tier']
    return {'type': 'message', 'model': 'm', 'content': [], 'usage': usage}


def generate(u):
    thought = u.get('reasoning', 0)
    value = {'candidates': [{'content': {'parts': []}}], 'usageMetadata': {
        'promptTokenCount': u['input'],
        'candidatesTokenCount': u['output'] - thought,
        'thoughtsTokenCount': thought,
        'totalTokenCount': u['input'] + u['output']}}
    if 'web_searches' in u:
        value['candidates'][0]['groundingMetadata'] = {
            'webSearchQueries': ['q'] * u['web_searches']}
    return value


def responses(u):
    items = [{'type': kind + '_call'} for kind, name in (
        ('web_search', 'web_searches'), ('file_search', 'file_searches'),
        ('code_interpreter', 'code_sessions')) for _ in range(u.get(name, 0))]
    return {'model': 'm', 'status': 'completed', 'output': items, 'usage': {
        'input_tokens': u['input'], 'output_tokens': u['output'],
        'total_tokens': u['input'] + u['output']}}


def seconds(u):
    if 'input' not in u:
        return {'text': '', 'usage': {'type': 'duration',
                                      'seconds': u['audio_ms'] / 1000}}
    return {'text': '', 'duration': u['audio_ms'] / 1000, 'usage': {
        'type': 'tokens', 'input_tokens': u['input'],
        'input_token_details': {'audio_tokens': u['input_audio']},
        'output_tokens': u['output']}}


def images(u):
    usage = {name + '_tokens': u[name] for name in ('input', 'output')
             if name in u}
    for name in 'input', 'output':
        if name + '_image' in u:
            usage[name + '_tokens_details'] = {
                'image_tokens': u[name + '_image']}
    value = {'data': [{'url': 'x'}] * u.get('images', 1)}
    return dict(value, usage=usage) if usage else value


def rerank(u):
    return {'results': [], 'meta': {'billed_units': {
        'search_units': u['queries']}}}


FORM = (b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"'
        b'\r\n\r\n' + bytes(1000) + b'\r\n--b--\r\n')


# name: how it is said, provider, path, request, whether it can be a stream

APIS = {
    'chat': (chat, 'openai', '/v1/chat/completions',
             {'messages': MESSAGES}, True),
    'perplexity': (chat, 'perplexity', '/chat/completions',
                   {'messages': MESSAGES}, True),
    'messages': (messages, 'anthropic', '/v1/messages',
                 {'messages': MESSAGES, 'max_tokens': 9}, True),
    'generate': (generate, 'gemini', '/v1beta/models/m:generateContent',
                 {'contents': PARTS}, False),
    'responses': (responses, 'openai-responses', '/v1/responses',
                  {'input': 'Hello.'}, False),
    'seconds': (seconds, 'openai-audio', '/v1/audio/transcriptions', None,
                False),
    'images': (images, 'openai-images', '/v1/images/generations',
               {'prompt': 'A cat.', 'n': 2, 'size': '1024x1024'}, False),
    'rerank': (rerank, 'cohere', '/v2/rerank', {'query': 'a'}, False),
}


def api_of(case):
    u = case['usage']

    if 'audio_ms' in u:
        return 'seconds'
    if 'images' in u or 'image' in case['key']:
        return 'images'
    if 'queries' in u:
        return 'rerank'
    if 'file_searches' in u or case['key'].startswith('xai/') \
            and 'web_searches' in u:
        return 'responses'
    if 'gemini' in case['key']:
        return 'generate'
    if 'citations' in u or 'search' in u:
        return 'perplexity'
    if 'cache_write_1h' in u or 'claude' in case['key'] \
            or u.get('cached_input', 0) > u.get('input', 0) \
            and 'output' not in u:
        return 'messages'
    return 'chat'


SAID = [case for case in CASES if case['name'] not in UNSAID]

# what is not in a reply but in the place

PLACES = {'eu': 'cycles_price_region eu;',
          'region': 'cycles_price_region us-east5; cycles_provider vertex;'}


def location_of(case):
    place = case['usage'].get('geo')
    return '%s.%s.%s' % (api_of(case), case['key'].replace('/', '-'),
                         place if place in PLACES else 'anywhere')


@pytest.fixture(scope='module')
def scene():
    locations = {}

    for case in SAID:
        name = location_of(case)
        place = PLACES.get(name.rpartition('.')[2], '')
        locations[name] = '''
            cycles_price_table %%%%DIR%%%%/table.json;
            cycles_model_alias m %s;
            %s
        ''' % (case['key'], place)
        if 'cycles_provider' not in place:
            locations[name] += 'cycles_provider %s;' % APIS[api_of(case)][1]

    with open(os.path.join(ROOT, 't/pricing/table.json')) as file:
        scene = Scene(locations, files={'table.json': file.read()},
                      entries=[('tenant:rich', 10 ** 15)])
    yield scene
    scene.finish()


def ask(scene, case, stream=False):
    kind = api_of(case)
    say, _, path, body, _ = APIS[kind]
    u = dict(case['usage'])

    if kind not in ('seconds', 'images'):
        u.setdefault('input', 0)
        u.setdefault('output', 0)

    if kind == 'perplexity':
        u['num_search_queries'] = u.get('web_searches', 0)
        u['citation_tokens'] = u.get('citations', 0)

    headers = {'Content-Type': 'application/json'}
    if body is None:
        body = FORM
        headers['Content-Type'] = 'multipart/form-data; boundary=b'
    else:
        body = dict(body, model='m', stream=stream)
        if stream and kind != 'messages':
            body['stream_options'] = {'include_usage': True}
        if 'search' in u:
            body['web_search_options'] = {'search_context_size': u['search']}
        body = json.dumps(body).encode()

    value = say(u)
    reply = Reply(200, {'Content-Type': 'application/json'},
                  [json.dumps(value).encode()])

    if stream:
        if kind == 'messages':
            value = dict(value, type='message_delta')
        reply = Reply(200, {'Content-Type': 'text/event-stream'}, [
            b'data: %s\n\ndata: {"type":"message_stop"}\n\ndata: [DONE]\n\n'
            % json.dumps(value).encode()], 'chunked')

    return scene.send(location_of(case), body, path=path, headers=headers,
                      reply=reply, tenant='rich')


@pytest.mark.parametrize('case', [pytest.param(case, id=case['name'])
                                  for case in SAID])
def test_case(scene, case):
    for stream in (False, True) if APIS[api_of(case)][4] else (False,):
        x = ask(scene, case, stream)
        assert x.log['cycles_usage_source'] == 'reported'
        assert x.log['cycles_price_key'] == case['key']
        assert x.spent == case['expect']


def test_most_can_be_said():
    assert len(SAID) > 50
    assert {case['name'] for case in CASES} >= set(UNSAID)
