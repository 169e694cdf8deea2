# Copyright (C) nginx-cycles authors

"""What a real nginx reserves: caps of a request, what is learned of models,
and what counts besides messages and limits."""

import json
import os

import pytest

from gateway import ROOT, Reply, chat, error, ledger_gateway
from meter import Scene, cost, estimate, input_tokens


def read(name):
    with open(os.path.join(ROOT, 't', name)) as file:
        return file.read()


TABLE = 'cycles_price_table %%DIR%%/table.json;'

LOCATIONS = {
    'plain': '',
    'cap': 'cycles_max_estimate 1000;',
    'off': 'cycles_max_estimate off;',
    'mapped': 'cycles_max_estimate $http_x_most;',
    'dry': 'cycles dry_run; cycles_max_estimate 1000;',
    'fixed': 'cycles_estimate $http_x_estimate; cycles_actual estimate; '
             'cycles_max_estimate 1000;',
    'amounts': 'cycles_max_estimate 1000; cycles_response_headers amounts;',
    'table': TABLE,
    'gemini': TABLE + 'cycles_provider gemini;',
}

# 560 tokens or so by our estimate

LONG = 'All human beings are born free and equal in dignity and rights. ' * 40


@pytest.fixture(scope='module')
def scene():
    base = ('cycles_authority ledger=main;'
            'cycles_subject tenant $http_x_tenant;')
    scene = Scene({name: ('' if 'cycles dry_run' in text else 'cycles on;')
                   + text for name, text in LOCATIONS.items()}, base=base,
                  files={'table.json': read('pricing/table.json')})
    yield scene
    scene.finish()


# the cap of a request


def refused(x):
    assert x.r.status == 429
    assert x.r.header('x-should-retry') == 'false'
    assert x.r.header('retry-after') is None
    assert x.r.json['error']['code'] == 'insufficient_quota'
    assert 'Lower its limit of output tokens' in x.r.json['error']['message']
    assert x.log['cycles_decision'] == 'DENY'
    assert x.log['cycles_reason'] == 'MAX_ESTIMATE_EXCEEDED'
    assert x.sent is None
    assert (x.spent, x.reserved) == (0, 0)


def test_cap(scene):
    """The estimate of 15 output tokens is 1080, that of 13 is 960."""
    at = estimate(output=13)
    assert at <= 1000 < estimate(output=15)

    refused(scene.chat('cap', max_tokens=15))
    x = scene.chat('cap', max_tokens=13)
    assert x.r.status == 200
    assert x.number('estimate') == at


def test_cap_is_off(scene):
    assert scene.chat('off', max_tokens=1000).r.status == 200


def test_cap_of_a_variable(scene):
    most = estimate(output=50)
    for value, good in [(most, True), (most - 1, False), ('', True)]:
        x = scene.chat('mapped', max_tokens=50,
                       headers={'X-Most': str(value)} if value else {})
        if good:
            assert x.r.status == 200
        else:
            refused(x)


def test_cap_that_is_no_number(scene):
    x = scene.chat('mapped', max_tokens=50, headers={'X-Most': 'much'})
    assert x.r.status == 400
    assert x.log['cycles_reason'] == 'INVALID_REQUEST'
    assert 'largest estimate' in x.r.text


def test_cap_of_a_given_estimate(scene):
    refused(scene.chat('fixed', headers={'X-Estimate': '1001'}))
    x = scene.chat('fixed', headers={'X-Estimate': '1000'})
    assert x.r.status == 200 and x.spent == 1000


def test_cap_in_a_dry_run(scene):
    x = scene.chat('dry', max_tokens=1000)
    assert x.r.status == 200
    assert x.r.header('x-cycles-dry-run') == 'DENY'
    assert x.log['cycles_decision'] == 'DRY_RUN_DENY'
    assert x.log['cycles_reason'] == 'MAX_ESTIMATE_EXCEEDED'


