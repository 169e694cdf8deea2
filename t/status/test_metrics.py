# Copyright (C) nginx-cycles authors

"""Each thing that is counted, in the words of Prometheus, and the same as
JSON; across workers, a reload and kill -9."""

import os
import re
import struct

import gateway
from gateway import (Conn, Gate, chat, chat_request, chat_stream, error,
                     ledger_gateway, request, wait_until)
from authorities import Ledger, Server
from preload import Preload
from _scrape import (check, documented, families, samples, scrape,
                     sum_of)


MODEL = 'provider="openai",model="gpt-4o-mini"'
USD = 'unit="USD_MICROCENTS",' + MODEL


def requests(ng, decision, reason='', provider='openai', model='gpt-4o-mini'):
    return ng.metrics().get('cycles_requests_total{decision="%s",reason="%s",'
                            'provider="%s",model="%s"}'
                            % (decision, reason, provider, model), 0)


# ------------------------------------------------------------ what is counted


def test_decisions_and_amounts(nginx, provider):
    ng = nginx(**ledger_gateway(provider, ('tenant:acme', 10 ** 9),
                                ('tenant:poor', 10), location='''
        cycles_price gpt-free input_cost_per_token=0 output_cost_per_token=0;
    '''))

    provider.script(chat(prompt=100, completion=50, cached=40, reasoning=20),
                    chat(prompt=10, completion=5), error(500))

    reserved = 0
    for status in 200, 200, 500:
        assert ng.chat(tenant='acme').status == status
    ng.wait_access_log(3)
    reserved = sum(int(line['cycles_estimate']) for line in ng.access_log()
                   if line['status'] == '200')

    assert ng.chat(tenant='poor').status == 429
    assert ng.chat(tenant='nobody').status == 429
    assert ng.chat(tenant='acme', model='gpt-none').status == 429
    assert ng.post('/v1/chat/completions', b'[', {'X-Tenant': 'acme'}
                   ).status == 400
    assert ng.get('/v1/models', {'X-Tenant': 'acme'}).status == 200

    assert requests(ng, 'ALLOW') == 3
    assert requests(ng, 'DENY', 'BUDGET_EXCEEDED') == 1
    assert requests(ng, 'DENY', 'BUDGET_NOT_FOUND') == 1
    assert requests(ng, 'DENY', 'UNKNOWN_PRICE', model='unknown') == 1
    assert requests(ng, 'DENY', 'INVALID_REQUEST', model='') == 1
    assert requests(ng, 'BYPASS', provider='other', model='') == 1

    text = scrape(ng)
    assert sum_of(text, 'cycles_requests_total') == 8

    m = ng.metrics()
    spent = 110 * 15 + 55 * 60 - 40 * 7.5
    assert m['cycles_estimated_units_total{%s}' % USD] == reserved
    assert m['cycles_actual_units_total{%s}' % USD] == spent
    assert m['cycles_charged_units_total{%s}' % USD] == spent
    assert ng.budget('tenant:acme')['spent'] == spent

    for kind, tokens in (('input', 110), ('output', 55),
                         ('cached_input', 40), ('reasoning', 20)):
        assert m['cycles_tokens_total{kind="%s",%s}' % (kind, USD)] == tokens
    assert sum_of(text, 'cycles_tokens_total', kind='cache_write') == 0

    assert m['cycles_settlements_total{outcome="commit"}'] == 2
    assert m['cycles_settlements_total{outcome="release"}'] == 1
    assert sum_of(text, 'cycles_settlements_total') == 3
    assert m['cycles_unmetered_requests_total{cause="free"}'] == 1

    # five reserves were answered; each settlement has a time

    name = 'cycles_reserve_duration_seconds_'
    assert m[name + 'count{authority="ledger"}'] == 5
    assert m[name + 'count{authority="server"}'] == 0
    assert 0 < m[name + 'sum{authority="ledger"}'] < 1
    name = 'cycles_settle_duration_seconds_'
    assert m[name + 'count{authority="ledger"}'] == 3

    ratio = 'cycles_actual_to_estimate_ratio_'
    assert m[ratio + 'count'] == 2
    assert 0 < m[ratio + 'sum'] < 1
    assert m[ratio + 'bucket{le="1"}'] == 2

    check(text)


