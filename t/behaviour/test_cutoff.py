# Copyright (C) nginx-cycles authors

"""cycles_stream_cutoff: where a stream of each API ends, what the client gets
there, and what is charged; the provider does not get to write any further."""

import base64
import gzip
import json
import re
import struct
import zlib

import pytest

import gateway
from gateway import STALL, Conn, Gate, Reply, wait_until
from meter import Scene, input_tokens, text_tokens, text_weight


# 10 tokens of output are reserved, at 100 micro-cents each

BASE = '''
    cycles_authority ledger=main;
    cycles_subject tenant $http_x_tenant;
    cycles_price_table %%DIR%%/prices.json;
'''

USUAL = ('cycles on;', 'cycles_stream_cutoff on;',
         'cycles_unknown_price output;', 'cycles_estimate 1000;')


def location(text=''):
    """What is usual, unless the text says something else."""

    return text + ''.join(
        line for line in USUAL
        if not re.search(r'\b%s\b ' % line.split(' ')[0], text))


PRICES = {
    'output': {'input_cost_per_token': 0, 'output_cost_per_token': 1e-6},
    'both': {'input_cost_per_token': 5e-7, 'output_cost_per_token': 1e-6},
    'dearer': {'input_cost_per_token': 0, 'output_cost_per_token': 2e-6},
    'cache': {'input_cost_per_token': 1e-6, 'output_cost_per_token': 1e-6,
              'cache_read_input_token_cost': 1e-8},
    'free': {'input_cost_per_token': 0, 'output_cost_per_token': 0},
}

RESERVED = 1000
PRICE = 100

TEXT = ('This reply has used up what was reserved of the budget for it, and '
        'ends here.')

WORDS = ['One ', 'word ', 'behind ', 'another, ', 'and ', '12345 ', 'more ',
         'than ', 'anybody ', 'has ', 'reserved.']

MESSAGES = [{'role': 'user', 'content': 'Say hello.'}]


# the events of a stream, and of an error in it


def data(value, name=None):
    text = value if isinstance(value, str) else json.dumps(
        value, separators=(',', ':'))
    return (('event: %s\n' % name if name else '')
            + 'data: %s\n\n' % text).encode()


def line(value):
    return json.dumps(value, separators=(',', ':')).encode() + b'\n'


def frame(headers, payload):
    head = b''.join(
        struct.pack('>B%dsBH%ds' % (len(key), len(value)), len(key),
                    key.encode(), 7, len(value), value.encode())
        for key, value in headers)
    prelude = struct.pack('>II', 12 + len(head) + len(payload) + 4, len(head))
    prelude += struct.pack('>I', zlib.crc32(prelude))
    message = prelude + head + payload
    return message + struct.pack('>I', zlib.crc32(message))


def event(name, value):
    return frame([(':event-type', name), (':content-type', 'application/json'),
                  (':message-type', 'event')], json.dumps(value).encode())


OPENAI = {'message': TEXT, 'type': 'insufficient_quota', 'param': None,
          'code': 'insufficient_quota'}

GOOGLE = {'error': {
    'code': 429, 'message': TEXT, 'status': 'RESOURCE_EXHAUSTED',
    'details': [{'@type': 'type.googleapis.com/google.rpc.ErrorInfo',
                 'reason': 'insufficient_quota', 'domain': 'cycles'}]}}

ANTHROPIC = {'type': 'error', 'error': {
    'type': 'rate_limit_error', 'message': TEXT,
    'details': {'error_code': 'enforced_spend_limit_reached'}}}

EXCEPTION = frame([(':exception-type', 'throttlingException'),
                   (':content-type', 'application/json'),
                   (':message-type', 'exception')],
                  json.dumps({'message': TEXT},
                             separators=(',', ':')).encode())


class Api:
    """A dialect's stream of these words."""

    provider = 'openai'
    path = '/v1/chat/completions'
    kind = 'text/event-stream'
    head = ()
    body = {'model': 'm', 'messages': MESSAGES, 'stream': True}

    def word(self, number, text):
        return data({'model': 'm', 'choices': [
            {'index': 0, 'delta': {'content': text}}]})

    def error(self, number):
        return data({'error': OPENAI})

    def events(self, words=WORDS):
        """(text, bytes) of each event."""

        return [('', bytes) for bytes in self.head] + [
            (text, self.word(number, text))
            for number, text in enumerate(words)]


