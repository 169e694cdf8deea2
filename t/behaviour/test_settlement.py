# Copyright (C) nginx-cycles authors

"""What is committed or released when a reply is complete but does not tell
its usage, cannot be read, or is an error.  Aborts and failures on the way
are in t/lifecycle."""

import gzip
import json
import zlib

import pytest

import gateway
from gateway import Reply, chat, chat_stream, error
from meter import (ALLOCATED, Scene, cost, estimate, input_tokens,
                   text_tokens)


LOCATIONS = {
    'buffered': '',
    'unbuffered': 'proxy_buffering off;',
    'passed': 'proxy_pass_request_headers on; '
              'proxy_set_header Accept-Encoding gzip;',
    'intercept': 'proxy_intercept_errors on; error_page 500 502 = /page;',
    'named': 'proxy_intercept_errors on; error_page 500 = @other;',
    'cached': '''
        proxy_cache replies;
        proxy_cache_methods POST;
        proxy_cache_key $request_uri$http_x_cache;
        proxy_cache_valid 200 1h;
    ''',
    'estimate': 'cycles_actual estimate;',
    'value': 'cycles_actual $upstream_http_x_cost;',
    'ignored': 'proxy_ignore_headers X-Accel-Redirect;',
}

SERVER = '''
    location = /page { return 200 "sorry"; }
    location /protected/ { internal; return 200 "file"; }
    location @other {
        proxy_pass http://provider;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
    }
'''

HTTP = 'proxy_cache_path %%DIR%%/cache keys_zone=replies:1m;'


@pytest.fixture(scope='module')
def scene():
    scene = Scene(LOCATIONS, http=HTTP, server=SERVER)
    yield scene
    scene.finish()


BUFFERING = ['buffered', 'unbuffered']
ASKED = input_tokens('Say hello.')


def json_reply(body, **headers):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return Reply(200, dict({'Content-Type': 'application/json'}, **headers),
                 [body])


def message(text):
    return {'choices': [{'message': {'role': 'assistant', 'content': text}}]}


def committed(x, amount, source):
    assert x.log['cycles_settlement'] == 'commit'
    assert x.log['cycles_usage_source'] == source
    assert x.number('actual') == amount
    assert x.number('charged') == amount
    assert x.spent == amount
    assert x.reserved == 0


def released(x):
    assert x.log['cycles_settlement'] == 'release'
    assert x.log['cycles_usage_source'] == 'none'
    assert x.number('actual') == 0
    assert x.number('charged') == 0
    assert (x.spent, x.reserved) == (0, 0)


# no usage


@pytest.mark.parametrize('location', BUFFERING)
@pytest.mark.parametrize('text', [
    'Hello.', 'w', 'A longer text, of several words. ' * 50,
    'Привет, мир! 你好', 'x = 12345;\n\n\treturn x;'])
def test_text_without_usage(scene, location, text):
    """What has passed is estimated: the words that were asked and given."""

    x = scene.chat(location, reply=json_reply(message(text)))
    committed(x, cost(prompt=ASKED, completion=text_tokens(text)),
              'estimated')
    assert x.log['cycles_tokens_input'] == ''
    assert x.log['cycles_tokens_output'] == ''


@pytest.mark.parametrize('location', BUFFERING)
def test_stream_without_usage(scene, location):
    for chunks in 1, 5, 40:
        x = scene.chat(location, stream=True, reply=chat_stream(
            chunks, with_usage=False))
        committed(x, cost(prompt=ASKED, completion=text_tokens(
            'word ' * chunks)), 'estimated')


@pytest.mark.parametrize('location', BUFFERING)
def test_all_that_is_said_counts(scene, location):
    """Reasoning that is shown, refusals, calls of tools."""

    x = scene.chat(location, reply=json_reply({'choices': [{'message': {
        'content': None, 'reasoning_content': 'Let me think.',
        'refusal': 'No.', 'tool_calls': [{'function': {
            'name': 'lookup', 'arguments': '{"q": "weather"}'}}]}}]}))
    words = ('Let me think.', 'No.', 'lookup', '{"q": "weather"}')
    committed(x, cost(prompt=ASKED, completion=text_tokens(*words)),
              'estimated')


