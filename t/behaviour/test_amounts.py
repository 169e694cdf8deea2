# Copyright (C) nginx-cycles authors

"""Estimates and actual amounts, to the micro-cent.

What is expected comes from the oracles of t/lib/meter.py, or is written here
as a plain number.
"""

import json

import pytest

from gateway import Gate, chat, chat_stream, error
from meter import (ALLOCATED, Scene, check_balance, cost, estimate,
                   input_tokens, wait_until)


LOCATIONS = {
    'plain': '',
    'wide': 'cycles_estimate_margin 10;',
    'exact': 'cycles_estimate_margin 1;',
    'odd': 'cycles_estimate_margin 1.001;',
    'tokens': 'cycles_unit TOKENS;',
    'tokens_exact': 'cycles_unit TOKENS; cycles_estimate_margin 1;',
    'bare': '''
        cycles_price bare input_cost_per_token=1e-06
                          output_cost_per_token=2e-06;
        cycles_max_output_tokens 300;
    ''',
    'alias': '''
        cycles_model_alias deployment-1 gpt-4o;
        cycles_model_alias gpt-4.1 gpt-4.1-nano;
        cycles_model_alias Upper gpt-4o-mini;
    ''',
    'override': '''
        cycles_price gpt-4o-mini input_cost_per_token=1e-06;
        cycles_price gpt-4o output_cost_per_token=3.3e-09
                            max_output_tokens=77;
        cycles_price own/model input_cost_per_token=1.3e-10;
        cycles_price free input_cost_per_token=0 output_cost_per_token=0;
        cycles_price half input_cost_per_token=4.5e-13;
    ''',
    'unknown_allow': 'cycles_unknown_price allow;',
    'unknown_model': 'cycles_unknown_price gpt-4o;',
    'fixed': '''
        cycles_action api.call search;
        cycles_estimate 700;
        cycles_actual estimate;
    ''',
    'given': '''
        cycles_action api.call search;
        cycles_estimate $arg_estimate;
        cycles_actual $upstream_http_x_cost;
    ''',
    'half': 'cycles_estimate $arg_estimate;',
    'flat': 'cycles_actual 12345;',
}


def tokens_budget(name):
    return ('tenant:' + name, 0, {
        'unit': 'TOKENS',
        'allocated': {'unit': 'TOKENS', 'amount': ALLOCATED}})


@pytest.fixture(scope='module')
def scene():
    scene = Scene(LOCATIONS, entries=[tokens_budget('k%d' % i)
                                      for i in range(20)])
    yield scene
    scene.finish()


@pytest.fixture(scope='module')
def token_tenants():
    return iter('k%d' % i for i in range(20))


# what is reserved


MODEL = '"model": "gpt-4o-mini"'
SAY = '"messages": [{"role": "user", "content": "Say hello."}]'


def raw(*members):
    return ('{%s}' % ', '.join((MODEL, SAY) + members)).encode()


