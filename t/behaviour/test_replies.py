# Copyright (C) nginx-cycles authors

"""The reply: what is read of it, and what the client gets of it, byte for
byte and as soon as it is there."""

import gzip
import json
import os

import pytest

import gateway
from gateway import (CLOSE, Gate, Reply, chat, chat_request, chat_stream,
                     sse_events)
from meter import PRICES, Scene, cost


BUFFERING = {'on': 'buffered', 'off': 'unbuffered'}

# the smallest buffers: a reply has to be read in many pieces

TINY = 'proxy_buffer_size 256; proxy_buffers 8 256; proxy_busy_buffers_size '\
       '512;'

LOCATIONS = {
    'buffered': '',
    'unbuffered': 'proxy_buffering off;',
    'tiny_buffered': TINY,
    'tiny_unbuffered': TINY + 'proxy_buffering off;',
    'gzip': 'gzip on; gzip_types application/json text/event-stream; '
            'gzip_min_length 1; gzip_proxied any;',
    'sub': "sub_filter word WORD; sub_filter_once off; "
           "sub_filter_types text/event-stream application/json;",
    'file': 'proxy_buffers 2 4k; proxy_busy_buffers_size 4k; '
            'proxy_buffer_size 4k;',
}


@pytest.fixture(scope='module')
def scene():
    scene = Scene(LOCATIONS)
    yield scene
    scene.finish()


def event(data, eol='\n'):
    if not isinstance(data, str):
        data = json.dumps(data, separators=(',', ':'))
    return ('data: ' + data + eol + eol).encode()


def piece(text='hi'):
    return {'choices': [{'index': 0, 'delta': {'content': text}}]}


def usage_chunk(prompt=10, completion=5, **more):
    return dict({'choices': [], 'usage': gateway.usage(prompt, completion)},
                **more)


def sse(steps, framing='chunked', headers=None, length=None):
    fields = {'Content-Type': 'text/event-stream; charset=utf-8'}
    fields.update(headers or {})
    return Reply(200, fields, steps, framing, length)


DONE = event('[DONE]')
SHORT = event(piece('a')) + event(piece('b'))
EXTRA = event(usage_chunk())


def stream(scene, location, reply, h2=False, options=None, **kw):
    """A stream whose client said nothing of usage, or options."""

    members = {} if options is None else {'stream_options': options}
    return scene.chat(location, stream=True, reply=reply, h2=h2, **members,
                      **kw)


# plain replies


@pytest.mark.parametrize('h2', [False, True], ids=['http1', 'http2'])
@pytest.mark.parametrize('framing', ['length', 'chunked', 'close'])
@pytest.mark.parametrize('location', ['buffered', 'unbuffered', 'file',
                                      'tiny_buffered', 'tiny_unbuffered'])
def test_plain(scene, location, framing, h2):
    for size, parts in (0, 1), (10, 7), (30000, 1), (30000, 50):
        seen = []

        def reply(rq):
            made = chat(content='w ' * size, prompt=25, completion=7,
                        framing=framing, parts=parts)(rq)
            seen.append(b''.join(made.steps))
            return made

        x = scene.chat(location, reply=reply, h2=h2)
        assert x.r.status == 200 and x.r.complete
        assert x.r.body == seen[0]
        assert x.spent == 795
        assert x.log['cycles_usage_source'] == 'reported'
        if framing == 'length':
            assert x.r.header('content-length') == str(len(seen[0]))


def test_usage_anywhere_in_the_body(scene):
    for body in (
            b'{"usage":{"prompt_tokens":25,"completion_tokens":7},"id":"x"}',
            b' \n{ "us\\u0061ge" : { "completion_tokens" : 7 , '
            b'"prompt_tokens" : 25 } } \n',
            b'{"choices":[{"message":{"content":"\\"usage\\":'
            b'{\\"prompt_tokens\\":9}","usage":{"prompt_tokens":9}}}],'
            b'"usage":{"prompt_tokens":25,"completion_tokens":7}}',
            b'\xef\xbb\xbf{"usage":{"prompt_tokens":25,'
            b'"completion_tokens":7}}'):
        x = scene.chat('buffered', reply=Reply(200, {}, [body]))
        assert x.r.body == body
        assert x.spent == 795, body


