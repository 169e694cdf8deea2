# Copyright (C) nginx-cycles authors

"""A Cycles server that fails: what is sent again, with which bytes and when,
what a client gets meanwhile, and what the budget says in the end."""

import json
import re
import threading

import pytest

import gateway
from gateway import (Conn, Gate, build_request, chat, chat_request,
                     chat_stream, free_port, wait_until)
from authorities import API_KEY, Server, cost
from raw import Blackhole, H2Conn, stampede


BUDGET = 10 ** 9

# so short that what is lost ends within the test

SHORT = '''
    cycles_ttl 1s;
    cycles_grace_period 0;
    cycles_timeout 800ms;
    cycles_retry initial=20ms;
    cycles_breaker off;
'''


@pytest.fixture
def server(nginx, provider):
    """start(location, ...) gives (nginx, authority, stand-in)."""

    opened = []

    def start(location=SHORT, scopes=None, options=None, **kw):
        who = Server(scopes or {'tenant:acme': BUDGET}, **(options or {}))
        opened.append(who.__enter__())
        ng = who.attach(nginx(**who.gateway(provider, location=location,
                                            **kw)))
        return ng, who, who.cycles

    yield start

    for who in opened:
        who.__exit__()


def same_bytes(entries):
    """Bodies and headers of what must be repetitions of one request."""

    return len({(e.path, e.body, tuple(sorted(e.headers.items())))
                for e in entries}) == 1


# ------------------------------------------------------- reserve: an outage


UNIT = 'USD_MICROCENTS'


def granted(**members):
    """A reply to a reserve, some members of it replaced; None: removed."""

    body = {'decision': 'ALLOW', 'affected_scopes': ['tenant:acme'],
            'scope_path': 'tenant:acme', 'reservation_id': 'r-1',
            'reserved': {'unit': UNIT, 'amount': 6000},
            'expires_at_ms': 1900000000000, 'remaining_ttl_ms': 60000}
    body.update(members)
    return {'apply': 0, 'body': {k: v for k, v in body.items()
                                 if v is not None}}


OUTAGES = {
    'closed before': 'drop_before',
    'closed after': 'drop_after',
    'reset before': 'reset_before',
    'reset after': 'reset_after',
    'no answer': 'never_before',
    'no answer, applied': 'never_after',
    'internal error': 'internal',
    'html 503': {'apply': 0, 'status': 503, 'body': '<html>503</html>'},
    'html 500': {'apply': 0, 'status': 500, 'body': '<html>500</html>'},
    '502': {'apply': 0, 'status': 502, 'body': ''},
    '504': {'apply': 0, 'status': 504, 'body': ''},
    'malformed': 'malformed',
    'html 200': 'not_json',
    'empty': 'empty',
    'truncated': 'truncated',
    '202': 'wrong_2xx',
    '201': {'apply': 1, 'status': 201},
    '204': {'apply': 0, 'status': 204, 'body': ''},
    '302': {'apply': 0, 'status': 302, 'body': ''},
    'a list': {'apply': 0, 'body': '[]'},
    'no decision': granted(decision=None),
    'unknown decision': granted(decision='PERHAPS'),
    'no reservation id': granted(reservation_id=None),
    'null reservation id': {'apply': 0, 'body': json.dumps(dict(
        granted()['body'], reservation_id=None))},
    'id is a number': granted(reservation_id=7),
    'empty id': granted(reservation_id=''),
    'another unit': granted(reserved={'unit': 'TOKENS', 'amount': 1}),
    'negative amount': granted(reserved={'unit': UNIT, 'amount': -1}),
    'amount is a text': granted(reserved={'unit': UNIT, 'amount': '6000'}),
    'no scopes': granted(affected_scopes=None),
    'caps without caps': granted(decision='ALLOW_WITH_CAPS'),
    'duplicate member': {'apply': 0, 'body': '{"decision":"ALLOW",'
                         + json.dumps(granted()['body'])[1:]},
}


