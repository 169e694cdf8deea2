# Copyright (C) nginx-cycles authors

"""Which price a request of a real nginx has, and what it is charged."""

import json
import os

import pytest

from gateway import Gate, ROOT, Reply, chat, chat_stream, wait_until
from meter import Scene, cost


def read(name):
    with open(os.path.join(ROOT, 't', name)) as file:
        return file.read()


TABLE = 'cycles_price_table %%DIR%%/table.json;'

LOCATIONS = {
    'plain': '',
    'table': TABLE,
    'eu': TABLE + 'cycles_price_region eu;',
    'us': TABLE + 'cycles_price_region us;',
    'set': '''
        cycles_price gpt-4o-mini input_cost_per_token=1e-06
                                 output_cost_per_token=1e-06;
        cycles_price x-ai/grok-4 input_cost_per_token=1e-06;
        cycles_provider openrouter;
    ''',
    'openrouter': 'cycles_provider openrouter; cycles_unknown_price allow;',
    'xai': TABLE + 'cycles_provider xai;',
    'perplexity': TABLE + 'cycles_provider perplexity;',
    'alias': 'cycles_model_alias deployment gpt-4o-mini;',
    'unknown_allow': 'cycles_unknown_price allow;',
    'unknown_model': 'cycles_unknown_price gpt-4o-mini;',
    'azure': TABLE + 'cycles_provider azure;',
    'vertex': TABLE + 'cycles_provider vertex;',
    'whisper': TABLE + 'cycles_provider openai-audio; '
               'cycles_price gpt-4o-mini input_cost_per_token=1e-06;',
}


@pytest.fixture(scope='module')
def scene():
    scene = Scene(LOCATIONS, files={'table.json': read('pricing/table.json')})
    yield scene
    scene.finish()


def answer(**members):
    """A reply of these members."""
    return Reply(headers=[('Content-Type', 'application/json')],
                 steps=[json.dumps(members).encode()])


def completion(model='gpt-4o-mini', usage=None, **members):
    return answer(id='x', object='chat.completion', model=model, choices=[
        {'index': 0, 'message': {'role': 'assistant', 'content': 'Hi'},
         'finish_reason': 'stop'}], usage=usage, **members)


def counts(prompt, output, **more):
    return dict({'prompt_tokens': prompt, 'completion_tokens': output,
                 'total_tokens': prompt + output}, **more)


# the model of the reply


def test_reply_tells_what_a_name_stands_for(scene):
    x = scene.chat('plain', model='gpt-4o-mini',
                   reply=completion('gpt-4.1', counts(100, 50)))
    assert x.log['cycles_price_key'] == 'gpt-4.1'
    assert x.spent == cost('gpt-4.1', 100, 50)


def test_reply_must_name_a_key_as_it_is(scene):
    x = scene.chat('plain', model='gpt-4o-mini',
                   reply=completion('gpt-4.1-2025-04-14', counts(100, 50)))
    assert x.log['cycles_price_key'] == 'gpt-4o-mini'
    assert x.spent == cost('gpt-4o-mini', 100, 50)


def test_price_of_the_operator_stays(scene):
    x = scene.chat('set', model='gpt-4o-mini',
                   reply=completion('gpt-4o', counts(100, 50)))
    assert x.log['cycles_price_key'] == 'gpt-4o-mini'
    assert x.spent == 150 * 100


def test_alias_stays(scene):
    x = scene.chat('alias', model='deployment',
                   reply=completion('gpt-4o', counts(100, 50)))
    assert x.log['cycles_price_key'] == 'gpt-4o-mini'
    assert x.spent == cost('gpt-4o-mini', 100, 50)


def test_assumed_price_gives_way_to_any_form_of_the_name(scene):
    x = scene.chat('unknown_model', model='deployment',
                   reply=completion('gpt-4.1-2025-04-14', counts(100, 50)))
    assert x.log['cycles_price_key'] == 'gpt-4.1'
    assert x.spent == cost('gpt-4.1', 100, 50)