def test_a_request_under_way(nginx, provider):
    ng = nginx(**ledger_gateway(provider, ('tenant:acme', 10 ** 9)))
    gate = Gate()
    provider.script(chat_stream(4, gates={2: gate}))

    with Conn(ng.port) as conn:
        conn.send_chat(tenant='acme', stream=True)
        head = conn.read_head()
        gate.wait_reached()

        m = ng.metrics()
        assert m['cycles_live_requests'] == 1
        assert m['cycles_ledger_live_reservations{ledger="main"}'] == 1
        assert requests(ng, 'ALLOW') == 1

        gate.open()
        conn.read_response(head=head)

    wait_until(lambda: ng.metrics()['cycles_live_requests'] == 0)
    assert ng.metrics()['cycles_settlements_total{outcome="commit"}'] == 1


def test_missing_usage_and_dry_run(nginx, provider):
    ng = nginx(**ledger_gateway(provider, ('tenant:acme', 10 ** 9),
                                ('tenant:poor', 10), server='''
        location /release/ {
            cycles on;
            cycles_authority ledger=main;
            cycles_subject tenant $http_x_tenant;
            cycles_on_missing_usage release;
            proxy_pass http://provider/;
        }
        location /hold/ {
            cycles on;
            cycles_authority ledger=main;
            cycles_subject tenant $http_x_tenant;
            cycles_on_missing_usage hold;
            proxy_pass http://provider/;
        }
        location /dry/ {
            cycles dry_run;
            cycles_authority ledger=main;
            cycles_subject tenant $http_x_tenant;
            proxy_pass http://provider/;
        }
        location /unpriced/ {
            cycles on;
            cycles_authority ledger=main;
            cycles_subject tenant $http_x_tenant;
            cycles_unknown_price allow;
            proxy_pass http://provider/;
        }
    '''))

    for prefix in '', '/release', '/hold':
        provider.script(chat(with_usage=False))
        assert ng.chat(tenant='acme', path=prefix + '/v1/chat/completions'
                       ).status == 200
    for tenant in 'acme', 'poor', 'poor':
        assert ng.chat(tenant=tenant, path='/dry/v1/chat/completions'
                       ).status == 200
    assert ng.chat(tenant='acme', model='gpt-new',
                   path='/unpriced/v1/chat/completions').status == 200
    ng.wait_access_log(7)

    m = ng.metrics()
    for action in 'estimated', 'released', 'held':
        assert m['cycles_usage_missing_total{action="%s"}' % action] == 1
    for outcome, n in ('commit', 2), ('release', 1), ('hold', 1):
        assert m['cycles_settlements_total{outcome="%s"}' % outcome] == n

    assert requests(ng, 'DRY_RUN_ALLOW') == 1
    assert requests(ng, 'DRY_RUN_DENY', 'BUDGET_EXCEEDED') == 2
    assert m['cycles_dry_run_would_deny_total'] == 2
    assert m['cycles_unmetered_requests_total{cause="unknown_price"}'] == 1
    assert requests(ng, 'ALLOW', 'UNKNOWN_PRICE', model='unknown') == 1

    # what a dry run would have cost is known, and charged to nobody

    assert (m['cycles_actual_units_total{%s}' % USD]
            > m['cycles_charged_units_total{%s}' % USD] > 0)


def test_leaked_leases(nginx, provider):
    """A worker that is killed leaves a lease that nobody extends: the sweeper
    finds it; what has been counted stays, and nothing counts as live."""

    ng = nginx(workers=1, allow=[r'exited on signal 9'], **ledger_gateway(
        provider, ('tenant:acme', 10 ** 9), location='''
            cycles_ttl 1s;
            cycles_grace_period 0;
        '''))
    assert ng.chat(tenant='acme').status == 200
    gate = Gate()
    provider.script(chat_stream(4, gates={2: gate}))

    conn = Conn(ng.port)
    conn.send_chat(tenant='acme', stream=True)
    conn.read_head()
    gate.wait_reached()
    assert ng.metrics()['cycles_live_requests'] == 1

    old = ng.workers()
    ng.kill_worker()
    ng.wait_workers(old)
    gate.open()
    conn.close()

    m = ng.metrics()
    assert m['cycles_live_requests'] == 0
    assert m['cycles_workers'] == 1
    assert m['cycles_settlements_total{outcome="commit"}'] == 1
    assert requests(ng, 'ALLOW') == 2

    wait_until(lambda: ng.metrics()[
        'cycles_ledger_expired_reservations_total{ledger="main"}'] == 1)


