# Copyright (C) nginx-cycles authors

"""GET /v1/reservations against a model that sorts and filters in Python."""

import datetime
import json
import random
from urllib.parse import quote, urlencode

import pytest

import gateway
from _api import (ACTION, INT64_MAX, KEYS, Api, amount, conf, keys, ok,
                  refused, sha256)
from gateway import wait_until


OPERATOR = 'the-operators-key'

SORTS = ('reservation_id', 'tenant', 'scope_path', 'status', 'reserved',
         'created_at_ms', 'expires_at_ms')


class ListApi(Api):

    def list(self, api_key=KEYS['acme'], admin=None, **query):
        headers = {'X-Admin-API-Key': admin} if admin else None
        return self.call('GET', '/v1/reservations',
                         key=None if admin else api_key, headers=headers,
                         query=urlencode(query))

    def all(self, limit=200, **query):
        """All pages of a list: rows."""

        rows, cursor = [], {}
        while True:
            body = ok(self.list(limit=limit, **cursor, **query))
            rows += body['reservations']
            if not body['has_more']:
                assert 'next_cursor' not in body
                return rows
            assert len(body['reservations']) == limit
            cursor = {'cursor': body['next_cursor']}


@pytest.fixture
def make(nginx):
    def start(*entries, **kw):
        kw = conf(*entries, **kw)
        kw['files']['budgets.json'] = json.dumps(dict(
            json.loads(kw['files']['budgets.json']),
            admin_key_sha256=sha256(OPERATOR)))
        return ListApi(nginx(**kw))
    return start


def iso(ms, plus=0):
    t = datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=ms,
                                                           microseconds=plus)
    return t.isoformat(timespec='microseconds') + 'Z'


def ids(rows):
    return [row['reservation_id'] for row in rows]


# one ledger with some of everything, which no test changes

@pytest.fixture(scope='module')
def api():
    kw = conf(('tenant:acme', INT64_MAX), ('tenant:other', INT64_MAX))
    kw['files']['budgets.json'] = json.dumps(dict(
        json.loads(kw['files']['budgets.json']),
        admin_key_sha256=sha256(OPERATOR)))
    ng = gateway.Nginx(**kw)
    try:
        api = ListApi(ng.start())
        fill(api)
        yield api
        ng.stop()
        ng.check()
    finally:
        ng.close()