ESTIMATES = [
    ('the limit of the model', {}, {}),
    ('max_tokens', {'max_tokens': 100}, {'output': 100}),
    ('max_completion_tokens', {'max_completion_tokens': 50}, {'output': 50}),
    ('the newer of both, behind',
     {'json_body': raw('"max_tokens": 100', '"max_completion_tokens": 50')},
     {'output': 50}),
    ('the newer of both, ahead',
     {'json_body': raw('"max_completion_tokens": 50', '"max_tokens": 100')},
     {'output': 50}),
    ('the newer of both, null',
     {'json_body': raw('"max_completion_tokens": null',
                       '"max_tokens": 100')},
     {'output': 100}),
    ('null', {'max_tokens': None}, {}),
    ('100.0', {'json_body': raw('"max_tokens": 100.0')}, {'output': 100}),
    ('1e2', {'json_body': raw('"max_tokens": 1e2')}, {'output': 100}),
    ('over what the model can', {'max_tokens': 20000}, {'output': 20000}),
    ('three choices', {'max_tokens': 10, 'n': 3}, {'output': 10, 'n': 3}),
    ('choices of the model\'s limit', {'n': 2}, {'n': 2}),
    ('n null', {'max_tokens': 10, 'n': None}, {'output': 10}),
    ('128 choices', {'max_tokens': 1, 'n': 128}, {'output': 1, 'n': 128}),
    ('another model', {'model': 'gpt-4o', 'max_tokens': 10},
     {'model': 'gpt-4o', 'output': 10}),
    ('a dated model', {'model': 'gpt-4o-2024-08-06', 'max_tokens': 10},
     {'model': 'gpt-4o', 'output': 10}),
    ('a stream', {'max_tokens': 10, 'stream': True}, {'output': 10}),
    ('a long text', {'max_tokens': 1, 'content': 'All human beings are born '
                     'free and equal in dignity and rights. ' * 40},
     {'output': 1, 'content': 'All human beings are born '
      'free and equal in dignity and rights. ' * 40}),
    ('numbers and code', {'max_tokens': 1, 'content':
                          'for (i = 0; i < 12345; i++) {\n\n\treturn X9;\n}'},
     {'output': 1, 'content':
      'for (i = 0; i < 12345; i++) {\n\n\treturn X9;\n}'}),
    ('other scripts, escaped',
     {'max_tokens': 1, 'content': 'Привет, мир! 你好 안녕 שלום 😀 Ünïcödé'},
     {'output': 1, 'content': 'Привет, мир! 你好 안녕 שלום 😀 Ünïcödé'}),
    ('other scripts, as they are',
     {'json_body': json.dumps({
         'model': 'gpt-4o-mini', 'max_tokens': 1, 'messages': [
             {'role': 'user', 'content': 'Привет, мир! 你好 😀'}]},
         ensure_ascii=False).encode()},
     {'output': 1, 'content': 'Привет, мир! 你好 😀'}),
    ('two messages',
     {'json_body': json.dumps({
         'model': 'gpt-4o-mini', 'max_tokens': 1, 'messages': [
             {'role': 'system', 'content': 'Be brief.'},
             {'role': 'user', 'content': 'Say hello.'}]}).encode()},
     {'output': 1, 'tokens': input_tokens('Be brief.', 'Say hello.')}),
    ('parts of text',
     {'json_body': json.dumps({
         'model': 'gpt-4o-mini', 'max_tokens': 1, 'messages': [
             {'role': 'user', 'content': [
                 {'type': 'text', 'text': 'Say hello.'}]}]}).encode()},
     {'output': 1}),
]


@pytest.mark.parametrize('members, expected', [
    pytest.param(members, expected, id=name)
    for name, members, expected in ESTIMATES])
def test_estimate(scene, members, expected):
    x = scene.chat('plain', **members)

    assert x.r.status == 200
    assert x.log['cycles_decision'] == 'ALLOW'
    assert x.number('estimate') == estimate(**expected)


@pytest.mark.parametrize('member', [
    {'tools': [{'type': 'function', 'function': {
        'name': 'lookup', 'description': 'Looks up the weather.'}}]},
    {'response_format': {'type': 'json_schema', 'json_schema': {
        'name': 'answer', 'schema': {'type': 'object'}}}}],
    ids=['tools', 'response_format'])
def test_estimate_of_what_else_is_read(scene, member):
    plain = scene.chat('plain', max_tokens=1).number('estimate')
    more = scene.chat('plain', max_tokens=1, **member).number('estimate')
    assert more >= plain + 10 * 15


def test_estimate_of_an_image(scene):
    """Its size in base64 does not matter."""

    seen = set()
    for size in 100, 300000:
        x = scene.chat('plain', json_body={
            'model': 'gpt-4o-mini', 'max_tokens': 1, 'messages': [
                {'role': 'user', 'content': [
                    {'type': 'image_url', 'image_url': {
                        'url': 'data:image/png;base64,' + 'A' * size}}]}]})
        seen.add(x.number('estimate'))
    assert len(seen) == 1
    assert seen.pop() > 1000 * 15


