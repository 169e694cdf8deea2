# Copyright (C) nginx-cycles authors

"""ALLOW_WITH_CAPS: the limit of tokens in the request is clamped, in place,
and nothing else of the body changes."""

import pytest

import gateway
from gateway import chat, free_port
from fake_cycles import FakeCycles
from meter import ALLOCATED, Scene, Whole, estimate


def capped(scope, max_tokens, percent=0, amount=ALLOCATED):
    return (scope, amount, {'caps': {'above_percent': percent,
                                     'max_tokens': max_tokens}})


ENTRIES = [
    capped('tenant:c50', 50),
    capped('tenant:c1', 1),
    capped('tenant:c0', 0),
    capped('tenant:late', 50, 80, 1000),
    ('tenant:tools', ALLOCATED, {'caps': {
        'above_percent': 0, 'tool_denylist': ['web_search']}}),
]

LOCATIONS = {
    'plain': '',
    'file': 'client_body_buffer_size 1k;',
    'allow': 'cycles_unknown_price allow;',
    'fixed': '''
        cycles_action a b;
        cycles_estimate 100;
        cycles_actual estimate;
    ''',
    'server': Whole('''
        cycles on;
        cycles_subject tenant $http_x_tenant;
        cycles_authority @cycles;
        cycles_api_key secret;
    '''),
}


@pytest.fixture(scope='module')
def cycles():
    with FakeCycles(free_port()) as server:
        yield server


@pytest.fixture(scope='module')
def scene(cycles):
    scene = Scene(LOCATIONS, entries=ENTRIES, cycles=cycles.port, server='''
        location @cycles { proxy_pass http://127.0.0.1:%%CYCLES%%; }
    ''')
    yield scene
    scene.finish()


SAY = '"messages":[{"role":"user","content":"Say hello."}]'
MODEL = '"model":"gpt-4o-mini"'
USAGE = '"stream_options":{"include_usage":true},'
ADD = '"max_completion_tokens":50,'


def body(*members):
    return '{%s}' % ','.join((MODEL, SAY) + members)


CASES = [
    # what comes, what the provider gets under a cap of 50
    ('over the cap', body('"max_tokens":100'), body('"max_tokens":50')),
    ('at the cap', body('"max_tokens":50'), None),
    ('below the cap', body('"max_tokens":49'), None),
    ('one over the cap', body('"max_tokens":51'), body('"max_tokens":50')),
    ('the newer member', body('"max_completion_tokens":100'),
     body('"max_completion_tokens":50')),
    ('none', body(), '{' + ADD + body()[1:]),
    ('null', body('"max_completion_tokens":null'),
     body('"max_completion_tokens":50')),
    ('the older member null', body('"max_tokens":null'),
     body('"max_tokens":50')),
    ('both null', body('"max_tokens":null', '"max_completion_tokens":null'),
     body('"max_tokens":null', '"max_completion_tokens":50')),
    ('both null, the newer one first',
     body('"max_completion_tokens":null', '"max_tokens":null'),
     body('"max_completion_tokens":50', '"max_tokens":null')),
    ('only the newer one null',
     body('"max_completion_tokens":null', '"max_tokens":100'),
     body('"max_completion_tokens":null', '"max_tokens":50')),
    ('only the older one null',
     body('"max_completion_tokens":40', '"max_tokens":null'), None),
    ('both', body('"max_tokens":100', '"max_completion_tokens":200'),
     body('"max_tokens":100', '"max_completion_tokens":50')),
    ('both, the newer one first',
     body('"max_completion_tokens":200', '"max_tokens":100'),
     body('"max_completion_tokens":50', '"max_tokens":100')),
    ('first of all', '{"max_tokens":100,' + body()[1:],
     '{"max_tokens":50,' + body()[1:]),
    ('another spelling', body('"max_tokens" : 1e2 '),
     body('"max_tokens" : 50 ')),
    ('an escaped name', body('"max\\u005ftokens":100.0'),
     body('"max\\u005ftokens":50')),
    ('two choices', body('"max_tokens":100', '"n":2'),
     body('"max_tokens":25', '"n":2')),
    ('three choices', body('"n":3', '"max_tokens":17'),
     body('"n":3', '"max_tokens":16')),
    ('many choices', body('"n":128', '"max_tokens":17'),
     body('"n":128', '"max_tokens":1')),
    ('two choices within the cap', body('"max_tokens":25', '"n":2'), None),
    ('a stream', body('"max_tokens":100', '"stream":true'),
     '{' + USAGE + body('"max_tokens":50', '"stream":true')[1:]),
    ('a stream with options behind',
     body('"stream":true', '"max_tokens":100', '"stream_options":{}'),
     body('"stream":true', '"max_tokens":50',
          '"stream_options":{"include_usage":true}')),
    ('a stream with options ahead',
     body('"stream_options":null', '"stream":true', '"max_tokens":100'),
     body('"stream_options":{"include_usage":true}', '"stream":true',
          '"max_tokens":50')),
    ('a decoy', body('"metadata":{"max_tokens":"100"}', '"max_tokens":100'),
     body('"metadata":{"max_tokens":"100"}', '"max_tokens":50')),
]


