# Copyright (C) nginx-cycles authors

"""A Cycles server that is away: who waits for it, who is told so at once, and
what becomes of requests that pass all the same."""

import concurrent.futures
import os
import time

import pytest

from gateway import Conn, Gate, chat, chat_stream, wait_until
from authorities import Server, cost
from journal import Journal


BUDGET = 10 ** 9

CONF = '''
    cycles_timeout 300ms;
    cycles_retry initial=20ms max=50ms attempts=1;
'''

JOURNAL = '''
    cycles_journal path=%%DIR%%/journal replay=200ms flush_timeout=500ms;
'''


@pytest.fixture
def server(nginx, provider):
    opened = []

    def start(location='', workers=2, http='', **kw):
        who = Server({'tenant:acme': BUDGET}, **kw)
        opened.append(who.__enter__())
        ng = who.attach(nginx(workers=workers, **who.gateway(
            provider, location=CONF + location, http=http)))
        return ng, who, who.cycles

    yield start

    for who in opened:
        who.__exit__()


def asked(cycles):
    return cycles.count('reserve')


# ----------------------------------------------------------------- breaker


def test_a_timeout_opens_it_for_all_workers(server, provider):
    """One client waits, the others are told at once, and when the server
    answers again nobody has had to wait for that."""

    ng, who, cycles = server('cycles_breaker open=400ms;')
    cycles.fault('*', 'never_before', times=-1)

    r = ng.chat(tenant='acme')
    assert r.status == 503
    assert asked(cycles) == 1
    ng.wait_error_log(r'\[error\].*server of location "@cycles" does not '
                      r'answer in time, it is not asked for 400 ms')

    for _ in range(40):
        r = ng.chat(tenant='acme')
        assert r.status == 503
        assert r.header('X-Cycles-Decision') == 'OUTAGE_DENY'
        assert r.header('Retry-After')
    assert asked(cycles) == 1

    # probes ask for nothing that would have to be given back

    def probed():
        ng.chat(tenant='acme')
        return cycles.count('decide')

    wait_until(probed)
    assert asked(cycles) == 1
    assert set(cycles.log('decide')[0].json) == {
        'idempotency_key', 'subject', 'action', 'estimate'}

    cycles.clear_faults()
    cycles.release()
    wait_until(lambda: ng.chat(tenant='acme').status == 200)
    ng.wait_error_log(r'\[notice\].*"@cycles" answers again')
    assert not provider.requests[1:]
    who.settled()
    assert who.live() == 0


def test_failures_in_a_row_open_it(server):
    ng, who, cycles = server('cycles_breaker failures=3 open=10m;', workers=1)
    cycles.fault('reserve', 'internal')
    assert ng.chat(tenant='acme').status == 200       # the second try
    cycles.fault('reserve', 'internal', times=-1)
    assert ng.chat(tenant='acme').status == 503       # two
    assert asked(cycles) == 4
    assert ng.chat(tenant='acme').status == 503       # the third
    assert asked(cycles) == 5
    ng.wait_error_log('server of location "@cycles" fails')
    assert ng.chat(tenant='acme').status == 503
    assert asked(cycles) == 5


def test_slow_answers_open_it(server):
    """They are used, each of them."""

    ng, who, cycles = server('cycles_breaker failures=2 slow=50ms open=10m;',
                             workers=1)
    cycles.fault('reserve', {'delay': 0.1}, times=-1)
    cycles.fault('commit', {'delay': 0.1}, times=-1)
    assert ng.chat(tenant='acme').status == 200
    who.settled()
    ng.wait_error_log('server of location "@cycles" is slow')
    assert ng.chat(tenant='acme').status == 503
    assert asked(cycles) == 1


def test_an_answer_in_between_keeps_it_closed(server):
    ng, who, cycles = server('cycles_breaker failures=2 open=10m;')
    for _ in range(4):
        cycles.fault('reserve', 'internal')
        assert ng.chat(tenant='acme').status == 200
        who.settled()
    assert 'is not asked' not in ng.error_log()


def test_denials_and_unknown_keys_are_answers(server):
    ng, who, cycles = server('cycles_breaker failures=1 open=10m;')
    cycles.fault('reserve', 'unauthorized')
    assert ng.chat(tenant='acme').status == 429
    assert ng.chat(tenant='nobody').status == 429
    assert 'is not asked' not in ng.error_log()


def test_off(server):
    ng, who, cycles = server('cycles_breaker off;')
    cycles.fault('reserve', 'never_before', times=3)
    assert ng.chat(tenant='acme').status == 503
    assert asked(cycles) == 2
    assert ng.chat(tenant='acme').status == 200
    assert asked(cycles) == 4


def test_settlements_go_on_while_it_is_open(server, provider):
    """A client's wait is what is saved, not a commit."""

    ng, who, cycles = server('cycles_breaker open=10m;', http=JOURNAL)
    gate = Gate()
    provider.script(chat_stream(3, gates={1: gate}))
    with Conn(ng.port) as conn:
        conn.send_chat(tenant='acme', stream=True)
        head = conn.read_head()
        gate.wait_reached()
        cycles.fault('reserve', 'never_before', times=-1)
        assert ng.chat(tenant='acme').status == 503
        ng.wait_error_log('is not asked')
        gate.open()
        assert conn.read_response(head=head).complete
    who.settled()
    assert cycles.scope('tenant:acme')['spent'] == cost(10, 3)


# -------------------------------------------------------------- fail-open