def test_outages_deny(server, provider):
    """Each is tried twice, with the same bytes; then the client gets a 503
    that tells it when to come back, and the provider gets nothing."""

    ng, who, cycles = server()

    for name, fault in OUTAGES.items():
        before = cycles.count('reserve')
        cycles.fault('reserve', fault, times=2)
        r = ng.chat(tenant='acme')

        assert r.status == 503, name
        assert int(r.header('retry-after')) > 0, name
        assert r.header('x-cycles-decision') == 'OUTAGE_DENY', name
        assert 'error' in r.json, name
        tries = cycles.log('reserve')[before:]
        assert len(tries) == 2, name
        assert same_bytes(tries), name

    assert provider.requests == []
    assert {line['cycles_decision'] for line in ng.wait_access_log(
        len(OUTAGES))} == {'OUTAGE_DENY'}

    # what the server had reserved ends by itself, nothing else was asked

    assert cycles.count('commit') == cycles.count('release') == 0
    sums = who.audit()
    assert sums['committed'] == sums['released'] == 0
    assert sums['expired'] > 0


def test_outages_allow(server, provider):
    ng, who, cycles = server(SHORT + 'cycles_on_outage allow;')

    for name, fault in OUTAGES.items():
        asked = len(provider.requests)
        cycles.fault('reserve', fault, times=-1)
        r = ng.chat(tenant='acme')
        assert r.status == 200, name
        assert r.header('x-cycles-decision') == 'OUTAGE_ALLOW', name
        assert len(provider.requests) == asked + 1, name
        cycles.clear_faults()

    # what it cost is told all the same

    cycles.wait(lambda: cycles.count('event') == len(OUTAGES))
    assert {e.json['actual']['amount'] for e in cycles.log('event')} == {
        cost(10, 5)}
    assert cycles.count('commit') == 0
    sums = who.audit()
    assert sums['committed'] == 0
    assert sums['charged'] == len(OUTAGES) * cost(10, 5)


def test_one_failure_is_made_good(server, provider):
    """The second try of a reserve with the same key: one reservation."""

    ng, who, cycles = server('cycles_timeout 800ms; cycles_breaker off;')
    n = 0

    for name, fault in OUTAGES.items():
        n += 1
        before = cycles.count('reserve')
        cycles.fault('reserve', fault)
        r = ng.chat(tenant='acme')
        assert r.status == 200, name
        assert r.header('x-cycles-decision') == 'ALLOW', name
        cycles.wait(lambda: cycles.count('commit') == n)
        tries = cycles.log('reserve')[before:]
        assert len(tries) == 2 and same_bytes(tries), name

    sums = who.audit()
    assert sums['charged'] == n * cost(10, 5)
    assert len(cycles.state()['reservations']) == n
    assert sums['expired'] == 0


def test_server_refuses_connections(server, provider):
    ng, who, cycles = server()
    assert ng.chat(tenant='acme').status == 200
    who.settled()
    cycles.close()

    r = ng.chat(tenant='acme')
    assert r.status == 503 and r.header('retry-after')

    cycles.listen()
    wait_until(lambda: ng.chat(tenant='acme').status == 200)
    who.audit()


def test_total_deadline(server, provider):
    """cycles_timeout counts from the start of a try, however the server
    spreads its silence."""

    ng, who, cycles = server()
    cycles.fault('reserve', {'apply': 0, 'end': 'never'}, times=2)
    assert ng.chat(tenant='acme').status == 503
    line, = ng.wait_access_log()
    assert 1.6 <= float(line['time']) < 1.6 + 5 * gateway.SCALE
    first, second = cycles.log('reserve')
    assert second.time - first.time >= 0.7


def test_connection_hangs(nginx, provider):
    """cycles_connect_timeout is shorter than the location's own."""

    with Blackhole() as hole, Server({'tenant:acme': BUDGET}) as who:
        config = who.gateway(provider, location='''
            cycles_timeout 20s;
            cycles_connect_timeout 200ms;
        ''')
        config['authority_http'] = '''
            upstream cycles { server 127.0.0.1:%d; }
        ''' % hole.port
        ng = who.attach(nginx(**config))
        r = ng.chat(tenant='acme')
        assert r.status == 503 and r.header('retry-after')
        line, = ng.wait_access_log()
        assert float(line['time']) < 8 * gateway.SCALE
        assert provider.requests == []