def test_usage_that_is_none(scene):
    """null and zeros are not a usage."""

    for usage in (None, {}, {'prompt_tokens': 0, 'completion_tokens': 0,
                             'total_tokens': 0}, [], 'many', 5,
                  {'prompt_tokens': None, 'completion_tokens': None},
                  {'prompt_tokens': '10', 'completion_tokens': '5'},
                  {'prompt_tokens': -1, 'completion_tokens': -5}):
        x = scene.chat('buffered', reply=json_reply(
            dict(message('Hello.'), usage=usage)))
        committed(x, cost(prompt=ASKED, completion=text_tokens('Hello.')),
                  'estimated')


def test_half_a_usage(scene):
    x = scene.chat('buffered', reply=json_reply(
        dict(message('Hello.'), usage={'prompt_tokens': 25,
                                       'total_tokens': 32})))
    committed(x, 795, 'reported')


def test_last_usage_counts_and_nothing_is_added(scene):
    def chunk(prompt, completion):
        return b'data: %s\n\n' % json.dumps({
            'choices': [{'delta': {'content': 'x'}}],
            'usage': gateway.usage(prompt, completion)}).encode()

    x = scene.chat('buffered', stream=True, reply=Reply(
        200, {'Content-Type': 'text/event-stream'},
        [chunk(25, 1), chunk(25, 3), chunk(25, 7), b'data: [DONE]\n\n'],
        'chunked'))
    committed(x, 795, 'reported')


@pytest.mark.parametrize('location', BUFFERING)
def test_nothing_was_said(scene, location):
    """Only what was asked is charged, and never nothing."""

    x = scene.chat(location, reply=json_reply(message('')))
    committed(x, cost(prompt=ASKED, completion=0), 'input_only')

    x = scene.chat(location, reply=json_reply({}))
    committed(x, cost(prompt=ASKED, completion=0), 'input_only')

    x = scene.chat(location, stream=True, reply=Reply(
        200, {'Content-Type': 'text/event-stream'}, [b'data: [DONE]\n\n'],
        'chunked'))
    committed(x, cost(prompt=ASKED, completion=0), 'input_only')


@pytest.mark.parametrize('framing', ['length', 'chunked', 'close'])
@pytest.mark.parametrize('location', BUFFERING)
def test_empty_body(scene, location, framing):
    x = scene.chat(location, reply=Reply(200, {}, [], framing))
    assert x.r.status == 200
    assert x.r.body == b''
    committed(x, cost(prompt=ASKED, completion=0), 'input_only')


def test_no_content(scene):
    x = scene.chat('buffered', reply=Reply(204, {}, []))
    assert x.r.status == 204
    committed(x, cost(prompt=ASKED, completion=0), 'input_only')


def test_missing_usage_is_told(scene):
    mark = len(scene.ng.error_log())
    x = scene.chat('buffered', reply=json_reply(message('Hello.')))
    lines = [line for line in scene.ng.error_log()[mark:].splitlines()
             if 'reply without usage' in line]
    assert len(lines) == 1
    assert '[warn]' in lines[0]
    assert x.log['cycles_reservation_id'] in lines[0]


# what can't be read


@pytest.mark.parametrize('location', BUFFERING)
@pytest.mark.parametrize('kind, body', [
    ('text/html', b'<html>hello</html>'), ('text/plain', b'hello'),
    ('application/json', b'not JSON'), ('application/json', b'[1, 2]'),
    ('application/json', b'\x00\x01\x02'),
    ('application/octet-stream', b'\xff' * 1000),
    ('text/event-stream', b'{"choices": []}\n\n'),
    ('text/event-stream', b'data: {broken\n\ndata: [DONE]\n\n')])
def test_unreadable(scene, location, kind, body):
    """It may have cost all that was reserved, so that is charged."""

    x = scene.chat(location, max_tokens=100, reply=Reply(
        200, {'Content-Type': kind}, [body]))
    assert x.r.body == body
    committed(x, estimate(output=100), 'estimated')