# streams: bytes


def lines(eol='\n', before=b'', done=True, final=True):
    """(what the provider sends, what the client is to get)."""

    head = before + event(piece('a'), eol) + event(piece('b'), eol)
    tail = event('[DONE]', eol) if done else b''
    extra = event(usage_chunk(), eol)
    if not final:
        if done:
            tail = tail[:-len(eol)]
        else:
            extra = extra[:-len(eol)]
    return head + extra + tail, head + tail


SHAPES = {
    'LF': lines(),
    'CRLF': lines('\r\n'),
    'CR': lines('\r'),
    'comments': lines(before=b': ping\n\n:\n\n: pong\n'),
    'other fields': lines(before=b'id: 1\nretry: 100\nevent: message\n'),
    'no [DONE]': lines(done=False),
    'no final blank line': lines(final=False),
    'no [DONE] and no final blank line': lines(done=False, final=False),
    'a comment inside the event': (
        SHORT + b'data: {"choices":[],\n: comment\ndata: "usage":'
        b'{"prompt_tokens":10,"completion_tokens":5}}\n\n' + DONE,
        SHORT + DONE),
    'data on many lines': (
        SHORT + b'data: {"choices":\ndata: [],\ndata:"usage":\ndata: '
        b'{"prompt_tokens":10,"completion_tokens":5}\ndata: }\n\n' + DONE,
        SHORT + DONE),
    'no space behind the colon': (
        SHORT + EXTRA.replace(b'data: ', b'data:') + DONE, SHORT + DONE),
    'usage null in every event': (
        event(dict(piece('a'), usage=None))
        + event(dict(piece('b'), usage=None)) + EXTRA + DONE,
        event(dict(piece('a'), usage=None))
        + event(dict(piece('b'), usage=None)) + DONE),
    'choices empty, no usage': (
        event({'choices': [], 'prompt_filter_results': []}) + SHORT + EXTRA
        + DONE,
        event({'choices': [], 'prompt_filter_results': []}) + SHORT + DONE),
    'usage on the last piece stays': (
        event(piece('a')) + event(dict(piece('b'), usage=gateway.usage()))
        + DONE,
        event(piece('a')) + event(dict(piece('b'), usage=gateway.usage()))
        + DONE),
    'a decoy in the text': (
        event(piece('{"choices":[],"usage":{"prompt_tokens":999}}'))
        + event(piece('data: [DONE]\n\n')) + EXTRA + DONE,
        event(piece('{"choices":[],"usage":{"prompt_tokens":999}}'))
        + event(piece('data: [DONE]\n\n')) + DONE),
    'only the extra chunk': (EXTRA, b''),
    'the extra chunk first': (EXTRA + SHORT + DONE, SHORT + DONE),
}


@pytest.mark.parametrize('h2', [False, True], ids=['http1', 'http2'])
@pytest.mark.parametrize('location', BUFFERING.values())
@pytest.mark.parametrize('shape', SHAPES)
def test_shapes(scene, location, shape, h2):
    sent, wanted = SHAPES[shape]

    for framing in 'chunked', 'close', 'length':
        x = stream(scene, location, sse([sent], framing), h2)
        assert x.r.complete
        assert x.r.body == wanted
        assert x.r.header('content-length') is None
        assert x.spent == cost()
        assert x.log['cycles_usage_source'] == 'reported'


@pytest.mark.parametrize('location', BUFFERING.values())
@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('options', [{'include_usage': True},
                                     {'include_usage': False}],
                         ids=['true', 'false'])
def test_client_that_chose_gets_all(scene, location, shape, options):
    """Whatever the provider makes of it."""

    sent = SHAPES[shape][0]
    for framing in 'chunked', 'length':
        x = stream(scene, location, sse([sent], framing), options=options)
        assert x.r.complete
        assert x.r.body == sent
        if framing == 'length':
            assert x.r.header('content-length') == str(len(sent))
        assert x.spent == cost()