def test_a_worker_with_the_pid_of_a_dead_one(nginx, provider):
    """As in a container, where pids come again soon: it takes over what that
    one has counted, and nothing counts as live."""

    library = Preload('same_pid')
    ng = nginx(workers=1, allow=[r'exited on signal 9'],
               env=library.env(SAME_PID=os.getpid()),
               **ledger_gateway(provider, ('tenant:acme', 10 ** 9)))
    gate = Gate()
    provider.script(chat_stream(4, gates={2: gate}))

    try:
        with Conn(ng.port) as conn:
            conn.send_chat(tenant='acme', stream=True)
            conn.read_head()
            gate.wait_reached()
            assert ng.metrics()['cycles_live_requests'] == 1

            old = ng.workers()
            ng.kill_worker()
            ng.wait_workers(old)
            gate.open()

        m = ng.metrics()
        assert m['cycles_workers'] == 1
        assert m['cycles_live_requests'] == 0
        assert ng.status()['streams'] == []
        assert requests(ng, 'ALLOW') == 1
    finally:
        library.close()


def test_all_workers_are_one(nginx, provider):
    """Each worker counts for itself; a scrape, of whichever, adds them up, and
    a reload with other workers goes on from there."""

    ng = nginx(workers=4, **ledger_gateway(provider, ('tenant:acme', 10 ** 9)))

    def spread(n):
        for conn in [Conn(ng.port) for _ in range(n)]:
            path, headers, body = chat_request(tenant='acme')
            conn.send_request('POST', path, headers, body)
            assert conn.read_response().status == 200
            conn.close()

    spread(40)
    assert requests(ng, 'ALLOW') == 40

    for total in 80, 120:
        ng.reload(wait_old=True)
        assert ng.metrics()['cycles_workers'] == 4
        spread(40)
        assert requests(ng, 'ALLOW') == total
        assert ng.metrics()[
            'cycles_settlements_total{outcome="commit"}'] == total


def test_a_worker_that_quits_still_counts(nginx, provider):
    ng = nginx(workers=1, **ledger_gateway(provider, ('tenant:acme', 10 ** 9)))
    gate = Gate()
    provider.script(chat_stream(4, gates={2: gate}))

    with Conn(ng.port) as conn:
        conn.send_chat(tenant='acme', stream=True)
        head = conn.read_head()
        gate.wait_reached()

        ng.reload()
        m = ng.metrics()
        assert m['cycles_workers'] == 2
        assert m['cycles_live_requests'] == 1
        assert len(ng.status()['streams']) == 1

        gate.open()
        conn.read_response(head=head)

    wait_until(lambda: ng.metrics()['cycles_workers'] == 1)
    m = ng.metrics()
    assert m['cycles_live_requests'] == 0
    assert m['cycles_settlements_total{outcome="commit"}'] == 1


# ---------------------------------------------------------- a Cycles server


