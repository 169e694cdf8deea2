# Copyright (C) nginx-cycles authors

"""What the journal keeps, for how long, and what those who look for records
do: rules that the scenarios of the profile do not have."""

import os
import time

import pytest

from gateway import Gate, chat_stream, parallel, wait_until
from authorities import API_KEY, Server, cost
from journal import Journal, commit_record, file_name
from test_scenarios import reserve


BUDGET = 10 ** 9

SPENT = cost(10, 5)

NOT_FOUND = {'apply': 0, 'status': 404, 'body': {
    'error': 'NOT_FOUND', 'message': 'Reservation not found'}}


@pytest.fixture
def start(nginx, provider):
    """start(...) gives (nginx, stand-in, journal)."""

    opened = []

    def begin(location='cycles_retry initial=20ms max=50ms;',
              journal='replay=200ms', api_key=API_KEY, **kw):
        who = Server({'tenant:acme': BUDGET, 'tenant:other': BUDGET},
                     api_key=api_key)
        opened.append(who.__enter__())
        ng = who.attach(nginx(**who.gateway(
            provider, location=location,
            http='cycles_journal path=%%DIR%%/journal ' + journal + ';',
            **kw)))
        return ng, who, Journal(ng.path('journal'))

    yield begin

    for who in opened:
        who.__exit__()


# ------------------------------------------------------- what is not found


def test_not_found_after_a_lost_answer(start):
    """The lost one may have arrived, and who answers now may be another: the
    record stays until somebody knows it."""

    ng, who, journal = start()
    who.cycles.fault('commit', 'drop_before', times=2)
    who.cycles.fault('commit', NOT_FOUND)
    assert ng.chat(tenant='acme').status == 200
    ng.wait_error_log(r'\[error\].*commit of reservation "[^"]+": status 404 '
                      r'"NOT_FOUND", not settled, the journal keeps it')
    who.settled()
    journal.wait_empty()
    assert len({(e.path, e.body) for e in who.cycles.log('commit')}) == 1
    assert who.check_sums()['charged'] == SPENT


def test_not_found_in_a_replay(start):
    """Whoever has written it may have sent it as well."""

    ng, who, journal = start()
    id = reserve(who.cycles)
    who.cycles.fault('commit', NOT_FOUND)
    path = journal.put(file_name(id), commit_record(id, 77))
    ng.wait_error_log('"NOT_FOUND", not settled, the journal keeps it')
    journal.wait_empty()
    who.settled()
    assert who.check_sums()['charged'] == 77
    assert not os.path.exists(path)


def test_not_found_at_once(start):
    """Nothing has arrived before, so this is final; what is held expires."""

    ng, who, journal = start(location='cycles_ttl 1s;'
                                      'cycles_grace_period 0;')
    who.cycles.fault('commit', NOT_FOUND)
    assert ng.chat(tenant='acme').status == 200
    ng.wait_error_log(r'\[error\].*commit of reservation "[^"]+": status 404 '
                      r'"NOT_FOUND", refused')
    journal.wait_empty()
    who.settled()
    assert who.cycles.count('commit') == 1
    assert who.audit()['charged'] == 0


# ----------------------------------------------------- turning into an event


def test_an_event_has_tries_of_its_own(start):
    ng, who, journal = start(location='cycles_retry attempts=2 initial=20ms;',
                             journal='replay=10m')
    who.cycles.fault('commit', 'internal', times=2)
    who.cycles.fault('commit', 'expired')
    who.cycles.fault('event', 'internal', times=2)
    assert ng.chat(tenant='acme').status == 200
    who.cycles.wait(lambda: who.cycles.count('event') == 3)
    journal.wait_empty()
    assert who.cycles.scope('tenant:acme')['spent'] == SPENT


def test_an_event_does_not_wait_for_the_commits_turn(start):
    ng, who, journal = start()
    who.cycles.fault('commit', 'throttled')
    who.cycles.fault('commit', 'expired')
    who.cycles.fault('event', 'hold')
    assert ng.chat(tenant='acme').status == 200
    who.cycles.wait(lambda: who.cycles.count('event') == 1)
    path, record = journal.record()
    assert record['mode'] == 'event'
    assert record['not_before_ms'] is None
    who.cycles.release()
    journal.wait_empty()