class Completions(Api):
    path = '/v1/completions'
    body = {'model': 'm', 'prompt': 'Say hello.', 'stream': True}

    def word(self, number, text):
        return data({'choices': [{'index': 0, 'text': text}]})


class Responses(Api):
    provider = 'openai-responses'
    path = '/v1/responses'
    body = {'model': 'm', 'input': 'Say hello.', 'stream': True}
    head = [data({'type': 'response.created', 'sequence_number': 0,
                  'response': {'model': 'm', 'usage': None}},
                 'response.created')]

    def word(self, number, text):
        return data({'type': 'response.output_text.delta', 'delta': text,
                     'sequence_number': number + 1},
                    'response.output_text.delta')

    def error(self, number):
        return data({'type': 'error', 'code': 'insufficient_quota',
                     'message': TEXT, 'param': None,
                     'sequence_number': number}, 'error')


class Anthropic(Api):
    provider = 'anthropic'
    path = '/v1/messages'
    body = {'model': 'm', 'messages': MESSAGES, 'max_tokens': 5,
            'stream': True}
    head = [data({'type': 'message_start', 'message': {
        'model': 'm', 'usage': {'input_tokens': 31, 'output_tokens': 1}}},
                 'message_start')]

    def word(self, number, text):
        return data({'type': 'content_block_delta', 'index': 0, 'delta': {
            'type': 'text_delta', 'text': text}}, 'content_block_delta')

    def error(self, number):
        return data(ANTHROPIC, 'error')


class Gemini(Api):
    provider = 'gemini'
    path = '/v1beta/models/m:streamGenerateContent?alt=sse'
    body = {'contents': [{'role': 'user', 'parts': [{'text': 'Hello.'}]}]}

    def value(self, text):
        return {'candidates': [{'index': 0, 'content': {
            'role': 'model', 'parts': [{'text': text}]}}]}

    def word(self, number, text):
        return data(self.value(text)).replace(b'\n', b'\r\n')

    def error(self, number):
        return data(GOOGLE)


class Vertex(Gemini):
    provider = 'vertex'
    path = ('/v1/projects/p/locations/global/publishers/google/models/m'
            ':streamGenerateContent?alt=sse')


class Array(Gemini):
    path = '/v1beta/models/m:streamGenerateContent'
    kind = 'application/json'

    def word(self, number, text):
        return ((b',\r\n' if number else b'[')
                + json.dumps(self.value(text), indent=2).encode())

    def error(self, number):
        return ((b',\n' if number else b'[')
                + json.dumps(GOOGLE, separators=(',', ':')).encode()
                + b'\n]\n')


class Interactions(Api):
    provider = 'gemini-interactions'
    path = '/v1beta/interactions'
    body = {'model': 'm', 'input': 'Hello.', 'stream': True}

    def word(self, number, text):
        return data({'event_type': 'content.delta', 'index': 0,
                     'delta': {'type': 'text', 'text': text}},
                    'content.delta')

    def error(self, number):
        return data({'event_type': 'error', 'error': {
            'code': 'insufficient_quota', 'message': TEXT}}, 'error')


class Cohere(Api):
    provider = 'cohere'
    path = '/v2/chat'
    head = [data({'type': 'message-start', 'id': 'c', 'delta': {}},
                 'message-start')]

    def word(self, number, text):
        return data({'type': 'content-delta', 'index': 0, 'delta': {
            'message': {'content': {'text': text}}}}, 'content-delta')

    def error(self, number):
        return data({'type': 'message-end', 'delta': {
            'error': TEXT, 'finish_reason': 'ERROR'}}, 'message-end')


class CohereLines(Cohere):
    path = '/v1/chat'
    kind = 'application/stream+json'
    body = {'model': 'm', 'message': 'Say hello.', 'stream': True}
    head = [line({'event_type': 'stream-start', 'is_finished': False})]

    def word(self, number, text):
        return line({'event_type': 'text-generation', 'text': text,
                     'is_finished': False})

    def error(self, number):
        return line({'is_finished': True, 'event_type': 'stream-end',
                     'finish_reason': 'ERROR', 'error': TEXT})