def test_another_server_of_the_upstream(nginx, provider):
    """Balancing is nginx's own: a dead server is passed over."""

    with Server({'tenant:acme': BUDGET}) as who:
        config = who.gateway(provider)
        config['authority_http'] = '''
            upstream cycles {
                server 127.0.0.1:%d;
                server 127.0.0.1:%d;
                keepalive 4;
            }
        ''' % (free_port(), who.cycles.port)
        ng = who.attach(nginx(**config))
        for _ in range(6):
            assert ng.chat(tenant='acme').status == 200
        sums = who.audit()
        assert sums['charged'] == 6 * cost(10, 5)


def test_stale_keepalive_connections(server):
    """The server closes what nginx kept: the next calls do not notice."""

    ng, who, cycles = server(workers=1)
    for _ in range(5):
        assert ng.chat(tenant='acme').status == 200
        who.settled()
        cycles._call(lambda: [c.transport.close()
                              for c in list(cycles.server.connections)])
    assert who.audit()['charged'] == 5 * cost(10, 5)


def test_connections_are_kept(server):
    ng, who, cycles = server(workers=1)
    for _ in range(10):
        assert ng.chat(tenant='acme').status == 200
        who.settled()
    assert len({entry.connection for entry in cycles.log()}) < 10


def test_reply_that_is_too_long(server):
    """Only the call fails, not the connection of the client."""

    ng, who, cycles = server()
    cycles.fault('reserve', {'apply': 0, 'body': granted(
        comment='x' * 100000)['body']}, times=2)
    with ng.connect() as conn:
        conn.send_chat(tenant='acme')
        assert conn.read_response().status == 503
        conn.send_chat(tenant='acme')
        assert conn.read_response().status == 200
    who.audit()


# ----------------------------------------------------- reserve: an answer


ANSWERS = [
    (400, 'INVALID_REQUEST'), (400, 'UNIT_MISMATCH'), (401, 'UNAUTHORIZED'),
    (403, 'FORBIDDEN'), (404, 'NOT_FOUND'), (409, 'BUDGET_EXCEEDED'),
    (409, 'BUDGET_FROZEN'), (409, 'BUDGET_CLOSED'), (409, 'DEBT_OUTSTANDING'),
    (409, 'OVERDRAFT_LIMIT_EXCEEDED'), (409, 'TENANT_CLOSED'),
    (409, 'A_CODE_OF_TOMORROW'), (429, 'LIMIT_EXCEEDED'), (418, None)]


@pytest.mark.parametrize('on_outage', ['deny', 'allow'])
def test_an_answer_is_no_outage(server, provider, on_outage):
    """It is asked for once, and the client is denied, with the reason."""

    ng, who, cycles = server(SHORT + 'cycles_on_outage %s;' % on_outage)

    for n, (status, code) in enumerate(ANSWERS, 1):
        cycles.fault('reserve', {'apply': 0, 'status': status,
                                 'body': refusal(code)})
        r = ng.chat(tenant='acme')
        assert r.header('x-cycles-decision') == 'DENY', code
        assert 400 <= r.status < 500 and r.status != 409, code
        if code == 'NOT_FOUND':
            code = 'BUDGET_NOT_FOUND'         # what it means for a reserve
        if code:
            assert r.header('x-cycles-reason') == code
        assert len(cycles.log()) == n

    assert provider.requests == []
    who.audit()


def refusal(code):
    if code is None:
        return '<html>'
    return {'error': code, 'message': 'no', 'request_id': 'r'}


def test_live_answer_that_says_deny(server, provider):
    ng, who, cycles = server()
    cycles.fault('reserve', {'apply': 0, 'body': {
        'decision': 'DENY', 'affected_scopes': ['tenant:acme'],
        'reason_code': 'ACTION_KIND_DENIED'}})
    r = ng.chat(tenant='acme')
    assert r.status == 429
    assert r.header('x-cycles-reason') == 'ACTION_KIND_DENIED'
    assert provider.requests == []


