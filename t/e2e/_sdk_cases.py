# Copyright (C) nginx-cycles authors

"""What a user of any official SDK gets through the gateway, test_sdks_*.py.

All calls are made at once, at the start: most of what SDKs do with refusals
is to wait.  Requests are told by their API keys, attempts are lines of the
access log."""

import collections
import time
import urllib.parse

from _sdk_scene import (ENOUGH, INPUT, OUTPUT, PRICES, PROMPT, TEXT, Scene)
from gateway import TIMEOUT, wait_until


MODES = ['plain', 'stream']

# server: modes

CALLS = collections.OrderedDict([
    ('down', ['plain']), ('held', MODES), ('freed', ['plain']),
    ('spent', MODES), ('auto', ['plain']), ('year', ['plain']),
    ('bad', ['plain']), ('cut', ['stream']), ('ok', MODES)])

SPENT = 'The budget for this request is used up'
HELD = 'The budget for this request is held by requests'
CUT = 'This reply has used up what was reserved'
DOWN = "The budget of this request can't be checked"

# what the SDKs show of the words of each API: of a terminal denial with 429,
# of a transient one, of an outage, of a bad request

WORDS = {
    'openai': ('insufficient_quota', 'budget_reserved', 'budget_unavailable',
               'invalid_request'),
    'anthropic': ('enforced_spend_limit_reached', 'rate_limit_error',
                  'api_error', 'invalid_request_error'),
    'gemini': ('insufficient_quota', 'budget_reserved', 'budget_unavailable',
               'INVALID_ARGUMENT'),
    'bedrock-converse': ('AccessDeniedException', 'ThrottlingException',
                         'ServiceUnavailableException',
                         'ValidationException'),
    'bedrock-invoke': ('ServiceQuotaExceededException',
                       'ThrottlingException', 'ServiceUnavailableException',
                       'ValidationException'),
    'cohere': ('', '', '', ''),
    'ollama': ('', '', '', ''),
}

WORDS['mistral'] = WORDS['openai-responses'] = WORDS['openai']


def returns(row):
    """After a transient denial, that is."""

    return row.held > 1


def stops(row):
    return row.denied[1] == 1


def called(server, row):
    return {'freed': returns, 'year': stops}.get(server, bool)(row)


def attempts(server, row, mode):
    """How many requests the SDK makes."""

    if row.streams_stop and mode == 'stream':
        return 1

    return {'spent': row.denied[1], 'held': row.held, 'freed': 2,
            'down': row.down[1]}.get(server, 1)


class Run:
    """All calls of all SDKs of a language."""

    def __init__(self, scene, sdks, rows):
        self.scene = scene
        self.rows = rows
        self.futures = {}
        self.deadline = time.monotonic() + 3 * TIMEOUT
        self.deny_once()

        for server, modes in CALLS.items():
            for row in rows:
                for mode in modes:
                    if not called(server, row):
                        continue
                    self.futures[server, row.name, mode] = sdks.call(
                        row.name, scene.base(server, row),
                        self.key(server, row, mode), mode == 'stream',
                        PROMPT, row.model, hasty=server in ('held', 'down'))

    def deny_once(self):
        """On the server "freed" each first request comes too early."""

        for row in filter(returns, self.rows):
            self.scene.cycles.fault(
                'reserve', 'throttled',
                match='"%s"' % self.key('freed', row, 'plain'))

    def key(self, server, row, mode):
        return 'key%d%s%s' % (self.rows.index(row), server, mode)

    def ended(self, future):
        """What it has returned; all calls together have so much time."""

        return future.result(max(self.deadline - time.monotonic(), 0.1))

    def result(self, server, row, mode):
        """(text, error), and the lines of the access log."""

        text, error = self.ended(self.futures[server, row.name, mode])
        lines = self.scene.lines(self.key(server, row, mode),
                                 attempts(server, row, mode))
        assert len(lines) == attempts(server, row, mode)
        return text, error, lines

    def refusal(self, server, row, mode, status):
        """(error, lines), each attempt refused with this."""

        text, error, lines = self.result(server, row, mode)
        assert text is None
        assert error.status == status
        assert {line['status'] for line in lines} == {str(status)}
        assert not self.scene.upstream(self.key(server, row, mode))
        return error, lines


def running(sdks, rows):
    """The fixture of a file."""

    with Scene() as scene, sdks() as sdks:
        yield Run(scene, sdks, rows)


def only(condition):
    """Not with the rows that this is not about."""

    def mark(test):
        test.condition = condition
        return test

    return mark


