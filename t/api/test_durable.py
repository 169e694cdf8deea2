# Copyright (C) nginx-cycles authors

"""With sync=always an operation is answered when its record is on the disk,
and so is whoever repeats it; when the disk fails, the answer is a 500, and
the same key gets the answer of the one operation once the disk works."""

import concurrent.futures

import pytest

from _api import Api, conf, ok, refused
from gateway import wait_until


BUDGET = 10 ** 6

# name: (what it does, status, what it changes of the budget)

OPERATIONS = {
    'reserve': (lambda api, rid: api.reserve(30, key='k'), 200,
                {'reserved': 30}),
    'dry run': (lambda api, rid: api.reserve(30, key='k', dry_run=True), 200,
                {}),
    'decide': (lambda api, rid: api.decide(30, key='k'), 200, {}),
    'event': (lambda api, rid: api.event(30, key='k'), 201, {'spent': 30}),
    'extend': (lambda api, rid: api.extend(rid, 1000, key='k'), 200, {}),
    'commit': (lambda api, rid: api.commit(rid, 90, key='k'), 200,
               {'reserved': -100, 'spent': 90}),
    'release': (lambda api, rid: api.release(rid, key='k'), 200,
                {'reserved': -100}),
}


def main(api):
    return api.nginx.status()['ledgers']['main']


def wait_quiet(api):
    wait_until(lambda: main(api)['synced'] == main(api)['records'])


@pytest.fixture
def start(nginx, disk):
    def begin(*allow):
        api = Api(nginx(env=disk.env(), **conf(
            ('tenant:acme', BUDGET), ledger='sync=always')))
        api.nginx.allow += allow
        rid = ok(api.reserve(100, ttl_ms=600000))['reservation_id']
        wait_quiet(api)
        return api, rid

    return begin


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        yield executor


def held(api, pool, call):
    """A call that has written its record, and is not answered."""

    records = main(api)['records']
    answer = pool.submit(call)
    wait_until(lambda: main(api)['records'] == records + 1)
    assert not concurrent.futures.wait([answer], 0.1).done
    return answer


def changed(api, change):
    expected = {'reserved': 100, 'spent': 0}
    for name, n in change.items():
        expected[name] += n
    shown = api.balance('tenant:acme')
    assert {name: shown[name] for name in expected} == expected


def without_ttl(r):
    return {k: v for k, v in r.json.items() if k != 'remaining_ttl_ms'}


@pytest.mark.parametrize('name', OPERATIONS)
def test_waits_for_the_disk(start, disk, pool, name):
    call, status, change = OPERATIONS[name]
    api, rid = start()
    disk.hold()
    first = held(api, pool, lambda: call(api, rid))
    records = main(api)['records']

    # the same once more has nothing to write, and no other answer to give

    again = pool.submit(call, api, rid)
    assert not concurrent.futures.wait([again], 0.1).done
    disk.go()
    r = first.result()
    assert r.status == again.result().status == status, r
    assert without_ttl(r) == without_ttl(again.result())
    assert main(api)['records'] == records
    changed(api, change)


@pytest.mark.parametrize('name', OPERATIONS)
def test_a_disk_that_fails(start, disk, pool, name):
    call, status, change = OPERATIONS[name]
    api, rid = start('could not be synced')
    disk.hold()
    answer = held(api, pool, lambda: call(api, rid))
    disk.fail()
    disk.go()
    r = answer.result()
    refused(r, 500, 'INTERNAL_ERROR')
    assert 'same idempotency key' in r.json['message']

    # it stands, and as long as the disk fails nobody is told so

    refused(call(api, rid), 500, 'INTERNAL_ERROR')
    disk.mend()
    records = main(api)['records']
    r = call(api, rid)
    assert r.status == status, r
    assert without_ttl(call(api, rid)) == without_ttl(r)
    assert main(api)['records'] == records
    changed(api, change)

    api.nginx.kill9()
    api.nginx.start()
    assert without_ttl(call(api, rid)) == without_ttl(r)
    changed(api, change)


def test_what_is_in_memory_does_not_wait(start, disk, pool):
    """The tables have what is on the disk: who asks them waits for it."""

    api, rid = start()
    disk.hold()
    answer = held(api, pool, lambda: api.reserve(30))
    assert api.balance('tenant:acme')['reserved'] == 130
    refused(api.reserve(BUDGET), 409, 'BUDGET_EXCEEDED')
    refused(api.commit(rid, 10, unit='TOKENS'), 400, 'UNIT_MISMATCH')

    listed = pool.submit(api.call, 'GET', '/v1/reservations')
    assert not concurrent.futures.wait([listed], 0.1).done
    disk.go()
    new = ok(answer.result())['reservation_id']
    assert {item['reservation_id']
            for item in ok(listed.result())['reservations']} == {rid, new}


def test_a_list_when_the_disk_fails(start, disk):
    api, rid = start('could not be synced', "can't write its log",
                     'its log is not in them yet')
    disk.fail()
    refused(api.reserve(30), 500, 'INTERNAL_ERROR')
    refused(api.call('GET', '/v1/reservations'), 500, 'INTERNAL_ERROR')
    refused(api.get(rid), 500, 'INTERNAL_ERROR')
    disk.mend()
    assert len(ok(api.call('GET', '/v1/reservations'))['reservations']) == 2
    assert ok(api.get(rid))['status'] == 'ACTIVE'