def test_price_that_only_the_reply_brings(scene):
    x = scene.chat('unknown_allow', model='deployment',
                   reply=completion('gpt-4.1-2025-04-14', counts(100, 50)))
    assert x.log['cycles_decision'] == 'ALLOW'
    assert x.number('estimate') == 0
    assert x.log['cycles_usage_source'] == 'reported'
    assert x.spent == cost('gpt-4.1', 100, 50)


def test_no_price_is_told(scene):
    x = scene.chat('unknown_allow', model='nobody',
                   reply=completion('nobody-2', counts(100, 50)))
    assert x.r.status == 200
    assert x.log['cycles_reason'] == 'UNKNOWN_PRICE'
    assert x.log['cycles_usage_source'] == 'none'
    assert x.log['cycles_price_key'] == ''
    assert x.spent == 0


def test_model_of_a_stream(scene):
    x = scene.chat('plain', model='gpt-4o-mini', stream=True,
                   reply=chat_stream(4, model='gpt-4.1', prompt=100))
    assert x.spent == cost('gpt-4.1', 100, 4)


# what the provider says itself


@pytest.mark.parametrize('text,spent', [
    ('0.00014025', 14025), ('9.5e-06', 950), ('0', 0), ('1e-8', 1),
    ('0.000000010001', 2), ('0.0000000000004', 1)])
def test_cost_of_openrouter(scene, text, spent):
    body = json.dumps({
        'model': 'gpt-4o-mini', 'choices': [],
        'usage': counts(100, 50, cost='COST')}).replace('"COST"', text)
    x = scene.chat('openrouter', model='whatever/model', reply=Reply(
        headers=[('Content-Type', 'application/json')],
        steps=[body.encode()]))
    assert x.log['cycles_usage_source'] == 'provider_cost'
    assert x.number('actual') == spent
    assert x.spent == spent
    assert x.number('tokens_input') == 100


def test_cost_of_openrouter_in_a_stream(scene):
    x = scene.chat('openrouter', model='gpt-4o-mini', stream=True,
                   reply=Reply(
                       headers=[('Content-Type', 'text/event-stream')],
                       steps=[b'data: {"choices":[{"index":0,"delta":'
                              b'{"content":"Hi"}}]}\n\n',
                              b'data: {"choices":[],"usage":{'
                              b'"prompt_tokens":9,"completion_tokens":2,'
                              b'"total_tokens":11,"cost":0.00001234}}\n\n',
                              b'data: [DONE]\n\n']))
    assert x.log['cycles_usage_source'] == 'provider_cost'
    assert x.spent == 1234


def test_ticks_of_xai(scene):
    x = scene.chat('xai', model='grok-4.3', reply=completion(
        'grok-4.3', counts(100, 50, cost_in_usd_ticks=37756000)))
    assert x.log['cycles_usage_source'] == 'provider_cost'
    assert x.spent == 377560


def test_cost_of_perplexity(scene):
    x = scene.chat('perplexity', model='sonar', reply=completion(
        'sonar', counts(100, 50, cost={'total_cost': 0.0061})))
    assert x.log['cycles_usage_source'] == 'provider_cost'
    assert x.spent == 610000


def test_price_of_the_operator_is_over_the_provider_s_cost(scene):
    x = scene.chat('set', model='x-ai/grok-4', reply=completion(
        'x-ai/grok-4', counts(100, 50, cost=5)))
    assert x.log['cycles_usage_source'] == 'reported'
    assert x.spent == 150 * 100


# columns


def test_tier_of_the_reply(scene):
    """It was asked for one thing, and another was delivered."""
    for asked, told, price in [(None, 'priority', 4250 / 10),
                               ('priority', 'default', 250),
                               ('priority', None, 425),
                               ('flex', 'default', 250),
                               (None, None, 250)]:
        members = {'service_tier': asked} if asked else {}
        more = {'service_tier': told} if told else {}
        x = scene.chat('table', model='gpt-4o', reply=completion(
            'gpt-4o', counts(1000, 0), **more), **members)
        assert x.spent == 1000 * price, (asked, told)