def test_what_passed_unreserved_is_told_afterwards(nginx, provider):
    """The server is away, requests pass; when it is back, each of them is
    there once, as an event, whatever happened to nginx meanwhile."""

    who = Server({'tenant:acme': BUDGET})
    ng = who.attach(nginx(**who.gateway(
        provider, location=CONF + 'cycles_on_outage allow;', http=JOURNAL)))
    journal = Journal(ng.path('journal'))

    for n in range(1, 8):
        provider.script(chat(prompt=n, completion=n))
        r = ng.chat(tenant='acme')
        assert r.status == 200
        assert r.header('X-Cycles-Decision') == 'OUTAGE_ALLOW'
        assert not r.header('X-Cycles-Reservation-Id')

    provider.refuse()
    assert ng.chat(tenant='acme').status == 502         # cost nothing
    provider.listen()

    wait_until(lambda: len(journal.files()) == 7, what='seven records')
    for record in journal.records().values():
        assert record['mode'] == 'event'
        assert record['commit_body'] is None
        assert (record['event_fallback_body']['idempotency_key']
                == record['reservation_id'])
    ng.kill9()

    with who:
        ng.start()
        journal.wait_empty()
        events = who.cycles.log('event')
        amounts = {e.json['idempotency_key']: e.json['actual']['amount']
                   for e in events}
        assert sorted(amounts.values()) == [cost(n, n) for n in range(1, 8)]
        assert events[0].json['subject'] == {'tenant': 'acme'}
        assert events[0].json['action'] == {'kind': 'llm.completion',
                                            'name': 'openai:gpt-4o-mini'}
        assert (who.cycles.scope('tenant:acme')['spent']
                == sum(cost(n, n) for n in range(1, 8)))

        # and it is asked again

        wait_until(lambda: ng.chat(tenant='acme').header('X-Cycles-Decision')
                   == 'ALLOW')
        who.settled()


def test_what_cost_nothing_is_not_told(nginx, provider):
    who = Server({'tenant:acme': BUDGET})
    ng = who.attach(nginx(**who.gateway(
        provider, location=CONF + '''
            cycles_on_outage allow;
            cycles_actual $http_x_actual;
        ''', http=JOURNAL)))
    journal = Journal(ng.path('journal'))

    for actual in '0', '5':
        assert ng.chat(tenant='acme', headers={'X-Actual': actual}).status \
            == 200
    with who:
        who.cycles.wait(lambda: who.cycles.count('event'))
        journal.wait_empty()
        assert {e.json['actual']['amount'] for e in who.cycles.log('event')} \
            == {5}

    # two workers may log them in any order

    zero, five = sorted(ng.wait_access_log(2),
                        key=lambda entry: entry['cycles_actual'])
    assert (zero['cycles_actual'], five['cycles_actual']) == ('0', '5')
    assert zero['cycles_settlement'] == ''


def test_an_answer_is_never_an_outage(server, provider):
    ng, who, cycles = server('cycles_on_outage allow;', http=JOURNAL)
    for fault in 'unauthorized', 'throttled':
        cycles.fault('reserve', fault)
        assert ng.chat(tenant='acme').status == 429
    assert not provider.requests
    assert cycles.count('event') == 0


def test_latency_is_not_the_servers(nginx, provider):
    """With the breaker open, requests pass as if there were no server, and
    each of them is an event once it is back.  The server is not asked, and no
    request has waited for it, which is judged; how long all of it takes
    beside a plain proxy_pass is told, as a busy machine changes that."""

    who = Server({'tenant:acme': BUDGET})
    who.__enter__()
    ng = who.attach(nginx(**who.gateway(
        provider, location=CONF + '''
            cycles_breaker open=10m;
            cycles_on_outage allow;
        ''', http=JOURNAL, server='''
            location /plain/ { proxy_pass http://provider/; }
        ''')))
    cycles = who.cycles
    journal = Journal(ng.path('journal'))

    try:
        cycles.fault('*', 'never_before', times=-1)
        assert ng.chat(tenant='acme').status == 200
        ng.wait_error_log('is not asked')
        before = asked(cycles)

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: pairs(ng, ROUND), range(4)))

        plain = sorted(pair[0] for times in found for pair in times)
        passed = sorted(pair[1] for times in found for pair in times)
        added = [(percentile(passed, n) - percentile(plain, n)) * 1000
                 for n in (50, 99)]
        print('# added by an open breaker: p50 %.2f ms, p99 %.2f ms; p99 of '
              'proxy_pass %.2f ms, with us %.2f ms' % (
                  *added, percentile(plain, 99) * 1000,
                  percentile(passed, 99) * 1000))

        assert asked(cycles) == before
        assert cycles.count('decide') == 0
        lines = [line for line in ng.wait_access_log(8 * ROUND + 1)
                 if line['cycles_decision']]
        assert len(lines) == 4 * ROUND + 1
        assert {line['cycles_decision'] for line in lines} \
            == {'OUTAGE_ALLOW'}
        assert [line['cycles_reserve_time'] for line in lines[1:]
                if line['cycles_reserve_time'] not in ('', '0.000')] == []

        # it is back

        cycles.clear_faults()
        cycles.release()
        journal.wait_empty(60)
        keys = {e.json['idempotency_key'] for e in cycles.log('event')
                if e.status == 201}
        assert len(keys) == len(lines)
        assert (cycles.scope('tenant:acme')['spent']
                == len(lines) * cost(10, 5))
    finally:
        who.__exit__()


ROUND = int(os.environ.get('OUTAGE_ROUND') or 60)


def pairs(ng, n):
    """Times of so many requests without us and with us, turn by turn."""

    times = []
    with Conn(ng.port) as conn:
        for _ in range(n):
            pair = []
            for path in '/plain/v1/chat/completions', '/v1/chat/completions':
                start = time.monotonic()
                conn.send_chat(tenant='acme', path=path)
                assert conn.read_response().status == 200
                pair.append(time.monotonic() - start)
            times.append(pair)
    return times


def percentile(values, n):
    return values[len(values) * n // 100]