def test_members_of_tomorrow(server):
    """Unknown members and nulls of optional ones are tolerated."""

    ng, who, cycles = server()
    cycles.fault('reserve', {'apply': 0, 'body': json.dumps(dict(
        granted()['body'], scope_path=None, balances=None, caps=None,
        expires_at_ms=None, remaining_ttl_ms=None, reserved=None,
        retry_after_ms=None, cycles_evidence={'evidence_id': 'x'},
        something={'new': [1, None, {}]}))})
    cycles.fault('extend', {'apply': 0, 'status': 404, 'body': {
        'error': 'NOT_FOUND', 'message': 'made up'}}, times=-1)
    cycles.fault('commit', {'apply': 0, 'body': {
        'status': 'COMMITTED', 'charged': {'unit': UNIT, 'amount': 450},
        'released': None, 'balances': None, 'news': 1}})
    assert ng.chat(tenant='acme').status == 200
    cycles.wait(lambda: cycles.count('commit') == 1)
    ng.wait_access_log()
    ng.quit()
    assert cycles.count('commit') == 1


@pytest.mark.parametrize('amount', [2 ** 53 + 1, 2 ** 62 + 3])
def test_amounts_are_exact(server, amount):
    ng, who, cycles = server(
        'cycles_estimate %d; cycles_actual %d; '
        'cycles_response_headers amounts;' % (amount + 2, amount),
        scopes={'tenant:acme': 2 ** 63 - 1})
    r = ng.chat(tenant='acme')
    assert r.status == 200
    assert r.header('x-cycles-estimate') == str(amount + 2)
    assert r.header('x-cycles-remaining') == str(2 ** 63 - 1 - amount - 2)
    assert who.wait_story('acme', 'reserve', 'commit') == [
        ('reserve', amount + 2), ('commit', amount)]
    who.settled()
    assert who.budget('tenant:acme')['remaining'] == 2 ** 63 - 1 - amount
    who.audit()


def test_an_amount_that_no_int64_holds(server):
    ng, who, cycles = server()
    cycles.fault('reserve', {'apply': 0, 'body': json.dumps(
        granted()['body']).replace('6000', '9223372036854775808', 1)},
        times=2)
    assert ng.chat(tenant='acme').status == 503


# ------------------------------------------------------------------ commit


AMBIGUOUS = {name: OUTAGES[name] for name in (
    'closed before', 'closed after', 'reset before', 'reset after',
    'no answer', 'no answer, applied', 'internal error', 'html 503', '502',
    'malformed', 'html 200', 'empty', 'truncated', '202', '201', '302')}

AMBIGUOUS.update({
    'applied twice': 'duplicate',
    'no status': {'apply': 1, 'body': {
        'charged': {'unit': UNIT, 'amount': 450}}},
    'another status': {'apply': 1, 'body': {
        'status': 'RELEASED', 'charged': {'unit': UNIT, 'amount': 450}}},
    'no charge': {'apply': 1, 'body': {'status': 'COMMITTED'}},
    'charge in another unit': {'apply': 1, 'body': {
        'status': 'COMMITTED', 'charged': {'unit': 'TOKENS', 'amount': 450}}},
    'throttled at once': {'apply': 0, 'status': 429, 'headers': {
        'Retry-After': '0'}, 'body': {'error': 'LIMIT_EXCEEDED',
                                      'message': 'slow down'}},
})


def test_ambiguous_commits_are_repeated(server):
    """Until exactly the success that the protocol describes: same key, same
    bytes, charged once."""

    ng, who, cycles = server('cycles_timeout 800ms;'
                             'cycles_retry initial=20ms;')
    n = 0

    for name, fault in AMBIGUOUS.items():
        n += 1
        before = cycles.count('commit')
        cycles.fault('commit', fault)
        assert ng.chat(tenant='acme').status == 200
        tries = 1 if name == 'applied twice' else 2
        try:
            cycles.wait(lambda: cycles.count('commit') >= before + tries,
                        gateway.TIMEOUT)
        except AssertionError:
            raise AssertionError(name) from None
        who.settled()
        commits = cycles.log('commit')[before:]
        assert len(commits) == tries, name
        assert same_bytes(commits), name
        assert who.budget('tenant:acme')['spent'] == n * cost(10, 5), name

    assert cycles.count('release') == cycles.count('event') == 0
    assert who.audit()['charged'] == n * cost(10, 5)