@pytest.mark.parametrize('location', BUFFERING.values())
@pytest.mark.parametrize('shape', SHAPES)
def test_one_byte_at_a_time(scene, location, shape):
    sent, wanted = SHAPES[shape]
    steps = [sent[i:i + 1] for i in range(len(sent))]

    for framing in 'chunked', 'close':
        x = stream(scene, location, sse(steps, framing))
        assert x.r.body == wanted
        assert x.spent == cost()


@pytest.mark.parametrize('location', BUFFERING.values())
@pytest.mark.parametrize('shape', ['LF', 'CRLF', 'CR', 'no final blank line',
                                   'data on many lines',
                                   'usage on the last piece stays'])
def test_split_at_every_byte(scene, location, shape):
    """Two writes, cut anywhere; on one connection each."""

    sent, wanted = SHAPES[shape]
    tenant = scene.tenant()
    before = scene.ng.budget('tenant:' + tenant)['spent']
    body = chat_request(stream=True)[2]
    path = '/%s/v1/chat/completions' % location
    cuts = range(1, len(sent))

    with scene.ng.connect() as conn:
        for cut in cuts:
            scene.provider.script(sse([sent[:cut], sent[cut:]]))
            conn.send_request('POST', path, {'X-Tenant': tenant}, body)
            r = conn.read_response()
            assert r.complete
            assert r.body == wanted, cut

    after = scene.ng.budget('tenant:' + tenant)
    assert after['spent'] - before == len(cuts) * cost()
    assert after['reserved'] == 0


@pytest.mark.parametrize('location', ['tiny_buffered', 'tiny_unbuffered'])
@pytest.mark.parametrize('shape', ['LF', 'CRLF', 'comments',
                                   'no final blank line'])
def test_buffers_that_end_at_every_byte(scene, location, shape):
    """A header of growing length moves the ends of nginx's small buffers
    over the body, so that every byte is once the last one of a read."""

    sent, wanted = SHAPES[shape]
    tenant = scene.tenant()
    before = scene.ng.budget('tenant:' + tenant)['spent']
    body = chat_request(stream=True)[2]
    path = '/%s/v1/chat/completions' % location
    count = 0

    with scene.ng.connect() as conn:
        for pad in range(100):
            reply = sse([sent], 'length' if pad % 2 else 'chunked',
                        {'P': pad * 'p'})
            scene.provider.script(reply)
            conn.send_request('POST', path, {'X-Tenant': tenant}, body)
            r = conn.read_response()
            assert r.body == wanted, pad
            count += 1

    after = scene.ng.budget('tenant:' + tenant)
    assert after['spent'] - before == count * cost()


@pytest.mark.parametrize('location', ['buffered', 'unbuffered', 'file',
                                      'tiny_buffered', 'tiny_unbuffered'])
@pytest.mark.parametrize('size', [4000, 8150, 8192, 8193, 20000, 100000])
def test_long_events(scene, location, size):
    """Longer than what is held back, then a short one to be hidden."""

    text = 'w' * size
    head = (event(piece('a')) + event(piece(text)) + event(piece('b'))
            + event(piece(text)))
    sent = head + EXTRA + DONE

    for step in 997, 8192, len(sent):
        steps = [sent[i:i + step] for i in range(0, len(sent), step)]
        for framing in 'chunked', 'length':
            x = stream(scene, location, sse(steps, framing))
            assert x.r.body == head + DONE
            assert x.spent == cost()


@pytest.mark.parametrize('location', BUFFERING.values())
def test_long_extra_chunk(scene, location):
    """One of nearly 8 KB is hidden as well."""

    extra = event(usage_chunk(padding='p' * 7900))
    for step in 500, 100000:
        sent = SHORT + extra + DONE
        x = stream(scene, location, sse(
            [sent[i:i + step] for i in range(0, len(sent), step)]))
        assert x.r.body == SHORT + DONE
        assert x.spent == cost()


@pytest.mark.parametrize('location', BUFFERING.values())
def test_many_events(scene, location):
    x = stream(scene, location, chat_stream(3000, prompt=10))
    events = sse_events(x.r.body)
    assert len(events) == 3001
    assert events[-1] == (None, '[DONE]')
    assert all(json.loads(data)['choices'] for _, data in events[:-1])
    assert x.spent == cost(completion=3000)