def test_context(scene):
    for prompt, price in [(272000, 250), (272001, 500)]:
        x = scene.chat('table', model='gpt-5.4',
                       reply=completion('gpt-5.4', counts(prompt, 0)))
        assert x.spent == prompt * price


def test_region(scene):
    for location, spent in [('table', 250000), ('eu', 275000),
                            ('us', 275000)]:
        x = scene.chat(location, model='gpt-5.4',
                       reply=completion('gpt-5.4', counts(1000, 0)))
        assert x.spent == spent, location


def test_region_of_the_path(scene):
    for place, spent in [('global', 75000), ('us-east5', 82500)]:
        x = scene.send(
            'vertex', json.dumps({'contents': [
                {'role': 'user', 'parts': [{'text': 'Hi'}]}]}).encode(),
            path='/v1/projects/p/locations/%s/publishers/google/models/'
                 'gemini-3.6-flash:generateContent' % place,
            reply=answer(candidates=[], modelVersion='gemini-3.6-flash',
                         usageMetadata={'promptTokenCount': 1000,
                                        'totalTokenCount': 1000}))
        assert x.log['cycles_price_key'] == 'vertex_ai/gemini-3.6-flash'
        assert x.spent == spent, place


# what has no price


def form(model, size):
    head = ('--x\r\nContent-Disposition: form-data; name="model"\r\n\r\n'
            '%s\r\n--x\r\nContent-Disposition: form-data; name="file"; '
            'filename="a.mp3"\r\n\r\n' % model).encode()
    return head + bytes(size) + b'\r\n--x--\r\n'


def transcribe(scene, model, usage):
    return scene.send(
        'whisper', form(model, 10000), path='/v1/audio/transcriptions',
        headers={'Content-Type': 'multipart/form-data; boundary=x'},
        reply=answer(text='Hello.', usage=usage))


def test_seconds(scene):
    x = transcribe(scene, 'whisper-1', {'type': 'duration', 'seconds': 9})
    assert x.log['cycles_usage_source'] == 'reported'
    assert x.spent == 9 * 10000


def test_seconds_of_a_model_by_the_token_are_not_free(scene):
    x = transcribe(scene, 'gpt-4o-mini', {'type': 'duration', 'seconds': 9})
    assert x.log['cycles_usage_source'] == 'estimated'
    assert x.spent == x.number('estimate') > 0
    assert 'price "gpt-4o-mini" has none for what the reply has used' in \
        scene.ng.error_log()


# images


def images(scene, path='/v1/images/generations', made=2, **members):
    return scene.send('azure', json.dumps(dict(
        {'model': 'dall-e-3', 'prompt': 'A cat'}, **members)).encode(),
        path=path, reply=answer(created=1, data=[
            {'url': 'http://x/'} for _ in range(made)]))