class Ollama(Api):
    provider = 'ollama'
    path = '/api/chat'
    kind = 'application/x-ndjson'
    body = {'model': 'm', 'messages': MESSAGES}

    def word(self, number, text):
        return line({'model': 'm', 'message': {
            'role': 'assistant', 'content': text}, 'done': False})

    def error(self, number):
        return line({'error': TEXT})


class OllamaGenerate(Ollama):
    path = '/api/generate'
    body = {'model': 'm', 'prompt': 'Say hello.'}

    def word(self, number, text):
        return line({'model': 'm', 'response': text, 'done': False})


class Converse(Api):
    provider = 'bedrock-converse'
    path = '/model/m/converse-stream'
    kind = 'application/vnd.amazon.eventstream'
    body = {'messages': [{'role': 'user', 'content': [{'text': 'Hello.'}]}]}
    head = [event('messageStart', {'role': 'assistant'})]

    def word(self, number, text):
        return event('contentBlockDelta', {
            'contentBlockIndex': 0, 'delta': {'text': text}})

    def error(self, number):
        return EXCEPTION


class Invoke(Converse):
    provider = 'bedrock-invoke'
    path = '/model/anthropic.m/invoke-with-response-stream'
    body = {'messages': MESSAGES, 'max_tokens': 9}
    head = [event('chunk', {'bytes': base64.b64encode(json.dumps(
        {'type': 'message_start', 'message': {'usage': {
            'input_tokens': 31, 'output_tokens': 1}}}).encode()).decode()})]

    def word(self, number, text):
        inner = {'type': 'content_block_delta', 'index': 0,
                 'delta': {'type': 'text_delta', 'text': text}}
        return event('chunk', {'bytes': base64.b64encode(
            json.dumps(inner).encode()).decode(), 'p': 'abcd'})


class Mistral(Api):
    provider = 'mistral'


class OpenRouter(Api):
    provider = 'openrouter'
    path = '/api/v1/chat/completions'

    def error(self, number):
        return data({
            'id': 'cycles', 'object': 'chat.completion.chunk', 'created': 0,
            'model': '', 'error': {
                'code': 429, 'message': TEXT,
                'metadata': {'error_type': 'insufficient_quota'}},
            'choices': [{'index': 0, 'delta': {'content': ''},
                         'finish_reason': 'error'}]})


class Vllm(Api):
    provider = 'vllm'

    def error(self, number):
        return data({'error': dict(OPENAI, code=429)})


class LlamaCpp(Api):
    provider = 'llamacpp'
    path = '/completion'
    body = {'prompt': 'Say hello.', 'stream': True}

    def word(self, number, text):
        return data({'index': 0, 'content': text, 'stop': False})

    def error(self, number):
        return data({'error': {'code': 429, 'message': TEXT,
                               'type': 'insufficient_quota'}})


class Groq(Api):
    provider = 'groq'
    path = '/openai/v1/chat/completions'


class Azure(Api):
    provider = 'azure'
    path = '/openai/deployments/m/chat/completions'


APIS = [Api, Completions, Responses, Anthropic, Gemini, Vertex, Array,
        Interactions, Cohere, CohereLines, Ollama, OllamaGenerate, Converse,
        Invoke, Mistral, OpenRouter, Vllm, LlamaCpp, Groq, Azure]

apis = pytest.mark.parametrize('api', [pytest.param(kind(), id=kind.__name__)
                                       for kind in APIS])

LOCATIONS = {}

for _api in APIS:
    LOCATIONS[_api.provider] = location('cycles_provider %s;'
                                        % _api.provider)
    LOCATIONS[_api.provider + '.unbuffered'] = \
        LOCATIONS[_api.provider] + 'proxy_buffering off;'