@pytest.mark.parametrize('location', BUFFERING.values())
def test_no_extra_chunk_comes(scene, location):
    """A provider that does not know the option."""

    x = stream(scene, location, sse([SHORT + DONE]))
    assert x.r.body == SHORT + DONE
    assert x.log['cycles_usage_source'] == 'estimated'
    assert x.spent > 0


@pytest.mark.parametrize('location', BUFFERING.values())
def test_extra_chunk_in_the_same_write_as_the_end(scene, location):
    gate = Gate()
    scene.provider.script(sse([SHORT, gate, EXTRA + DONE]))
    x, path = scene.begin(location)

    with scene.ng.connect() as conn:
        conn.send_chat(path=path, tenant=x.tenant, stream=True)
        head = conn.read_head()
        gate.wait_reached()
        gate.open()
        r = conn.read_response(head=head)

    assert r.body == SHORT + DONE
    assert x.spent == cost()


@pytest.mark.parametrize('location', BUFFERING.values())
def test_reply_is_no_stream(scene, location):
    """A stream was asked for, an object comes: it stays as it is."""

    body = json.dumps(usage_chunk(25, 7)).encode()
    x = stream(scene, location, Reply(200, {}, [body]))
    assert x.r.body == body
    assert x.r.header('content-length') == str(len(body))
    assert x.spent == 795


@pytest.mark.parametrize('location', BUFFERING.values())
def test_error_of_the_provider_stays_as_it_is(scene, location):
    body = b'{"error":{"message":"no","type":"invalid_request_error"}}'
    x = stream(scene, location, Reply(400, {'X-Request-Id': 'r1'}, [body]))
    assert x.r.status == 400
    assert x.r.body == body
    assert x.r.header('x-request-id') == 'r1'
    assert x.r.header('content-length') == str(len(body))
    assert x.spent == 0
    assert x.log['cycles_settlement'] == 'release'


def test_headers_of_the_provider_are_kept(scene):
    headers = {'X-Request-Id': 'req_1', 'Openai-Version': '2020-10-01',
               'X-Ratelimit-Remaining-Tokens': '149'}
    for members in {}, {'stream': True}:
        x = scene.chat('buffered', reply=(
            chat_stream if members else chat)(headers=headers), **members)
        for name, value in headers.items():
            assert x.r.header(name) == value


def test_no_accept_ranges_or_length_of_what_is_shortened(scene):
    x = stream(scene, 'buffered', sse(
        [SHORT + EXTRA + DONE], 'length',
        {'Accept-Ranges': 'bytes', 'ETag': '"abc"'}))
    assert x.r.header('accept-ranges') is None
    assert x.r.header('content-length') is None
    assert x.r.header('etag') in (None, 'W/"abc"')
    assert x.r.body == SHORT + DONE


# samples of OpenAI's own; those of all providers are in test_samples.py


def samples():
    with open(os.path.join(gateway.ROOT, 't/samples/MANIFEST.json')) as file:
        for entry in json.load(file)['replies']:
            if entry['provider'] == 'openai' and entry['output'] \
                    and entry['path'] == '/v1/chat/completions' \
                    and not entry['file'].endswith('.gz'):
                yield pytest.param(entry, id=entry['file'])


@pytest.mark.parametrize('location', BUFFERING.values())
@pytest.mark.parametrize('entry', list(samples()))
def test_samples(scene, location, entry):
    with open(os.path.join(gateway.ROOT, 't/samples', entry['file']),
              'rb') as file:
        data = file.read()

    kind = ('text/event-stream' if entry['stream'] else 'application/json')
    for step in len(data), 100, 1:
        steps = [data[i:i + step] for i in range(0, len(data), step)]
        x = scene.chat(location, model='gpt-5-mini', stream=entry['stream'],
                       stream_options={'include_usage': True},
                       reply=Reply(200, {'Content-Type': kind}, steps,
                                   'chunked'))
        assert x.r.body == data
        assert x.number('tokens_input') == entry['input']
        assert x.number('tokens_output') == entry['output']
        assert x.number('tokens_cached') == entry['cached_input']
        assert x.number('tokens_reasoning') == entry['reasoning']
        if entry['model']:
            assert x.log['cycles_model'] == entry['model']
        if not entry['cache_write']:
            assert x.spent == cost('gpt-5-mini', entry['input'],
                                   entry['output'], entry['cached_input'])