def test_truncated_json_is_no_riddle(scene):
    """Complete by its length, broken inside: the words that were there."""

    body = json.dumps(message('Hello.')).encode()[:-3]
    x = scene.chat('buffered', max_tokens=100, reply=json_reply(body))
    assert x.log['cycles_settlement'] == 'commit'
    assert x.log['cycles_usage_source'] == 'estimated'
    assert cost(prompt=ASKED, completion=text_tokens('Hello.')) <= x.spent \
        <= estimate(output=100)


def compressed(body, how):
    if how == 'raw':
        z = zlib.compressobj(wbits=-15)
        return z.compress(body) + z.flush()
    return gzip.compress(body) if how == 'gzip' else zlib.compress(body)


@pytest.mark.parametrize('location', ['passed'] + BUFFERING)
@pytest.mark.parametrize('stream', [False, True], ids=['plain', 'stream'])
@pytest.mark.parametrize('how', ['gzip', 'deflate', 'raw'])
def test_encoded_reply(scene, location, stream, how):
    """A provider that compresses although it was not asked to: the client
    gets what was sent, and the usage in it is read."""

    body = compressed(b'data: {"choices":[],"usage":{"prompt_tokens":10,'
                      b'"completion_tokens":5}}\n\ndata: [DONE]\n\n'
                      if stream else
                      b'{"choices":[],"usage":{"prompt_tokens":10,'
                      b'"completion_tokens":5}}', how)
    x = scene.chat(location, stream=stream, max_tokens=100, reply=Reply(
        200, {'Content-Type': 'text/event-stream' if stream
              else 'application/json',
              'Content-Encoding': how.replace('raw', 'deflate')},
        [body[i:i + 7] for i in range(0, len(body), 7)], 'chunked'))

    assert x.r.status == 200
    assert x.r.body == body
    assert x.r.header('content-encoding') == how.replace('raw', 'deflate')
    committed(x, cost(prompt=10, completion=5), 'reported')


@pytest.mark.parametrize('how', ['br', 'zstd', 'gzip, br'])
def test_encoding_that_is_not_known(scene, how):
    """Loud, and not free: it may have cost all that was reserved."""

    mark = len(scene.ng.error_log())
    x = scene.chat('buffered', max_tokens=100, reply=Reply(
        200, {'Content-Type': 'application/json', 'Content-Encoding': how},
        [b'\x8b\x00\x80usage\x03']))

    assert x.r.body == b'\x8b\x00\x80usage\x03'
    committed(x, estimate(output=100), 'estimated')
    assert 'reply is encoded as "%s"' % how in scene.ng.error_log()[mark:]
    assert x.log['cycles_reservation_id'] in scene.ng.error_log()[mark:]


@pytest.mark.parametrize('spoil', [
    lambda body: b'plain text', lambda body: body[:20] + b'XXXX' + body[24:],
    lambda body: body[:10] + b'\xff' * 40])
def test_compressed_reply_that_is_damaged(scene, spoil):
    mark = len(scene.ng.error_log())
    body = spoil(gzip.compress(json.dumps(message('Hello.')).encode()))
    x = scene.chat('buffered', max_tokens=100, reply=Reply(
        200, {'Content-Type': 'application/json', 'Content-Encoding': 'gzip'},
        [body]))

    assert x.r.body == body
    committed(x, estimate(output=100), 'estimated')
    assert "reply can't be inflated" in scene.ng.error_log()[mark:]


def test_identity_is_no_encoding(scene):
    x = scene.chat('buffered', reply=chat(
        prompt=25, completion=7, headers={'Content-Encoding': 'identity'}))
    committed(x, 795, 'reported')


# errors


@pytest.mark.parametrize('location', BUFFERING)
@pytest.mark.parametrize('status', [300, 302, 304, 400, 401, 403, 404, 408,
                                    409, 413, 422, 429, 500, 502, 503, 504,
                                    529])
def test_error_costs_nothing(scene, location, status):
    x = scene.chat(location, reply=error(status))
    assert x.r.status == status
    assert x.log['cycles_decision'] == 'ALLOW'
    released(x)