def test_image_of_a_size(scene):
    x = images(scene, n=2)
    assert x.log['cycles_price_key'] == 'azure/standard/1024-x-1024/dall-e-3'
    assert x.spent == -(-2 * 1024 * 1024 * 41962 // 10000)

    x = images(scene, n=2, size='1024x1792', quality='hd')
    assert x.log['cycles_price_key'] == 'hd/1024-x-1792/dall-e-3'
    assert x.number('estimate') == x.spent
    assert x.spent == -(-2 * 1024 * 1792 * 65390 // 10000)


def test_image_of_no_size_that_is_known(scene):
    x = images(scene, size='640x480')
    assert x.log['cycles_price_key'] == 'dall-e-3'
    assert x.spent == 2 * 4000000


# reload


def dearer(factor):
    table = json.loads(read('prices.json'))
    table = {key: row for key, row in table.items()
             if isinstance(row, dict) and 'input_cost_per_token' in row
             and row.get('litellm_provider') == 'openai'}
    for row in table.values():
        for name in row:
            if 'cost' in name:
                row[name] = float(row[name]) * factor
    return json.dumps(table)


def test_running_request_keeps_its_price(nginx, provider):
    """A stream that began before a reload, and names another model after it,
    is charged by the table that was read then."""

    from gateway import ledger_gateway, Conn
    ng = nginx(**ledger_gateway(
        provider, ('tenant:acme', 10 ** 12),
        location='cycles_price_table %%DIR%%/table.json;',
        files={'table.json': dearer(1)}))

    gate = Gate()
    provider.script(chat_stream(6, gates={3: gate}, model='gpt-4.1'))

    with Conn(ng.port) as conn:
        conn.send_chat(tenant='acme', stream=True, max_tokens=100)
        head = conn.read_head()
        gate.wait_reached()

        with open(ng.path('table.json'), 'w') as file:
            file.write(dearer(2))
        ng.reload()

        provider.script(chat(prompt=100, completion=50))
        assert ng.chat(tenant='acme').status == 200
        assert ng.budget('tenant:acme')['spent'] == \
            2 * cost('gpt-4o-mini', 100, 50)

        gate.open()
        assert conn.read_response(head=head).complete

    wait_until(lambda: ng.budget('tenant:acme')['reserved'] == 0)
    assert ng.budget('tenant:acme')['spent'] == \
        2 * cost('gpt-4o-mini', 100, 50) + cost('gpt-4.1', 10, 6)


def swap(ng, text):
    """A reload with another table, up to its outcome in the error log."""
    with open(ng.path('table.json'), 'w') as file:
        file.write(text)


def gate_on(nginx, provider, text):
    from gateway import ledger_gateway
    return nginx(**ledger_gateway(
        provider, ('tenant:acme', 10 ** 12),
        location='cycles_price_table %%DIR%%/table.json;',
        files={'table.json': text}))


def spent_by(ng, provider):
    before = ng.budget('tenant:acme')['spent']
    provider.script(chat(prompt=100, completion=50))
    assert ng.chat(tenant='acme').status == 200
    return ng.budget('tenant:acme')['spent'] - before


@pytest.mark.parametrize('text', [
    '', '{', '[]', '{}', '{"gpt-4o-mini": {"input_cost_per_token": 1}}'])
def test_reload_with_a_broken_table_keeps_the_old_one(nginx, provider, text):
    """The old configuration goes on as a whole, and says why."""
    ng = gate_on(nginx, provider, dearer(1))
    workers = ng.workers()

    swap(ng, text)
    ng.allow.append(r'\[emerg\].*cycles_price_table')
    ng.send_signal(1)
    ng.wait_error_log(r'\[emerg\].*table.json" of "cycles_price_table"')

    assert ng.workers() == workers
    assert spent_by(ng, provider) == cost('gpt-4o-mini', 100, 50)

    swap(ng, dearer(3))
    ng.reload()
    assert spent_by(ng, provider) == 3 * cost('gpt-4o-mini', 100, 50)


def test_reload_tells_what_has_changed(nginx, provider):
    ng = gate_on(nginx, provider, dearer(1))
    table = json.loads(dearer(1))
    models = len(table)

    table['gpt-4o']['input_cost_per_token'] = 1e-06
    table['new'] = {'input_cost_per_token': 1e-06}
    del table['gpt-5']
    swap(ng, json.dumps(table))
    ng.reload()
    ng.wait_error_log(r'table.json": %d models, 1 new, 1 gone, 1 with another '
                      r'price' % models)
    assert 'before this reload' not in ng.error_log()

    swap(ng, json.dumps({'gpt-4o-mini': table['gpt-4o-mini']}))
    ng.reload()
    ng.wait_error_log(r'\[warn\].*table.json" has 1 models, and had %d before '
                      r'this reload' % models)
    assert spent_by(ng, provider) == cost('gpt-4o-mini', 100, 50)

    seen = ng.error_log()
    ng.reload()
    assert 'another price' not in ng.error_log()[len(seen):]