# no delay


@pytest.mark.parametrize('hide', [True, False], ids=['hide', 'as it is'])
@pytest.mark.parametrize('eol', ['\n', '\r\n'], ids=['LF', 'CRLF'])
@pytest.mark.parametrize('location, framing', [
    ('buffered', 'chunked'), ('unbuffered', 'chunked'),

    # nginx itself waits for a whole buffer of a reply that ends by closing

    ('unbuffered', 'close')])
def test_each_event_is_there_before_the_next_is_made(scene, location,
                                                     framing, eol, hide):
    gates = [Gate() for _ in range(5)]
    events = [event(piece('word %d ' % i), eol) for i in range(5)]
    steps = []
    for data, gate in zip(events, gates):
        steps += [data, gate]
    steps += [event(usage_chunk(), eol) + event('[DONE]', eol)]

    scene.provider.script(sse(steps, framing))
    x, path = scene.begin(location)

    with scene.ng.connect() as conn:
        conn.send_chat(path=path, tenant=x.tenant, stream=True,
                       **({} if hide else {'stream_options': {
                           'include_usage': True}}))
        conn.read_head()

        for data, gate in zip(events, gates):

            # with CRLF the last LF may wait for the next event

            assert conn.read_until(data[:-1])
            gate.wait_reached()
            gate.open()

        rest = conn.read_until(b'[DONE]')
        assert (b'prompt_tokens' in rest) == (not hide)
        conn.read_until(b'0\r\n\r\n')

    assert x.spent == cost()


@pytest.mark.parametrize('location', BUFFERING.values())
def test_first_part_of_an_event_waits_for_its_end_only(scene, location):
    """While usage is hidden an event goes out as soon as it is whole."""

    gate, second = Gate(), Gate()
    data = event(piece('hello'))
    scene.provider.script(sse([data[:10], gate, data[10:], second, EXTRA
                               + DONE]))
    x, path = scene.begin(location)

    with scene.ng.connect() as conn:
        conn.send_chat(path=path, tenant=x.tenant, stream=True)
        gate.wait_reached()
        gate.open()
        second.wait_reached()
        assert conn.read_until(b'hello"}}]}\n\n')
        second.open()
        assert conn.read_until(b'0\r\n\r\n')

    assert x.spent == cost()


def test_header_does_not_wait_for_the_body(scene):
    """Where nginx does not buffer."""

    gate = Gate()
    scene.provider.script(sse([gate, SHORT + EXTRA + DONE]))
    x, path = scene.begin('unbuffered')

    with scene.ng.connect() as conn:
        conn.send_chat(path=path, tenant=x.tenant, stream=True)
        head = conn.read_head()
        assert head[0] == 200
        gate.wait_reached()
        gate.open()
        assert conn.read_response(head=head).body == SHORT + DONE
    assert x.spent == cost()


def test_settled_before_the_client_has_read_it(scene):
    """The cost does not wait for a client that does not read."""

    big = [event(piece('w' * 1000))] * 2000
    scene.provider.script(sse(big + [EXTRA + DONE], 'close'))
    x, path = scene.begin('buffered')

    with scene.ng.connect() as conn:
        conn.send_chat(path=path, tenant=x.tenant, stream=True,
                       max_tokens=1000)
        gateway.wait_until(lambda: x.spent)
        assert x.spent == cost()
        assert x.reserved == 0
        r = conn.read_response()

    assert r.body == b''.join(big) + DONE


def test_slow_client_gets_every_byte(scene):
    """A reply that nginx has to keep in a file on the way."""

    big = [event(piece('%06d' % i + 'w' * 2000)) for i in range(4000)]
    scene.provider.script(sse(big + [EXTRA + DONE]))
    x, path = scene.begin('file')

    with scene.ng.connect() as conn:
        conn.send_chat(path=path, tenant=x.tenant, stream=True)
        head = conn.read_head()
        assert scene.provider.requests[-1].finished.wait(gateway.TIMEOUT)
        scene.ng.wait_error_log('buffered to a temporary file')
        r = conn.read_response(head=head)

    assert r.body == b''.join(big) + DONE
    assert x.spent == cost()