def test_backoff(server):
    """initial, times the multiplier, up to the maximum, at most a tenth
    earlier; so many attempts behind the first; then it is given up, and said
    so."""

    ng, who, cycles = server('''
        cycles_ttl 3s;
        cycles_grace_period 0;
        cycles_retry attempts=4 initial=200ms multiplier=10 max=300ms;
    ''')
    cycles.fault('commit', 'unavailable', times=-1)
    assert ng.chat(tenant='acme').status == 200
    ng.wait_error_log('giving up after 5 tries')

    commits = cycles.log('commit')
    assert len(commits) == 5 and same_bytes(commits)
    gaps = [b.time - a.time for a, b in zip(commits, commits[1:])]
    for gap, delay in zip(gaps, (0.2, 0.3, 0.3, 0.3)):
        assert 0.9 * delay - 0.02 <= gap < 1.7, gaps

    # what could not be settled ends with its lease; it was not given back

    who.settled(timeout=10)
    assert cycles.count('commit') == 5
    assert cycles.count('release') == 0
    assert who.audit()['expired'] > 0
    id = cycles.state()['reservations'][0]['id']
    line, = [text for text in ng.errors('error')
             if 'giving up' in text]
    assert id in line


def test_retry_after_is_honoured(server):
    ng, who, cycles = server('cycles_retry initial=20ms;')
    cycles.fault('commit', 'throttled')              # Retry-After: 1
    assert ng.chat(tenant='acme').status == 200
    who.wait_story('acme', 'reserve', 'commit', 'commit')
    first, second = cycles.log('commit')
    assert second.time - first.time >= 0.99
    assert same_bytes([first, second])
    assert who.audit()['charged'] == cost(10, 5)


def test_a_date_is_no_retry_after(server):
    ng, who, cycles = server('cycles_retry initial=20ms;')
    cycles.fault('commit', {
        'apply': 0, 'status': 503, 'body': '',
        'headers': {'Retry-After': 'Fri, 31 Dec 2100 23:59:59 GMT'}})
    assert ng.chat(tenant='acme').status == 200
    who.wait_story('acme', 'reserve', 'commit', 'commit')
    assert who.audit()['charged'] == cost(10, 5)


@pytest.mark.parametrize('status,code', [(410, 'RESERVATION_EXPIRED'),
                                         (410, None)])
def test_expired_commit_becomes_an_event(server, status, code):
    ng, who, cycles = server(SHORT + '''
        cycles_dimension team blue;
        cycles_metadata job "7\\"";
        cycles_overage_policy REJECT;
    ''')
    fault = {'apply': 0, 'status': status, 'body': ''}
    if code:
        fault['body'] = {'error': code, 'message': 'too late'}
    cycles.fault('commit', fault)
    cycles.fault('event', 'drop_after')
    cycles.fault('event', 'unavailable')
    assert ng.chat(tenant='acme', stream=True).status == 200
    who.wait_story('acme', 'reserve', 'commit', 'event', 'event', 'event')

    commit, = cycles.log('commit')
    events = cycles.log('event')
    reserve, = cycles.log('reserve')
    assert same_bytes(events)

    event = events[0].json
    assert event['idempotency_key'] == commit.json['idempotency_key']
    assert event['actual'] == commit.json['actual']
    assert event['subject'] == reserve.json['subject']
    assert event['action'] == reserve.json['action']
    assert event['overage_policy'] != 'REJECT'
    id = commit.path.split('/')[3]
    assert reserve.json['metadata'] == {'job': '7"'}
    assert commit.json['metadata'] == {'job': '7"'}
    assert event['metadata']['job'] == '7"'
    assert event['metadata']['recovered_reservation_id'] == id
    assert event['metadata']['recovery_reason'] == (
        'commit_after_reservation_expired')

    sums = who.audit()                        # the reservation itself expires
    assert sums['charged'] == event['actual']['amount'] == cost(10, 5)
    assert sums['expired'] == reserve.json['estimate']['amount']


FINAL = [
    (409, 'RESERVATION_FINALIZED'), (409, 'IDEMPOTENCY_MISMATCH'),
    (409, 'BUDGET_EXCEEDED'), (409, 'OVERDRAFT_LIMIT_EXCEEDED'),
    (409, 'TENANT_CLOSED'), (400, 'INVALID_REQUEST'), (400, 'UNIT_MISMATCH'),
    (404, 'NOT_FOUND'), (401, 'UNAUTHORIZED'), (403, 'FORBIDDEN'),
    (418, None)]


