# Copyright (C) nginx-cycles authors

"""Replies of all providers through one nginx: the client gets each byte, and
the counts, the model and the source of the usage are those of the manifest."""

import gzip
import json
import os

import pytest

import gateway
from gateway import Reply
from meter import Scene


with open(os.path.join(gateway.ROOT, 't/samples/MANIFEST.json')) as _file:
    ENTRIES = [entry for entry in json.load(_file)['replies']
               if entry['provider'] != 'openai-realtime']

PROVIDERS = sorted({entry['provider'] for entry in ENTRIES})

# the unit is tokens, so that no model needs a price

BASE = '''
    cycles on;
    cycles_authority ledger=main;
    cycles_subject tenant $http_x_tenant;
    cycles_unit TOKENS;
    cycles_max_output_tokens 1000;
'''

MESSAGES = [{'role': 'user', 'content': 'Say hello.'}]
PARTS = [{'role': 'user', 'parts': [{'text': 'Say hello.'}]}]
BLOCKS = [{'role': 'user', 'content': [{'text': 'Say hello.'}]}]

# by the end of the path: a request, and what its model is called

REQUESTS = (
    (':generateContent', {'contents': PARTS}, 'gemini-2.5-flash'),
    (':streamGenerateContent', {'contents': PARTS}, 'gemini-2.5-flash'),
    (':predict', {'instances': [{'content': 'Say hello.'}]},
     'text-embedding-005'),
    ('/converse', {'messages': BLOCKS},
     'us.anthropic.claude-sonnet-4-5-20250929-v1:0'),
    ('/converse-stream', {'messages': BLOCKS},
     'us.anthropic.claude-sonnet-4-5-20250929-v1:0'),
    ('/invoke', {'prompt': 'Say hello.'}, 'meta.llama3-8b-instruct-v1:0'),
    ('/invoke-with-response-stream', {'messages': MESSAGES, 'max_tokens': 9},
     'us.anthropic.claude-sonnet-4-5-20250929-v1:0'),
    ('/deployments/gpt-4o/chat/completions', {'messages': MESSAGES},
     'gpt-4o'),
    ('/responses', {'model': 'asked', 'input': 'Say hello.'}, 'asked'),
    ('/interactions', {'model': 'asked', 'input': 'Say hello.'}, 'asked'),
    ('/embeddings', {'model': 'asked', 'input': ['Say hello.']}, 'asked'),
    ('/images/generations', {'model': 'asked', 'prompt': 'A cat.'}, 'asked'),
    ('/audio/speech', {'model': 'asked', 'input': 'Hello.'}, 'asked'),
    ('/completion', {'model': 'asked', 'prompt': 'Say hello.'}, 'asked'),
    ('/completions', {'model': 'asked', 'prompt': 'Say hello.',
                      'messages': MESSAGES}, 'asked'),
    ('/api/generate', {'model': 'asked', 'prompt': 'Say hello.'}, 'asked'),
    ('', {'model': 'asked', 'messages': MESSAGES}, 'asked'),
)

FORM = b''.join(
    b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % part
    for part in ((b'model', b'asked'),
                 (b'file"; filename="a.wav', 4096 * b'\0'))) + b'--b--\r\n'

LOCATIONS = {}

for _name in PROVIDERS:
    LOCATIONS[_name] = 'cycles_provider %s;' % _name
    LOCATIONS[_name + '.unbuffered'] = \
        'cycles_provider %s; proxy_buffering off;' % _name

LOCATIONS['auto'] = ''


@pytest.fixture(scope='module')
def scene():
    scene = Scene(LOCATIONS, base=BASE, unit='TOKENS')
    yield scene
    scene.finish()


def pieces(data, size):
    return [data[i:i + size] for i in range(0, len(data), size)] or [b'']


# name: location, size of a piece, framing, HTTP/2, compressed

WAYS = {
    'whole': ('%s', 1 << 20, 'length', False, False),
    'pieces': ('%s.unbuffered', 7, 'chunked', False, False),
    'bytes': ('%s', 1, 'close', False, False),
    'http2': ('%s', 100, 'chunked', True, False),
    'gzip': ('%s.unbuffered', 16, 'chunked', False, True),
}