def test_a_server(nginx, provider):
    with Server({'tenant:acme': 10 ** 9}) as who:
        ng = who.attach(nginx(workers=1, **who.gateway(
            provider, http='cycles_journal path=%%DIR%%/ledger replay=100ms;',
            location='''
                cycles_timeout 3s;
                cycles_ttl 20s;
                cycles_on_outage allow;
                cycles_breaker failures=3 open=10m;
                cycles_retry attempts=2 initial=10ms;
            ''')))

        # once more for the reserve, and for the commit

        who.cycles.fault('reserve', {'apply': 0, 'status': 503, 'body': 'x'})
        who.cycles.fault('commit', {'apply': 0, 'status': 503, 'body': 'x'},
                         times=2)
        assert ng.chat(tenant='acme').status == 200
        who.settled()

        wait_until(lambda: ng.metrics()[
            'cycles_settlements_total{outcome="commit"}'] == 1)
        m = ng.metrics()
        assert m['cycles_retries_total{operation="reserve"}'] == 1
        assert m['cycles_retries_total{operation="commit"}'] == 2
        for what in 'reserve', 'settle':
            assert m['cycles_%s_duration_seconds_count{authority="server"}'
                     % what] == 1
        assert m['cycles_breaker_open{server="http://cycles"}'] == 0

        # it goes: requests pass unreserved, and the journal waits

        who.cycles.fault('*', {'apply': 0, 'status': 503, 'body': 'x'},
                         times=0)
        assert ng.chat(tenant='acme').status == 200
        assert ng.chat(tenant='acme').status == 200

        wait_until(lambda: ng.metrics()[
            'cycles_breaker_open{server="http://cycles"}'] == 1)
        wait_until(lambda: ng.metrics()[
            'cycles_journal_pending_records'] == 2)
        m = ng.metrics()
        assert m['cycles_breaker_opened_total'] >= 1
        assert m['cycles_unmetered_requests_total{cause="outage"}'] == 2
        assert sum_of(scrape(ng), 'cycles_requests_total',
                      decision='OUTAGE_ALLOW',
                      reason='AUTHORITY_UNAVAILABLE') == 2
        wait_until(lambda: ng.metrics()[
            'cycles_journal_replayed_total{result="failed"}'] >= 2)
        assert ng.metrics()[
            'cycles_settlements_total{outcome="failed"}'] == 2
        check(scrape(ng))

        # and comes back

        who.cycles.clear_faults()
        wait_until(lambda: ng.metrics()[
            'cycles_journal_replayed_total{result="settled"}'] == 2)
        wait_until(lambda: ng.metrics()[
            'cycles_journal_pending_records'] == 0)
        wait_until(lambda: ng.metrics()[
            'cycles_breaker_open{server="http://cycles"}'] == 0)

        # what is no record is set aside

        folder = next(entry.path for entry in os.scandir(ng.path('ledger'))
                      if entry.is_dir())
        with open(os.path.join(folder, 'f' * 64 + '.json'), 'w') as file:
            file.write('{')
        wait_until(lambda: ng.metrics()[
            'cycles_journal_quarantined_records_total'] == 1)


def test_heartbeats(nginx, provider):
    with Ledger({'tenant:acme': 10 ** 9}) as who:
        ng = who.attach(nginx(**who.gateway(provider, location='''
            cycles_ttl 1s;
            cycles_grace_period 0;
        ''')))
        gate = Gate()
        provider.script(chat_stream(4, gates={2: gate}))

        with Conn(ng.port) as conn:
            conn.send_chat(tenant='acme', stream=True)
            head = conn.read_head()
            gate.wait_reached()

            wait_until(lambda: ng.metrics()[
                'cycles_heartbeats_total{result="extended"}'] >= 1)
            stream = ng.status()['streams'][0]
            assert stream['heartbeats'] >= 1
            assert 0 < stream['lease_ms'] <= 2000
            assert stream['age_ms'] >= 400

            gate.open()
            conn.read_response(head=head)


# ------------------------------------------------------------ the documents


def test_metrics_are_documented(nginx, provider):
    """With all that there can be, each has one row; the labels are those."""

    with Server({'tenant:acme': 10 ** 9}) as who:
        conf = who.gateway(provider, http='''
            cycles_journal path=%%DIR%%/ledger;
            cycles_ledger main path=%%DIR%%/ledger;
        ''', location='cycles_ttl 60s;')
        ng = nginx(**conf)
        assert ng.chat(tenant='acme').status == 200
        wait_until(lambda: ng.metrics()[
            'cycles_settlements_total{outcome="commit"}'] == 1)
        text = scrape(ng)

    found = {name: (kind, set()) for name, kind in families(text).items()}
    for name, labels, _ in samples(text):
        name = name if name in found else name.rpartition('_')[0]
        found[name][1].update(set(labels) - {'le'})

    assert {name: (kind, sorted(labels)) for name, (kind, labels)
            in found.items()} == documented()

    # values of labels are named where they are few

    with open(os.path.join(gateway.ROOT, 'docs', 'status.md')) as file:
        rows = dict(re.findall(r'^\| `(cycles_\w+)` \|(.*)$', file.read(),
                               re.M))
    for name, labels, _ in samples(text):
        for key in 'outcome', 'operation', 'result', 'cause', 'action', 'state':
            if key in labels:
                assert '`%s`' % labels[key] in rows[name]


# ------------------------------------------------------------------- labels


NASTY = 'a"b\\c\\n<script>alert(1)</script>\u20ac'