def test_final_refusals_of_a_commit(server):
    """One commit, no release of money that was spent, and a line in the log
    with the reservation."""

    ng, who, cycles = server()

    for n, (status, code) in enumerate(FINAL, 1):
        cycles.fault('commit', {'apply': 0, 'status': status,
                                'body': refusal(code)})
        assert ng.chat(tenant='acme').status == 200
        cycles.wait(lambda: cycles.count('commit') == n)
        id = cycles.log('commit')[-1].path.split('/')[3]
        ng.wait_error_log('commit of reservation "%s": status %d' % (
            id, status))

    ng.quit()                                 # waits for what is under way
    assert cycles.count('reserve') == cycles.count('commit') == len(FINAL)
    assert cycles.count('release') == cycles.count('event') == 0
    assert who.audit()['committed'] == 0


def test_release_is_repeated_as_well(server, provider):
    ng, who, cycles = server('cycles_retry initial=20ms;')
    cycles.fault('release', 'drop_after')
    provider.script(gateway.error(500))
    assert ng.chat(tenant='acme').status == 500
    who.wait_story('acme', 'reserve', 'release', 'release')
    assert same_bytes(cycles.log('release'))
    sums = who.audit()
    assert sums['released'] == sums['reserved']


def test_commit_more_than_is_left(server, provider):
    """ALLOW_IF_AVAILABLE charges what is there; the variable says so."""

    ng, who, cycles = server('', scopes={'tenant:acme': 10000})
    provider.script(chat(prompt=10, completion=5000))
    assert ng.chat(tenant='acme', max_tokens=100).status == 200
    who.settled()
    assert who.budget('tenant:acme')['spent'] == 10000
    assert cycles.log('commit')[0].json['actual']['amount'] == cost(10, 5000)
    who.audit()
    assert ng.chat(tenant='acme', max_tokens=1).status == 429


# ------------------------------------------- nobody waits for a settlement


def test_keepalive_is_not_delayed_by_a_commit(server):
    """Requests on one connection are answered while the commits of those
    before them are under way."""

    ng, who, cycles = server('', workers=1)
    cycles.fault('commit', 'hold', times=3)

    with ng.connect() as conn:
        for n in range(3):
            conn.send_chat(tenant='acme')
            assert conn.read_response().status == 200
            cycles.wait(lambda: cycles.count('commit') == n + 1)
        assert [e.status for e in cycles.log('commit')] == [None] * 3
        cycles.release()
        who.settled()

    assert who.audit()['charged'] == 3 * cost(10, 5)


def test_http2_is_not_delayed_by_a_commit(server):
    ng, who, cycles = server('', workers=1, h2=True)
    cycles.fault('commit', 'hold', times=2)
    path, headers, body = chat_request(tenant='acme')

    with H2Conn(ng.h2_port) as conn:
        for n in range(2):
            stream = conn.request('POST', path, headers, body)
            assert b'Hello' in conn.read_response(stream)
            cycles.wait(lambda: cycles.count('commit') == n + 1)
        assert [e.status for e in cycles.log('commit')] == [None] * 2
        cycles.release()
        who.settled()

    who.audit()


def test_settlements_are_queued_not_dropped(server, provider):
    """A thousand streams end at once while the server takes no commit: so
    many calls are under way as the worker may have, the others wait."""

    n = 1000
    gate = Gate()
    provider.default = chat(gate=gate)

    ng, who, cycles = server('cycles_timeout 120s;', workers=1)
    path, headers, body = chat_request(tenant='acme', headers={
        'Connection': 'close'})
    request = build_request('POST', path, headers, body)
    found = []

    crowd = threading.Thread(
        target=lambda: found.extend(stampede(ng.port, [request] * n)))
    crowd.start()
    provider.wait_requests(n, timeout=60)

    cycles.fault('commit', 'hold', times=-1)
    gate.open()
    crowd.join()
    assert found == [200] * n                 # with no commit answered

    limit = 4096 // 8
    cycles.wait(lambda: cycles.count('commit') == limit, gateway.TIMEOUT)
    assert who.live() == n

    cycles.clear_faults()
    cycles.release()
    who.settled(timeout=60)
    assert cycles.count('commit') == n
    assert who.audit()['charged'] == n * cost(10, 5)


