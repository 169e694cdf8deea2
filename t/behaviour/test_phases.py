# Copyright (C) nginx-cycles authors

"""Where the decision stands among nginx's own phases, what is metered and
what is not, and what the access log says of it."""

import base64
import re

import pytest

import gateway
from gateway import (Gate, Reply, budgets, chat, chat_request, chat_stream,
                     error, free_port)
from fake_cycles import FakeCycles
from meter import ALLOCATED, BASE, PROXY, Scene, Whole, cost, estimate


AUTH = '''
    location = /auth/ok { internal; return 204; }
    location = /auth/no { internal; return 403; }
    location = /auth/who {
        internal;
        proxy_pass_request_body off;
        proxy_set_header Content-Length "";
        proxy_pass http://provider;
    }

    # a target that is metered itself, were it not a subrequest

    location /auth/metered/ {
        ''' + BASE + '''
        cycles_estimate 5;
        cycles_actual estimate;
        cycles_action a b;
        proxy_pass_request_body off;
        proxy_set_header Content-Length "";
        proxy_pass http://provider;
    }
'''

FIXED = 'cycles_action a b; cycles_estimate 5; cycles_actual estimate; '

SHAPES = '''
    location /pages/ {
        ssi on;
        ssi_types text/plain;
        default_type text/plain;
        root %%DIR%%;
    }

    location /outer/ {
        ''' + BASE + FIXED + '''
        location /outer/free/ { cycles off; ''' + PROXY + ''' }
        location /outer/dry/ { cycles dry_run; ''' + PROXY + ''' }
        location /outer/dear/ { cycles_estimate 50; ''' + PROXY + ''' }
        location /outer/same/ { ''' + PROXY + ''' }
        location ~ ^/outer/any/ {
            if ($http_x_if) { set $x 1; }
            ''' + PROXY + '''
        }
        ''' + PROXY + '''
    }

    location /return/ {
        ''' + BASE + FIXED + '''
        return 200 "hello";
    }

    location /static/ {
        ''' + BASE + FIXED + '''
        root %%DIR%%;
    }

    location /rewritten/ {
        rewrite ^/rewritten/(.*)$ /plain/$1;
    }

    location /try/ {
        try_files /nothing @metered;
    }

    location @metered {
        ''' + BASE + PROXY + '''
    }

    location /nothing/ {
        ''' + BASE + FIXED + '''
    }
'''

LOCATIONS = {
    'plain': '',
    'fixed': FIXED,
    'off': Whole('cycles off;'),
    'none': Whole(''),
    'denied': 'deny all;',
    'any_denied': 'satisfy any; deny all; auth_request /auth/no;',
    'any': 'satisfy any; deny all; auth_request /auth/ok;',
    'any_allow': 'satisfy any; allow all; auth_request /auth/no;',
    'auth_ok': 'auth_request /auth/ok;',
    'auth_no': 'auth_request /auth/no;',
    'auth_metered': 'auth_request /auth/metered/x;',
    'who': Whole('''
        auth_request /auth/who;
        auth_request_set $who $upstream_http_x_who;
        cycles on;
        cycles_authority ledger=main;
        cycles_subject tenant $who;
    '''),
    'basic': Whole('''
        auth_basic closed;
        auth_basic_user_file %%DIR%%/users;
        cycles on;
        cycles_authority ledger=main;
        cycles_subject tenant $remote_user;
    '''),
    'mapped': Whole('''
        cycles on;
        cycles_authority ledger=main;
        cycles_subject tenant $tenant_of_key;
    '''),
    'limited': 'limit_req zone=none;',
    'mirrored': 'mirror /plain/mirror;',
    'server': Whole('''
        cycles on;
        cycles_authority @cycles;
        cycles_subject tenant $http_x_tenant;
        cycles_api_key secret;
    '''),
}

HTTP = '''
    limit_req_zone $server_name zone=none:1m rate=1r/m;
    map $http_authorization $tenant_of_key {
        "Bearer key-3"  t3;
        default         "";
    }
'''


@pytest.fixture(scope='module')
def cycles():
    with FakeCycles(free_port()) as server:
        yield server


@pytest.fixture(scope='module')
def scene(cycles):
    scene = Scene(
        LOCATIONS, http=HTTP, cycles=cycles.port,
        server=AUTH + SHAPES + '''
            location @cycles { proxy_pass http://127.0.0.1:%%CYCLES%%; }
        ''',
        entries=[('tenant:zero', 0)],
        files={'users': 't5:{PLAIN}secret\n'})

    for name, text in (
            ('page.txt', '<!--#include virtual="/plain/part?a=1" -->|'
                         '<!--#include virtual="/fixed/part?a=2" -->'),):
        scene.write('pages/' + name, text)
    scene.write('static/page.txt', 'static')

    yield scene
    scene.finish()