def fill(api):
    rnd = random.Random(3)
    api.model = []
    apps = ['chat', 'Chat', 'search', None]
    for i in range(120):
        subject = {'tenant': 'acme'}
        for level, values in (('app', apps), ('agent', ['a', 'b', None]),
                              ('workspace', ['w', None])):
            value = rnd.choice(values)
            if value:
                subject[level] = value
        if i % 10 == 0:
            subject['dimensions'] = {'team': 'é', 'n': str(i)}
        action = dict(ACTION, tags=['t', 'ü']) if i % 7 == 0 else ACTION
        n = rnd.choice([0, 1, 5, 2 ** 53 + 1, 2 ** 53 + 2])
        key = 'key "%d"' % i
        more = {'metadata': {'i': i}} if i % 3 == 0 else {}
        short = i % 12 == 5
        body = ok(api.reserve(n, key=key, subject=subject, action=action,
                              ttl_ms=1000 if short else
                              rnd.choice([3600000, 7200000]),
                              grace_period_ms=0, **more))
        rid = body['reservation_id']
        what = 'EXPIRED' if short else rnd.choice(
            ['ACTIVE', 'COMMITTED', 'RELEASED'])
        if what == 'COMMITTED':
            ok(api.commit(rid, n // 2, metadata={'done': i}))
        elif what == 'RELEASED':
            ok(api.release(rid))
        api.model.append((rid, what, key, subject, action, n, more))
    ok(api.reserve(1, subject={'tenant': 'other'}, key='key "1"',
                   api_key=KEYS['other']))

    # the last of the short ones is over, and the sweep has seen it

    wait_until(lambda: all(api.get(m[0]).status == 410 for m in api.model
                           if m[1] == 'EXPIRED'))
    api.rows = api.all(include='metadata,committed_metadata')


def test_rows(api):
    rows = {row['reservation_id']: row for row in api.rows}
    assert len(rows) == len(api.rows) == len(api.model)
    for rid, what, key, subject, action, n, more in api.model:
        row = rows[rid]
        assert row['status'] == what
        assert row['idempotency_key'] == key
        assert row['subject'] == subject
        assert row['action'] == action
        assert row['reserved'] == amount(n)
        assert row.get('metadata') == more.get('metadata')
        assert row['scope_path'] == row['affected_scopes'][-1]
        assert ('finalized_at_ms' in row) == (what in ('COMMITTED',
                                                       'RELEASED'))
        if what == 'COMMITTED':
            assert row['committed'] == amount(n // 2)
            assert list(row['committed_metadata']) == ['done']
        else:
            assert not {'committed', 'committed_metadata'} & set(row)
        if what != 'EXPIRED':
            assert ok(api.get(rid)) == row


def test_default_order(api):
    rows = api.all()
    assert ids(rows) == [m[0] for m in reversed(api.model)]
    assert all('metadata' not in r and 'committed_metadata' not in r
               for r in rows)
    assert len(ok(api.list())['reservations']) == 50


def key_of(row, sort):
    if sort == 'reserved':
        return row['reserved']['amount']
    if sort == 'tenant':
        return row['subject']['tenant']
    return row[sort]


@pytest.mark.parametrize('sort', SORTS)
@pytest.mark.parametrize('dir', ['asc', 'desc', None])
def test_sort(api, sort, dir):
    made = {m[0]: i for i, m in enumerate(api.model)}
    want = sorted(api.rows, key=lambda row: (key_of(row, sort),
                                             made[row['reservation_id']]),
                  reverse=dir != 'asc')
    query = {'sort_by': sort}
    if dir:
        query['sort_dir'] = dir
    for limit in 200, 19, 1 if sort == 'reserved' and dir else 120:
        assert ids(api.all(limit=limit, **query)) == ids(want)


@pytest.mark.parametrize('query', [
    {'status': 'ACTIVE'}, {'status': 'COMMITTED'}, {'status': 'RELEASED'},
    {'status': 'EXPIRED'}, {'app': 'chat'}, {'app': 'CHAT'}, {'agent': 'a'},
    {'workspace': 'w', 'agent': 'b'}, {'app': 'search', 'status': 'ACTIVE'},
    {'app': 'nope'}, {'toolset': 'x'}, {'workflow': 'x'},
    {'tenant': 'acme'}, {'idempotency_key': 'key "17"'},
    {'idempotency_key': 'key'}, {'idempotency_key': 'key "17"',
                                 'app': 'nope'},
])
def test_filters(api, query):
    def matches(row):
        for name, value in query.items():
            if name in ('status', 'idempotency_key'):
                if row[name] != value:
                    return False
            elif row['subject'].get(name, '').lower() != value.lower():
                return False
        return True

    want = [row for row in api.rows if matches(row)]
    assert ids(api.all(**query)) == ids(want)
    assert ids(api.all(limit=11, sort_by='reserved', **query)) == ids(sorted(
        want, key=lambda row: row['reserved']['amount'], reverse=True))
    if 'idempotency_key' in query:
        assert len(want) <= 1


@pytest.mark.parametrize('name,field', [
    ('', 'created_at_ms'), ('expires_', 'expires_at_ms'),
    ('finalized_', 'finalized_at_ms')])
def test_windows(api, name, field):
    times = sorted(row[field] for row in api.rows if field in row)
    low, high = times[len(times) // 4], times[3 * len(times) // 4]

    def want(low, high):
        return ids(row for row in api.rows
                   if low <= row.get(field, -1) <= high)

    def got(**query):
        return ids(api.all(**{name + k: v for k, v in query.items()}))

    both = want(low, high)
    assert both and both != want(low, INT64_MAX) != want(0, INT64_MAX)

    assert got(**{'from': iso(low), 'to': iso(high)}) == both
    assert got(**{'from': iso(low)}) == want(low, INT64_MAX)
    assert got(to=iso(high)) == want(0, high)
    assert got(**{'from': '', 'to': ''}) == ids(api.rows)
    assert got(**{'from': '', 'to': iso(high)}) == want(0, high)

    # the bounds belong to the window, and a microsecond is outside

    assert got(**{'from': iso(low, 1)}) == want(low + 1, INT64_MAX)
    assert got(to=iso(high, -1)) == want(0, high - 1)
    assert got(**{'from': iso(low), 'to': iso(low)}) == want(low, low)

    for bound in 'from', 'to':
        refused(api.list(**{name + bound: 'yesterday'}), 400,
                'INVALID_REQUEST')
    refused(api.list(**{name + 'from': iso(high), name + 'to': iso(low)}),
            400, 'INVALID_REQUEST')


def test_windows_together(api):
    times = sorted(row['created_at_ms'] for row in api.rows)
    middle = times[len(times) // 2]
    got = api.all(**{'from': iso(middle), 'finalized_from': iso(0),
                     'expires_to': iso(INT64_MAX // 10 ** 6)})
    assert ids(got) == ids(row for row in api.rows
                           if row['created_at_ms'] >= middle
                           and 'finalized_at_ms' in row)
    assert {row['status'] for row in got} == {'COMMITTED', 'RELEASED'}


@pytest.mark.parametrize('text,good', [
    ('2026-11-25T02:52:50Z', True), ('2026-11-25t02:52:50z', True),
    ('2026-11-25T02:52:50.123456789+01:00', True),
    ('2026-11-25T02:52:50-23:59', True), ('0000-01-01T00:00:00Z', True),
    ('9999-12-31T23:59:60Z', True), ('2024-02-29T00:00:00Z', True),
    ('2023-02-29T00:00:00Z', False), ('2026-11-25', False),
    ('2026-11-25T02:52:50', False), ('2026-11-25T24:00:00Z', False),
    ('2026-13-01T00:00:00Z', False), ('2026-00-01T00:00:00Z', False),
    ('2026-11-25T02:52:50.Z', False), ('1764039170', False),
    ('2026-11-25T02:52:50Z ', False), ('26-11-25T02:52:50Z', False),
    ('2026-11-25T02:52:50+0100', False), ('\u0662026-11-25T02:52:50Z',
                                          False), ('%', False),
])
def test_date_times(api, text, good):
    r = api.list(**{'from': text})
    if good:
        ok(r)
    else:
        assert '"from" must be a date-time' in refused(
            r, 400, 'INVALID_REQUEST')['message']


def test_an_offset_need_not_be_encoded(api):
    times = sorted(row['created_at_ms'] for row in api.rows)
    low = times[60]
    local = iso(low + 3600000)[:-1] + '+01:00'
    want = ids(row for row in api.rows if row['created_at_ms'] >= low)
    for text in quote(local), local.replace('+', '%2B'), local:
        body = ok(api.call('GET', '/v1/reservations',
                           query='limit=200&from=' + text))
        assert ids(body['reservations']) == want


@pytest.mark.parametrize('query', [
    {'status': 'active'}, {'status': 'x'}, {'sort_by': 'created_at'},
    {'sort_dir': 'down'}, {'limit': 0}, {'limit': 201}, {'limit': 'x'},
    {'limit': -1}, {'limit': '1.0'}, {'cursor': 'x'}, {'cursor': '00'},
    {'cursor': '0' * 48}, {'cursor': 'f' * 4000}, {'cursor': 'zz' * 24},
    {'idempotency_key': 'é' * 257},
])
def test_bad_parameters(api, query):
    body = refused(api.list(**query), 400, 'INVALID_REQUEST')
    assert '"%s"' % next(iter(query)) in body['message']


@pytest.mark.parametrize('query', [
    {'status': ''}, {'app': ''}, {'limit': ''}, {'cursor': ''},
    {'sort_by': ''}, {'sort_dir': ''}, {'include': ''}, {'unknown': 'x'},
    {'include': ' , ,metadata2,evidence'}, {'idempotency_key': ''},
])
def test_ignored_parameters(api, query):
    assert ok(api.list(**query)) == ok(api.list())


def test_include(api):
    both = {'metadata', 'committed_metadata'}
    for include, want in (
            ('metadata', {'metadata'}), ('metadata,', {'metadata'}),
            (' metadata , x', {'metadata'}), ('evidence', set()),
            ('committed_metadata', {'committed_metadata'}),
            ('committed_metadata,metadata', both)):
        rows = ok(api.list(include=include, limit=200))['reservations']
        seen = set().union(*rows) & both
        assert seen == want, include


# cursors

def test_a_cursor_belongs_to_its_list(api):
    base = {'sort_by': 'reserved', 'status': 'ACTIVE', 'from': iso(0)}
    body = ok(api.list(limit=2, **base))
    cursor = body['next_cursor']

    want = ok(api.list(cursor=cursor, limit=3, **base))['reservations']
    assert not set(ids(want)) & set(ids(body['reservations']))

    # what is not a part of the question may change

    again = ok(api.list(cursor=cursor, limit=1, include='metadata', **base))
    assert ids(again['reservations']) == ids(want)[:1]

    for other in ({'sort_by': 'expires_at_ms'}, {'sort_dir': 'asc'},
                  {'status': 'COMMITTED'}, {'status': ''}, {'from': ''},
                  {'from': iso(1)}, {'to': iso(INT64_MAX // 10 ** 6)},
                  {'app': 'chat'}, {'idempotency_key': 'key "1"'},
                  {'finalized_from': iso(0)}):
        refused(api.list(cursor=cursor, **dict(base, **other)), 400,
                'INVALID_REQUEST')
    refused(api.list(cursor=cursor, api_key=KEYS['other'], **base), 400,
            'INVALID_REQUEST')

    for i in range(len(cursor)):
        bad = cursor[:i] + format(int(cursor[i], 16) ^ 1, 'x') \
            + cursor[i + 1:]
        refused(api.list(cursor=bad, **base), 400, 'INVALID_REQUEST')
    for bad in cursor[:-1], cursor[:-2], cursor + '00', cursor[2:]:
        refused(api.list(cursor=bad, **base), 400, 'INVALID_REQUEST')


@pytest.mark.parametrize('sort', SORTS)
def test_pages_do_not_move(make, sort):
    """What is made meanwhile is on no page twice, and pushes nothing out."""

    api = make(('tenant:acme', 10 ** 9))
    rnd = random.Random(5)
    made = [ok(api.reserve(rnd.randrange(5), subject={
        'tenant': 'acme', 'app': 'a%d' % rnd.randrange(3)}))[
            'reservation_id'] for _ in range(20)]

    seen, cursor = [], {}
    while True:
        body = ok(api.list(limit=4, sort_by=sort, **cursor))
        seen += ids(body['reservations'])
        if not body['has_more']:
            break
        cursor = {'cursor': body['next_cursor']}
        ok(api.reserve(rnd.randrange(5), subject={
            'tenant': 'acme', 'app': 'a%d' % rnd.randrange(3)}))

    assert len(seen) == len(set(seen))
    assert set(made) <= set(seen)


# what is seen, and by whom

def test_who_writes_reads(make):
    api = make(('tenant:acme', 10 ** 6))
    for i in range(20):
        rid = ok(api.reserve(1, key='k%d' % i))['reservation_id']
        (row,) = ok(api.list(idempotency_key='k%d' % i))['reservations']
        assert (row['reservation_id'], row['status']) == (rid, 'ACTIVE')
        ok(api.commit(rid, 1))
        (row,) = ok(api.list(idempotency_key='k%d' % i))['reservations']
        assert row['status'] == 'COMMITTED'


def test_tenants(api):
    refused(api.list(tenant='other'), 403, 'FORBIDDEN')
    refused(api.list(tenant='ACME'), 403, 'FORBIDDEN')
    rows = ok(api.list(api_key=KEYS['other']))['reservations']
    assert [row['subject']['tenant'] for row in rows] == ['other']
    assert ok(api.list(api_key=KEYS['other'], idempotency_key='key "1"'))[
        'reservations'] == rows
    assert ok(api.list(api_key=KEYS['other'], app='chat'))[
        'reservations'] == []
    refused(api.list(api_key='wrong'), 401, 'UNAUTHORIZED')


def test_the_operator(api):
    message = refused(api.list(admin=OPERATOR), 400, 'INVALID_REQUEST')
    assert message['message'] == ('tenant query parameter is required when '
                                  'using admin key authentication')
    body = ok(api.list(admin=OPERATOR, tenant='acme', limit=200))
    assert ids(body['reservations']) == ids(api.rows)
    body = ok(api.list(admin=OPERATOR, tenant='other'))
    assert len(body['reservations']) == 1
    assert ok(api.list(admin=OPERATOR, tenant='nobody'))[
        'reservations'] == []
    refused(api.list(admin='wrong', tenant='acme'), 401, 'UNAUTHORIZED')

    rid = next(m[0] for m in api.model if m[1] == 'COMMITTED')
    detail = ok(api.call('GET', '/v1/reservations/' + rid, key=None,
                         headers={'X-Admin-API-Key': OPERATOR}))
    assert detail['reservation_id'] == rid


def test_scopes_of_a_key(make):
    """A key that is limited to an app sees nothing else, page by page."""

    key = {'tenant_id': 'acme', 'name': 'limited',
           'secret_sha256': sha256('limited'), 'scope_filter': ['app:chat']}
    api = make(('tenant:acme', 10 ** 6),
               api_keys=keys(acme=KEYS['acme']) + [key], tenants=['acme'])
    made = {}
    for i in range(20):
        app = ('chat', 'Chat', 'chats', None)[i % 4]
        subject = {'tenant': 'acme', 'agent': 'x'}
        if app:
            subject['app'] = app
        made[ok(api.reserve(i, subject=subject))['reservation_id']] = app

    want = [rid for rid, app in reversed(made.items())
            if app in ('chat', 'Chat')]
    for limit in 200, 3:
        assert ids(api.all(limit=limit, api_key='limited')) == want
    assert len(api.all()) == 20
    for rid, app in made.items():
        r = api.get(rid, api_key='limited')
        if rid in want:
            ok(r)
        else:
            refused(r, 403, 'FORBIDDEN')

    cursor = ok(api.list(limit=3))['next_cursor']
    refused(api.list(limit=3, cursor=cursor, api_key='limited'), 400,
            'INVALID_REQUEST')


def test_after_a_crash(make):
    api = make(('tenant:acme', 10 ** 6))
    rids = [ok(api.reserve(1))['reservation_id'] for _ in range(10)]
    before = api.all()
    api.nginx.kill9()
    api.nginx.start()
    assert api.all() == before
    assert sorted(ids(before)) == sorted(rids)


def test_the_gateways_reservations_are_listed(nginx, provider):
    kw = gateway.ledger_gateway(
        provider, ('tenant:acme', 10 ** 10),
        server='location /cycles/ { cycles_api ledger=main; }')
    kw['files']['budgets.json'] = gateway.budgets(
        ('tenant:acme', 10 ** 10),
        api_keys=[{'tenant_id': 'acme', 'name': 'x',
                   'secret_sha256': sha256(KEYS['acme'])}])
    ng = nginx(**kw)
    api = ListApi(ng, '/cycles')
    rids = {ng.chat(tenant='acme').header('x-cycles-reservation-id')
            for _ in range(3)}
    wait_until(lambda: {row['reservation_id'] for row in api.all(
        status='COMMITTED')} == rids)
    total = sum(row['committed']['amount'] for row in api.all())
    assert total == api.balance('tenant:acme')['spent'] > 0