def test_a_known_estimate(scene):
    """No oracle: 10 tokens ("Say hello." is 3, framing 7) with a margin of
    1.25, 16384 of output, 15 and 60 micro-cents each."""

    assert input_tokens('Say hello.') == 10
    x = scene.chat('plain')
    assert x.number('estimate') == 13 * 15 + 16384 * 60


@pytest.mark.parametrize('location, margin', [
    ('exact', '1'), ('odd', '1.001'), ('plain', '1.25'), ('wide', '10')])
def test_margin(scene, location, margin):
    content = 'a word and another; ' * 100
    x = scene.chat(location, content=content, max_tokens=7)
    assert x.number('estimate') == estimate(content=content, output=7,
                                            margin=margin)


def test_margin_leaves_the_output_alone(scene):
    small = scene.chat('wide', max_tokens=1).number('estimate')
    large = scene.chat('wide', max_tokens=1001).number('estimate')
    assert large - small == 1000 * 60


def test_hold_lasts_until_the_reply_ends(scene):
    gate = Gate()
    tenant = scene.fresh()
    scene.provider.script(chat(gate=gate))
    x, path = scene.begin('plain', tenant)

    with scene.ng.connect() as conn:
        conn.send_chat(path=path, tenant=tenant, max_tokens=100)
        gate.wait_reached()

        held = scene.ng.budget('tenant:' + tenant)
        assert held['reserved'] == estimate(output=100)
        assert held['spent'] == 0
        assert held['remaining'] == ALLOCATED - estimate(output=100)
        assert scene.ng.live_reservations() == 1

        gate.open()
        assert conn.read_response().status == 200

    assert x.spent == cost()
    assert x.reserved == 0
    check_balance(scene.ng.budget('tenant:' + tenant))


def test_default_of_output_tokens(scene):
    row = {'input_cost_per_token': '1e-06', 'output_cost_per_token': '2e-06'}

    x = scene.chat('bare', model='bare')
    assert x.number('estimate') == estimate(row=row, output=300)

    x = scene.chat('bare', model='bare', max_tokens=5)
    assert x.number('estimate') == estimate(row=row, output=5)

    x = scene.chat('bare')
    assert x.number('estimate') == estimate()


# what is charged


USAGES = [
    ('the usual', 'gpt-4o-mini', 25, 7, None, 795),
    ('cached input', 'gpt-4o', 2006, 300, 1920, 561500),
    ('half a micro-cent rounds up', 'gpt-4o-mini', 1, 0, 1, 8),
    ('two halves do not', 'gpt-4o-mini', 2, 0, 2, 15),
    ('three halves', 'gpt-4o-mini', 3, 0, 3, 23),
    ('all of it cached', 'gpt-4o', 1000, 0, 1000, 125000),
    ('nothing cached', 'gpt-4o', 1000, 10, 0, 260000),
    ('no output', 'gpt-4.1-nano', 10, 0, None, 100),
    ('more than was reserved', 'gpt-4o-mini', 5000, 20000, None,
     75000 + 1200000),
    ('millions', 'gpt-5', 10 ** 7, 10 ** 6, 5 * 10 ** 6,
     625000000 + 62500000 + 1000000000),
]


@pytest.mark.parametrize('stream', [False, True], ids=['plain', 'stream'])
@pytest.mark.parametrize('model, prompt, completion, cached, micro', [
    pytest.param(*row, id=name) for name, *row in USAGES])
def test_actual(scene, stream, model, prompt, completion, cached, micro):
    assert cost(model, prompt, completion, cached or 0) == micro

    make = chat_stream if stream else chat
    x = scene.chat('plain', model=model, stream=stream, reply=make(
        prompt=prompt, completion=completion, cached=cached))

    assert x.r.status == 200
    assert x.spent == micro
    assert x.reserved == 0
    assert x.number('actual') == micro
    assert x.number('charged') == micro
    assert x.number('remaining') == x.before['remaining'] - micro
    assert x.number('tokens_input') == prompt
    assert x.number('tokens_output') == completion
    assert x.number('tokens_cached') == (cached or 0)
    assert x.log['cycles_settlement'] == 'commit'
    assert x.log['cycles_usage_source'] == 'reported'


