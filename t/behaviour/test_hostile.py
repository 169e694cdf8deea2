# Copyright (C) nginx-cycles authors

"""Requests and replies that nobody sends in good faith: the worker's memory
stays small, what happens is clear, and what is charged is exact."""

import contextlib
import gzip
import json
import os

import pytest

import gateway
from gateway import Reply
from meter import (ALLOCATED, Scene, ceil, cost, estimate, input_tokens,
                   price, text_tokens)


MB = 1 << 20
BIG = 64 * MB

# of one request, whatever its size; buffers of nginx are 64K of it

BOUND = 3 * MB

LOCATIONS = {
    'plain': '',
    'unbuffered': 'proxy_buffering off;',
    'cutoff': 'cycles_stream_cutoff on; cycles_estimate 1000000000;',
    'anthropic': 'cycles_provider anthropic; cycles_unknown_price '
                 'gpt-4o-mini;',
    'responses': 'cycles_provider openai-responses;',
    'gemini': 'cycles_provider gemini; cycles_unknown_price gpt-4o-mini;',
    'bedrock': 'cycles_provider bedrock-converse; cycles_unknown_price '
               'gpt-4o-mini;',
}

HTTP = '''
    client_max_body_size 100m;
    proxy_max_temp_file_size 0;
    proxy_buffers 4 16k;
    proxy_buffer_size 16k;
'''


@pytest.fixture(scope='module')
def scene():
    scene = Scene(LOCATIONS, http=HTTP, workers=1, entries=[
        ('tenant:caps', ALLOCATED, {'caps': {
            'above_percent': 0, 'tool_denylist': ['f1'],
            'max_tokens': 100}})])

    # the first request brings pages of libraries into memory

    scene.send('plain', HEAD + MESSAGE + b']}', reply=answer())
    yield scene
    scene.finish()