LOCATIONS.update({name: location(text) for name, text in {
    'off': 'cycles_stream_cutoff off;',
    'both': 'cycles_price m input_cost_per_token=5e-07 '
            'output_cost_per_token=1e-06;',
    'given': 'cycles_actual $arg_mark;',
    'allow': 'cycles_unknown_price allow;',
    'free': 'cycles_unknown_price free;',
    'auto': 'cycles_estimate auto; cycles_max_output_tokens 10;'
            'cycles_estimate_margin 1;',
    'dry': 'cycles dry_run;',
    'words': 'cycles_deny_format anthropic; cycles_deny_status auto;',
    'small': 'proxy_buffers 2 4k; proxy_buffer_size 4k; '
             'proxy_busy_buffers_size 4k; cycles_estimate 1000000;',
}.items()})


@pytest.fixture(scope='module')
def scene():
    scene = Scene(LOCATIONS, base=BASE,
                  files={'prices.json': json.dumps(PRICES)})
    yield scene
    scene.finish()


def expected(api, events, reserved=RESERVED, price=PRICE):
    """How many events pass, the bytes of all, and what they cost."""

    weight, before = 0, ''

    for number, (text, _) in enumerate(events):
        more = weight + text_weight(before + text) - text_weight(before)
        if text and -(-more // 256) * price > reserved:
            break
        weight, before = more, text[-1:] or before
    else:
        assert False, 'not cut'

    return (number, b''.join(event for _, event in events[:number])
            + api.error(number), -(-weight // 256) * price)


def ask(scene, api, location=None, steps=None, framing='chunked', h2=False,
        headers=None, length=None, events=None, **kw):
    """A stream that stops behind its last word, but does not end."""

    events = events or api.events()
    if steps is None:
        steps = [bytes for _, bytes in events]
    fields = {'Content-Type': api.kind}
    fields.update(headers or {})
    return scene.send(
        location or api.provider, json.dumps(api.body).encode(),
        path=api.path, h2=h2,
        reply=Reply(200, fields, list(steps) + [STALL], framing,
                    length=length), **kw)


def check(x, body, actual):
    assert x.r.status == 200
    assert x.r.complete
    assert x.r.body == body
    assert x.log['cycles_cutoff'] == '1'
    assert x.log['cycles_usage_source'] == 'estimated'
    assert x.log['cycles_settlement'] == 'commit'
    assert x.number('actual') == actual <= RESERVED
    assert x.spent == actual
    assert x.reserved == 0
    assert x.sent.peer_closed.wait(gateway.TIMEOUT)
    assert not x.sent.finished.is_set()


@apis
@pytest.mark.parametrize('way', ['', '.unbuffered'])
def test_cut(scene, api, way):
    number, body, actual = expected(api, api.events())
    assert len(api.head) + 1 < number < len(api.events()) - 1

    x = ask(scene, api, api.provider + way)
    check(x, body, actual)


@apis
def test_whole_stream_at_once(scene, api):
    """What was read together with what is too much is not sent."""

    number, body, actual = expected(api, api.events())
    steps = [b''.join(event for _, event in api.events())]
    check(ask(scene, api, steps=steps), body, actual)
    check(ask(scene, api, api.provider + '.unbuffered', steps=steps,
              h2=True), body, actual)


@apis
def test_pieces(scene, api):
    number, body, actual = expected(api, api.events())
    whole = b''.join(event for _, event in api.events())
    steps = [whole[i:i + 13] for i in range(0, len(whole), 13)]
    check(ask(scene, api, steps=steps), body, actual)
    check(ask(scene, api, api.provider + '.unbuffered', steps=steps), body,
          actual)


@apis
def test_length_that_was_declared(scene, api):
    """The client is not promised what it does not get."""

    number, body, actual = expected(api, api.events())
    x = ask(scene, api, framing='length', length=100000,
            location=api.provider + '.unbuffered')
    check(x, body, actual)
    assert x.r.header('content-length') is None


@apis
def test_first_word_is_too_much(scene, api):
    long = 'A much longer word than ten tokens, 1 2 3 4 5 6 7 8 9 0. '
    events = api.events([long] * 3)
    number, body, actual = expected(api, events)
    assert number == len(api.head) and actual == 0

    # Anthropic has counted one token by then

    x = ask(scene, api, events=events)
    check(x, body, PRICE if x.number('tokens_output') else 0)


@apis
def test_enough_is_reserved(scene, api):
    """A stream that keeps within it is not touched."""

    events = api.events(WORDS[:4])
    body = b''.join(event for _, event in events)
    x = scene.send(api.provider, json.dumps(api.body).encode(),
                   path=api.path, reply=Reply(
                       200, {'Content-Type': api.kind},
                       [body[:-7], body[-7:]], 'chunked'))
    assert x.r.complete and x.r.body == body
    assert x.log['cycles_cutoff'] == ''
    assert x.spent == text_tokens(''.join(WORDS[:4])) * PRICE


# what counts


CHAT = Api()


class Told(Api):
    """Whose client wants to see the usage."""

    body = dict(Api.body, stream_options={'include_usage': True})


TOLD = Told()


def chat_event(text='', choice=0, usage=None, **more):
    value = dict({'model': 'm', 'choices': [
        {'index': choice, 'delta': {'content': text}}] if text else []},
        **more)
    if usage:
        value['usage'] = {'prompt_tokens': usage[0],
                          'completion_tokens': usage[1],
                          'total_tokens': sum(usage)}
    return data(value)


def chat(scene, location, *steps, api=CHAT, **kw):
    return ask(scene, api, location, steps=steps, **kw)


def test_input_counts(scene):
    """As it was estimated, as long as the provider does not say."""

    left = RESERVED - input_tokens('Say hello.') * 50
    number, body, actual = expected(CHAT, CHAT.events(), reserved=left)
    check(ask(scene, CHAT, 'both'), body, RESERVED - left + actual)
    assert number < expected(CHAT, CHAT.events())[0]


def test_input_that_is_told(scene):
    steps = [chat_event('One ', usage=(2, 1)), chat_event('word. ')] + [
        chat_event(text) for text in WORDS]
    passed = ['One ', 'word. ']
    for text in WORDS:
        if text_tokens(''.join(passed) + text) * PRICE > RESERVED - 2 * 50:
            break
        passed.append(text)

    x = chat(scene, 'both', *steps)
    check(x, b''.join(steps[:len(passed)]) + CHAT.error(0),
          2 * 50 + text_tokens(''.join(passed)) * PRICE)


def test_input_alone_is_too_much(scene):
    steps = [chat_event(usage=(21, 0)), chat_event('One ')]
    x = chat(scene, 'both', *steps, api=TOLD)
    assert x.r.body == steps[0] + CHAT.error(0)
    assert x.spent == 21 * 50


def test_running_totals(scene):
    """The provider's own count, and not the estimate of the text."""

    steps = [chat_event('a %s b. ' % (9 * 'word '), usage=(3, count))
             for count in (2, 4, 10, 11, 12)]
    x = chat(scene, 'openai', *steps)
    assert x.r.complete and x.r.body == b''.join(steps[:3]) + CHAT.error(0)
    assert x.log['cycles_cutoff'] == '1'
    assert x.number('tokens_output') == 11
    assert x.spent == 11 * PRICE

    # hidden tokens are in it

    steps = [chat_event('a ', usage=(3, count)) for count in (2, 10, 400)]
    x = chat(scene, 'openai', *steps)
    assert x.r.body == b''.join(steps[:2]) + CHAT.error(0)
    assert x.spent == 400 * PRICE


def test_running_totals_in_pieces(scene):
    """What is read of an event is no reason to end before its count."""

    steps = [chat_event('%d %s ' % (count, 30 * 'word '), usage=(3, count))
             for count in (2, 4, 10)]
    whole = b''.join(steps) + data('[DONE]')
    x = scene.send('openai', json.dumps(CHAT.body).encode(), reply=Reply(
        200, {'Content-Type': 'text/event-stream'},
        [whole[i:i + 60] for i in range(0, len(whole), 60)], 'chunked'))
    assert x.r.complete and x.r.body == whole
    assert x.log['cycles_cutoff'] == ''
    assert x.spent == 10 * PRICE


ENDS = {
    Told: [chat_event(usage=(3, 50)), data('[DONE]')],
    Anthropic: [data({'type': 'message_delta', 'delta': {
        'stop_reason': 'end_turn'}, 'usage': {'output_tokens': 50}},
                     'message_delta'),
                data({'type': 'message_stop'}, 'message_stop')],
    Responses: [data({'type': 'response.completed', 'response': {
        'model': 'm', 'status': 'completed', 'usage': {
            'input_tokens': 3, 'output_tokens': 50, 'total_tokens': 53}}},
                     'response.completed')],
    Gemini: [data({'candidates': [{'index': 0, 'finishReason': 'STOP',
                                   'content': {'parts': [{'text': 'x'}]}}],
                   'usageMetadata': {'promptTokenCount': 3,
                                     'candidatesTokenCount': 50,
                                     'totalTokenCount': 53}})],
    Cohere: [data({'type': 'message-end', 'delta': {
        'finish_reason': 'COMPLETE', 'usage': {'billed_units': {
            'input_tokens': 3, 'output_tokens': 50}}}}, 'message-end')],
    Ollama: [line({'model': 'm', 'message': {'content': ''}, 'done': True,
                   'prompt_eval_count': 3, 'eval_count': 50})],
    Converse: [event('messageStop', {'stopReason': 'end_turn'}),
               event('metadata', {'usage': {
                   'inputTokens': 3, 'outputTokens': 50,
                   'totalTokens': 53}})],
}


@pytest.mark.parametrize('kind', ENDS, ids=lambda kind: kind.__name__)
def test_all_is_written_when_it_is_counted(scene, kind):
    """Nothing would be saved; what was more is charged."""

    api = kind()
    body = b''.join(event for _, event in api.events(WORDS[:3]))
    body += b''.join(ENDS[kind])
    x = scene.send(api.provider, json.dumps(api.body).encode(),
                   path=api.path, reply=Reply(
                       200, {'Content-Type': api.kind}, [body], 'chunked'))
    assert x.r.complete and x.r.body == body
    assert x.log['cycles_cutoff'] == ''
    assert x.log['cycles_usage_source'] == 'reported'
    assert x.spent == 50 * PRICE


def test_choices_count_together(scene):
    steps = [chat_event('word ', choice=i % 3) for i in range(30)]
    passed = ['', '', '']
    for number in range(30):
        more = list(passed)
        more[number % 3] += 'word '
        if text_tokens(*more) * PRICE > RESERVED:
            break
        passed = more

    check(chat(scene, 'openai', *steps),
          b''.join(steps[:number]) + CHAT.error(0),
          text_tokens(*passed) * PRICE)


def test_model_of_the_reply(scene):
    """It is dearer than the one that was asked for."""

    events = [(text, chat_event(text, model='dearer')) for text in WORDS]
    number, body, actual = expected(CHAT, events, price=2 * PRICE)
    x = ask(scene, CHAT, events=events)
    check(x, body, actual)
    assert x.log['cycles_price_key'] == 'dearer'


def test_cached_input_counts_as_such(scene):
    """300 of 305 tokens are: that leaves room for output."""

    first = data({'model': 'cache', 'choices': [], 'usage': {
        'prompt_tokens': 6, 'completion_tokens': 0, 'total_tokens': 306,
        'prompt_tokens_details': {'cached_tokens': 0}}})
    second = data({'model': 'cache', 'choices': [], 'usage': {
        'prompt_tokens': 305, 'completion_tokens': 1, 'total_tokens': 306,
        'prompt_tokens_details': {'cached_tokens': 300}}})
    steps = [first, second] + [chat_event(text) for text in WORDS]
    x = chat(scene, 'openai', *steps, api=TOLD)
    events = [('', first), ('', second)] + CHAT.events()
    number, body, actual = expected(CHAT, events,
                                    reserved=RESERVED - 5 * 100 - 300)
    check(x, body, 5 * 100 + 300 + actual)


def test_estimate_of_its_own(scene):
    """10 tokens of output, and the input, are what auto reserves."""

    x = ask(scene, CHAT, 'auto')
    number, body, actual = expected(CHAT, CHAT.events())
    check(x, body, actual)
    assert x.number('estimate') == RESERVED


def test_learned_of_the_model(scene):
    """Text weighs what the provider has counted of it before."""

    words = 200 * 'word '
    count = text_tokens(words) // 2
    model = dict(CHAT.body, model='learned')

    for _ in range(16):
        scene.send('off', json.dumps(model).encode(), reply=Reply(
            200, {'Content-Type': 'text/event-stream'},
            [chat_event(words), chat_event(usage=(3, count)),
             data('[DONE]')], 'chunked'))

    steps = [chat_event('word ') for _ in range(40)]
    x = scene.send('openai', json.dumps(model).encode(), reply=Reply(
        200, {'Content-Type': 'text/event-stream'}, steps + [STALL],
        'chunked'))

    factor = (count * 10 ** 6 // text_tokens(words) + 500) // 1000
    passed = max(number for number in range(40) if -(
        -text_tokens(number * 'word ') * factor // 1000) <= 10)
    assert 480 < factor < 520 and passed > 15
    check(x, b''.join(steps[:passed]) + CHAT.error(0), 10 * PRICE)


# when it does not cut


@pytest.mark.parametrize('location', ['off', 'given', 'allow', 'free', 'dry'])
def test_not_cut(scene, location):
    body = b''.join(event for _, event in CHAT.events()) + data('[DONE]')
    x = scene.send(location, json.dumps(CHAT.body).encode(), reply=Reply(
        200, {'Content-Type': 'text/event-stream'}, [body], 'chunked'))
    assert x.r.complete and x.r.body == body
    assert x.log['cycles_cutoff'] == ''
    assert x.r.header('transfer-encoding') == 'chunked'


def test_plain_reply_is_not_cut(scene):
    for api, body in ((CHAT, {'choices': [{'index': 0, 'message': {
                          'content': ''.join(WORDS)}}]}),
                      (Ollama(), {'message': {'content': ''.join(WORDS)},
                                  'done': False})):
        text = json.dumps(body).encode()
        x = scene.send(api.provider,
                       json.dumps(dict(api.body, stream=False)).encode(),
                       path=api.path, reply=Reply(200, {}, [text]))
        assert x.r.body == text
        assert x.r.header('content-length') == str(len(text))
        assert x.log['cycles_cutoff'] == ''


def test_error_is_not_cut(scene):
    x = scene.send('openai', json.dumps(CHAT.body).encode(), reply=Reply(
        429, {'Content-Type': 'text/event-stream'},
        [b''.join(event for _, event in CHAT.events())]))
    assert x.r.status == 429 and x.log['cycles_cutoff'] == ''
    assert x.spent == 0


# how it ends


def test_words_of_the_operator(scene):
    """cycles_deny_format is whose error it is, auto the status in it."""

    error = dict(ANTHROPIC, error=dict(ANTHROPIC['error'],
                                       type='billing_error'))
    number, body, actual = expected(CHAT, CHAT.events())
    body = body[:-len(CHAT.error(0))] + data(error, 'error')
    check(ask(scene, CHAT, 'words'), body, actual)


def test_connection_is_used_again(scene):
    number, body, actual = expected(CHAT, CHAT.events())
    x, target = scene.begin('openai')
    fields = {'Content-Type': 'application/json', 'X-Tenant': x.tenant}

    scene.provider.script(
        Reply(200, {'Content-Type': 'text/event-stream'},
              [bytes for _, bytes in CHAT.events()] + [STALL], 'chunked'))

    with Conn(scene.ng.port) as conn:
        for _ in range(2):
            conn.send_request('POST', target, fields,
                              json.dumps(CHAT.body).encode())
            r = conn.read_response()
            assert r.complete
        assert r.status == 200


def test_chunk_that_is_hidden_and_cutoff(scene):
    """Usage was asked for by the gateway; its chunk is not shown either."""

    events = CHAT.events()
    events.insert(3, ('', chat_event(usage=(3, 1))))
    shown = [item for number, item in enumerate(events) if number != 3]
    number, body, actual = expected(CHAT, shown)

    check(ask(scene, CHAT, events=events), body, actual)
    whole = b''.join(bytes for _, bytes in events)
    check(ask(scene, CHAT, steps=[whole[i:i + 40] for i in
                                  range(0, len(whole), 40)]), body, actual)


@pytest.mark.parametrize('location', ['openai', 'openai.unbuffered'])
def test_compressed_stream_is_broken_off(scene, location):
    """No event can be put into it: the client sees that it has no end."""

    packer = zlib.compressobj(wbits=31)
    steps = []
    for text in WORDS:
        steps.append(packer.compress(chat_event(text))
                     + packer.flush(zlib.Z_SYNC_FLUSH))

    number, body, actual = expected(CHAT, CHAT.events())
    x = chat(scene, location, *steps,
             headers={'Content-Encoding': 'gzip'})
    assert not x.r.complete
    assert x.log['cycles_cutoff'] == '1'
    assert x.spent == actual
    assert x.sent.peer_closed.wait(gateway.TIMEOUT)
    assert 'stream is broken off, its cost would pass the 1000' in \
        scene.ng.error_log()

    body = gzip.compress(b''.join(bytes for _, bytes in
                                  CHAT.events(WORDS[:4])))
    x = scene.send(location, json.dumps(CHAT.body).encode(), reply=Reply(
        200, {'Content-Type': 'text/event-stream',
              'Content-Encoding': 'gzip'}, [body]))
    assert x.r.complete and x.r.body == body


def test_long_event_is_held(scene):
    steps = [chat_event('One '), chat_event('word %s' % (60000 * ' '))]
    whole = steps[1] + chat_event(100 * '12 ')
    steps[1:] = [whole[i:i + 5000] for i in range(0, len(whole), 5000)]
    x = chat(scene, 'openai.unbuffered', *steps)
    passed = 'One word ' + 60000 * ' '
    check(x, (b''.join(steps)[:-len(chat_event(100 * '12 '))]
              + CHAT.error(0)) if text_tokens(passed) * PRICE <= RESERVED
          else steps[0] + CHAT.error(0),
          text_tokens(passed if text_tokens(passed) <= 10 else 'One ')
          * PRICE)


def test_event_without_end_is_broken_off(scene):
    """It is sent, but not held for ever."""

    begin = b'data: {"choices":[{"index":0,"delta":{"content":"'
    steps = [begin] + [b'\\u00e9' * 1000] * 40
    x = chat(scene, 'small', *steps, *([b'words ' * 1000] * 40))
    assert not x.r.complete
    assert x.log['cycles_cutoff'] == '1'
    assert x.number('actual') <= 1000000


def test_slow_client(scene):
    """What the tap has read by then waits in a file."""

    gate = Gate()
    words = ['word%d ' % number for number in range(4000)]
    events = CHAT.events(words)
    number, body, actual = expected(CHAT, events, reserved=1000000)
    assert 100000 < len(body) < sum(len(bytes) for _, bytes in events)

    x, target = scene.begin('small')
    fields = {'Content-Type': 'application/json', 'X-Tenant': x.tenant}
    scene.provider.script(Reply(
        200, {'Content-Type': 'text/event-stream'},
        [b''.join(bytes for _, bytes in events), gate], 'chunked'))
    seen = len(scene.provider.requests)

    with Conn(scene.ng.port) as conn:
        conn.send_request('POST', target, fields,
                          json.dumps(CHAT.body).encode())
        head = conn.read_head()
        wait_until(lambda: x.spent)
        assert scene.provider.requests[seen].peer_closed.wait(gateway.TIMEOUT)
        r = conn.read_response(head=head)

    gate.open()
    assert r.complete and r.body == body
    assert x.spent == actual


def test_client_that_has_left(scene):
    """The rest is read to learn what it costs, and no further than that."""

    gate = Gate()
    events = [bytes for _, bytes in CHAT.events()]
    number, _, actual = expected(CHAT, CHAT.events())

    x, target = scene.begin('openai')
    fields = {'Content-Type': 'application/json', 'X-Tenant': x.tenant}
    scene.provider.script(Reply(
        200, {'Content-Type': 'text/event-stream'},
        events[:2] + [gate] + events[2:] + [STALL], 'chunked'))
    seen = len(scene.provider.requests)

    conn = Conn(scene.ng.port)
    conn.send_request('POST', target, fields,
                      json.dumps(CHAT.body).encode())
    gate.wait_reached()
    conn.read_head()
    conn.reset()
    scene.ng.wait_error_log('its reply is read to the end for reservation')
    gate.open()

    assert x.log['cycles_cutoff'] == '1'
    assert x.number('actual') == actual
    assert x.spent == actual
    assert scene.provider.requests[seen].peer_closed.wait(gateway.TIMEOUT)