def test_cap_with_amounts(scene):
    x = scene.chat('amounts', max_tokens=1000)
    refused(x)
    assert x.r.header('x-cycles-reason') == 'MAX_ESTIMATE_EXCEEDED'


# what counts


def body(**members):
    return json.dumps(dict({'model': 'gpt-4o', 'messages': [
        {'role': 'user', 'content': 'Say hello.'}], 'max_tokens': 100},
        **members)).encode()


def test_tiers(scene):
    plain = scene.send('table', body()).number('estimate')
    dearer = scene.send('table', body(service_tier='priority'))
    cheaper = scene.send('table', body(service_tier='flex'))

    tokens = -(-input_tokens('Say hello.') * 5 // 4)
    assert plain == tokens * 250 + 100 * 1000
    assert dearer.number('estimate') == tokens * 425 + 100 * 1700
    assert cheaper.number('estimate') == plain


def test_search(scene):
    plain = scene.send('table', body()).number('estimate')
    x = scene.send('table', body(web_search_options={}))
    assert x.number('estimate') == plain + 1000000


def test_image(scene):
    plain = scene.send('table', body()).number('estimate')
    x = scene.send('table', body(messages=[{'role': 'user', 'content': [
        {'type': 'text', 'text': 'Say hello.'},
        {'type': 'image_url', 'image_url': {
            'url': 'data:image/png;base64,' + 'A' * 400000}}]}]))
    assert x.number('estimate') == plain + 1875 * 250


def test_context_that_is_held_upstream(scene):
    x = scene.send('table', json.dumps({
        'model': 'gpt-5.4', 'input': 'Hi', 'max_output_tokens': 16,
        'previous_response_id': 'resp_1'}).encode(), path='/v1/responses',
        reply=error(400))
    assert x.number('estimate') == 1050000 * 500 + 16 * 2250


def respond(scene, reply, **members):
    """The estimate of a request for a response, without its 16 tokens of
    output; and whatever it was answered."""
    x = scene.send('table', json.dumps(dict({
        'model': 'gpt-4o', 'input': 'Hi', 'max_output_tokens': 16},
        **members)).encode(), path='/v1/responses', reply=reply)
    return (x.number('estimate') - 16 * 1000) // 250


def response(name, tokens, **members):
    return Reply(headers=[('Content-Type', 'application/json')],
                 steps=[json.dumps(dict({
                     'id': name, 'object': 'response', 'model': 'gpt-4o',
                     'status': 'completed', 'output': [],
                     'usage': {'input_tokens': tokens - 40,
                               'output_tokens': 40,
                               'total_tokens': tokens}}, **members)
                     ).encode()])


def test_turns_that_have_passed_through_here(scene):
    own = respond(scene, response('resp_a', 5000))

    assert respond(scene, response('resp_b', 7000),
                   previous_response_id='resp_a') == own + 5000
    assert respond(scene, response('resp_c', 9000,
                                   conversation={'id': 'conv_a'}),
                   previous_response_id='resp_b') == own + 7000
    assert respond(scene, response('resp_d', 11000,
                                   conversation={'id': 'conv_a'}),
                   conversation={'id': 'conv_a'}) == own + 9000
    assert respond(scene, response('resp_e', 100),
                   conversation='conv_a') == own + 11000

    # and one that has not, and one that brings more along

    assert respond(scene, error(400),
                   previous_response_id='resp_x') == 128000
    assert respond(scene, error(400), prompt={'id': 'pmpt'},
                   previous_response_id='resp_a') == 128000


def test_turn_of_a_stream(scene):
    own = respond(scene, response('resp_s', 1000))
    event = {'type': 'response.completed', 'response': {
        'id': 'resp_t', 'model': 'gpt-4o', 'status': 'completed',
        'usage': {'input_tokens': 3000, 'output_tokens': 200,
                  'total_tokens': 3200}}}
    respond(scene, Reply(
        headers=[('Content-Type', 'text/event-stream')],
        steps=[b'event: response.completed\ndata: '
               + json.dumps(event).encode() + b'\n\n']), stream=True)
    assert respond(scene, error(400),
                   previous_response_id='resp_t') == own + 3200


def test_cached_content(scene):
    def generate(reply):
        x = scene.send('gemini', json.dumps({
            'contents': [{'parts': [{'text': 'Hi'}]}],
            'cachedContent': 'cachedContents/x',
            'generationConfig': {'maxOutputTokens': 16}}).encode(),
            path='/v1beta/models/gemini-2.5-flash:generateContent',
            reply=reply)
        return x.number('estimate')

    first = generate(Reply(
        headers=[('Content-Type', 'application/json')],
        steps=[json.dumps({'candidates': [], 'usageMetadata': {
            'promptTokenCount': 5003, 'cachedContentTokenCount': 5000,
            'totalTokenCount': 5003}}).encode()]))
    then = generate(error(400))

    assert first == 1048576 * 30 + 16 * 250
    assert 5000 * 30 < then - 16 * 250 < 5020 * 30


# what is learned


def test_learned_factor(scene):
    """After sixteen requests, the estimate is what they have had."""
    own = input_tokens(LONG)
    first = estimate(model='gpt-4.1', content=LONG, output=1)

    for number in range(16):
        x = scene.chat('plain', model='gpt-4.1', content=LONG, max_tokens=1,
                       reply=chat(model='gpt-4.1', prompt=own * 2,
                                  completion=1))
        assert x.number('estimate') == first
        assert x.spent == cost('gpt-4.1', own * 2, 1)

    x = scene.chat('plain', model='gpt-4.1', content=LONG, max_tokens=1)
    assert x.number('estimate') == estimate(
        model='gpt-4.1', output=1, tokens=own * 2)

    # of this model, and of what it does not count for

    x = scene.chat('plain', model='gpt-4.1-mini', content=LONG, max_tokens=1)
    assert x.number('estimate') == estimate(model='gpt-4.1-mini', output=1,
                                            content=LONG)


@pytest.mark.parametrize('what', ['short', 'image', 'error', 'no usage'])
def test_what_is_not_learned_from(scene, what):
    model = {'short': 'gpt-5', 'image': 'gpt-5-mini', 'error': 'o4-mini',
             'no usage': 'gpt-4.1-nano'}[what]
    content = 'Say hello.' if what == 'short' else LONG
    messages = [{'role': 'user', 'content': content}]
    if what == 'image':
        messages.append({'role': 'user', 'content': [
            {'type': 'image_url', 'image_url': {'url': 'http://x/'}}]})

    for number in range(17):
        reply = (error(500) if what == 'error'
                 else chat(model=model, with_usage=False) if what == 'no usage'
                 else chat(model=model, prompt=9000))
        scene.send('plain', body(model=model, messages=messages), reply=reply)

    x = scene.chat('plain', model=model, content=LONG, max_tokens=1)
    assert x.number('estimate') == estimate(model=model, content=LONG,
                                            output=1)


def test_learned_by_all_workers_and_over_a_reload(nginx, provider):
    conf = ledger_gateway(provider, ('tenant:acme', 10 ** 12))
    ng = nginx(**conf)
    own = input_tokens(LONG)

    def number():
        before = len(ng.access_log())
        provider.script(chat(prompt=own * 2, completion=1))
        assert ng.chat(tenant='acme', content=LONG, max_tokens=1,
                       headers={'Connection': 'close'}).status == 200
        return int(ng.wait_access_log(before + 1)[-1]['cycles_estimate'])

    first = estimate(content=LONG, output=1)
    learned = estimate(output=1, tokens=own * 2)

    assert len(ng.workers()) > 1
    assert [number() for _ in range(16)] == [first] * 16
    assert {number() for _ in range(8)} == {learned}

    ng.reload()
    assert {number() for _ in range(4)} == {learned}