@pytest.mark.parametrize('value', ['no', 'yes'])
@pytest.mark.parametrize('location', BUFFERING.values())
def test_provider_chooses_the_buffering(scene, location, value):
    x = stream(scene, location, sse([SHORT, EXTRA, DONE], headers={
        'X-Accel-Buffering': value}))
    assert x.r.body == SHORT + DONE
    assert x.spent == cost()


@pytest.mark.parametrize('location', BUFFERING.values())
def test_http10_client(scene, location):
    """No chunks, no length of what is shortened: it ends by closing."""

    body = chat_request(stream=True)[2]
    scene.provider.script(sse([SHORT + EXTRA + DONE], 'length'))
    x, path = scene.begin(location)

    with scene.ng.connect() as conn:
        conn.send(('POST %s HTTP/1.0\r\nHost: localhost\r\n'
                   'X-Tenant: %s\r\nContent-Length: %d\r\n\r\n' % (
                       path, x.tenant, len(body))).encode() + body)
        r = conn.read_response()

    assert r.header('content-length') is None
    assert r.header('transfer-encoding') is None
    assert r.body == SHORT + DONE
    assert x.spent == cost()


@pytest.mark.parametrize('location', ['unbuffered', 'tiny_unbuffered',
                                      'tiny_buffered', 'gzip'])
@pytest.mark.parametrize('size', [100, 3000, 20000])
def test_client_that_stops_for_a_while(scene, location, size):
    """What it was not ready for comes later, in order and whole."""

    big = [event(piece('%06d' % i + 'w' * size))
           for i in range(4000000 // size)]
    scene.provider.script(sse(big + [EXTRA + DONE]))
    x, path = scene.begin(location)

    with scene.ng.connect() as conn:
        conn.send_chat(path=path, tenant=x.tenant, stream=True)
        head = conn.read_head()
        assert scene.provider.requests[-1].finished.wait(gateway.TIMEOUT)
        r = conn.read_response(head=head)

    assert r.body == b''.join(big) + DONE
    assert x.spent == cost()


# other filters


def test_gzip_for_the_client(scene):
    """nginx compresses what the provider sends plainly."""

    for members in {}, {'stream': True}:
        x = scene.chat('gzip', headers={'Accept-Encoding': 'gzip'},
                       reply=sse([SHORT + EXTRA + DONE]) if members
                       else chat(content='w ' * 1000), **members)
        assert x.sent.header('accept-encoding') == 'identity'
        assert x.r.header('content-encoding') == 'gzip'
        body = gzip.decompress(x.r.body)
        assert (body == SHORT + DONE) if members else (b'w w w' in body)
        assert x.spent == cost()


def test_sub_filter(scene):
    x = stream(scene, 'sub', chat_stream(5))
    assert b'WORD' in x.r.body and b'word' not in x.r.body
    assert b'prompt_tokens' not in x.r.body
    assert x.spent == cost()


def test_head_of_a_metered_location(scene):
    x = scene.send('buffered', method='HEAD', reply=chat())
    assert x.r.body == b''
    assert x.log['cycles_decision'] == 'BYPASS'


# truncation: the client sees that, and what passed is charged


@pytest.mark.parametrize('location', BUFFERING.values())
def test_truncated_stream(scene, location):
    x = stream(scene, location, sse([SHORT + event(piece('c'))[:20], CLOSE]))
    assert not x.r.complete
    assert x.r.body.startswith(SHORT)
    assert x.spent > 0
    assert x.reserved == 0
    assert x.log['cycles_settlement'] == 'commit'
    assert x.log['cycles_usage_source'] == 'estimated'


@pytest.mark.parametrize('location', BUFFERING.values())
def test_truncated_behind_the_usage(scene, location):
    x = stream(scene, location, sse([SHORT + EXTRA, CLOSE]))
    assert not x.r.complete
    assert x.r.body == SHORT
    assert x.spent == cost()
    assert x.log['cycles_usage_source'] == 'reported'


def test_prices_of_the_samples_are_there():
    assert 'gpt-5-mini' in PRICES
