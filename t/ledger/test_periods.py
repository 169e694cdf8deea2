# Copyright (C) nginx-cycles authors

"""Periods of budgets in nginx: what the file says, what the status tells, how
long a denial lasts, and that nothing is lost or charged twice at a boundary."""

import datetime
import json
import os
import sys
import time
import zoneinfo

import pytest

import gateway
from gateway import (Gate, budgets, chat_stream, ledger_gateway, nginx_t,
                     wait_until)
from ledger_log import Log, State
from meter import estimate

sys.path.insert(0, os.path.join(gateway.ROOT, 't', 'api'))

from _api import Api, amount, conf, ok     # noqa: E402


ENOUGH = estimate()

MONTH = {'period': {'type': 'calendar', 'every': 'month',
                    'timezone': 'Europe/Berlin'}}
FIXED = 'cycles_action a b; cycles_estimate 10; cycles_actual estimate;'


def rolling(seconds):
    return {'period': {'type': 'rolling', 'seconds': seconds}}


def month(now, zone='Europe/Berlin'):
    """Start and end of the month that now is in, as the status has them."""

    local = datetime.datetime.fromtimestamp(now, zoneinfo.ZoneInfo(zone))
    first = local.replace(day=1, hour=0, minute=0, second=0, microsecond=0,
                          fold=0)
    after = (first + datetime.timedelta(days=32)).replace(day=1)
    return [t.astimezone(datetime.timezone.utc).strftime(
        '%Y-%m-%dT%H:%M:%S.000Z') for t in (first, after)]


def seconds(text):
    return datetime.datetime.fromisoformat(
        text.replace('Z', '+00:00')).timestamp()


def state(ng):
    found = State(Log(ng.path('ledger')).records())
    assert found.problems == []
    return found


def test_calendar(nginx, provider):
    ng = nginx(**ledger_gateway(provider, ('tenant:acme', 15, MONTH),
                                location=FIXED))
    assert ng.chat(tenant='acme').status == 200
    wait_until(lambda: ng.live_reservations() == 0)

    start, end = month(time.time())
    shown = ng.status()['budgets'][0]['period']
    assert shown == dict(MONTH['period'], start=start, resets_at=end)

    before = time.time()
    r = ng.chat(tenant='acme')
    left = int(r.header('Retry-After'))
    assert r.status == 429
    assert r.header('x-should-retry') == 'false'
    assert seconds(end) - time.time() <= left <= seconds(end) - before + 2
    assert 'until the next one begins' in r.json['error']['message']

    # it is larger than the budget: no boundary helps

    ng.files['budgets.json'] = budgets(('tenant:acme', 9, MONTH))
    ng.write_conf()
    ng.reload()
    r = ng.chat(tenant='acme')
    assert r.status == 429 and not r.header('Retry-After')
    assert ng.budget('tenant:acme')['spent'] == 10

    # no period, and another one: what was spent stays

    for entry in {}, rolling(3600):
        ng.files['budgets.json'] = budgets(('tenant:acme', 15, entry))
        ng.write_conf()
        ng.reload()
        balance = ng.status()['budgets'][0]
        assert balance['spent']['amount'] == 10
        assert bool(balance.get('period')) == bool(entry)

    assert balance['period']['seconds'] == 3600
    assert 3590 <= seconds(balance['period']['resets_at']) - time.time() <= 3600


def test_rolling(nginx, provider):
    """Who waits as long as the denial says is served."""

    ng = nginx(**ledger_gateway(provider, ('tenant:acme', 10, rolling(2)),
                                location=FIXED))
    served = denied = 0
    begin = time.monotonic()

    while served < 3:
        r = ng.chat(tenant='acme')
        if r.status == 200:
            served += 1
            continue

        denied += 1
        assert r.status == 429
        if not r.header('x-should-retry'):
            continue                            # of the one that is running

        left = int(r.header('Retry-After'))
        assert 1 <= left <= 3
        time.sleep(left)

    assert denied
    assert time.monotonic() - begin > 2

    wait_until(lambda: ng.live_reservations() == 0)
    found = state(ng)
    budget = found.budgets['tenant:acme']
    assert sum(period['spent'] for period in budget['periods']) + \
        budget['spent'] == 10 * served == found.sums()['charged']
    for period in budget['periods']:
        assert period['spent'] <= 10
        assert (period['end'] - period['start']) % 2000 == 0


def test_boundary_under_a_stream(nginx, provider):
    """It is charged to the period in which it ends, and crashes don't matter
    to the bounds."""

    ng = nginx(**ledger_gateway(provider, ('tenant:acme', ENOUGH * 2,
                                           rolling(1))))
    gate = Gate()
    provider.script(chat_stream(4, gates={2: gate}))

    with ng.connect() as conn:
        conn.send_chat(tenant='acme', stream=True)
        gate.wait_reached()
        first = ng.status()['budgets'][0]['period']
        wait_until(lambda: ng.status()['budgets'][0]['period'] != first)

        balance = ng.budget('tenant:acme')
        assert balance['spent'] == 0 and balance['reserved'] > 0
        gate.open()
        assert conn.read_response().complete

    wait_until(lambda: ng.live_reservations() == 0)
    found = state(ng)
    budget = found.budgets['tenant:acme']
    held = [period for period in budget['periods'] if period['reserved']]
    assert held and all(period['spent'] == 0 for period in held)
    assert sum(period['spent'] for period in budget['periods']) + \
        budget['spent'] == found.sums()['charged'] > 0

    records = len(Log(ng.path('ledger')).records())
    ng.kill9()
    ng.start()
    shown = ng.status()['budgets'][0]['period']
    assert (seconds(shown['start']) * 1000 - budget['period'][0]) % 1000 == 0
    assert len(Log(ng.path('ledger')).records()) >= records
    state(ng)