def test_a_stalled_server_does_not_stop_settlements(server, provider):
    """Reserves that hang do not keep a commit from its turn."""

    gate = Gate()
    ng, who, cycles = server('cycles_timeout 120s;', workers=1)

    with ng.connect() as conn:
        provider.script(chat_stream(4, gates={2: gate}))
        conn.send_chat(tenant='acme', stream=True)
        conn.read_until(b'word ')

        cycles.fault('reserve', 'hold', times=-1)
        path, headers, body = chat_request(tenant='acme')
        waiting = []
        for _ in range(600):
            other = Conn(ng.port)
            other.send(build_request('POST', path, headers, body))
            waiting.append(other)
        cycles.wait(lambda: cycles.count('reserve') >= 1 + 4096 // 8,
                    gateway.TIMEOUT)

        gate.open()
        conn.read_until(b'[DONE]')
        conn.read_until(b'\r\n0\r\n\r\n')
        ng.wait_access_log(1)

        # its commit waits and is the next call: one place gets free

        cycles._call(lambda: cycles.server.waiting.pop(0).set())
        cycles.wait(lambda: cycles.count('commit') >= 1, gateway.TIMEOUT)

    cycles.clear_faults()
    cycles.release()
    for other in waiting:
        assert other.read_response().status == 200
        other.close()
    who.settled(timeout=60)
    assert who.audit()['charged'] == cost(10, 4) + 600 * cost(10, 5)


def test_who_waits_for_a_call_waits_no_longer_than_for_its_reply(
        server, provider):
    """The calls under way have time; who finds no room among them has less,
    is told so in time, and the server never hears of it."""

    impatient = '''
        location /impatient/ {
            %%GUARD%%
            cycles_timeout 300ms;
            proxy_pass http://provider/;
        }
    '''
    ng, who, cycles = server('cycles_timeout 120s; cycles_breaker off;',
                             workers=1, connections=128, server=impatient)
    ng.allow += ['timed out before it was sent']
    limit = 128 // 8

    cycles.fault('reserve', 'hold', times=-1)
    path, headers, body = chat_request(tenant='acme')
    running = []
    for _ in range(limit):
        conn = Conn(ng.port)
        conn.send(build_request('POST', path, headers, body))
        running.append(conn)
    cycles.wait(lambda: cycles.count('reserve') == limit, gateway.TIMEOUT)

    for _ in range(2):
        with ng.connect() as conn:
            conn.send(build_request('POST', '/impatient' + path, headers,
                                    body))
            assert conn.read_response().status == 503

    assert cycles.count('reserve') == limit
    assert ng.error_log().count('timed out before it was sent') == 2

    cycles.clear_faults()
    cycles.release()
    for conn in running:
        assert conn.read_response().status == 200
        conn.close()
    who.settled(timeout=60)
    assert who.audit()['charged'] == limit * cost(10, 5)


# ----------------------------------------------------------------- headers


def test_headers_of_calls(server, provider):
    """The key of the authority goes to the authority and nothing of the
    client's does; the provider gets the client's and nothing of ours."""

    ng, who, cycles = server('')
    trace = '00-' + '1234567890abcdef' * 2 + '-1234567890abcdef-01'
    r = ng.chat(tenant='acme', headers={
        'Authorization': 'Bearer sk-client', 'Cookie': 'a=b',
        'X-Custom': 'mine', 'Accept-Language': 'de', 'traceparent': trace,
        'X-Cycles-API-Key': 'cyc_of_the_client', 'User-Agent': 'client/1.0'})
    assert r.status == 200
    assert r.header('x-cycles-trace-id') == trace[3:35]
    who.settled()

    for entry in cycles.log():
        headers = dict(entry.headers)
        headers.pop('connection', None)
        assert set(headers) == {
            'host', 'content-length', 'content-type', 'accept',
            'x-cycles-api-key', 'x-idempotency-key', 'traceparent'}
        assert headers['x-cycles-api-key'] == API_KEY
        assert headers['content-type'] == 'application/json'
        assert headers['accept'] == 'application/json'
        assert headers['traceparent'] == trace
        assert headers['x-idempotency-key'] == entry.json['idempotency_key']
        assert entry.method == 'POST'
        assert b'sk-client' not in entry.body

    rq, = provider.requests
    assert rq.header('authorization') == 'Bearer sk-client'
    assert API_KEY not in str(rq.headers)

    keys = [e.json['idempotency_key'] for e in cycles.log()]
    assert len(set(keys)) == 2
    for key in keys:
        assert re.fullmatch('[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}'
                            '-[89ab][0-9a-f]{3}-[0-9a-f]{12}', key)

    line, = ng.wait_access_log()
    assert line['cycles_trace_id'] == trace[3:35]
    assert line['cycles_request_id'] != ''