def unpriced(provider, zone, *tenants):
    """Without prices, so that the model's name is the client's word."""

    return dict(http='''
        cycles_zone ''' + zone + ''';
        cycles_ledger main path=%%DIR%%/ledger budgets=%%DIR%%/budgets.json;
        upstream provider { server 127.0.0.1:%%PROVIDER%%; keepalive 64; }
    ''', server='''
        location / {
            cycles on;
            cycles_authority ledger=main;
            cycles_subject tenant $http_x_tenant;
            cycles_unit TOKENS;
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }
    ''', files={'budgets.json': gateway.budgets(
        *[('tenant:' + t, 10 ** 12) for t in tenants], unit='TOKENS')},
        provider=provider.port)


def test_names_are_escaped(nginx, provider):
    ng = nginx(**unpriced(provider, '1m', 'acme'))
    assert ng.chat(tenant='acme', model=NASTY).status == 200

    text = scrape(ng)
    check(text)

    assert sum_of(text, 'cycles_requests_total', model=NASTY) == 1

    # and as JSON

    status = ng.status()
    assert [item['model'] for item
            in status['metrics']['cycles_requests_total']] == [NASTY]
    assert [item['name'] for item in status['spend']
            if item['by'] == 'model'] == [NASTY]


def test_names_are_bounded(nginx, provider):
    """A client makes up names: there is room for so many, and then they are
    "other"; those of requests that are denied take none."""

    ng = nginx(workers=1, **unpriced(provider, '256k', 'acme'))

    with Conn(ng.port) as conn:

        def ask(tenant, model):
            path, headers, body = chat_request(tenant=tenant, model=model)
            conn.send_request('POST', path, headers, body)
            return conn.read_response().status

        def overflow():
            return ng.metrics()['cycles_label_overflow_total']

        for i in range(40):
            assert ask('stranger%d' % i, 'denied%d' % i) == 429
        assert overflow() == 0

        # each that finds no room for its name is told

        for i in range(62):
            assert ask('acme', 'model%d' % i) == 200
        before = overflow()
        for i in range(62, 150):
            assert ask('acme', 'model%d' % i) == 200
        assert overflow() == before + 150 - 62

    text = scrape(ng)
    check(text)

    models = {labels['model'] for name, labels, _ in samples(text)
              if name == 'cycles_requests_total'}

    # 256k / 4096 names, two of which are none and "other"

    assert len(models) == 64 - 2 + 1
    assert 'model0' in models and 'other' in models
    assert not any(model.startswith('denied') for model in models)
    assert sum_of(text, 'cycles_requests_total', decision='ALLOW') == 150
    assert sum_of(text, 'cycles_requests_total', decision='ALLOW',
                  model='other') == 150 - 62
    assert sum_of(text, 'cycles_requests_total', decision='DENY',
                  model='other') == 40



def test_many_reasons(nginx, provider):
    """A Cycles server makes up reasons; they are told apart."""

    with Server({'tenant:acme': 10 ** 9}) as who:
        ng = who.attach(nginx(workers=1, **who.gateway(
            provider, http='cycles_zone 2m;')))
        n = 300
        for i in range(n):
            who.cycles.fault('reserve', {'apply': 0, 'body': {
                'decision': 'DENY', 'affected_scopes': ['tenant:acme'],
                'reason_code': 'REASON_%d' % i}})
            assert ng.chat(tenant='acme').status == 429

        text = scrape(ng)
        check(text)
        assert sorted(labels['reason'] for name, labels, value
                      in samples(text) if name == 'cycles_requests_total'
                      and value == 1) == sorted(
                          'REASON_%d' % i for i in range(n))


def test_too_little_memory(nginx, provider):
    """Workers without room for their counters say so, once each, and do all
    the rest; those that come last find nothing at all."""

    workers = 32
    ng = nginx(workers=workers, **unpriced(provider, '128k', 'acme'))
    for _ in range(12):
        conns = [Conn(ng.port) for _ in range(4)]
        for conn in conns:
            path, headers, body = chat_request(tenant='acme')
            conn.send_request('POST', path, headers, body)
        for conn in conns:
            assert conn.read_response().status == 200
            conn.close()

    warnings = [line for line in ng.errors('warn')
                if 'has no room for the counters' in line]
    assert 0 < len(warnings) <= workers
    assert len({line.split('[warn] ')[1].split('#')[0]
                for line in warnings}) == len(warnings)

    text = scrape(ng)
    check(text)
    assert sum_of(text, 'cycles_requests_total') < 48
    assert ng.budget('tenant:acme')['spent'] == 48 * 15