def send(scene, location, entry, way='whole'):
    _, size, framing, h2, encoded = WAYS[way]

    with open(os.path.join(gateway.ROOT, 't/samples', entry['file']),
              'rb') as file:
        data = file.read()

    headers = {'Content-Type': entry['content_type']}
    headers.update(entry.get('headers', {}))

    if entry.get('gzip'):
        headers['Content-Encoding'] = 'gzip'
    elif encoded:
        headers['Content-Encoding'] = 'gzip'
        data = gzip.compress(data)

    path = entry['path']
    _, body, model = next(rq for rq in REQUESTS
                             if path.partition('?')[0].endswith(rq[0]))

    if entry['stream'] and '/model/' not in path:
        body = dict(body, stream=True)

    if 'completions' in path and entry['stream']:

        # the client wants the usage, so nothing is hidden

        body['stream_options'] = {'include_usage': True}

    body = json.dumps(body).encode()
    kind = 'application/json'

    if path.endswith('/transcriptions'):
        body, model, kind = FORM, 'asked', 'multipart/form-data; boundary=b'

    x = scene.send(location, body, path=path, h2=h2,
                   headers={'Content-Type': kind},
                   reply=Reply(entry.get('status', 200), headers,
                               pieces(data, size), framing))

    assert x.r.body == data
    return x, model


def free(entry):
    return entry['provider'] == 'anthropic-batch' or entry['file'] in (
        'anthropic-count-tokens.json', 'openai-moderation.json')


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('entry', [pytest.param(e, id=e['file'])
                                   for e in ENTRIES if not free(e)])
def test_sample(scene, entry, way):
    x, model = send(scene, WAYS[way][0] % entry['provider'], entry, way)

    assert x.log['cycles_decision'] == 'ALLOW'
    assert x.log['cycles_provider'] == entry['provider']
    assert x.log['cycles_model'] == (entry['model'] or model)

    for name in 'input', 'output', 'reasoning':
        assert x.number('tokens_' + name) == entry[name]

    assert x.number('tokens_cached') == entry['cached_input']

    if entry.get('status', 200) >= 300:
        assert x.log['cycles_settlement'] == 'release'
        assert x.log['cycles_usage_source'] == 'none'
        assert x.spent == 0
        return

    assert x.log['cycles_settlement'] == 'commit'
    assert x.spent == x.number('actual')

    known = entry['input'] is not None and entry['output'] is not None

    if known and entry['done'] or entry['file'].endswith('nodone.sse'):
        assert x.log['cycles_usage_source'] == 'reported'
        assert x.spent == entry['input'] + entry['output']
    else:
        assert x.log['cycles_usage_source'] in ('estimated', 'input_only')
        assert x.spent > (entry['input'] or 0) + (entry['output'] or 0)

    assert x.reserved == 0


@pytest.mark.parametrize('entry', [pytest.param(e, id=e['file'])
                                   for e in ENTRIES if free(e)])
def test_sample_of_what_is_free(scene, entry):
    method = 'GET' if entry['provider'] == 'anthropic-batch' else 'POST'
    with open(os.path.join(gateway.ROOT, 't/samples', entry['file']),
              'rb') as file:
        data = file.read()

    x = scene.send(entry['provider'], None if method == 'GET' else b'{}',
                   method=method, path=entry['path'],
                   reply=Reply(200, {'Content-Type': entry['content_type']},
                               [data]))
    assert x.r.body == data
    assert x.log['cycles_decision'] == 'BYPASS'
    assert x.log['cycles_settlement'] == ''
    assert x.spent == 0 and x.reserved == 0


# those whose path is theirs alone

@pytest.mark.parametrize('entry', [
    pytest.param(e, id=e['file']) for e in ENTRIES
    if not free(e) and e['provider'] in (
        'openai-responses', 'openai-images', 'openai-audio', 'anthropic',
        'gemini', 'gemini-openai', 'gemini-interactions', 'vertex-predict',
        'bedrock-converse', 'bedrock-invoke', 'cohere', 'openrouter',
        'ollama')])
def test_sample_by_its_path(scene, entry):
    x, model = send(scene, 'auto', entry)
    assert x.log['cycles_provider'] == entry['provider']
    assert x.number('tokens_input') == entry['input']
    assert x.number('tokens_output') == entry['output']


def test_background(scene):
    """What is only queued may cost all that was reserved."""

    entry = next(e for e in ENTRIES if e.get('pending'))
    x, _ = send(scene, entry['provider'], entry)
    assert x.number('actual') == x.number('estimate')
    assert x.number('actual') > 1000