@pytest.mark.parametrize('location', ['plain', 'file'])
@pytest.mark.parametrize('before, after', [
    pytest.param(before, after, id=name) for name, before, after in CASES])
def test_clamp(scene, location, before, after):
    x = scene.send(location, before.encode(), tenant='c50')
    assert x.r.status == 200
    assert x.log['cycles_decision'] == 'ALLOW_WITH_CAPS'
    assert x.r.header('x-cycles-decision') == 'ALLOW_WITH_CAPS'

    assert x.sent.body == (after or before).encode()
    assert x.sent.header('content-length') == str(len(x.sent.body))
    assert x.reserved == 0
    assert x.spent > 0


def test_both_at_one_place(scene):
    """Options and a limit are both added behind the first brace."""

    x = scene.send('plain', body('"stream":true').encode(), tenant='c50')
    assert x.sent.body.decode() in (
        '{' + USAGE + ADD + body('"stream":true')[1:],
        '{' + ADD + USAGE + body('"stream":true')[1:])
    assert b'"choices": []' not in x.r.body


def test_what_is_reserved_is_not_what_is_left(scene):
    x = scene.chat('plain', tenant='c50', max_tokens=100)
    assert x.number('estimate') == estimate(output=100)


def test_large_bodies(scene):
    for size in 1000, 20000, 300000:
        text = 'x' * size
        before = '{"user":"%s","max_tokens":100,%s,%s}' % (text, MODEL, SAY)
        after = before.replace('"max_tokens":100', '"max_tokens":50')
        for location in 'plain', 'file':
            x = scene.send(location, before.encode(), tenant='c50')
            assert x.sent.body == after.encode()
            x = scene.send(location, None, tenant='c50', chunked=[
                before[i:i + 999].encode()
                for i in range(0, len(before), 999)])
            assert x.sent.body == after.encode()
            x = scene.send(location, before.encode(), tenant='c50', h2=True)
            assert x.sent.body == after.encode()


def test_empty_object(scene):
    x = scene.send('allow', b'{ }', tenant='c50')
    assert x.r.status == 200
    assert x.sent.json == {'max_completion_tokens': 50}


def test_cap_of_one(scene):
    x = scene.chat('plain', tenant='c1', n=5, max_tokens=9)
    assert x.sent.json['max_tokens'] == 1
    assert x.sent.json['n'] == 5


def test_cap_of_nothing_is_a_denial(scene):
    x = scene.chat('plain', tenant='c0')
    assert x.r.status == 429
    assert x.sent is None
    assert x.log['cycles_decision'] == 'DENY'
    assert x.r.header('x-should-retry') == 'false'
    assert (x.spent, x.reserved) == (0, 0)
    assert scene.ng.live_reservations() == 0


def test_caps_begin_at_their_percent(scene):
    """800 of 1000 spent: from there on the caps hold."""

    decisions = []
    for _ in range(10):
        x = scene.send('fixed', method='GET', tenant='late', reply=chat())
        assert x.r.status == 200
        decisions.append(x.log['cycles_decision'])

    assert decisions == 8 * ['ALLOW'] + 2 * ['ALLOW_WITH_CAPS']

    x = scene.send('fixed', method='GET', tenant='late')
    assert x.r.status == 429


def test_caps_of_other_kinds_leave_the_limit(scene):
    x = scene.chat('plain', tenant='tools', max_tokens=100)
    assert x.log['cycles_decision'] == 'ALLOW_WITH_CAPS'
    assert x.sent.json['max_tokens'] == 100


def test_fixed_estimate_has_nothing_to_clamp(scene):
    x = scene.send('fixed', b'anything', tenant='c50', reply=chat())
    assert x.r.status == 200
    assert x.log['cycles_decision'] == 'ALLOW_WITH_CAPS'
    assert x.sent.body == b'anything'


def test_caps_of_a_server(scene, cycles):
    cycles.budget('tenant:acme', 10 ** 9, caps={'max_tokens': 50})
    x = scene.chat('server', tenant='acme', max_tokens=100)
    assert x.log['cycles_decision'] == 'ALLOW_WITH_CAPS'
    assert x.sent.json['max_tokens'] == 50
    gateway.wait_until(lambda: cycles.count('commit') == 1)