def check_untouched(x):
    """Not a request of ours at all."""

    assert x.log['cycles_decision'] == ''
    assert x.log['cycles_settlement'] == ''
    assert x.r.header('x-cycles-decision') is None
    assert (x.spent, x.reserved) == (0, 0)


# access comes first


@pytest.mark.parametrize('location', ['denied', 'any_denied', 'auth_no'])
def test_denied_by_access(scene, location):
    x = scene.chat(location)
    assert x.r.status == 403
    assert x.sent is None
    check_untouched(x)

    x = scene.chat(location, tenant='zero')
    assert x.r.status == 403
    check_untouched(x)


@pytest.mark.parametrize('location', ['any', 'any_allow', 'auth_ok'])
def test_allowed_by_access_is_still_metered(scene, location):
    x = scene.chat(location)
    assert x.r.status == 200
    assert x.log['cycles_decision'] == 'ALLOW'
    assert x.spent == cost()

    x = scene.chat(location, tenant='zero')
    assert x.r.status == 429
    assert x.sent is None


def test_subject_from_auth_request(scene):
    tenant = scene.tenant()
    x = scene.chat('who', tenant=tenant, reply=[
        Reply(204, {'X-Who': tenant}, []), chat()])
    assert x.r.status == 200
    assert x.log['cycles_scope'] == 'tenant:' + tenant
    assert x.spent == cost()

    x = scene.chat('who', tenant=tenant, reply=[
        Reply(204, {'X-Who': 'zero'}, [])])
    assert x.r.status == 429
    assert x.spent == 0


def test_subject_from_basic_auth(scene):
    token = base64.b64encode(b't5:secret').decode()
    x = scene.chat('basic', tenant='t5',
                   headers={'Authorization': 'Basic ' + token})
    assert x.r.status == 200
    assert x.spent == cost()

    x = scene.chat('basic', tenant='t5')
    assert x.r.status == 401
    check_untouched(x)


def test_subject_from_a_map(scene):
    x = scene.chat('mapped', tenant='t3',
                   headers={'Authorization': 'Bearer key-3'})
    assert x.r.status == 200
    assert x.spent == cost()

    x = scene.chat('mapped', headers={'Authorization': 'Bearer key-4'})
    assert x.r.status == 400
    assert x.sent is None


def test_subject_from_a_header(nginx, provider):
    """The value of "$http_NAME" is what nginx has for it, however it came."""

    ng = nginx(http='''
        cycles_ledger main path=%%DIR%%/ledger budgets=%%DIR%%/budgets.json;
        cycles_price_table %%PRICES%%;
        cycles_authority ledger=main;
        map $http_x_who $http_x_mapped { default $http_x_who; }
    ''', server='''
        location /says { return 200 "$http_x_tenant"; }
        location / {
            cycles on;
            cycles_subject tenant $http_x_tenant;
            cycles_subject app $http_x_app;
            proxy_pass http://127.0.0.1:%%PROVIDER%%;
        }
        location /known/ {
            if ($http_x_tenant = "nobody") { return 403; }
            cycles on;
            cycles_subject tenant $http_x_tenant;
            proxy_pass http://127.0.0.1:%%PROVIDER%%;
        }
        location /mapped/ {
            cycles on;
            cycles_subject tenant $http_x_mapped;
            proxy_pass http://127.0.0.1:%%PROVIDER%%;
        }
        location /more/ {
            cycles on;
            cycles_subject tenant $http_x_tenant-1;
            proxy_pass http://127.0.0.1:%%PROVIDER%%;
        }
    ''', files={'budgets.json': budgets(
        ('tenant:acme', ALLOCATED), ('tenant:acme-1', ALLOCATED),
        ('tenant:other', ALLOCATED))}, provider=provider.port)

    lines = []

    def scope(headers, path='/'):
        with ng.connect() as conn:
            conn.send_request('POST', path + 'v1/chat/completions', headers,
                              chat_request()[2])
            status = conn.read_response().status
        lines.append(ng.wait_access_log(len(lines) + 1)[-1])
        return lines[-1]['cycles_scope'] if status == 200 else status

    assert scope([('X-Tenant', 'acme')]) == 'tenant:acme'
    assert scope([('x-TENANT', 'acme')]) == 'tenant:acme'
    assert scope([('X-Tenan', 'acme'), ('X-Tenants', 'acme'),
                  ('Y-Tenant', 'acme'), ('X-Tenand', 'acme')]) == 400
    assert scope([('X-Tenand', 'other'), ('X-Tenant', 'acme'),
                  ('X-App', 'Bot')]) == 'tenant:acme/app:bot'
    assert scope([('X-%d' % i, 'x') for i in range(30)]
                 + [('X-Tenant', 'acme')]) == 'tenant:acme'
    assert scope([('X-Tenant', 'acme')], '/known/') == 'tenant:acme'
    assert scope([('X-Mapped', 'acme'), ('X-Who', 'other')],
                 '/mapped/') == 'tenant:other'
    assert scope([('X-Tenant', 'acme')], '/more/') == 'tenant:acme-1'

    # newer versions of nginx join the values of two

    two = [('X-Tenant', 'acme'), ('X-Tenant', 'other')]
    with ng.connect() as conn:
        conn.send_request('GET', '/says', two)
        says = conn.read_response().body.decode()
    lines.append(None)
    assert scope(two) == ('tenant:acme' if says == 'acme' else 400)