def test_a_full_zone_keeps_nobody_waiting(nginx, provider):
    """Nobody takes the lock to be told that there is no room: it is held here,
    which would stop whoever wants it."""

    size = 32 * 4096
    ng = nginx(workers=20, **unpriced(provider, '%d' % size, 'acme'))

    def ask(first, last):
        for i in range(first, last):
            assert ng.chat(tenant='acme', model='model%d' % i).status == 200
        wait_until(lambda: ng.live_reservations() == 0)

    # slices have taken most of it; the rest goes to who comes first

    i = 0
    while not [line for line in ng.errors('warn')
               if 'has no room for the counters' in line]:
        ask(i, i + 1)
        i += 1
    ask(i, i + 3)
    names = {labels.get('model') for _, labels, _ in samples(scrape(ng))}
    assert len(names) < 32 - 2

    with open('/proc/%d/maps' % ng.workers()[0]) as file:
        start, = [int(line.split('-')[0], 16) for line in file
                  if ' rw-s ' in line and mapped(line) == size]
    with open('/proc/%d/mem' % ng.workers()[0], 'r+b', buffering=0) as memory:

        def lock(value):
            memory.seek(start)
            assert memory.write(struct.pack('Q', value)) == 8

        memory.seek(start)
        assert memory.read(8) == bytes(8)
        lock(os.getpid())
        try:
            ask(i + 3, i + 100)
        finally:
            lock(0)


def mapped(line):
    first, last = line.split()[0].split('-')
    return int(last, 16) - int(first, 16)


def test_tenants_are_labels_if_asked_for(nginx, provider):
    ng = nginx(**unpriced(provider, '1m', 'acme', 'beta'))
    for tenant in 'acme', 'acme', 'beta':
        assert ng.chat(tenant=tenant).status == 200
    assert 'tenant=' not in scrape(ng)

    ng = nginx(**unpriced(provider, '1m tenant_label', 'acme', 'beta'))
    for tenant in 'acme', 'acme', 'beta':
        assert ng.chat(tenant=tenant).status == 200
    assert ng.chat(tenant='stranger').status == 429

    def told(tenants):
        text = scrape(ng)
        check(text)
        found = [(name, tuple(sorted(labels.items())))
                 for name, labels, _ in samples(text)]
        assert len(set(found)) == len(found)
        for tenant, n in tenants:
            assert sum_of(text, 'cycles_requests_total', tenant=tenant) == n
        return text

    tenants = ('acme', 2), ('beta', 1), ('other', 1)
    text = told(tenants)
    assert sum_of(text, 'cycles_charged_units_total', tenant='acme') == 30

    # and no more: what has been counted keeps its labels

    ng.reconfigure(http=ng.texts['HTTP'].replace(' tenant_label', ''))
    told(tenants)
    for tenant in 'acme', 'beta', 'beta':
        assert ng.chat(tenant=tenant).status == 200
    text = told(tenants)
    assert sum_of(text, 'cycles_requests_total') == 7
    assert [value for name, labels, value in samples(text)
            if name == 'cycles_requests_total' and 'tenant' not in labels] \
        == [3]


# --------------------------------------------------------------------- JSON


def test_json_has_the_same(nginx, provider):
    ng = nginx(**ledger_gateway(provider, ('tenant:acme', 10 ** 9),
                                ('tenant:poor', 10)))
    for tenant in 'acme', 'acme', 'poor':
        ng.chat(tenant=tenant)
    wait_until(lambda: ng.metrics()[
        'cycles_ledger_unfolded_records{ledger="main"}'] == 0)

    text = scrape(ng)
    metrics = ng.status()['metrics']
    types = families(text)
    assert list(metrics) == list(types)

    found = {}
    for name, labels, value in samples(text):
        found[name, tuple(sorted(labels.items()))] = value

    n = 0
    for name, items in metrics.items():
        for item in items:
            if types[name] == 'histogram':
                labels = {k: v for k, v in item.items()
                          if k not in ('buckets', 'count', 'sum')}
                key = tuple(sorted(labels.items()))
                assert found[name + '_count', key] == item['count']
                assert found[name + '_sum', key] == item['sum']
                for le, value in item['buckets'].items():
                    key = tuple(sorted(dict(labels, le=le).items()))
                    assert found[name + '_bucket', key] == value
                n += 2 + len(item['buckets'])
                continue
            value = item.pop('value')
            assert found[name, tuple(sorted(item.items()))] == value
            n += 1
    assert n == len(found)