@pytest.mark.parametrize('location', BUFFERING)
def test_error_of_a_stream(scene, location):
    x = scene.chat(location, stream=True, reply=error(500))
    assert x.r.status == 500
    released(x)


@pytest.mark.parametrize('location', BUFFERING)
def test_error_with_usage_is_charged(scene, location):
    x = scene.chat(location, reply=Reply(500, {}, [json.dumps({
        'error': {'message': 'too late'},
        'usage': gateway.usage(25, 7)}).encode()]))
    assert x.r.status == 500
    committed(x, 795, 'reported')


def test_error_inside_a_stream(scene):
    """The head was 200; what passed before is charged."""

    x = scene.chat('buffered', stream=True, reply=Reply(
        200, {'Content-Type': 'text/event-stream'},
        [b'data: {"choices":[{"delta":{"content":"Hello."}}]}\n\n',
         b'data: {"error":{"message":"overloaded"}}\n\n'], 'chunked'))
    committed(x, cost(prompt=ASKED, completion=text_tokens('Hello.')),
              'estimated')
    assert b'overloaded' in x.r.body


def test_nobody_listens(scene):
    scene.provider.refuse()
    try:
        x = scene.chat('buffered')
        assert x.r.status == 502
        released(x)
    finally:
        scene.provider.listen()


def test_intercepted_error(scene):
    """A page of nginx takes the place of the error."""

    x = scene.chat('intercept', reply=error(500))
    assert x.r.status == 200
    assert x.r.body == b'sorry'
    released(x)


def test_another_provider_after_an_error(scene):
    """One reservation, and the cost of the reply that counts."""

    x = scene.chat('named', reply=[error(500), chat(prompt=25,
                                                    completion=7)])
    assert x.r.status == 200
    assert len(x.requests) == 2
    committed(x, 795, 'reported')


def test_accel_redirect(scene):
    """The provider's part is over; its header said 200, its usage nothing."""

    x = scene.chat('buffered', reply=Reply(
        200, {'X-Accel-Redirect': '/protected/x'}, [b'']))
    assert x.r.body == b'file'
    assert x.spent > 0
    assert x.reserved == 0
    assert x.log['cycles_settlement'] == 'commit'


# a cache


def test_cached_reply_costs_nothing(scene):
    """At its first time it costs what it costs."""

    x = scene.chat('cached', headers={'X-Cache': 'one'},
                   reply=chat(prompt=25, completion=7))
    committed(x, 795, 'reported')
    path = '/v1/chat/completions?fixed=1'

    def ask(mark):
        return scene.ng.request(
            'POST', '/cached' + path, {'X-Tenant': 't9', 'X-Cache': mark},
            gateway.chat_request()[2])

    before = scene.ng.budget('tenant:t9')['spent']
    seen = len(scene.provider.requests)
    logged = len(scene.ng.access_log())
    first = ask('two')
    scene.ng.wait_access_log(logged + 1)     # it is in the cache by now
    second = ask('two')
    assert first.body == second.body
    assert len(scene.provider.requests) == seen + 1
    assert second.header('x-cycles-decision') == 'ALLOW'
    after = scene.ng.budget('tenant:t9')
    assert after['spent'] - before == cost()
    assert after['reserved'] == 0


# amounts that are given need no usage


@pytest.mark.parametrize('body', [b'anything', b'', b'{"usage":{}}',
                                  b'{"usage":{"prompt_tokens":99}}'])
def test_actual_estimate(scene, body):
    x = scene.chat('estimate', max_tokens=10, reply=json_reply(body))
    committed(x, estimate(output=10), 'estimated')


def test_actual_of_a_header(scene):
    x = scene.chat('value', max_tokens=10, reply=json_reply(
        b'', **{'X-Cost': '77'}))
    committed(x, 77, 'reported')

    x = scene.chat('value', reply=error(500, headers={'X-Cost': '77'}))
    released(x)


def test_nothing_is_left(scene):
    for scope, balance in scene.ng.all_budgets().items():
        assert balance['reserved'] == 0, scope
        assert balance['allocated'] == ALLOCATED