def test_rate_limit_comes_first(scene):
    """One request in a minute: the second is refused before it can hold
    anything."""

    assert scene.chat('limited').r.status == 200
    x = scene.chat('limited')
    assert x.r.status == 503
    check_untouched(x)


# not metered


def test_auth_request_to_a_metered_location(scene):
    x = scene.chat('auth_metered', reply=[Reply(204, {}, []), chat()])
    assert x.r.status == 200
    assert len(x.requests) == 2
    assert x.requests[0].path.startswith('/auth/metered/')
    assert x.spent == cost()
    assert x.log['cycles_decision'] == 'ALLOW'


def test_parts_of_a_page(scene):
    """SSI includes of metered locations are parts of another request."""

    x, _ = scene.begin('pages', 't1')
    seen = len(scene.provider.requests)
    scene.provider.script(Reply(200, {}, [b'one']), Reply(200, {}, [b'two']))
    r = scene.ng.get('/pages/page.txt', {'X-Tenant': 't1'})
    scene.provider.unscript()

    assert sorted(r.body.split(b'|')) == [b'one', b'two']
    assert len(scene.provider.requests) - seen == 2
    assert (x.spent, x.reserved) == (0, 0)
    assert scene.ng.live_reservations() == 0


@pytest.mark.parametrize('location', ['off', 'none'])
def test_off(scene, location):
    for body in chat_request()[2], b'nonsense', b'':
        x = scene.send(location, body)
        assert x.r.status == 200
        assert x.sent.body == body
        check_untouched(x)

    x = scene.chat(location, stream=True, headers={'Accept-Encoding': 'gzip'})
    assert x.sent.header('accept-encoding') == 'gzip'
    assert 'stream_options' not in x.sent.json


def test_mirror(scene):
    """The copy of a request is no request, wherever it goes."""

    x = scene.chat('mirrored', reply=[chat(), chat()])
    assert x.r.status == 200
    gateway.wait_until(lambda: scene.provider.find(x) == 2)
    assert x.log['cycles_decision'] == 'ALLOW'
    assert x.spent == cost()


# nested locations


@pytest.mark.parametrize('part, decision, spent', [
    ('', 'ALLOW', 5), ('/same', 'ALLOW', 5), ('/any', 'ALLOW', 5),
    ('/dear', 'ALLOW', 5), ('/free', '', 0), ('/dry', 'DRY_RUN_ALLOW', 0)])
def test_nested(scene, part, decision, spent):
    for headers in {}, {'X-If': '1'}:
        x = scene.send('outer' + part, b'', path='/x', headers=headers,
                       reply=chat())
        assert x.r.status == 200
        assert x.log['cycles_decision'] == decision
        if part == '/dear':
            spent = 50
        assert x.spent == spent


def test_rewrite(scene):
    x = scene.send('rewritten', chat_request()[2], path='/v1/x')
    assert x.r.status == 200
    assert x.log['cycles_decision'] == 'ALLOW'
    assert x.spent == cost()


def test_try_files(scene):
    x = scene.send('try', chat_request()[2], path='/v1/x')
    assert x.r.status == 200
    assert x.log['cycles_decision'] == 'ALLOW'
    assert x.spent == cost()
    assert len(x.requests) == 1


# replies that are not a provider's


def test_return_is_before_us(scene):
    x = scene.send('return', b'', path='/x')
    assert x.r.body == b'hello'
    check_untouched(x)


