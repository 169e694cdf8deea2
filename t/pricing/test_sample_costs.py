# Copyright (C) nginx-cycles authors

"""What the replies of all providers cost, to the micro-cent: their models have
no price, so that each is charged by one that stands for all of them."""

import fractions
import json

import pytest

from gateway import Reply
from meter import Scene, ceil
from samples import ENTRIES, PROVIDERS, WAYS, free, send


# in pico-USD; no price is a sum of others

PRICES = {
    'input_cost_per_token': 110003,
    'input_cost_per_token_priority': 190027,
    'input_cost_per_audio_token': 370009,
    'input_cost_per_image_token': 290011,
    'input_cost_per_second': 70000003,
    'output_cost_per_token': 410009,
    'output_cost_per_token_priority': 710009,
    'output_cost_per_reasoning_token': 530017,
    'output_cost_per_audio_token': 610031,
    'output_cost_per_image_token': 730003,
    'cache_read_input_token_cost': 10303,
    'cache_read_input_token_cost_priority': 20507,
    'cache_creation_input_token_cost': 137047,
    'cache_creation_input_token_cost_priority': 230017,
    'cache_creation_input_token_cost_above_1hr': 221021,
    'citation_cost_per_token': 89003,
    'search_context_cost_per_query.search_context_size_medium': 10000000019,
    'provider_specific_entry.us': 1100000000000,
}

GEO = fractions.Fraction(PRICES['provider_specific_entry.us'], 10 ** 12)


def usd(pico):
    return '%d.%012d' % divmod(pico, 10 ** 12)


def row():
    value = {'litellm_provider': 'nobody', 'mode': 'chat',
             'max_output_tokens': 1000}
    for name, pico in PRICES.items():
        outer, _, inner = name.partition('.')
        if inner:
            value.setdefault(outer, {})[inner] = usd(pico)
        else:
            value[name] = usd(pico)
    return value