def test_reasoning_is_part_of_the_output(scene):
    x = scene.chat('plain', reply=chat(prompt=10, completion=100,
                                       reasoning=90))
    assert x.number('tokens_reasoning') == 90
    assert x.number('tokens_output') == 100
    assert x.spent == cost(prompt=10, completion=100)


def test_reasoning_that_only_the_total_shows(scene):
    x = scene.chat('plain', reply=chat(extra={'usage': {
        'prompt_tokens': 10, 'completion_tokens': 5, 'total_tokens': 45}}))
    assert x.number('tokens_output') == 35
    assert x.log['cycles_tokens_reasoning'] == ''
    assert x.spent == cost(prompt=10, completion=35)


def test_amounts_add_up(scene):
    tenant = scene.fresh()
    total = 0

    for i in range(5):
        x = scene.chat('plain', tenant=tenant,
                       reply=chat(prompt=1 + i, completion=i, cached=1))
        total += cost(prompt=1 + i, completion=i, cached=1)
        assert x.number('remaining') == ALLOCATED - total

    assert scene.ng.budget('tenant:' + tenant)['spent'] == total


# the unit TOKENS


@pytest.mark.parametrize('location, margin', [('tokens', '1.25'),
                                              ('tokens_exact', '1')])
def test_tokens(scene, token_tenants, location, margin):
    tenant = next(token_tenants)
    x = scene.chat(location, tenant=tenant, max_tokens=100, n=2,
                   reply=chat(prompt=10, completion=5, cached=4))

    assert x.number('estimate') == estimate(output=100, n=2, unit='TOKENS',
                                            margin=margin)
    assert x.number('actual') == 15
    assert x.spent == 15


def test_tokens_need_no_price(scene, token_tenants):
    x = scene.chat('tokens', tenant=next(token_tenants), model='no-price',
                   max_tokens=9, reply=chat(prompt=3, completion=4))
    assert x.r.status == 200
    assert x.log['cycles_price_key'] == ''
    assert x.number('estimate') == estimate(output=9, unit='TOKENS')
    assert x.spent == 7


def test_unit_of_the_budget_must_be_the_same(scene, token_tenants):
    x = scene.chat('plain', tenant=next(token_tenants))
    assert x.r.status == 429
    assert x.log['cycles_reason'] == 'UNIT_MISMATCH'
    assert x.sent is None


# amounts that are given


def test_fixed_amounts(scene):
    for body in b'', b'no JSON', b'{"model": "x"}':
        x = scene.send('fixed', body, reply=chat(prompt=1, completion=1))
        assert x.r.status == 200
        assert x.number('estimate') == 700
        assert x.spent == 700
        assert x.log['cycles_usage_source'] == 'estimated'
        assert x.log['cycles_settlement'] == 'commit'


def test_fixed_amounts_guard_every_method(scene):
    for method in 'GET', 'PUT', 'DELETE', 'POST':
        x = scene.send('fixed', method=method, reply=chat())
        assert x.log['cycles_decision'] == 'ALLOW', method
        assert x.spent == 700


def test_fixed_amounts_go_back_on_an_error(scene):
    x = scene.send('fixed', b'', reply=error(500))
    assert x.r.status == 500
    assert x.spent == 0
    assert x.log['cycles_settlement'] == 'release'


def given(scene, query, cost=None):
    headers = {} if cost is None else {'X-Cost': cost}
    return scene.send('given', b'x', reply=chat(headers=headers),
                      path='/search?estimate=' + query)


def test_given_amounts(scene):
    x = given(scene, '1000', '640')
    assert x.number('estimate') == 1000
    assert x.number('actual') == 640
    assert x.spent == 640
    assert x.log['cycles_usage_source'] == 'reported'

    x = given(scene, '0', '0')
    assert x.r.status == 200
    assert x.number('estimate') == 0
    assert x.spent == 0
    assert x.log['cycles_settlement'] == 'commit'

    x = given(scene, '100', '250')
    assert x.spent == 250


