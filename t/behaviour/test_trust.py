# Copyright (C) nginx-cycles authors

"""A gateway behind a gateway: what the first has reserved is not reserved
again, if the second one trusts it."""

import pytest

from gateway import budgets, chat
from authorities import cost


BUDGET = 10 ** 9
SECRET = '0123456789abcdef-hop'


def ledger(trust, provider, **kw):
    return dict(http='''
        cycles_ledger main path=%%DIR%%/ledger budgets=%%DIR%%/budgets.json;
        cycles_price_table %%PRICES%%;
        cycles_authority ledger=main;
        cycles_subject tenant $http_x_tenant;
    ''', server='''
        location / {
            cycles on;
            ''' + trust + '''
            proxy_pass http://127.0.0.1:%%PROVIDER%%;
        }
    ''', files={'budgets.json': budgets(('tenant:acme', BUDGET))},
        provider=provider, **kw)


def test_two_gateways_charge_once(nginx, provider):
    inner = nginx(**ledger('cycles_trust_reservation 127.0.0.1;',
                           provider.port))
    outer = nginx(**ledger(
        'proxy_set_header X-Cycles-Reservation-Id $cycles_reservation_id;',
        inner.port))
    provider.script(chat(prompt=10, completion=5))
    assert outer.chat(tenant='acme').status == 200

    line, = outer.wait_access_log(1)
    nested, = inner.wait_access_log(1)
    assert line['cycles_decision'] == 'ALLOW'
    assert nested['cycles_decision'] == 'BYPASS'
    assert nested['cycles_reservation_id'] == line['cycles_reservation_id']
    assert outer.budget('tenant:acme')['spent'] == cost(10, 5)
    assert inner.budget('tenant:acme')['remaining'] == BUDGET

    # without a reservation it is a request like any other

    assert inner.chat(tenant='acme').status == 200
    assert inner.budget('tenant:acme')['spent'] == cost(10, 5)


@pytest.mark.parametrize('trust,headers,trusted', [
    ('', {}, False),
    ('cycles_trust_reservation off;', {}, False),
    ('cycles_trust_reservation 192.0.2.0/24;', {}, False),
    ('cycles_trust_reservation 192.0.2.1 127.0.0.0/8;', {}, True),
    ('cycles_trust_reservation secret=%s;' % SECRET, {}, False),
    ('cycles_trust_reservation secret=%s;' % SECRET,
     {'X-Cycles-Reservation-Secret': SECRET[:-1]}, False),
    ('cycles_trust_reservation secret=%s;' % SECRET,
     {'X-Cycles-Reservation-Secret': SECRET + 'x'}, False),
    ('cycles_trust_reservation secret=%s;' % SECRET,
     {'X-Cycles-Reservation-Secret': SECRET}, True),
    ('cycles_trust_reservation 127.0.0.1;',
     {'X-Cycles-Reservation-Id': ''}, False),
])
def test_who_is_trusted(nginx, provider, trust, headers, trusted):
    ng = nginx(**ledger(trust, provider.port))
    r = ng.chat(tenant='acme', headers=dict(
        {'X-Cycles-Reservation-Id': 'r-1'}, **headers))
    assert r.status == 200
    line, = ng.wait_access_log(1)
    assert (line['cycles_decision'] == 'BYPASS') == trusted
    assert (line['cycles_reservation_id'] == 'r-1') == trusted
    spent = ng.budget('tenant:acme')['spent']
    assert (spent == 0) == trusted
    assert SECRET not in str(provider.requests[0].headers)