def pytest_generate_tests(metafunc):
    condition = getattr(metafunc.function, 'condition', lambda row: True)
    rows = list(filter(condition, metafunc.module.ROWS))
    if 'row' in metafunc.fixturenames:
        metafunc.parametrize('row', rows, ids=[row.name for row in rows])
    if 'mode' in metafunc.fixturenames:
        metafunc.parametrize('mode', MODES)


def cost(row):
    a, b = PRICES[row.model]
    return INPUT * a + OUTPUT * b


# what is allowed


def test_reply(run, row, mode):
    text, error, lines = run.result('ok', row, mode)

    assert error is None
    assert text == TEXT

    line = lines[0]
    assert line['status'] == '200'
    assert line['cycles_decision'] == 'ALLOW'
    assert line['cycles_provider'] == row.provider
    assert line['cycles_settlement'] == 'commit'
    assert line['cycles_usage_source'] == 'reported'
    assert line['cycles_tokens_input'] == str(INPUT)
    assert line['cycles_tokens_output'] == str(OUTPUT)
    assert line['cycles_actual'] == line['cycles_charged'] == str(cost(row))
    assert int(line['cycles_estimate']) >= cost(row)

    # aimock repeats what is in the path

    model = urllib.parse.unquote(line['cycles_model'])
    assert model == row.model or model in row.model


HOP = {'connection', 'keep-alive', 'transfer-encoding', 'content-length'}


def fields(headers, without=()):
    return sorted((name.lower(), value) for name, value in headers
                  if name.lower() not in HOP.union(without))


def both_sides(run, row, mode):
    """The exchange of the client with nginx, and of nginx with upstream."""

    run.result('ok', row, mode)
    key = run.key('ok', row, mode)
    client, = run.scene.client_side.find(key)
    upstream, = run.scene.upstream(key)
    return client, upstream


# of these only the provider's side is seen

def http1(row):
    return not row.h2


@only(http1)
def test_request_is_what_the_client_has_sent(run, row, mode):
    client, upstream = both_sides(run, row, mode)

    assert (upstream.method, upstream.path) == (client.method, client.path)
    assert (fields(upstream.request_headers, ['accept-encoding'])
            == fields(client.request_headers, ['accept-encoding']))
    assert dict(fields(upstream.request_headers)).get(
        'accept-encoding') in (None, 'identity')

    # usage is asked for where that is needed

    body = upstream.request_body
    if asked_for_usage(client, upstream):
        body = body.replace(b'"stream_options":{"include_usage":true},', b'')
    assert body == client.request_body


def asked_for_usage(client, upstream):
    word = b'include_usage'
    return (word in upstream.request_body
            and word not in client.request_body)


@only(http1)
def test_reply_is_what_the_provider_has_sent(run, row, mode):
    client, upstream = both_sides(run, row, mode)

    ours = [name.lower() for name, _ in client.headers
            if name.lower().startswith('x-cycles-')]
    assert set(ours) == {'x-cycles-decision', 'x-cycles-reservation-id',
                         'x-cycles-trace-id'}

    assert client.status == upstream.status
    assert (fields(client.headers, ours + ['server', 'date'])
            == fields(upstream.headers, ['server', 'date']))

    body = upstream.body
    if asked_for_usage(client, upstream):
        events = body.split(b'\n\n')
        hidden = [event for event in events
                  if b'"choices":[]' in event and b'"usage":{' in event]
        assert len(hidden) == 1
        events.remove(hidden[0])
        body = b'\n\n'.join(events)
    assert client.body == body


@only(lambda row: row.provider.startswith('bedrock'))
def test_signature(run, row, mode):
    """What AWS's SDKs have signed is what comes to the provider."""

    run.result('ok', row, mode)
    upstream, = run.scene.upstream(run.key('ok', row, mode))
    authorization = dict(fields(upstream.request_headers))['authorization']

    if row.h2:
        assert authorization == 'Bearer ' + run.key('ok', row, mode)
    else:
        assert signature_of(upstream) in authorization


def signature_of(exchange):
    """By the words of botocore, with the key that the SDKs have."""

    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    headers = {name.lower(): value
               for name, value in exchange.request_headers}
    names = headers['authorization'].split('SignedHeaders=')[1].split(',')[0]
    assert 'host' in names.split(';')

    signed = {name: headers[name] for name in names.split(';')}
    request = AWSRequest(
        exchange.method, 'http://%s%s' % (headers['host'], exchange.path),
        signed, exchange.request_body)
    request.context['timestamp'] = headers['x-amz-date']

    auth = SigV4Auth(Credentials('any', 'secret'), 'bedrock', 'us-east-1')
    auth.headers_to_sign = lambda request: request.headers
    return auth.signature(auth.string_to_sign(
        request, auth.canonical_request(request)), request)