def test_nobody_waits_for_more_than_an_hour(start):
    """Whatever the server says."""

    ng, who, journal = start()
    who.cycles.fault('commit', {'apply': 0, 'status': 429, 'headers': {
        'Retry-After': '99999999999999999999'}, 'body': {}})
    assert ng.chat(tenant='acme').status == 200
    path, record = journal.wait_record(lambda r: r['not_before_ms'])
    waits = record['not_before_ms'] - record['recorded_at_ms']
    assert 3600000 <= waits < 3660000
    ng.wait_error_log(r'trying again in 3600000 ms')


# ------------------------------------------------------------- who replays


def test_releases_are_not_journaled(start, provider):
    ng, who, journal = start()
    provider.refuse()
    who.cycles.fault('release', 'hold')
    assert ng.chat(tenant='acme').status == 502
    who.cycles.wait(lambda: who.cycles.count('release') == 1)
    assert journal.files() == []
    who.cycles.release()
    who.settled()


def test_a_record_gets_one_try_for_each_search(start):
    ng, who, journal = start(journal='replay=10m',
                             location='cycles_retry initial=1ms max=1ms;')
    ng.kill9()
    id = reserve(who.cycles)
    journal.put(file_name(id), commit_record(id, 77))
    who.cycles.fault('commit', 'internal', times=-1)
    ng.start()
    ng.wait_error_log(r'commit of reservation "%s": .*, giving up after 1 '
                      r'tries, the journal keeps it' % id)
    assert who.cycles.count('commit') == 1
    assert len(journal.files()) == 1


def test_sixteen_are_under_way_at_once(start):
    ng, who, journal = start(workers=1)
    ng.kill9()
    for n in range(40):
        id = reserve(who.cycles, amount=100)
        journal.put(file_name(id), commit_record(id, 7, key='k-%d' % n))
    who.cycles.fault('commit', 'hold', times=16)
    ng.start()
    who.cycles.wait(lambda: who.cycles.count('commit') == 16)

    # others are settled meanwhile, and no more of these are begun

    assert ng.chat(tenant='acme').status == 200
    who.cycles.wait(lambda: who.cycles.count('commit') >= 17)
    assert len(journal.files()) in (40, 41)
    assert who.cycles.count('commit') == 17
    who.cycles.release()
    journal.wait_empty()
    who.settled()
    assert who.check_sums()['charged'] == 40 * 7 + SPENT


def test_tenants_who_are_all_new(start):
    """Where a tenant's records belong takes milliseconds to compute.  That is
    not done for each of them at once: commits wait for it, and what is to be
    reserved waits for commits.  The records are settled from where they are,
    at the first try or when they are found."""

    n = 400
    ng, who, journal = start()
    for i in range(n):
        who.cycles.budget('tenant:t%d' % i, BUDGET)
    who.cycles.fault('commit', 'unavailable', skip=n - 8, times=20)

    begin = time.monotonic()
    threads = 8

    def client(k):
        return [ng.chat(tenant='t%d' % i).status
                for i in range(k, n, threads)]

    statuses = parallel(threads, client)
    assert sum(statuses, []) == [200] * n

    journal.wait_empty()
    who.settled()
    for i in range(n):
        assert who.budget('tenant:t%d' % i)['spent'] == SPENT

    # of each worker, two at most in a tenth of a second

    known = [name for name in os.listdir(journal.path) if len(name) == 16]
    most = len(ng.workers()) * 2 * (1 + (time.monotonic() - begin) / 0.1)
    assert 0 < len(known) <= most
    print('# %d tenants, at most %d known, and %d are' % (n, most, len(known)))


def test_a_tenants_key_comes_with_its_next_request(start):
    """To any worker.  What nobody can sign waits, and nothing else does."""

    ng, who, journal = start(api_key='$http_x_key', workers=4)
    who.cycles.fault('commit', {'apply': 0, 'hold': True, 'end': 'close'})
    assert ng.chat(tenant='acme', headers={'X-Key': 'of-acme'}).status == 200
    who.cycles.wait(lambda: who.cycles.count('commit') == 1)
    ng.kill9()
    who.cycles.release()
    ng.start()
    assert ng.chat(tenant='other', headers={'X-Key': 'of-other'}).status \
        == 200
    who.cycles.wait(lambda: who.cycles.count('commit') == 2)
    wait_until(lambda: len(journal.files()) == 1)
    assert ng.chat(tenant='acme', headers={'X-Key': 'new-of-acme'}).status \
        == 200
    journal.wait_empty()
    wait_until(lambda: who.live() == 0)
    keys = {}
    for entry in who.cycles.log('commit'):
        keys.setdefault(entry.path, []).append(
            entry.headers['x-cycles-api-key'])
    assert list(keys.values()) == [['of-acme', 'new-of-acme'], ['of-other'],
                                   ['new-of-acme']]


