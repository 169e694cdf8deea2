# Copyright (C) nginx-cycles authors

"""What a user of an official openai SDK gets through the gateway; each SDK
runs all of it (test_openai_*.py).  Attempts are lines of the access log."""

import json

import gateway
from gateway import Gate, chat, chat_stream, error, wait_until
from fake_cycles import FakeCycles


MESSAGES = [{'role': 'user', 'content': 'Say hello.'}]


def params(**members):
    return dict({'model': 'gpt-4o-mini', 'messages': MESSAGES,
                 'max_completion_tokens': 100}, **members)


def gateway_of(nginx, provider, *entries, **kw):
    return nginx(**gateway.ledger_gateway(provider, *entries, **kw))


def base(ng):
    return 'http://127.0.0.1:%d/v1' % ng.port


def headers(tenant='acme'):
    return {'X-Tenant': tenant}


def price_of_one(nginx, provider, sdk):
    """(estimate, actual) in micro-cents of a request with params()."""

    ng = gateway_of(nginx, provider, ('tenant:acme', 10 ** 9))
    sdk.chat(base(ng), params(), headers()).wait()
    line = ng.wait_access_log(1)[0]
    return int(line['cycles_estimate']), int(line['cycles_actual'])


def without_gateway(sdk, provider, request):
    """What the SDK sends and sees when it talks to the provider itself."""

    call = sdk.chat('http://127.0.0.1:%d/v1' % provider.port, request).wait()
    return call, provider.requests[-1]


def all_settled(ng):
    return (ng.live_reservations() == 0
            and ng.budget('tenant:acme')['reserved'] == 0)


# plain calls


def test_plain_is_unchanged(nginx, provider, sdk):
    request = params(temperature=0.5, n=2, user='éü "quoted"')
    direct, sent = without_gateway(sdk, provider, request)

    ng = gateway_of(nginx, provider, ('tenant:acme', 10 ** 9))
    call = sdk.chat(base(ng), request, headers()).wait()

    assert call.error is None
    assert call.result == direct.result
    assert provider.requests[-1].body == sent.body
    assert provider.requests[-1].path == sent.path

    for name in 'Authorization', 'Content-Type', 'User-Agent':
        assert provider.requests[-1].header(name) == sent.header(name)

    # 10 input at 15 and 5 output tokens at 60 micro-cents

    line = ng.wait_access_log(1)[0]
    assert line['cycles_decision'] == 'ALLOW'
    assert line['cycles_actual'] == line['cycles_charged'] == '450'
    assert call.headers['x-cycles-decision'] == 'ALLOW'
    assert call.headers['x-cycles-reservation-id'] == \
        line['cycles_reservation_id']
    assert ng.budget('tenant:acme')['spent'] == 450
    assert all_settled(ng)


# streams


def without_null_usage(chunks):
    """A provider that was asked for usage says null in all chunks but one;
    to a client that is the same as nothing."""

    return [{k: v for k, v in chunk.items() if (k, v) != ('usage', None)}
            for chunk in chunks]


def check_stream(nginx, provider, sdk, request):
    """The same chunks as without the gateway, and exact usage in the log."""

    direct, sent = without_gateway(sdk, provider, request)

    ng = gateway_of(nginx, provider, ('tenant:acme', 10 ** 9))
    call = sdk.chat(base(ng), request, headers()).wait()

    assert call.error is None
    assert without_null_usage(call.chunks) == without_null_usage(
        direct.chunks)
    assert len(call.chunks) >= 5

    # 10 input at 15 and 5 output tokens at 60 micro-cents

    line = ng.wait_access_log(1)[0]
    assert line['cycles_usage_source'] == 'reported'
    assert line['cycles_charged'] == '450'
    assert ng.budget('tenant:acme')['spent'] == 450

    return call, sent


def test_stream_without_usage_sees_no_extra_chunk(nginx, provider, sdk):
    call, sent = check_stream(nginx, provider, sdk, params(stream=True))

    # what every example on the web does with a chunk

    text = ''.join(c['choices'][0]['delta'].get('content') or ''
                   for c in call.chunks)
    assert text == 'word ' * 5
    assert not any(c.get('usage') for c in call.chunks)

    # although the provider was asked

    assert 'stream_options' not in sent.json
    assert provider.requests[-1].json == dict(
        sent.json, stream_options={'include_usage': True})


def test_stream_with_usage_sees_it(nginx, provider, sdk):
    call, sent = check_stream(
        nginx, provider, sdk,
        params(stream=True, stream_options={'include_usage': True}))

    last = call.chunks[-1]
    assert last['choices'] == []
    assert last['usage']['total_tokens'] == 15
    assert all(c['choices'] for c in call.chunks[:-1])
    assert provider.requests[-1].body == sent.body