def starts(every, zone, date, n):
    """The first moments of so many periods, from that date on."""

    found = []
    while len(found) < n:
        found.append(datetime.datetime.combine(
            date, datetime.time(), zoneinfo.ZoneInfo(zone)).timestamp())
        date += datetime.timedelta(days=1 if every == 'day' else 31)
        if every == 'month':
            date = date.replace(day=1)
    return found


# a day of 23 hours, one of 25, the leap day, and the month that it ends

@pytest.mark.parametrize('every,zone,first,hours', [
    ('day', 'Europe/Berlin', datetime.date(2027, 3, 27), (24, 23, 24)),
    ('day', 'America/New_York', datetime.date(2027, 11, 6), (24, 25, 24)),
    ('day', 'Asia/Kathmandu', datetime.date(2028, 2, 28), (24, 24, 24)),
    ('month', 'Asia/Kathmandu', datetime.date(2028, 1, 1),
     (31 * 24, 29 * 24, 31 * 24)),
])
def test_boundaries_of_the_calendar(nginx, clock, every, zone, first, hours):
    """Crossed while reservations are live: each is charged to the period in
    which it is settled, whatever the clock on the wall does."""

    begins = starts(every, zone, first, 4)
    assert tuple((b - a) / 3600 for a, b in zip(begins, begins[1:])) == hours

    clock.jump(int(begins[0] + 3600 - time.time()))
    ng = nginx(env=clock.env(), **conf(('tenant:acme', 1000, {'period': {
        'type': 'calendar', 'every': every, 'timezone': zone}})))
    api = Api(ng)

    def reserve(n):
        return ok(api.reserve(n, ttl_ms=86400000))['reservation_id']

    def check(n, spent, reserved):
        shown = ng.status()['budgets'][0]['period']
        assert seconds(shown['start']) == begins[n]
        assert seconds(shown['resets_at']) == begins[n + 1]
        flat = api.balance('tenant:acme')
        assert (flat['spent'], flat['reserved']) == (spent, reserved)

    ok(api.event(7), 201)
    check(0, 7, 0)
    live = None

    for n in 1, 2:

        # half a minute before, and half a minute after

        clock.jump(int(begins[n] - 30 - clock.time()))
        if live:
            assert api.get(live).status == 410       # was not settled
        live, other, third = reserve(100), reserve(50), reserve(20)
        ok(api.commit(third, 15 + n))
        check(n - 1, (7 if n == 1 else 96) + 15 + n, 150)
        clock.jump(60)

        ok(api.release(other))
        check(n, 0, 100)
        if n == 1:
            ok(api.commit(live, 90))
            ok(api.event(6), 201)
            live = None
            check(n, 96, 0)

    check(2, 0, 100)
    budget = state(ng).budgets['tenant:acme']
    assert [(period['start'], period['end'], period['spent'],
             period['reserved']) for period in budget['periods']] == [
        (begins[0] * 1000, begins[1] * 1000, 23, 150),
        (begins[1] * 1000, begins[2] * 1000, 113, 150)]

    ng.kill9()
    ng.start()
    check(2, 0, 100)
    assert state(ng).budgets['tenant:acme']['periods'] == budget['periods']
    ok(api.commit(live, 60))
    check(2, 60, 0)


@pytest.mark.parametrize('period, says', [
    ({'type': 'calendar', 'every': 'month', 'timezone': 'Europe/Atlantis'},
     'budgets[0].period.timezone can\'t be used: time zone "Europe/Atlantis": '
     'there is no such file in /usr/share/zoneinfo'),
    ({'type': 'rolling', 'seconds': 0},
     'budgets[0].period.seconds must be an integer from 1 to 315360000'),
    ({'type': 'calendar', 'every': 'hour'},
     'budgets[0].period.every must be "day", "week", "month", "quarter" or '
     '"year"'),
])
def test_nginx_t(provider, period, says):
    accepted, output = nginx_t(**ledger_gateway(
        provider, ('tenant:acme', 10, {'period': period})))
    assert not accepted
    assert says in output


def test_api(nginx):
    """The API says when a denial ends, and the admin plane the bounds."""

    ng = nginx(**conf(('tenant:acme', 100, rolling(3600)),
                      api='admin_key=operator'))
    api = Api(ng)
    shown = ng.status()['budgets'][0]['period']

    assert api.reserve(60).status == 200
    r = api.reserve(60)
    assert r.status == 409
    assert r.json['details']['reset_at_ms'] == round(
        seconds(shown['resets_at']) * 1000)

    r = api.reserve(101)
    assert r.status == 409 and 'reset_at_ms' not in r.json['details']

    r = ng.request('GET', '/v1/admin/budgets?tenant_id=acme',
                   headers={'X-Admin-API-Key': 'operator'})
    ledger = json.loads(r.body)['ledgers'][0]
    assert ledger['period_start'] == shown['start']
    assert ledger['period_end'] == shown['resets_at']
    assert ledger['reserved'] == amount(60)