def test_static_content_with_a_fixed_cost(scene):
    x = scene.send('static', method='GET', path='/page.txt')
    assert x.r.body == b'static'
    assert x.log['cycles_decision'] == 'ALLOW'
    assert x.spent == 5
    assert x.log['cycles_settlement'] == 'commit'

    x = scene.send('static', method='GET', path='/no-such-page')
    assert x.r.status == 404
    assert x.spent == 0
    assert x.log['cycles_settlement'] == 'release'

    x = scene.send('static', method='GET', path='/page.txt', tenant='zero')
    assert x.r.status == 429


# the server's own limits are not for calls to the authority


def test_limits_of_the_server_are_not_for_our_calls(nginx, provider):
    """One request in a minute, access only for one, auth_request: a reserve
    and a commit go out for it all the same."""

    with FakeCycles(free_port()) as cycles:
        cycles.budget('tenant:acme', ALLOCATED)
        ng = nginx(
            http='''
                limit_req_zone $server_name zone=one:1m rate=1r/m;
                limit_conn_zone $server_name zone=conns:1m;
                cycles_price_table %%PRICES%%;
            ''',
            server='''
                limit_req zone=one;
                limit_conn conns 1;
                satisfy any;
                deny all;
                auth_request /auth;
                client_max_body_size 100;
                proxy_set_header Authorization $http_authorization;

                location = /auth {
                    internal;
                    auth_request off;
                    return 204;
                }

                location / {
                    client_max_body_size 1m;
                    cycles on;
                    cycles_authority @cycles;
                    cycles_api_key secret;
                    cycles_subject tenant $http_x_tenant;
                    proxy_pass http://127.0.0.1:%%PROVIDER%%;
                }

                location @cycles {
                    proxy_pass http://127.0.0.1:%%CYCLES%%;
                }
            ''',
            provider=provider.port, cycles=cycles.port)

        r = ng.chat(tenant='acme')
        assert r.status == 200
        cycles.wait(lambda: cycles.count('commit') == 1)
        assert cycles.count() == 2
        assert cycles.scope('tenant:acme')['spent'] == cost()

        assert ng.chat(tenant='acme').status == 503
        assert cycles.count() == 2


def test_cycles_at_the_level_of_the_server(nginx, provider):
    """on for all, off where it is said; the authority's own location is
    never metered itself."""

    with FakeCycles(free_port()) as cycles:
        cycles.budget('tenant:acme', ALLOCATED)
        ng = nginx(
            http='cycles_price_table %%PRICES%%; cycles_api_key secret;',
            server='''
                cycles on;
                cycles_authority @cycles;
                cycles_subject tenant $http_x_tenant;
                location / { proxy_pass http://127.0.0.1:%%PROVIDER%%; }
                location /free/ {
                    cycles off;
                    proxy_pass http://127.0.0.1:%%PROVIDER%%;
                }
                location @cycles {
                    proxy_pass http://127.0.0.1:%%CYCLES%%;
                }
            ''',
            provider=provider.port, cycles=cycles.port)

        assert ng.chat(tenant='acme').status == 200
        cycles.wait(lambda: cycles.count('commit') == 1)
        assert ng.chat(tenant='acme', path='/free/x').status == 200
        assert cycles.count() == 2


# variables


UUID = '[0-9a-f]{8}-[0-9a-f]{4}-[47][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}'


@pytest.mark.parametrize('stream', [False, True], ids=['plain', 'stream'])
def test_variables(scene, stream):
    x = scene.chat('plain', model='gpt-4o-2024-08-06', max_tokens=100,
                   stream=stream, reply=(chat_stream if stream else chat)(
                       prompt=20, completion=6, cached=4,
                       model='gpt-4o-2024-08-06'))
    values = {name[7:]: value for name, value in x.log.items()
              if name.startswith('cycles_')}

    assert values.pop('decision') == 'ALLOW'
    assert values.pop('reason') == ''
    assert re.fullmatch(UUID, values.pop('reservation_id'))
    assert int(values.pop('estimate')) == estimate('gpt-4o', output=100)
    assert int(values.pop('actual')) == cost('gpt-4o', 20, 6, 4)
    assert int(values.pop('charged')) == cost('gpt-4o', 20, 6, 4)
    assert int(values.pop('remaining')) == \
        x.before['remaining'] - cost('gpt-4o', 20, 6, 4)
    assert values.pop('settlement') == 'commit'
    assert values.pop('usage_source') == 'reported'
    assert values.pop('provider') == 'openai'
    assert values.pop('model') == 'gpt-4o-2024-08-06'
    assert values.pop('price_key') == 'gpt-4o'
    assert values.pop('tokens_input') == '20'
    assert values.pop('tokens_output') == '6'
    assert values.pop('tokens_cached') == '4'
    assert values.pop('tokens_reasoning') == '0'
    assert values.pop('scope') == 'tenant:' + x.tenant
    assert re.fullmatch('[0-9a-f]{32}', values.pop('trace_id'))
    values.pop('request_id')
    assert re.fullmatch(r'0\.\d{3}', values.pop('reserve_time'))
    assert values.pop('cutoff') == ''
    assert values == {}


