# Copyright (C) nginx-cycles authors

"""What the logs say: the formats that are ready to be used, and that a line of
the error log leads to the reservation, whoever has written it."""

import json
import os
import re

import gateway
from gateway import CLOSE, chat_stream, ledger_gateway
from authorities import Server


FORMATS = os.path.join(gateway.ROOT, 'contrib', 'nginx', 'cycles-log.conf')

TRACEPARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'


def lines(ng, name):
    try:
        with open(ng.path(name)) as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


def test_formats(nginx, provider):
    with open(FORMATS) as file:
        formats = file.read()
    ng = nginx(**ledger_gateway(
        provider, ('tenant:acme', 10 ** 9), ('tenant:poor', 10),
        http='include %%DIR%%/cycles-log.conf;',
        location='''
            access_log %%DIR%%/text.log cycles;
            access_log %%DIR%%/json.log cycles-json;
            access_log %%DIR%%/access.log harness;
        ''', files={'cycles-log.conf': formats, 'budgets.json':
                    gateway.budgets(('tenant:acme', 10 ** 9),
                                    ('tenant:poor', 10))}))

    # one after the other: lines of two workers have no order

    assert ng.chat(tenant='acme').status == 200
    ng.wait_access_log(1)
    assert ng.chat(tenant='poor').status == 429
    ng.wait_access_log(2)
    assert ng.get('/v1/"models', {'X-Tenant': 'acme'}).status == 200
    log = ng.wait_access_log(3)

    assert len(lines(ng, 'json.log')) == 3
    allowed, denied, free = [json.loads(line)
                             for line in lines(ng, 'json.log')]

    # all variables are there, and have the values of the access log

    names = set(re.findall(r'\$cycles_(\w+)', formats.partition(
        'log_format cycles-json')[2]))
    assert {'cycles_' + name for name in names} == set(gateway.LOG_VARIABLES)
    for shown, known in zip((allowed, denied), log):
        for name in names:
            assert shown[name] == known['cycles_' + name]
    assert allowed['decision'] == 'ALLOW' and allowed['charged'] == '450'
    assert allowed['status'] == 200
    assert denied['reason'] == 'BUDGET_EXCEEDED'
    assert free['uri'] == '/v1/"models'

    first, second, _ = lines(ng, 'text.log')
    assert 'reservation=' + allowed['reservation_id'] in first
    assert 'charged=450 settlement=commit usage=reported' in first
    assert 'DENY BUDGET_EXCEEDED' in second
    assert 'trace=' + denied['trace_id'] in second


def test_lines_of_nginx_have_the_ids(nginx, provider):
    """The upstream module says what has gone wrong, and knows nothing of
    reservations."""

    ng = nginx(**ledger_gateway(provider, ('tenant:acme', 10 ** 9)))
    provider.script(chat_stream(6, cut=(3, CLOSE)))
    path, headers, body = gateway.chat_request(tenant='acme', stream=True)
    headers = dict(headers, traceparent=TRACEPARENT)
    ng.post(path, body, headers)
    line = ng.wait_access_log(1)[0]

    error, = [found for found in ng.errors('error')
              if 'prematurely closed' in found]
    assert line['cycles_reservation_id']
    assert ', reservation: "%s"' % line['cycles_reservation_id'] in error
    assert ', trace: "%s"' % TRACEPARENT[3:35] in error


def test_lines_of_a_server_have_the_ids(nginx, provider):
    """A reserve that nobody answers, and a commit."""

    with Server({'tenant:acme': 10 ** 9}) as who:
        ng = who.attach(nginx(**who.gateway(provider, location='''
            cycles_timeout 2s;
            cycles_ttl 20s;
            cycles_retry attempts=1 initial=10ms;
        ''')))
        path, headers, body = gateway.chat_request(tenant='acme')
        headers = dict(headers, traceparent=TRACEPARENT)

        who.cycles.fault('commit', {'apply': 0, 'status': 503, 'body': 'x'})
        assert ng.post(path, body, headers).status == 200
        who.settled()
        line = ng.wait_access_log(1)[0]

        error, = [found for found in ng.errors('warn')
                  if 'cycles commit of reservation' in found]
        assert '"%s"' % line['cycles_reservation_id'] in error
        assert 'trace id: "%s"' % TRACEPARENT[3:35] in error

        who.cycles.fault('reserve', {'apply': 0, 'status': 503, 'body': 'x'},
                         times=2)
        assert ng.post(path, body, headers).status == 503
        errors = [found for found in ng.errors('error')
                  if 'cycles reserve of key' in found
                  or 'denying request' in found]
        assert len(errors) == 2
        for found in errors:
            assert TRACEPARENT[3:35] in found