def test_denials_are_shown(nginx, provider):
    ng = nginx(workers=1, **ledger_gateway(provider, ('tenant:poor', 10)))

    assert ng.chat(tenant='poor').status == 429
    assert ng.chat(tenant='poor', model='gpt-none').status == 429

    last, first = ng.status()['denials']
    assert first['time'] <= last['time']
    assert first['decision'] == 'DENY'
    assert first['reason'] == 'BUDGET_EXCEEDED'
    assert first['tenant'] == 'poor'
    assert first['model'] == 'gpt-4o-mini'
    assert first['provider'] == 'openai'
    assert first['remaining'] == {'unit': 'USD_MICROCENTS', 'amount': 10}
    assert first['estimate']['amount'] > 10
    assert last['reason'] == 'UNKNOWN_PRICE'
    assert last['model'] == 'gpt-none'

    for _ in range(20):
        ng.chat(tenant='poor', model='gpt-none2')
    denials = ng.status()['denials']
    assert len(denials) == 16
    assert {item['model'] for item in denials} == {'gpt-none2'}


def test_spend_is_shown(nginx, provider):
    ng = nginx(**ledger_gateway(provider, ('tenant:acme', 10 ** 9),
                                ('tenant:beta', 10 ** 9)))
    for tenant in 'acme', 'beta', 'acme':
        provider.script(chat(prompt=100, completion=0))
        assert ng.chat(tenant=tenant).status == 200
    ng.wait_access_log(3)

    spend = {(item['by'], item['name']): (item['hour'], item['day'])
             for item in ng.status()['spend']}
    assert spend == {('tenant', 'acme'): (3000, 3000),
                     ('tenant', 'beta'): (1500, 1500),
                     ('model', 'gpt-4o-mini'): (4500, 4500)}


def test_pages_of_budgets(nginx, provider):
    entries = [('tenant:t%d' % i, i) for i in range(2500)]
    ng = nginx(**ledger_gateway(provider, *entries))

    def page(args):
        r = request(ng.status_port, path='/?format=json' + args)
        assert r.status == 200
        return r.json

    first = page('')
    assert len(first['budgets']) == 1000
    assert first['ledgers']['main']['budget_count'] == 2500
    assert first['budgets'] == first['ledgers']['main']['budgets']

    seen = []
    cursor = ''
    while cursor is not None:
        found = page('&part=budgets&limit=400&cursor=' + cursor)
        assert set(found) <= {'budgets', 'next_cursor'}
        assert len(found['budgets']) <= 400
        seen += [item['allocated']['amount'] for item in found['budgets']]
        cursor = found.get('next_cursor')
    assert sorted(seen) == list(range(2500))

    summary = page('&part=summary')
    assert 'budgets' not in summary and 'ledgers' not in summary
    assert summary['live_reservations'] == 0

    for bad in ('&limit=0', '&limit=1001', '&limit=x', '&cursor=x',
                '&cursor=1', '&cursor=0.x', '&cursor=-1.0',
                '&part=all'):
        assert request(ng.status_port, path='/?format=json' + bad
                       ).status == 400, bad


def test_other_requests(nginx, provider):
    ng = nginx(**ledger_gateway(provider, ('tenant:acme', 1)))
    for path in '/?format=xml', '/?format=json2':
        assert request(ng.status_port, path=path).status == 404
    assert request(ng.status_port, 'POST', '/?format=json').status == 405
    r = request(ng.status_port, 'HEAD', '/?format=prometheus')
    assert r.status == 200 and r.body == b''
    assert int(r.header('content-length')) > 1000


def test_without_anything_to_count(nginx):
    """cycles_status in a configuration that guards nothing."""

    ng = nginx()
    check(scrape(ng))
    assert ng.status()['budgets'] == []
    assert ng.metrics()['cycles_workers'] == 2
