# Copyright (C) nginx-cycles authors

"""The harness itself, on a plain nginx without our module."""

import os
import signal

import pytest

import gateway
from gateway import (Conn, Gate, CLOSE, RESET, STALL, chat, chat_stream,
                     error, wait_until)


PROXY = dict(
    module='',
    http='upstream p { server 127.0.0.1:%%PROVIDER%%; keepalive 8; }',
    server='''
        location / {
            proxy_pass http://p;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }
    ''')


@pytest.fixture
def proxy(nginx, provider):
    return nginx(provider=provider.port, **PROXY)


def test_plain_and_stream(proxy, provider):
    r = proxy.chat(model='m')
    assert r.status == 200
    assert r.json['usage']['total_tokens'] == 15
    assert provider.requests[0].json['model'] == 'm'

    r = proxy.chat(stream=True)
    events = gateway.sse_events(r.body)
    assert len(events) == 6
    assert events[-1] == (None, '[DONE]')

    r = proxy.chat(stream=True, stream_options={'include_usage': True})
    assert '"total_tokens": 15' in r.text

    log = proxy.wait_access_log(3)
    assert [line['status'] for line in log] == ['200'] * 3
    assert provider.connections <= 2


def test_gates(proxy, provider):
    gate = Gate()
    provider.script(chat_stream(4, gates={2: gate}))

    with Conn(proxy.port) as conn:
        conn.send_chat(stream=True)
        gate.wait_reached()
        assert provider.requests[0].sent == 2
        head = conn.read_head()
        gate.open()
        r = conn.read_response(head=head)

    assert r.complete
    assert len(gateway.sse_events(r.body)) == 5
    assert provider.requests[0].finished.wait(gateway.TIMEOUT)


def test_client_abort_reaches_provider(proxy, provider):
    gate = Gate()
    provider.script(chat_stream(4, gates={2: gate}))

    conn = Conn(proxy.port)
    conn.send_chat(stream=True)
    gate.wait_reached()
    conn.read_head()
    conn.reset()

    assert provider.requests[0].peer_closed.wait(gateway.TIMEOUT)
    assert not provider.requests[0].finished.is_set()


@pytest.mark.parametrize('framing', ['length', 'chunked'])
def test_head_has_no_body(provider, framing):
    provider.script(chat(framing=framing), chat())

    with Conn(provider.port) as conn:
        conn.send(gateway.build_request('HEAD')
                  + gateway.build_request('GET'))
        assert conn.read_response('HEAD').status == 200
        assert conn.read_response().json['object'] == 'chat.completion'


@pytest.mark.parametrize('mark', [RESET, CLOSE])
def test_cut_streams(proxy, provider, mark):
    provider.script(chat_stream(4, cut=(3, mark)))
    assert not proxy.chat(stream=True).complete


def test_stall_and_errors(nginx, provider):
    server = PROXY['server'].replace('proxy_pass',
                                     'proxy_read_timeout 1s; proxy_pass')
    ng = nginx(provider=provider.port, **dict(PROXY, server=server))

    provider.script(STALL, error(503, headers={'Retry-After': '7'}),
                    chat(framing='close'), chat(framing='chunked', parts=3))

    assert ng.chat().status == 504
    r = ng.chat()
    assert r.status == 503 and r.header('retry-after') == '7'
    assert ng.chat().json['object'] == 'chat.completion'
    assert ng.chat().json['object'] == 'chat.completion'

    provider.refuse()
    assert ng.chat().status == 502
    provider.listen()


def test_chunked_request_and_keepalive(proxy, provider):
    with Conn(proxy.port) as conn:
        conn.send_request('POST', '/a', chunked=[b'{"model"', b':"m"}'])
        assert conn.read_response().json['model'] == 'm'
        conn.send_request('POST', '/b', body=b'{}')
        assert conn.read_response().status == 200
    assert provider.requests[0].body == b'{"model":"m"}'


def test_http2(nginx, provider):
    ng = nginx(provider=provider.port, h2=True, **PROXY)
    r = gateway.h2_request(ng.h2_port, 'POST', '/', body=b'{"model":"m"}')
    assert r.status == 200 and r.json['model'] == 'm'


def test_burst(proxy, provider):
    path, headers, body = gateway.chat_request()
    data = gateway.build_request('POST', path, headers, body)
    replies = gateway.burst(proxy.port, [data] * 300)
    assert [r.status for r in replies] == [200] * 300
    assert len(provider.requests) == 300


def test_life(nginx, provider):
    ng = nginx(provider=provider.port, **PROXY)
    old = ng.workers()
    assert len(old) == 2

    ng.reload(wait_old=True)
    assert not set(old) & set(ng.workers())

    pid = ng.kill_worker()
    assert pid not in ng.wait_workers(old=[pid])

    ng.reconfigure(server='location / { return 204; }')
    assert ng.get().status == 204

    ng.kill9()
    wait_until(lambda: not ng.workers())
    ng.start()
    assert ng.get().status == 204
    assert ng.quit() == 0


def test_check_sees_alerts_and_deaths(provider):
    ng = gateway.Nginx(provider=provider.port, **PROXY)
    try:
        ng.start()
        ng.check()
        os.kill(ng.workers()[0], signal.SIGABRT)
        ng.wait_error_log('exited on signal 6')
        with pytest.raises(gateway.HarnessError):
            ng.check()
        ng.allow = ['exited on signal 6']
        ng.check()
        with open(ng.path('reports/report.1'), 'w') as file:
            file.write('ERROR: AddressSanitizer')
        with pytest.raises(gateway.HarnessError):
            ng.check()
    finally:
        ng.close()


def test_nginx_t():
    good, _ = gateway.nginx_t(module='', server='return 204;')
    assert good
    good, text = gateway.nginx_t(module='', server='nonsense on;')
    assert not good and 'unknown directive "nonsense"' in text