NO_TRACES = [
    None, '', 'nonsense', '00-' + '0' * 32 + '-1234567890abcdef-01',
    '00-' + '1' * 32 + '-' + '0' * 16 + '-01',
    'ff-' + '1' * 32 + '-1234567890abcdef-01',
    '00-' + 'A' * 32 + '-1234567890abcdef-01']


def test_trace_is_started(server):
    """Without a valid one of the client's there is a new one."""

    ng, who, cycles = server('')

    for value in NO_TRACES:
        before = cycles.count()
        r = ng.chat(tenant='acme', headers={} if value is None else {
            'traceparent': value})
        who.settled()
        sent = {e.headers['traceparent'] for e in cycles.log()[before:]}
        assert len(sent) == 1
        made = sent.pop()
        assert re.fullmatch('00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}', made)
        assert made != value
        assert r.header('x-cycles-trace-id') == made[3:35]


def test_api_key_of_a_file(server):
    """The line ends of an editor do not belong to it."""

    ng, who, cycles = server('', options={'api_key': 'file:%%DIR%%/key'},
                             files={'key': 'cyc_from_file\r\n\n'})
    assert ng.chat(tenant='acme').status == 200
    who.settled()
    assert {e.headers['x-cycles-api-key'] for e in cycles.log()} == {
        'cyc_from_file'}


def test_api_key_of_each_tenant(server):
    ng, who, cycles = server('', options={'api_key': '$key'}, http='''
        map $http_x_tenant $key {
            acme   cyc_acme;
            other  cyc_other;
        }
    ''', scopes={'tenant:acme': BUDGET, 'tenant:other': BUDGET})
    cycles.keys({'cyc_acme': 'acme', 'cyc_other': 'other'})
    assert ng.chat(tenant='acme').status == 200
    assert ng.chat(tenant='other').status == 200
    r = ng.chat(tenant='unknown')
    assert r.header('x-cycles-reason') == 'UNAUTHORIZED'
    who.settled()
    for tenant in 'acme', 'other':
        assert {e.headers['x-cycles-api-key'] for e in who.entries(tenant)
                } == {'cyc_' + tenant}


# ------------------------------------------------------------------ dry run


def test_dry_run(server, provider):
    ng, who, cycles = server('', cycles='dry_run',
                             scopes={'tenant:acme': BUDGET, 'tenant:poor': 1})
    assert ng.chat(tenant='acme').header('x-cycles-dry-run') == 'ALLOW'
    assert ng.chat(tenant='poor').header('x-cycles-dry-run') == 'DENY'
    assert ng.chat(tenant='nobody').header('x-cycles-dry-run') == 'DENY'
    cycles.fault('reserve', 'internal', times=2)
    assert ng.chat(tenant='acme').status == 200
    assert len(provider.requests) == 4
    assert [e.json['dry_run'] for e in cycles.log()] == [True] * 5
    assert who.audit()['reserved'] == 0


def test_an_estimate_is_marked(server, provider):
    """As the SDKs do it, beside what the configuration says."""

    ng, who, cycles = server(SHORT + 'cycles_metadata team $http_x_team;')
    for team, usage, metadata in (
            ('', True, {}), ('', False, {'actual_source': 'estimate'}),
            ('a', True, {'team': 'a'}),
            ('a', False, {'team': 'a', 'actual_source': 'estimate'})):
        provider.script(chat(with_usage=usage))
        assert ng.chat(tenant='acme', headers={'X-Team': team}).status == 200
        who.settled()
        commit = cycles.log('commit')[-1]
        assert commit.json['metadata'] == metadata
    who.audit()
