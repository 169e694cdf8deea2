# Copyright (C) nginx-cycles authors

"""SDKs that we did not write, a provider that we did not write, and the
gateway in between."""

import json
import os
import socket
import subprocess

import pytest

import gateway
from gateway import wait_until
from sdk import AsyncPythonSdk, NodeSdk, PythonSdk


POEM = 'Tokens fall like rain,\nthe ledger counts every drop.'

FIXTURES = {'fixtures': [
    {'match': {'userMessage': 'poem'},
     'response': {'content': POEM,
                  'usage': {'prompt_tokens': 17, 'completion_tokens': 21,
                            'total_tokens': 38}}},
    {'match': {'userMessage': 'weather'},
     'response': {'toolCalls': [{'name': 'get_weather',
                                 'arguments': '{"city":"Berlin"}'}],
                  'usage': {'prompt_tokens': 50, 'completion_tokens': 9,
                            'total_tokens': 59}}},
    {'match': {'userMessage': 'broken'},
     'response': {'error': {'message': 'try later', 'type': 'server_error'},
                  'status': 503}},
]}

TOOLS = [{'type': 'function', 'function': {
    'name': 'get_weather', 'parameters': {
        'type': 'object', 'properties': {'city': {'type': 'string'}}}}}]

# tokens at 15 and 60 micro-cents

POEM_COST = 17 * 15 + 21 * 60
WEATHER_COST = 50 * 15 + 9 * 60


@pytest.fixture(scope='module')
def aimock(tmp_path_factory):
    """Its port."""

    path = tmp_path_factory.mktemp('aimock') / 'fixtures.json'
    path.write_text(json.dumps(FIXTURES))

    build = os.environ.get('BUILD') or os.path.join(gateway.ROOT, 'build')
    port = gateway.free_port()
    process = subprocess.Popen(
        ['node', os.path.join(build, 'node/node_modules/.bin/llmock'),
         '-p', str(port), '-f', str(path), '--log-level', 'warn',
         '--strict'], stdin=subprocess.DEVNULL)

    def listens():
        assert process.poll() is None
        try:
            socket.create_connection(('127.0.0.1', port), 1).close()
            return True
        except OSError:
            return False

    try:
        wait_until(listens, what='aimock to listen')
        yield port
    finally:
        process.terminate()
        process.wait(gateway.TIMEOUT)


@pytest.fixture(params=[NodeSdk, PythonSdk, AsyncPythonSdk],
                ids=lambda kind: kind.name)
def sdk(request):
    with request.param() as it:
        yield it


class At:
    """What ledger_gateway() needs to know of a provider."""

    def __init__(self, port):
        self.port = port


def params(content, **members):
    return dict({'model': 'gpt-4o-mini', 'max_completion_tokens': 100,
                 'messages': [{'role': 'user', 'content': content}]},
                **members)


def text_of(call):
    return ''.join(c['choices'][0]['delta'].get('content') or ''
                   for c in call.chunks if c['choices'])


def test_conversation(nginx, aimock, sdk):
    ng = nginx(**gateway.ledger_gateway(At(aimock),
                                        ('tenant:acme', 10 ** 9)))
    base = 'http://127.0.0.1:%d/v1' % ng.port
    spent = 0

    def ask(content, **members):
        return sdk.chat(base, params(content, **members),
                        {'X-Tenant': 'acme'}).wait()

    def check(lines, cost):
        nonlocal spent
        spent += cost
        line = ng.wait_access_log(lines)[-1]
        assert line['cycles_usage_source'] == 'reported'
        assert int(line['cycles_charged']) == cost
        assert int(line['cycles_estimate']) >= cost
        assert ng.budget('tenant:acme')['spent'] == spent

    call = ask('a poem')
    assert call.error is None
    assert call.result['choices'][0]['message']['content'] == POEM
    assert call.result['usage']['total_tokens'] == 38
    check(1, POEM_COST)

    call = ask('a poem', stream=True)
    assert text_of(call) == POEM
    assert all(c['choices'] for c in call.chunks)
    check(2, POEM_COST)

    call = ask('a poem', stream=True,
               stream_options={'include_usage': True})
    assert text_of(call) == POEM
    assert call.chunks[-1]['choices'] == []
    assert call.chunks[-1]['usage']['completion_tokens'] == 21
    check(3, POEM_COST)

    call = ask('the weather', tools=TOOLS)
    tool = call.result['choices'][0]['message']['tool_calls'][0]
    assert json.loads(tool['function']['arguments']) == {'city': 'Berlin'}
    check(4, WEATHER_COST)

    call = ask('the weather', tools=TOOLS, stream=True)
    arguments = ''.join(
        part['function'].get('arguments') or ''
        for c in call.chunks
        for part in c['choices'][0]['delta'].get('tool_calls') or [])
    assert json.loads(arguments) == {'city': 'Berlin'}
    check(5, WEATHER_COST)

    # an error of the provider costs nothing, each of the SDK's attempts

    call = ask('something broken')
    assert (call.error.name, call.error.status) == (
        'InternalServerError', 503)
    log = ng.wait_access_log(8)
    assert [line['cycles_settlement'] for line in log[5:]] == ['release'] * 3
    assert ng.budget('tenant:acme')['spent'] == spent
    assert ng.live_reservations() == 0