def test_request_id_is_the_authority_s(scene, cycles):
    cycles.budget('tenant:acme', ALLOCATED)
    x = scene.chat('server', tenant='acme')
    assert x.r.status == 200
    assert x.log['cycles_request_id'] != ''
    cycles.wait(lambda: cycles.count('commit') == 1)


@pytest.mark.parametrize('value, kept', [
    ('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', True),
    ('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00', True),
    ('00-00000000000000000000000000000000-b7ad6b7169203331-01', False),
    ('00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01', False),
    ('ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', False),
    ('00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01', False),
    ('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331', False),
    ('00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01', False),
    ('nonsense', False), ('', False)])
def test_traceparent(scene, value, kept):
    x = scene.chat('plain', headers={'traceparent': value})
    assert x.r.status == 200
    trace = x.log['cycles_trace_id']
    assert re.fullmatch('[0-9a-f]{32}', trace)
    assert x.r.header('x-cycles-trace-id') == trace
    assert (trace == value[3:35]) == kept


def test_two_traceparents_are_none(scene):
    value = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    x, path = scene.begin('plain')
    body = chat_request()[2]
    with scene.ng.connect() as conn:
        conn.send_request('POST', path, [
            ('X-Tenant', x.tenant), ('Traceparent', value),
            ('traceparent', value)], body)
        assert conn.read_response().status == 200
    assert x.log['cycles_trace_id'] != value[3:35]


def test_ids_differ(scene):
    seen = set()
    for _ in range(20):
        log = scene.chat('plain').log
        seen.add(log['cycles_reservation_id'])
        seen.add(log['cycles_trace_id'])
    assert len(seen) == 40


def test_variables_of_others_are_empty(scene):
    x = scene.send('off', chat_request()[2])
    for name, value in x.log.items():
        if name.startswith('cycles_'):
            assert value == '', name


def test_variables_may_be_used_before_they_are_known(nginx, provider):
    """In the rewrite phase, in a header to the provider, in one to the
    client."""

    ng = nginx(**gateway.ledger_gateway(
        provider, ('tenant:a', ALLOCATED), location='''
            set $early "[$cycles_decision$cycles_actual]";
            proxy_set_header X-Early $early;
            proxy_set_header X-Id $cycles_reservation_id;
            proxy_set_header X-Decision $cycles_decision;
            add_header X-Late "$cycles_decision $cycles_price_key" always;
        '''))
    r = ng.chat(tenant='a')
    assert r.header('x-late') == 'ALLOW gpt-4o-mini'
    rq = provider.requests[0]
    assert rq.header('x-early') == '[]'
    assert rq.header('x-decision') == 'ALLOW'
    assert rq.header('x-id') == r.header('x-cycles-reservation-id')


# several at once


def test_requests_at_the_same_time_do_not_mix(scene):
    """One connection each, all held by the provider at the same moment."""

    gates = [Gate() for _ in range(10)]
    tenant = scene.fresh()
    scene.provider.script(*[chat(gate=g, prompt=10 + i)
                            for i, g in enumerate(gates)])
    conns = []

    for gate in gates:
        conn = scene.ng.connect()
        conn.send_chat(path='/plain/x', tenant=tenant, max_tokens=100)
        gate.wait_reached()
        conns.append(conn)

    balance = scene.ng.budget('tenant:' + tenant)
    assert balance['reserved'] == 10 * estimate(output=100)
    assert scene.ng.live_reservations() == 10

    for gate in reversed(gates):
        gate.open()
    for conn in conns:
        assert conn.read_response().status == 200
        conn.close()

    balance = scene.ng.budget('tenant:' + tenant)
    assert balance['reserved'] == 0
    assert balance['spent'] == sum(cost(prompt=10 + i) for i in range(10))


def test_errors_of_the_provider_are_not_ours(scene):
    x = scene.chat('plain', reply=error(429, headers={'Retry-After': '9'}))
    assert x.r.status == 429
    assert x.r.header('retry-after') == '9'
    assert x.r.header('x-should-retry') is None
    assert x.r.header('x-cycles-decision') == 'ALLOW'
    assert x.spent == 0
