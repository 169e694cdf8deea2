# Copyright (C) nginx-cycles authors

"""The replies of t/samples, each with a request that it may answer, and the
ways in which they come to a client."""

import gzip
import json
import os

import gateway
from gateway import Reply


with open(os.path.join(gateway.ROOT, 't/samples/MANIFEST.json')) as _file:
    ENTRIES = [entry for entry in json.load(_file)['replies']
               if entry['provider'] != 'openai-realtime']

PROVIDERS = sorted({entry['provider'] for entry in ENTRIES})

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

def pieces(data, size):
    return [data[i:i + size] for i in range(0, len(data), size)] or [b'']


# name: location, size of a piece, framing, HTTP/2, compressed; no size: where
# the manifest says, else in two

WAYS = {
    'whole': ('%s', 1 << 20, 'length', False, False),
    'pieces': ('%s.unbuffered', 7, 'chunked', False, False),
    'bytes': ('%s', 1, 'close', False, False),
    'cut': ('%s.unbuffered', None, 'chunked', False, False),
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

    if size is None:
        ends = entry.get('split_at', [len(data) // 2]) + [len(data)]
        steps = [data[i:k] for i, k in zip([0] + ends, ends)]
    else:
        steps = pieces(data, size)

    x = scene.send(location, body, path=path, h2=h2,
                   headers={'Content-Type': kind},
                   reply=Reply(entry.get('status', 200), headers, steps,
                               framing))

    assert x.r.body == data
    return x, model


def free(entry):
    return entry['provider'] == 'anthropic-batch' or entry['file'] in (
        'anthropic-count-tokens.json', 'openai-moderation.json')