# what is not


def test_terminal_denial(run, row, mode):
    error, lines = run.refusal('spent', row, mode, 429)

    assert error.name == row.denied[0]
    assert SPENT in error.message
    assert WORDS[row.provider][0] in error.code + error.message
    assert {line['cycles_reason'] for line in lines} == {'BUDGET_EXCEEDED'}


@only(stops)
def test_terminal_denial_until_a_year_ends(run, row):
    """To be told when to come back is no reason to come back."""

    error, lines = run.refusal('year', row, 'plain', 429)

    assert 'used up for its period' in error.message


def test_terminal_denial_with_status_auto(run, row):
    """The operator's remedy for who tries again: nobody does."""

    name, status = row.auto
    error, lines = run.refusal('auto', row, 'plain', status)

    assert error.name == name
    assert SPENT in error.message


def test_transient_denial(run, row, mode):
    error, lines = run.refusal('held', row, mode, 429)

    assert HELD in error.message
    assert WORDS[row.provider][1] in error.code + error.message
    come_back(lines, 1)


def come_back(lines, after):
    """Not before Retry-After; nginx's clock has steps."""

    times = [float(line['msec']) for line in lines]
    assert all(b - a > after - 0.05 for a, b in zip(times, times[1:]))


@only(returns)
def test_transient_denial_that_ends(run, row):
    """The SDK comes back, and the application has not noticed."""

    text, error, lines = run.result('freed', row, 'plain')

    assert error is None
    assert text == TEXT
    assert [(line['status'], line['cycles_reason']) for line in lines] == [
        ('429', 'LIMIT_EXCEEDED'), ('200', '')]
    assert lines[1]['cycles_actual'] == str(cost(row))
    come_back(lines, 1)


def test_cut_stream(run, row):
    """A part of the reply, then an error; nobody tries again."""

    text, error, lines = run.result('cut', row, 'stream')

    assert lines[0]['status'] == '200'
    assert lines[0]['cycles_cutoff'] == '1'
    assert lines[0]['cycles_settlement'] == 'commit'
    assert int(lines[0]['cycles_charged']) > 0

    if row.cut is None:
        assert error is None
        assert text and TEXT.startswith(text) and text != TEXT
        return

    assert error.name == row.cut

    # Mistral's SDKs know no error in a stream, and say that

    if row.provider != 'mistral':
        assert CUT in error.message


def test_outage(run, row):
    error, lines = run.refusal('down', row, 'plain', 503)

    assert error.name == row.down[0]
    assert DOWN in error.message
    assert WORDS[row.provider][2] in error.code + error.message
    assert {line['cycles_decision'] for line in lines} == {'OUTAGE_DENY'}

    if row.waits:
        come_back(lines, 5)


def test_bad_request(run, row):
    error, lines = run.refusal('bad', row, 'plain', 400)

    assert error.name == row.bad
    assert 'subject' in error.message
    assert WORDS[row.provider][3] in error.code + error.message


def test_no_attempt_comes_later(run):
    """The line of a request may be late in the log; by now all are there."""

    for future in run.futures.values():
        run.ended(future)

    lines = collections.Counter(
        line['key'] for line in run.scene.ng.access_log() if line['key'])

    assert lines == {
        run.key(server, row, mode): attempts(server, row, mode)
        for server, modes in CALLS.items() for row in run.rows
        for mode in modes if called(server, row)}


def test_budgets(run):
    """After all of them: to the micro-cent."""

    budgets = wait_until(lambda: settled(run.scene.ng), what='settlement')

    assert budgets['tenant:acme']['spent'] == sum(
        cost(row) for row in run.rows for mode in MODES)
    assert budgets['tenant:cut']['spent'] == sum(
        int(run.result('cut', row, 'stream')[2][0]['cycles_charged'])
        for row in run.rows)
    assert budgets['tenant:spent']['remaining'] == 1
    assert budgets['tenant:held']['spent'] == 0

    # and those of the Cycles server

    cycles = run.scene.cycles
    wait_until(lambda: cycles.scope('tenant:acme')['reserved'] == 0,
               what='settlement')
    assert cycles.scope('tenant:acme')['spent'] == sum(
        cost(row) for row in run.rows if returns(row))


def settled(ng):
    """All that is reserved is held on purpose."""

    budgets = ng.all_budgets()
    reserved = {scope: budget['reserved']
                for scope, budget in budgets.items()}
    return budgets if reserved == {
        'tenant:acme': 0, 'tenant:spent': 0, 'tenant:year': 0,
        'tenant:cut': 0, 'tenant:held': ENOUGH} else None