@pytest.mark.parametrize('value', ['', 'many', '-5', '1.5', '0x10',
                                   '9223372036854775808'])
def test_given_estimate_is_no_number(scene, value):
    x = given(scene, value)
    assert x.r.status == 400
    assert 'whole number' in x.r.json['error']['message']
    assert x.sent is None
    assert (x.spent, x.reserved) == (0, 0)


@pytest.mark.parametrize('value', [None, 'many', '-5', '1.5',
                                   '9223372036854775808'])
def test_given_actual_is_no_number(scene, value):
    """The provider has done its work: the estimate is taken, loudly."""

    x = given(scene, '1000', value)
    assert x.r.status == 200
    assert x.spent == 1000
    assert x.log['cycles_usage_source'] == 'estimated'
    assert 'is not a whole number, the estimate 1000 is taken' in \
        scene.ng.error_log()


def test_given_estimate_with_the_actual_of_the_reply(scene):
    x = scene.chat('half', reply=chat(prompt=25, completion=7))
    assert x.r.status == 400

    x = scene.send('half', raw(), path='/v1/chat/completions?estimate=5000',
                   reply=chat(prompt=25, completion=7))
    assert x.number('estimate') == 5000
    assert x.spent == 795


def test_flat_actual(scene):
    x = scene.chat('flat', max_tokens=10000,
                   reply=chat(prompt=25, completion=7))
    assert x.number('estimate') == estimate(output=10000)
    assert x.spent == 12345


# which price


@pytest.mark.parametrize('model, key', [
    ('deployment-1', 'gpt-4o'), ('gpt-4.1', 'gpt-4.1-nano'),
    ('Upper', 'gpt-4o-mini'), ('gpt-4o', 'gpt-4o')])
def test_alias(scene, model, key):
    x = scene.chat('alias', model=model, max_tokens=10,
                   reply=chat(prompt=100, completion=50))
    assert x.log['cycles_price_key'] == key
    assert x.number('estimate') == estimate(model=key, output=10)
    assert x.spent == cost(key, 100, 50)


def test_alias_is_of_its_location_only(scene):
    x = scene.chat('plain', model='deployment-1')
    assert x.r.status == 429
    assert x.log['cycles_reason'] == 'UNKNOWN_PRICE'


@pytest.mark.parametrize('model, key', [
    ('gpt-4o-mini-2024-07-18', 'gpt-4o-mini'),
    ('GPT-4o-mini', 'gpt-4o-mini'),
    ('gpt-4o-mini-20240718', 'gpt-4o-mini')])
def test_names_that_are_found(scene, model, key):
    x = scene.chat('plain', model=model, reply=chat(prompt=100))
    assert x.log['cycles_price_key'] == key
    assert x.spent == cost(key, 100, 5)


@pytest.mark.parametrize('model', ['gpt-4o-maxi', 'gpt-4', 'gpt', 'gpt-4o-',
                                   'other/gpt-4o',
                                   'ft:gpt-4o-mini:acme::abc123', ''])
def test_names_that_are_not(scene, model):
    x = scene.chat('plain', model=model)
    assert x.r.status == 429
    assert x.r.json['error']['code'] == 'insufficient_quota'
    assert x.r.header('x-should-retry') == 'false'
    assert x.log['cycles_decision'] == 'DENY'
    assert x.log['cycles_reason'] == 'UNKNOWN_PRICE'
    assert x.sent is None
    assert (x.spent, x.reserved) == (0, 0)