def test_one_worker_looks(start):
    """Of four, until it ends; what can't be read is told by it alone."""

    ng, who, journal = start(workers=4, journal='replay=100ms')
    path = journal.put('unreadable.json', '{}')
    if os.geteuid() == 0:
        os.chown(path, 0, 0)
    os.chmod(path, 0)

    def pids():
        return [line.split('#')[0].rpartition(' ')[2]
                for line in ng.errors('error') if 'cannot be read' in line]

    wait_until(lambda: len(pids()) > 5)
    first, = set(pids())
    assert int(first) in ng.workers()
    ng.kill_worker(int(first))
    wait_until(lambda: len(set(pids())) == 2)


def test_a_worker_that_stays_for_a_stream_does_not_look(start, provider):
    """After a reload, a new one does."""

    gate = Gate()
    provider.script(chat_stream(4, gates={2: gate}))
    ng, who, journal = start(workers=1)
    with ng.connect() as conn:
        conn.send_chat(tenant='acme', stream=True, max_tokens=100)
        gate.wait_reached()
        ng.reload()
        id = reserve(who.cycles)
        journal.put(file_name(id), commit_record(id, 77))
        journal.wait_empty()
        gate.open()
        assert conn.read_response().complete
    who.settled()
    assert who.check_sums()['charged'] == 77 + cost(10, 4)


# ------------------------------------------------ a record of somebody else


def test_a_record_is_left_to_who_has_it(start, nginx, provider):
    """Two processes settle one reservation, as a server that gives an id
    twice makes them: the second one has no record, and removes none."""

    ng, who, journal = start()
    other = nginx(workers=1, **who.gateway(
        provider, location='cycles_retry initial=20ms;',
        http='cycles_journal path=%s/journal replay=200ms;' % ng.dir))

    # it knows the directory of the tenant

    assert other.chat(tenant='acme').status == 200
    who.settled()
    journal.wait_empty()
    other.allow.append('could not write the record')
    same = {'apply': 0, 'body': {
        'decision': 'ALLOW', 'affected_scopes': ['tenant:acme'],
        'reservation_id': 'r-1', 'expires_at_ms': 1900000000000,
        'remaining_ttl_ms': 60000}}
    done = {'apply': 0, 'body': {'status': 'COMMITTED', 'charged': {
        'unit': 'USD_MICROCENTS', 'amount': SPENT}}}
    who.cycles.fault('reserve', same, times=2)
    who.cycles.fault('commit', dict(done, hold=True))
    who.cycles.fault('commit', done)

    assert ng.chat(tenant='acme').status == 200
    who.cycles.wait(lambda: who.cycles.count('commit') == 2)
    path, record = journal.record()
    assert other.chat(tenant='acme').status == 200
    who.cycles.wait(lambda: len([e for e in who.cycles.log('commit')
                                 if e.status == 200]) == 2)
    other.quit()
    assert journal.record() == (path, record)
    who.cycles.release()
    journal.wait_empty()


# ------------------------------------------------------- a worker that quits


def test_quit_waits_for_no_longer_than_it_may(start):
    ng, who, journal = start(location='cycles_timeout 60s;',
                             journal='flush_timeout=300ms')
    who.cycles.fault('commit', 'never_before')
    assert ng.chat(tenant='acme').status == 200
    who.cycles.wait(lambda: who.cycles.count('commit') == 1)
    assert ng.quit(20) == 0
    assert 'the journal keeps what is not settled' in ng.error_log()
    assert len(journal.files()) == 1
    ng.start()
    journal.wait_empty()
    who.cycles.release()
    assert who.check_sums()['charged'] == SPENT


def test_quit_waits_for_an_answer(start):
    """And for one more try; nothing is left to the next start."""

    ng, who, journal = start(journal='flush_timeout=60s')
    who.cycles.fault('commit', {'delay': 2, 'apply': 0, 'status': 500,
                                'body': {}})
    assert ng.chat(tenant='acme').status == 200
    who.cycles.wait(lambda: who.cycles.count('commit') == 1)
    assert ng.quit(50) == 0
    assert 'the journal keeps' not in ng.error_log()
    assert journal.files() == []
    assert who.cycles.count('commit') == 2
    assert who.audit()['charged'] == SPENT
