# Copyright (C) nginx-cycles authors

"""Replies of all providers through one nginx: the client gets each byte, and
the counts, the model and the source of the usage are those of the manifest."""

import os

import pytest

import gateway
from gateway import Reply
from meter import Scene
from samples import ENTRIES, PROVIDERS, WAYS, free, send


# the unit is tokens, so that no model needs a price

BASE = '''
    cycles on;
    cycles_authority ledger=main;
    cycles_subject tenant $http_x_tenant;
    cycles_unit TOKENS;
    cycles_max_output_tokens 1000;
'''

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