def test_stream_that_declines_usage_gets_none(nginx, provider, sdk):
    """An explicit false is a choice of the client and stays one."""

    request = params(stream=True, stream_options={'include_usage': False})
    direct, sent = without_gateway(sdk, provider, request)

    ng = gateway_of(nginx, provider, ('tenant:acme', 10 ** 9))
    call = sdk.chat(base(ng), request, headers()).wait()

    assert call.chunks == direct.chunks
    assert provider.requests[-1].body == sent.body

    line = ng.wait_access_log(1)[0]
    assert line['cycles_usage_source'] == 'estimated'
    assert int(line['cycles_charged']) > 0


def test_aborted_stream_settles(nginx, provider, sdk):
    gate = Gate()
    provider.script(chat_stream(8, gates={3: gate}))

    ng = gateway_of(nginx, provider, ('tenant:acme', 10 ** 9))
    call = sdk.chat(base(ng), params(stream=True), headers(),
                    leave_after=3).wait()

    assert call.aborted
    assert len(call.chunks) == 3

    # the provider's reply is read to its end, where it says what it costs

    gate.open()
    wait_until(lambda: all_settled(ng), what='settlement')

    line = ng.wait_access_log(1)[0]
    assert line['cycles_settlement'] == 'commit'
    assert line['cycles_usage_source'] == 'reported'
    assert ng.budget('tenant:acme')['spent'] == 10 * 15 + 8 * 60
    assert len(provider.requests) == 1


# denials


def test_terminal_denial_makes_one_attempt(nginx, provider, sdk):
    ng = gateway_of(nginx, provider, ('tenant:acme', 1))

    for stream in False, True:
        mark = len(ng.access_log())
        call = sdk.chat(base(ng), params(stream=stream), headers()).wait()

        assert call.error.name == 'RateLimitError'
        assert call.error.status == 429
        assert call.error.code == 'insufficient_quota'
        assert call.error.type == 'insufficient_quota'
        assert 'budget' in call.error.message
        assert call.headers['x-should-retry'] == 'false'
        assert 'retry-after' not in call.headers

        # the SDK has raised, so whatever it meant to try was tried

        log = ng.wait_access_log(mark + 1)[mark:]
        assert [line['status'] for line in log] == ['429']
        assert log[0]['cycles_reason'] == 'BUDGET_EXCEEDED'

    assert provider.requests == []
    assert ng.budget('tenant:acme')['spent'] == 0


def test_spent_budget_is_terminal(nginx, provider, sdk):
    estimate, actual = price_of_one(nginx, provider, sdk)
    ng = gateway_of(nginx, provider, ('tenant:acme', estimate))

    call = sdk.chat(base(ng), params(), headers()).wait()
    assert call.error is None
    ng.wait_access_log(1)

    call = sdk.chat(base(ng), params(), headers()).wait()
    assert (call.error.name, call.error.code) == ('RateLimitError',
                                                  'insufficient_quota')
    assert len(ng.wait_access_log(2)) == 2
    assert ng.budget('tenant:acme')['spent'] == actual


def test_unknown_price_is_terminal(nginx, provider, sdk):
    ng = gateway_of(nginx, provider, ('tenant:acme', 10 ** 9))
    call = sdk.chat(base(ng), params(model='no-such-model'), headers()).wait()

    assert (call.error.name, call.error.code) == ('RateLimitError',
                                                  'insufficient_quota')
    log = ng.wait_access_log(1)
    assert [line['cycles_reason'] for line in log] == ['UNKNOWN_PRICE']
    assert provider.requests == []


def test_auto_status_makes_one_attempt(nginx, provider, sdk):
    ng = gateway_of(nginx, provider, ('tenant:acme', 1),
                    location='cycles_deny_status auto;')
    call = sdk.chat(base(ng), params(), headers()).wait()

    assert call.error.status == 402
    assert call.error.code == 'insufficient_quota'
    assert [line['status'] for line in ng.wait_access_log(1)] == ['402']


def test_transient_denial_is_retried_and_succeeds(nginx, provider, sdk):
    estimate, actual = price_of_one(nginx, provider, sdk)
    provider.requests.clear()

    # enough for the one and, once it has returned what it did not use, for
    # the other

    gate = Gate()
    provider.script(chat(gate=gate))
    ng = gateway_of(nginx, provider, ('tenant:acme', estimate + actual))

    holder = sdk.chat(base(ng), params(), headers())
    provider.wait_requests(1)

    call = sdk.chat(base(ng), params(), headers(), max_retries=5)
    denied = ng.wait_access_log(1)[0]
    assert denied['status'] == '429'
    assert denied['cycles_decision'] == 'DENY'

    gate.open()
    assert holder.wait().error is None
    assert call.wait().error is None
    assert call.result['choices'][0]['message']['content'] == 'Hello.'

    log = ng.wait_access_log(3)
    refused = [line['status'] for line in log].count('429')
    assert [line['status'] for line in log].count('200') == 2
    assert len(log) == 2 + refused

    # the SDK came back, not the gateway

    assert len(provider.requests) == 2
    assert provider.requests[1].header('x-stainless-retry-count') == str(
        refused)
    assert ng.budget('tenant:acme')['spent'] == 2 * actual