def expected(entry):
    """What the provider says, else what the counts come to."""

    extra = entry.get('extra', {})

    if 'cost' in extra:
        return 'provider_cost', -(-extra['cost'] // 10000)

    tier = '_priority' if extra.get('tier') == 'priority' else ''

    def price(name):
        return PRICES.get(name + tier, PRICES[name])

    def part(name):
        return entry.get(name) or extra.get(name) or 0

    written, longer = part('cache_write'), part('cache_write_1h')
    text = (part('input') - part('cached_input') - written
            - part('input_audio') - part('input_image'))
    made = (part('output') - part('reasoning') - part('output_audio')
            - part('output_image'))

    total = (text * price('input_cost_per_token')
             + part('cached_input') * price('cache_read_input_token_cost')
             + (written - longer) * price('cache_creation_input_token_cost')
             + longer * price('cache_creation_input_token_cost_above_1hr')
             + part('input_audio') * price('input_cost_per_audio_token')
             + part('input_image') * price('input_cost_per_image_token')
             + made * price('output_cost_per_token')
             + part('reasoning') * price('output_cost_per_reasoning_token')
             + part('output_audio') * price('output_cost_per_audio_token')
             + part('output_image') * price('output_cost_per_image_token'))

    total *= GEO if extra.get('geo') == 'us' else 1
    total += part('web_searches') * PRICES[
        'search_context_cost_per_query.search_context_size_medium']
    total += fractions.Fraction(
        part('audio_ms') * PRICES['input_cost_per_second'], 1000)

    return 'reported', ceil(fractions.Fraction(total, 10000))


def known(entry):
    """Whether all that it has used is in the reply."""

    if free(entry) or entry.get('status', 200) >= 300:
        return False
    if 'audio_ms' in entry.get('extra', {}):
        return True
    return (entry['input'] is not None and entry['output'] is not None
            and (entry['done'] or entry['file'].endswith('nodone.sse')))


KNOWN = [entry for entry in ENTRIES if known(entry)]

ASSUMED = '''
    cycles_price_table %%DIR%%/yardstick.json;
    cycles_unknown_price yardstick;
'''

# the same prices, but the operator's own

SET = '''
    cycles_price_table %%DIR%%/other.json;
    cycles_unknown_price yardstick;
''' + ''.join('cycles_price yardstick %s=%s;\n' % (name, usd(pico))
              for name, pico in PRICES.items())


@pytest.fixture(scope='module')
def scene():
    locations = {}

    for name in PROVIDERS + ['xai']:
        locations[name] = ASSUMED + 'cycles_provider %s;' % name
        locations[name + '.unbuffered'] = \
            locations[name] + 'proxy_buffering off;'
        locations[name + '.set'] = SET + 'cycles_provider %s;' % name

    scene = Scene(locations, files={
        'yardstick.json': json.dumps({'yardstick': row()}),
        'other.json': '{"other": {"input_cost_per_token": 1e-06}}'})
    yield scene
    scene.finish()


def check(x, entry):
    source, amount = expected(entry)

    assert x.log['cycles_settlement'] == 'commit'
    assert x.log['cycles_price_key'] == 'yardstick'
    assert x.log['cycles_usage_source'] == source
    assert x.number('actual') == amount
    assert x.spent == amount
    assert x.reserved == 0


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('entry', [pytest.param(e, id=e['file'])
                                   for e in KNOWN])
def test_cost(scene, entry, way):
    x, _ = send(scene, WAYS[way][0] % entry['provider'], entry, way)
    check(x, entry)


def test_most_samples_have_a_cost():
    assert len(KNOWN) > 40
    assert sum(expected(entry)[0] == 'provider_cost' for entry in KNOWN) == 2


# a price that only stands for the model's is not over what the provider says,
# though the operator has set it


@pytest.mark.parametrize('entry', [pytest.param(e, id=e['file'])
                                   for e in KNOWN])
def test_assumed_price_that_is_set(scene, entry):
    x, _ = send(scene, entry['provider'] + '.set', entry)
    check(x, entry)


COUNTS = {'prompt_tokens': 100, 'completion_tokens': 50, 'total_tokens': 150}

REPORTS = {
    'openrouter': ({'cost': 0.00014025}, 14025),
    'openrouter.byok': ({'cost': 0.0000071, 'is_byok': True, 'cost_details': {
        'upstream_inference_cost': 0.00002}}, 710 + 2000),
    'xai': ({'cost_in_usd_ticks': 37756001}, 377561),
    'perplexity': ({'cost': {'total_cost': 0.0061}}, 610000),
}


@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize('name', REPORTS)
def test_reported_cost_of_an_assumed_price(scene, name, stream):
    report, amount = REPORTS[name]
    provider = name.partition('.')[0]
    usage = dict(COUNTS, **report)
    data = json.dumps({'id': 'x', 'model': 'm', 'choices': [
        {'index': 0, 'delta' if stream else 'message': {'content': 'Hi'},
         'finish_reason': 'stop'}], 'usage': usage}).encode()
    reply = Reply(headers={'Content-Type': 'application/json'}, steps=[data])

    if stream:
        reply = Reply(headers={'Content-Type': 'text/event-stream'},
                      steps=[b'data: ' + data + b'\n\ndata: [DONE]\n\n'])

    for location in provider, provider + '.set':
        x = scene.chat(location, model='m', stream=stream, reply=reply)
        assert x.log['cycles_usage_source'] == 'provider_cost'
        assert x.log['cycles_price_key'] == 'yardstick'
        assert x.spent == amount


def test_price_that_is_set_for_the_model_of_the_reply(scene):
    """It is no longer assumed, so it is over the provider's cost."""

    x = scene.chat('openrouter.set', model='m', reply=Reply(
        headers={'Content-Type': 'application/json'},
        steps=[json.dumps({'model': 'yardstick', 'choices': [],
                           'usage': dict(COUNTS, cost=5)}).encode()]))
    assert x.log['cycles_usage_source'] == 'reported'
    assert x.spent == ceil(fractions.Fraction(
        100 * 110003 + 50 * 410009, 10000))