@contextlib.contextmanager
def bounded(scene, bound=BOUND):
    """What the worker has at most is no more than that over what it had, but
    for pages of libraries, which the system brings in as it likes."""

    worker, = scene.ng.workers()

    def kb(name):
        with open('/proc/%d/status' % worker) as file:
            return next(int(line.split()[1]) for line in file
                        if line.startswith(name + ':'))

    with open('/proc/%d/clear_refs' % worker, 'w') as file:
        file.write('5')

    before, files = kb('VmRSS'), kb('RssFile')
    yield
    grown = (kb('VmHWM') - before - (kb('RssFile') - files)) * 1024
    print('%s: %d KB' % (os.environ.get('PYTEST_CURRENT_TEST', ''),
                         grown // 1024))

    # what a sanitizer keeps of freed memory is not the gateway's

    if 'asan' not in gateway.BINARY:
        assert grown < bound


HEAD = b'{"model":"gpt-4o-mini","messages":['
MESSAGE = b'{"role":"user","content":"a"}'
USAGE = {'prompt_tokens': 10, 'completion_tokens': 5, 'total_tokens': 15}

ANSWER = json.dumps({'model': 'gpt-4o-mini', 'choices': [], 'usage': USAGE})
CHARGED = cost('gpt-4o-mini', 10, 5)


def answer(text=ANSWER, kind='application/json', step=1 << 18, **headers):
    data = text.encode() if isinstance(text, str) else text
    return Reply(200, dict({'Content-Type': kind}, **headers),
                 [data[i:i + step] for i in range(0, len(data), step)],
                 'chunked')


def events(*values):
    return b''.join(b'data: %s\n\n' % (
        value if isinstance(value, bytes) else json.dumps(value).encode())
        for value in values) + b'data: [DONE]\n\n'


def stream(data, step=1 << 18):
    return answer(data, 'text/event-stream', step)


def reserved(weight, messages):
    """What is reserved for so many messages that weigh so much."""

    tokens = -(-weight // 256) + 4 * messages + 3
    return estimate(tokens=tokens)


# requests


def test_large_request(scene):
    """64 MB of text; a member is put into it."""

    text = b'a' * BIG
    body = (HEAD + b'{"role":"user","content":"' + text
            + b'"}],"stream":true}')
    with bounded(scene):
        x = scene.send('plain', body, reply=stream(events(
            {'choices': [], 'usage': USAGE})))

    assert x.r.status == 200
    assert x.sent.body == b'{"stream_options":{"include_usage":true},' \
        + body[1:]
    assert x.number('estimate') == reserved(235 + 24 * (BIG - 1), 1)
    assert x.spent == CHARGED


def test_large_request_in_chunks(scene):
    text = b'1234567890' * (BIG // 20)
    body = HEAD + b'{"role":"user","content":"' + text + b'"}]}'
    with bounded(scene):
        x = scene.send('plain', None, reply=answer(), chunked=[
            body[i:i + 65536] for i in range(0, len(body), 65536)])

    assert x.sent.body == body
    assert x.number('estimate') == reserved(394 + 8 * (len(text) - 1), 1)
    assert x.spent == CHARGED


def test_many_messages(scene):
    number = 16 * MB // len(MESSAGE)
    body = HEAD + b','.join([MESSAGE] * number) + b']}'
    with bounded(scene):
        x = scene.send('plain', body, reply=answer())

    assert x.number('estimate') == reserved(235 * number, number)
    assert x.spent == CHARGED


def test_many_tools(scene):
    """Caps would take one of them away, and it is among too many."""

    tool = b'{"type":"function","function":{"name":"f%d"}}'
    body = (HEAD + MESSAGE + b'],"tools":['
            + b','.join(tool % (number % 9) for number in range(300000))
            + b']}')
    with bounded(scene):
        x = scene.send('plain', body, tenant='caps')

    assert x.r.status == 429
    assert x.log['cycles_reason'] == 'CAPS_NOT_APPLICABLE'
    assert x.spent == 0 and x.reserved == 0
    assert x.sent is None


DEEP = 10000


@pytest.mark.parametrize('text', [
    DEEP * b'[' + DEEP * b']', DEEP * b'{"a":' + b'1' + DEEP * b'}',
    DEEP * b'[{"usage":' + b'1' + DEEP * b'}]', BIG // 16 * b'['],
    ids=['arrays', 'objects', 'both', 'open'])
def test_deep_request(scene, text):
    body = HEAD + MESSAGE + b'],"metadata":' + text + b'}'
    with bounded(scene):
        x = scene.send('plain', body)

    assert x.r.status == 400
    assert x.r.json['error']['message'] == 'the body is nested too deeply'
    assert x.r.json['error']['type'] == 'invalid_request_error'
    assert x.log['cycles_reason'] == 'INVALID_REQUEST'
    assert x.sent is None


def test_keys_that_are_there_twice(scene):
    for body, name in (
            (HEAD + MESSAGE + b'],"max_tokens":1,"max_tokens":9}',
             'max_tokens'),
            (HEAD + MESSAGE + b'],"max_tokens":1,"m\\u0061x_tokens":9}',
             'max_tokens'),
            (HEAD + MESSAGE + b'],"\\u006dodel":"gpt-4.1"}', 'model'),
            (HEAD + MESSAGE + b'],"n":1,"stream":true,"\\u006e":9}', 'n')):
        x = scene.send('plain', body)
        assert x.r.status == 400
        assert x.r.json['error']['message'] == \
            'member "%s" is there twice' % name
        assert x.sent is None


def test_keys_with_escapes(scene):
    """They are the members that they mean, to the gateway as well."""

    body = (b'{"mod\\u0065l":"gpt-4o-mini","\\u006d\\u0065ssages":['
            b'{"r\\u006fle":"user","cont\\u0065nt":"Say \\u0068ello."}],'
            b'"m\\u0061x_tokens":7}')
    x = scene.send('plain', body, reply=answer())
    assert x.sent.body == body
    assert x.log['cycles_model'] == 'gpt-4o-mini'
    assert x.number('estimate') == estimate(output=7)
    assert x.spent == CHARGED


def test_text_that_is_no_utf8(scene):
    body = (HEAD + b'{"role":"user","content":"a\xff\xfe\xc3\x28\xed\xa0\x80'
            b'\xf5\x80"}]}')
    x = scene.send('plain', body)
    assert x.r.status == 400
    assert 'UTF-8' in x.r.json['error']['message']
    assert x.sent is None


# replies


def decoys():
    fake = {'prompt_tokens': 9 ** 9, 'completion_tokens': 9 ** 9,
            'total_tokens': 2 * 9 ** 9}
    text = json.dumps({'usage': fake})
    call = {'id': 'c', 'type': 'function', 'function': {
        'name': 'usage', 'arguments': text}}
    message = {'role': 'assistant', 'content': text + '\n\ndata: [DONE]\n\n',
               'tool_calls': [call], 'usage': fake,
               'extra': {'usage': fake, 'choices': [{'usage': fake}]}}
    return fake, text, message


def test_usage_in_what_the_model_says(scene):
    fake, text, message = decoys()
    x = scene.send('plain', HEAD + MESSAGE + b']}', reply=answer(json.dumps({
        'metadata': {'usage': fake}, 'usages': fake, 'Usage': fake,
        'choices': [{'index': 0, 'message': message, 'usage': fake,
                     'finish_reason': 'stop'}],
        'usage': USAGE, 'after': [{'usage': fake}]}), step=11))
    assert x.log['cycles_usage_source'] == 'reported'
    assert x.spent == CHARGED


def test_usage_in_what_the_model_streams(scene):
    fake, text, message = decoys()
    deltas = [{'choices': [{'index': 0, 'delta': message, 'usage': fake}]},
              {'choices': [{'index': 0, 'delta': {'content': text}}]},
              {'choices': [], 'usage': USAGE}]
    data = b': {"usage":{"prompt_tokens":1}}\n\nid: {"usage":{}}\n' \
        + events(*deltas)
    for step in 1 << 18, 1:
        x = scene.send('plain', HEAD + MESSAGE + b'],"stream":true}',
                       reply=stream(data, step))
        assert x.log['cycles_usage_source'] == 'reported'
        assert x.spent == CHARGED


def test_usage_in_a_tool_of_anthropic(scene):
    fake = {'input_tokens': 9 ** 9, 'output_tokens': 9 ** 9}
    reply = {'type': 'message', 'model': 'm', 'content': [
        {'type': 'tool_use', 'name': 'usage', 'input': {'usage': fake}},
        {'type': 'text', 'text': json.dumps({'usage': fake})}],
        'usage': {'input_tokens': 10, 'output_tokens': 5}}
    x = scene.send('anthropic', json.dumps({
        'model': 'm', 'max_tokens': 9, 'messages': [
            {'role': 'user', 'content': 'Hello.'}]}).encode(),
        path='/v1/messages', reply=answer(json.dumps(reply), step=3))
    assert x.spent == CHARGED


@pytest.mark.parametrize('key', ['us\\u0061ge', '\\u0075\\u0073age'])
def test_usage_with_escapes(scene, key):
    text = ANSWER.replace('"usage"', '"%s"' % key)
    text = text.replace('prompt_tokens', 'pr\\u006fmpt_tokens')
    x = scene.send('plain', HEAD + MESSAGE + b']}',
                   reply=answer(text, step=1))
    assert x.log['cycles_usage_source'] == 'reported'
    assert x.spent == CHARGED


def test_usage_that_is_there_twice(scene):
    """The last one counts, field by field, as to any other reader."""

    text = ANSWER[:-1] + ',"usage":{"prompt_tokens":20,"prompt_tokens":30,' \
        '"completion_tokens":7,"total_tokens":37}}'
    x = scene.send('plain', HEAD + MESSAGE + b']}', reply=answer(text))
    assert x.spent == cost('gpt-4o-mini', 30, 7)


def test_reply_that_is_no_utf8(scene):
    text = json.dumps({'model': 'gpt-4o-mini', 'choices': [{
        'index': 0, 'message': {'content': 'TEXT'}}],
        'usage': USAGE}).encode()
    text = text.replace(b'TEXT', b'a\xff\xfe\xc3(\xed\xa0\x80\xf5\x80')
    for step in 1 << 18, 1:
        x = scene.send('plain', HEAD + MESSAGE + b']}',
                       reply=answer(text, step=step))
        assert x.r.body == text
        assert x.spent == CHARGED
        assert x.log['cycles_usage_source'] == 'reported'


def test_numbers_that_are_none(scene):
    """What no reply can have used is not what is charged."""

    for count in ('-5', '1e400', '99999999999999999999', '5.5', '"5"',
                  'true', '{"a":5}', '[5]', 'null'):
        text = ANSWER.replace('"completion_tokens": 5',
                              '"completion_tokens": ' + count)
        assert text != ANSWER
        x = scene.send('plain', HEAD + MESSAGE + b']}', reply=answer(text))
        assert 0 < x.spent <= x.number('estimate'), count


@pytest.mark.parametrize('location', ['plain', 'unbuffered'])
def test_large_reply(scene, location):
    text = json.dumps({'model': 'gpt-4o-mini', 'choices': [{
        'index': 0, 'message': {'content': 'TEXT'}}], 'usage': USAGE})
    text = text.replace('TEXT', 'word ' * (BIG // 5)).encode()
    with bounded(scene):
        x = scene.send(location, HEAD + MESSAGE + b']}', reply=answer(text))

    assert x.r.body == text
    assert x.log['cycles_usage_source'] == 'reported'
    assert x.spent == CHARGED


@pytest.mark.parametrize('location', ['plain', 'unbuffered', 'cutoff'])
def test_line_without_end(scene, location):
    """As long as an SSE line is, it is read as it comes, and so sent."""

    line = (b'data: {"choices":[{"index":0,"delta":{"content":"'
            + b'word ' * (BIG // 5) + b'"}}]}\n\n')
    data = line + events({'choices': [], 'usage': USAGE})
    with bounded(scene):
        x = scene.send(location, HEAD + MESSAGE + b'],"stream":true}',
                       reply=stream(data))

    assert x.r.complete and x.r.body == line + b'data: [DONE]\n\n'
    assert x.log['cycles_usage_source'] == 'reported'
    assert x.spent == CHARGED


def test_line_that_does_not_end(scene):
    """The provider stops in the middle of it: what came is charged."""

    words = 'word ' * 100000
    data = (b'data: {"choices":[{"index":0,"delta":{"content":"'
            + words.encode())
    with bounded(scene):
        x = scene.send('plain', HEAD + MESSAGE + b'],"stream":true}',
                       reply=Reply(200, {
                           'Content-Type': 'text/event-stream'},
                           [data, gateway.CLOSE], 'chunked'))

    assert not x.r.complete
    assert x.log['cycles_usage_source'] == 'estimated'
    assert x.spent == ceil(
        10 ** 8 * (input_tokens('a') * price('1.5e-07')
                   + text_tokens(words) * price('6e-07')))


@pytest.mark.parametrize('name, value', [
    ('comment', b': ' + b'x' * 1000 + b'\n'),
    ('blank', b'\n'), ('cr', b'\r'), ('field', b'x' * 1000 + b': 1\n'),
    ('empty', b'data:\n\n'), ('id', b'id: ' + b'9' * 1000 + b'\n')])
def test_lines_that_say_nothing(scene, name, value):
    data = (value * (4 * MB // len(value)) + b'\n\n'
            + events({'choices': [], 'usage': USAGE}))
    with bounded(scene):
        x = scene.send('plain', HEAD + MESSAGE + b'],"stream":true}',
                       reply=stream(data))

    assert x.spent == CHARGED


def test_deep_reply(scene):
    """It can't be read from there on: a usage behind it is not known, and what
    was reserved is charged, loudly."""

    for nest in (DEEP * '[' + DEEP * ']',
                 DEEP * '{"usage":' + '1' + DEEP * '}'):
        text = ANSWER[:-1] + ',"x":' + nest + '}'
        with bounded(scene):
            x = scene.send('plain', HEAD + MESSAGE + b'],"max_tokens":50}',
                           reply=answer(text))
        assert x.r.body == text.encode()
        assert x.spent == CHARGED

    text = '{"x":' + DEEP * '[' + DEEP * ']' + ',' + ANSWER[1:]
    x = scene.send('plain', HEAD + MESSAGE + b'],"max_tokens":50}',
                   reply=answer(text))
    assert x.log['cycles_usage_source'] == 'estimated'
    assert x.spent == x.number('estimate')
    assert 'reply without usage, reservation "%s" is settled by estimate' % \
        x.log['cycles_reservation_id'] in scene.ng.error_log()


def one_byte_chunks(data, step):
    raw = b''.join(b'1\r\n%c\r\n' % byte for byte in data) + b'0\r\n\r\n'
    return [raw[i:i + step] for i in range(0, len(raw), step)]


@pytest.mark.parametrize('location', ['plain', 'unbuffered', 'cutoff'])
def test_one_byte_at_a_time(scene, location):
    """A chunk is a byte, and 6000 of them come one by one."""

    data = events(*[{'choices': [{'index': 0, 'delta': {
        'content': 'word '}}]}] * 2000, {'choices': [], 'usage': USAGE})
    small = events(*[{'choices': [{'index': 0, 'delta': {
        'content': 'word '}}]}] * 8, {'choices': [], 'usage': USAGE})

    for text, step in (data, 16384), (small, 6):
        with bounded(scene):
            x = scene.send(location, HEAD + MESSAGE + b'],"stream":true}',
                           reply=Reply(200, {
                               'Content-Type': 'text/event-stream',
                               'Transfer-Encoding': 'chunked'},
                               one_byte_chunks(text, step), 'close'))
        assert x.r.complete and x.r.body.count(b'word ') in (2000, 8)
        assert b'usage' not in x.r.body
        assert x.spent == CHARGED


def test_request_one_byte_at_a_time(scene):
    body = HEAD + b','.join([MESSAGE] * 1000) + b']}'
    with bounded(scene):
        x = scene.send('plain', None, reply=answer(), chunked=[
            bytes([byte]) for byte in body])
    assert x.sent.body == body
    assert x.spent == CHARGED


def test_reply_that_swells(scene):
    """64 MB of text in 64 KB of gzip; the client gets those."""

    text = json.dumps({'model': 'gpt-4o-mini', 'choices': [{
        'index': 0, 'message': {'content': 'TEXT'}}], 'usage': USAGE})
    data = gzip.compress(text.replace('TEXT', 'a' * BIG).encode(), 6)
    assert len(data) < 128 * 1024
    with bounded(scene):
        x = scene.send('plain', HEAD + MESSAGE + b']}', reply=answer(
            data, **{'Content-Encoding': 'gzip'}))
    assert x.r.body == data
    assert x.spent == CHARGED


def test_message_that_is_too_long(scene):
    """Of Bedrock's frames: its length is a lie, so nothing is read."""

    for data in (b'\xff' * 100000, b'\x01\x80\x00\x00' + bytes(100000),
                 bytes(100000), b'\x00\x00\x00\x10' * 25000):
        with bounded(scene):
            x = scene.send(
                'bedrock', json.dumps({'messages': [{
                    'role': 'user', 'content': [{'text': 'Hello.'}]}]}
                ).encode(), path='/model/m/converse-stream', reply=answer(
                    data, 'application/vnd.amazon.eventstream'))
        assert x.r.body == data
        assert x.log['cycles_usage_source'] == 'estimated'
        assert x.spent == x.number('estimate')


def test_array_without_end(scene):
    """Of Gemini's: element by element, whatever they are."""

    usage = {'promptTokenCount': 10, 'candidatesTokenCount': 5,
             'totalTokenCount': 15}
    item = json.dumps({'candidates': [{'content': {'parts': [
        {'text': 'word '}]}}], 'usageMetadata': usage})
    data = '[' + ',\r\n'.join([item] * (8 * MB // len(item))) + ']'
    with bounded(scene):
        x = scene.send('gemini', json.dumps({'contents': [{
            'parts': [{'text': 'Hello.'}]}]}).encode(),
            path='/v1beta/models/m:streamGenerateContent',
            reply=answer(data))
    assert x.r.body == data.encode()
    assert x.spent == CHARGED