def test_transient_denial_tells_when_to_come_back(nginx, provider, sdk):
    estimate, actual = price_of_one(nginx, provider, sdk)

    gate = Gate()
    provider.requests.clear()
    provider.script(chat(gate=gate))
    ng = gateway_of(nginx, provider, ('tenant:acme', estimate + actual))

    holder = sdk.chat(base(ng), params(), headers())
    provider.wait_requests(1)

    call = sdk.chat(base(ng), params(), headers(), max_retries=0).wait()
    gate.open()
    holder.wait()

    assert (call.error.name, call.error.status, call.error.code) == (
        'RateLimitError', 429, 'budget_reserved')
    assert 'x-should-retry' not in call.headers
    assert 1 <= int(call.headers['retry-after']) <= 5


# dry run


def test_dry_run_never_blocks(nginx, provider, sdk):
    ng = gateway_of(nginx, provider, ('tenant:acme', 1), cycles='dry_run')

    for model in 'gpt-4o-mini', 'no-such-model':
        call = sdk.chat(base(ng), params(model=model), headers()).wait()
        assert call.error is None
        assert call.headers['x-cycles-dry-run'] == 'DENY'

    assert ng.budget('tenant:acme')['remaining'] == 1


# errors of others


def test_bad_request_raises_bad_request_error(nginx, provider, sdk):
    ng = gateway_of(nginx, provider, ('tenant:acme', 10 ** 9))

    call = sdk.chat(base(ng), params(), headers('not a name')).wait()
    assert (call.error.name, call.error.status) == ('BadRequestError', 400)
    assert call.error.type == 'invalid_request_error'
    assert 'tenant' in call.error.message

    call = sdk.chat(base(ng), params(max_completion_tokens='many'),
                    headers()).wait()
    assert (call.error.name, call.error.status) == ('BadRequestError', 400)

    log = ng.wait_access_log(2)
    assert [line['status'] for line in log] == ['400', '400']
    assert provider.requests == []


def test_errors_of_the_provider_pass(nginx, provider, sdk):
    ng = gateway_of(nginx, provider, ('tenant:acme', 10 ** 9))

    body = json.dumps({'error': {
        'message': 'Incorrect API key', 'type': 'invalid_request_error',
        'param': None, 'code': 'invalid_api_key'}}).encode()
    provider.script(gateway.Reply(401, {}, [body]))

    call = sdk.chat(base(ng), params(), headers()).wait()
    assert (call.error.name, call.error.status, call.error.code) == (
        'AuthenticationError', 401, 'invalid_api_key')
    assert ng.wait_access_log(1)[0]['status'] == '401'

    # its own rate limit: retried by the SDK, reserved and released each time

    provider.script(error(429, 'slow down', {'retry-after-ms': '1'}))
    call = sdk.chat(base(ng), params(), headers()).wait()
    assert call.error is None

    log = ng.wait_access_log(3)
    assert sorted((line['status'], line['cycles_settlement'])
                  for line in log) == [
        ('200', 'commit'), ('401', 'release'), ('429', 'release')]
    assert ng.budget('tenant:acme')['spent'] == 450
    assert all_settled(ng)


def test_outage_is_retried(nginx, provider, sdk):
    with FakeCycles(gateway.free_port()) as cycles:
        cycles.budget('tenant:acme', 10 ** 9)
        cycles.close()

        ng = nginx(
            provider=provider.port, cycles=cycles.port,
            http='cycles_price_table %%PRICES%%;',
            server='''
                cycles_authority @cycles;
                cycles_api_key cyc_live_e2e;
                cycles_subject tenant $http_x_tenant;

                location / {
                    cycles on;
                    proxy_pass http://127.0.0.1:%%PROVIDER%%;
                }

                location @cycles {
                    proxy_pass http://127.0.0.1:%%CYCLES%%;
                    access_log off;
                }
            ''')

        call = sdk.chat(base(ng), params(), headers(), max_retries=0).wait()
        assert (call.error.name, call.error.status, call.error.code) == (
            'InternalServerError', 503, 'budget_unavailable')
        assert int(call.headers['retry-after']) >= 1
        assert provider.requests == []

        call = sdk.chat(base(ng), params(), headers(), max_retries=1)
        ng.wait_access_log(2)
        cycles.listen()

        assert call.wait().error is None
        log = ng.wait_access_log(3)
        assert [(line['status'], line['cycles_decision'])
                for line in log] == [('503', 'OUTAGE_DENY')] * 2 + [
                    ('200', 'ALLOW')]
        assert len(provider.requests) == 1

        cycles.wait(lambda: cycles.count('commit') == 1)
        assert cycles.scope('tenant:acme')['spent'] == 450