def test_override_keeps_the_rest_of_the_row(scene):
    row = {'input_cost_per_token': '1e-06', 'output_cost_per_token': '6e-07',
           'cache_read_input_token_cost': '7.5e-08',
           'max_output_tokens': 16384}
    x = scene.chat('override', reply=chat(prompt=100, completion=5,
                                          cached=51))
    assert x.number('estimate') == estimate(row=row)
    assert x.spent == cost(prompt=100, completion=5, cached=51, row=row)
    assert x.spent == 49 * 100 + 383 + 5 * 60      # 51 x 7.5 = 382.5

    x = scene.chat('override', model='gpt-4o',
                   reply=chat(prompt=1, completion=1))
    assert x.spent == 250 + 1                      # 0.33
    assert x.number('estimate') == 13 * 250 + 26   # 77 x 0.33 = 25.41


def test_own_model_costs_its_input_price_where_it_names_no_other(scene):
    x = scene.chat('override', model='own/model', max_tokens=1000,
                   reply=chat(prompt=10, completion=990, cached=5))
    assert x.spent == 13                           # 1000 x 0.013
    assert x.number('estimate') == 14              # 1013 x 0.013 = 13.169


def test_free_model(scene):
    x = scene.chat('override', model='free')
    assert x.log['cycles_decision'] == 'ALLOW'
    assert x.number('estimate') == 0
    assert x.spent == 0
    assert x.log['cycles_settlement'] == 'commit'
    assert x.log['cycles_usage_source'] == 'reported'


def test_price_below_a_pico_dollar(scene):
    """4.5e-13 USD are none in 1e-12 USD: nothing is charged for it."""

    x = scene.chat('override', model='half', max_tokens=10,
                   reply=chat(prompt=10 ** 6, completion=10 ** 6))
    assert x.spent == 0


def test_unknown_price_allowed(scene):
    x = scene.chat('unknown_allow', model='gpt-99')
    assert x.r.status == 200
    assert x.log['cycles_decision'] == 'ALLOW'
    assert x.log['cycles_price_key'] == ''
    assert x.number('estimate') == 0
    assert x.spent == 0
    assert x.log['cycles_settlement'] == 'commit'
    assert 'model "gpt-99" has no price, it passes at no cost' in \
        scene.ng.error_log()

    x = scene.chat('unknown_allow', reply=chat(prompt=25, completion=7))
    assert x.spent == 795


def test_unknown_price_of_a_model(scene):
    x = scene.chat('unknown_model', model='gpt-99', max_tokens=10,
                   reply=chat(prompt=100, completion=50))
    assert x.r.status == 200
    assert x.log['cycles_price_key'] == 'gpt-4o'
    assert x.log['cycles_model'] == 'gpt-99'
    assert x.number('estimate') == estimate(model='gpt-4o', output=10)
    assert x.spent == cost('gpt-4o', 100, 50)


def test_model_of_the_reply_is_shown_that_of_the_request_is_priced(scene):
    x = scene.chat('plain', model='gpt-4o-mini', reply=chat(
        model='gpt-4o-2024-08-06', prompt=25, completion=7))
    assert x.log['cycles_model'] == 'gpt-4o-2024-08-06'
    assert x.log['cycles_price_key'] == 'gpt-4o-mini'
    assert x.spent == 795


# nothing overflows


def test_estimate_of_too_much_is_denied(scene):
    x = scene.chat('plain', max_tokens=2 ** 53, n=128)
    assert x.r.status == 429
    assert x.log['cycles_reason'] == 'BUDGET_EXCEEDED'
    assert x.r.header('x-should-retry') == 'false'
    assert (x.spent, x.reserved) == (0, 0)


def test_usage_of_too_much_saturates(scene):
    """A count over 2^53 is no count; one below it costs what it costs, and
    the budget pays what it has."""

    x = scene.chat('plain', tenant=scene.fresh(), model='gpt-5',
                   max_tokens=1, reply=chat(prompt=10, completion=2 ** 53))
    assert x.number('actual') == 10 * 125 + 2 ** 53 * 1000
    assert x.spent == ALLOCATED
    assert x.number('remaining') == 0
    check_balance(scene.ng.budget('tenant:' + x.tenant))


def test_nothing_is_held_at_the_end(scene):
    wait_until(lambda: scene.ng.live_reservations() == 0)
