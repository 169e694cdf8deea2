# Copyright (C) nginx-cycles authors

"""What "nginx -t" says: every mistake gets one sentence that names the
directive and what to write instead, and every directive is taken in http,
server and location."""

import json
import re

import pytest

import gateway
from gateway import budgets


LEDGER = '''
    cycles_ledger main path=%%DIR%%/ledger budgets=%%DIR%%/budgets.json;
'''

TABLE = 'cycles_price_table %%PRICES%%;'

BASE = '''
    cycles on;
    cycles_authority ledger=main;
    cycles_subject tenant $http_x_tenant;
'''

PROXY = 'proxy_pass http://127.0.0.1:1;'

SERVER = '''
    location @cycles { proxy_pass http://127.0.0.1:1; }
'''


def nginx_t(location='', server='', http='', base=BASE, ledger=LEDGER,
            table=TABLE, files=None, **kw):
    """A working gateway with these changes: (accepted, output)."""

    files = dict(files or {})
    files.setdefault('budgets.json', budgets(('tenant:acme', 1000000)))

    return gateway.nginx_t(
        http=ledger + table + http,
        server=SERVER + server + 'location / {' + base + location + PROXY
        + '}',
        files=files, **kw)


def emerg(text):
    return [line for line in text.splitlines() if '[emerg]' in line]


def warnings(text):
    """Those but for the rows of t/prices.json that are bad on purpose."""

    return [line for line in text.splitlines() if '[warn]' in line
            and not re.search(r'the row "(example|wandb)/', line)]


# mistakes: (what, where, what the one sentence has to say)


def wrong(name, *says, **where):
    return pytest.param(where, says, id=name)


def in_location(directive, *says, name=None, **where):
    return wrong(name or directive, *says, location=directive + ';', **where)


LATER = [
    wrong('cycles maybe', '"cycles"', 'off, on or dry_run',
          base=BASE.replace('cycles on', 'cycles maybe')),
    in_location('cycles_unit EUR', '"cycles_unit"', 'USD_MICROCENTS',
                'TOKENS', 'CREDITS', 'RISK_POINTS'),
    in_location('cycles_unit usd_microcents', '"cycles_unit"',
                'USD_MICROCENTS'),
    in_location('cycles_overage_policy ALLOW', '"cycles_overage_policy"',
                'ALLOW_IF_AVAILABLE', 'REJECT', 'ALLOW_WITH_OVERDRAFT'),
    in_location('cycles_on_outage ignore', '"cycles_on_outage"',
                'deny or allow'),
    in_location('cycles_apply_caps some', '"cycles_apply_caps"',
                '"on" or "off"'),
    in_location('cycles_signed_requests sign', '"cycles_signed_requests"',
                'deny or pass'),
    in_location('cycles_on_abort stop', '"cycles_on_abort"',
                'drain, estimate, input or hold'),
    in_location('cycles_on_missing_usage free', '"cycles_on_missing_usage"',
                'estimate, release or hold'),
    in_location('cycles_trust_reservation gateway.local',
                '"cycles_trust_reservation"', '10.0.0.0/8',
                'secret=file:PATH'),
    in_location('cycles_trust_reservation secret=short',
                '"cycles_trust_reservation"', '16 characters'),
    in_location('cycles_breaker on', '"cycles_breaker"', '"on"',
                'failures=NUMBER', '"off" alone'),
    in_location('cycles_breaker failures=0', '"cycles_breaker"',
                'failures=NUMBER from 1 to 1000'),
    in_location('cycles_breaker open=0', '"cycles_breaker"',
                'open=TIME from 1ms to 10m'),
    in_location('cycles_breaker slow=11m', '"cycles_breaker"', '1ms to 10m'),
    in_location('cycles_breaker off open=1s', '"cycles_breaker"',
                '"off" alone'),
    in_location('cycles_drain timeout=0', '"cycles_drain"',
                'timeout=TIME from 1ms to 1h'),
    in_location('cycles_drain timeout=61m', '"cycles_drain"',
                'timeout=TIME from 1ms to 1h'),
    in_location('cycles_drain size=big', '"cycles_drain"', 'size=SIZE'),
    in_location('cycles_drain number=65537', '"cycles_drain"',
                'number=NUMBER from 0 to 65536'),
    in_location('cycles_drain 5m', '"cycles_drain"', '"5m"'),
    in_location('cycles_authority ledger=main base_url=http://x',
                '"cycles_authority"', '"base_url=URL"', '"@LOCATION"',
                base=BASE.replace('cycles_authority ledger=main;', '')),
    wrong('cycles_zone 4k', '"cycles_zone"', 'cycles_zone 1m',
          http='cycles_zone 4k;'),
    wrong('cycles_zone big', '"cycles_zone"', 'cycles_zone 1m',
          http='cycles_zone big;'),
    wrong('cycles_journal without a path', '"cycles_journal"', 'path=DIR',
          http='cycles_journal flush_timeout=1s;'),
    wrong('cycles_journal replay=1ms', '"cycles_journal"', '"replay=1ms"',
          '100ms to 3600000ms', http='cycles_journal path=j replay=1ms;'),
    wrong('cycles_journal flush_timeout=11m', '"cycles_journal"',
          '0ms to 600000ms',
          http='cycles_journal path=j flush_timeout=11m;'),
    wrong('cycles_journal dir=x', '"cycles_journal"', 'path=DIR',
          'flush_timeout=TIME', 'replay=TIME',
          http='cycles_journal dir=x;'),
    in_location('cycles_deny_format xml', '"cycles_deny_format"', 'auto',
                'openai'),
    in_location('cycles_response_headers all', '"cycles_response_headers"',
                'off, on or amounts'),
    in_location('cycles_stream_usage yes', '"cycles_stream_usage"',
                '"on" or "off"'),
    in_location('cycles_stream_cutoff 1', '"cycles_stream_cutoff"',
                '"on" or "off"'),
]

TIMES = [
    in_location('cycles_ttl 0s', '"cycles_ttl"', 'from 1s to 24h'),
    in_location('cycles_ttl 999ms', '"cycles_ttl"', 'from 1s to 24h'),
    in_location('cycles_ttl 25h', '"cycles_ttl"', 'from 1s to 24h'),
    in_location('cycles_ttl soon', '"cycles_ttl"', 'from 1s to 24h'),
    in_location('cycles_ttl -1', '"cycles_ttl"', 'from 1s to 24h'),
    in_location('cycles_ttl ""', '"cycles_ttl"', 'from 1s to 24h'),
    in_location('cycles_grace_period 61s', '"cycles_grace_period"',
                'from 0 to 60s'),
    in_location('cycles_grace_period 60001ms', '"cycles_grace_period"',
                'from 0 to 60s'),
    in_location('cycles_timeout 0', '"cycles_timeout"', 'from 1ms to 10m'),
    in_location('cycles_timeout 11m', '"cycles_timeout"',
                'from 1ms to 10m'),
    in_location('cycles_connect_timeout 0', '"cycles_connect_timeout"',
                'from 1ms to 10m'),
    in_location('cycles_connect_timeout 3s; cycles_timeout 2s',
                '"cycles_connect_timeout"', 'make it shorter'),
    in_location('cycles_retry attempts=21', '"cycles_retry"',
                'attempts=0-20'),
    in_location('cycles_retry attempts=', '"cycles_retry"', 'attempts=0-20'),
    in_location('cycles_retry initial=0', '"cycles_retry"',
                'initial=1ms-1h'),
    in_location('cycles_retry multiplier=0.5', '"cycles_retry"',
                'multiplier=1-10'),
    in_location('cycles_retry multiplier=11', '"cycles_retry"',
                'multiplier=1-10'),
    in_location('cycles_retry max=2h', '"cycles_retry"', 'max=1ms-1h'),
    in_location('cycles_retry tries=5', '"cycles_retry"', 'attempts=0-20'),
]

SUBJECTS = [
    in_location('cycles_subject team red', '"cycles_subject"', '"team"',
                'tenant, workspace, app, workflow, agent, toolset',
                '"cycles_dimension"'),
    in_location('cycles_subject Tenant acme', '"cycles_subject"',
                'tenant, workspace'),
    in_location('cycles_subject app "two words"', '"cycles_subject"',
                '1 to 128'),
    in_location('cycles_subject app ""', '"cycles_subject"', '1 to 128'),
    in_location('cycles_subject app ' + 129 * 'x', '"cycles_subject"',
                '1 to 128', name='subject of 129 bytes'),
    in_location('cycles_subject app caf\u00e9', '"cycles_subject"',
                '1 to 128', name='subject that is not ASCII'),
    in_location('cycles_subject tenant other', '"cycles_subject"',
                '"tenant"', 'once'),
    in_location('cycles_subject app $no_such_variable',
                'no_such_variable'),
    wrong('no subject', '"cycles_subject"', 'at least one',
          base='cycles on; cycles_authority ledger=main;'),
    in_location('cycles_dimension Cost-Center $http_x', '"cycles_dimension"',
                'a-z'),
    in_location('cycles_dimension "" $http_x', '"cycles_dimension"',
                '1 to 128'),
    in_location('cycles_dimension a 1; cycles_dimension a 2',
                '"cycles_dimension"', '"a"', 'once'),
    in_location(''.join('cycles_dimension k%d v;' % i for i in range(17)),
                '"cycles_dimension"', '16', name='17 dimensions'),
    in_location('cycles_metadata a 1; cycles_metadata a 2',
                '"cycles_metadata"', '"a"', 'once'),
    in_location('cycles_metadata "" 1', '"cycles_metadata"', '1 to 128'),
    in_location('cycles_action llm.completion', '"cycles_action"'),
    in_location('cycles_action "" name', '"cycles_action"',
                'a kind and a name'),
    in_location('cycles_action kind name' + 11 * ' tag', '"cycles_action"',
                '10', name='11 tags'),
]

AUTHORITIES = [
    wrong('no authority', '"cycles_authority ledger=NAME;"',
          '"cycles_authority @LOCATION;"',
          base='cycles on; cycles_subject tenant acme;'),
    wrong('unknown ledger', '"cycles_authority ledger=other"',
          '"cycles_ledger other path=DIR;"',
          base=BASE.replace('=main', '=other')),
    wrong('no ledger at all', '"cycles_authority ledger=main"',
          '"cycles_ledger main path=DIR;"', ledger=''),
    wrong('authority of neither kind', '"cycles_authority"', '"ledger=NAME"',
          '"@LOCATION"', base=BASE.replace('ledger=main', 'main')),
    wrong('ledger without a name', '"cycles_authority"', '"ledger=NAME"',
          base=BASE.replace('ledger=main', 'ledger=')),
    wrong('only an @', '"cycles_authority"', '"@LOCATION"',
          base=BASE.replace('ledger=main', '@')),
    wrong('no such location', '"cycles_authority @nowhere"',
          'location @nowhere', 'proxy_pass',
          base=BASE.replace('ledger=main', '@nowhere')),
    wrong('location without proxy_pass', '"@empty"', 'proxy_pass',
          base=BASE.replace('ledger=main', '@empty'),
          server='location @empty { }'),
    wrong('location of another server', '"cycles_authority @far"',
          'location @far',
          base=BASE.replace('ledger=main', '@far'),
          http='''server { listen 127.0.0.1:%%FREE%%; server_name far;
                  location @far { proxy_pass http://127.0.0.1:1; } }''',
          free=gateway.free_port()),
    in_location('cycles_api_key file:/no/such/file', '"cycles_api_key"',
                '/no/such/file'),
    in_location('cycles_api_key file:%%DIR%%/key', '"cycles_api_key"',
                'empty', 'put the API key into it',
                files={'key': '\n'}),
]

PRICES = [
    in_location('cycles_price_table /no/such/table.json',
                '"cycles_price_table"', '/no/such/table.json'),
    in_location('cycles_price_table %%DIR%%/table.json',
                '"cycles_price_table"', 'not JSON', name='table not JSON',
                files={'table.json': '{"gpt-4o": {"input_cost_per_token"'}),
    in_location('cycles_price_table %%DIR%%/table.json',
                '"cycles_price_table"', 'input_cost_per_token',
                name='table of nothing', files={'table.json': '{}'}),
    in_location('cycles_price_table %%DIR%%/table.json',
                '"cycles_price_table"', name='empty table',
                files={'table.json': ''}),
    in_location('cycles_price_table %%DIR%%/table.json',
                '"cycles_price_table"', 'JSON object', name='table is a list',
                files={'table.json': '[1, 2]'}),
    in_location('cycles_price_table %%DIR%%', '"cycles_price_table"',
                name='table is a directory'),
    wrong('nothing has a price', '"cycles_price_table FILE;"',
          '"cycles_price"', table=''),
    in_location('cycles_max_estimate much', '"cycles_max_estimate"', '"off"'),
    in_location('cycles_price m', '"cycles_price"'),
    in_location('cycles_price m 1.5e-07', '"cycles_price"',
                'input_cost_per_token=1.5e-07'),
    in_location('cycles_price m input_price=1e-07', '"cycles_price"',
                '"input_price"', 'input_cost_per_token'),
    in_location('cycles_price m input_cost_per_token=cheap',
                '"cycles_price"', '"cheap"', 'USD per token'),
    in_location('cycles_price m input_cost_per_token=-1e-07',
                '"cycles_price"', 'USD per token'),
    in_location('cycles_price m output_cost_per_token=0.002',
                '"cycles_price"', '0.001 USD'),
    in_location('cycles_price m input_cost_per_token=',
                '"cycles_price"', 'USD per token'),
    in_location('cycles_price m max_output_tokens=0', '"cycles_price"',
                'at least 1'),
    in_location('cycles_model_alias gpt-4o gpt-4o', '"cycles_model_alias"',
                'alias of itself', 'name another model'),
    in_location('cycles_model_alias a gpt-4o; cycles_model_alias a gpt-5',
                '"cycles_model_alias"', '"a"', 'once'),
    in_location('cycles_model_alias "" gpt-4o', '"cycles_model_alias"',
                'empty'),
    in_location('cycles_unknown_price gpt-99',
                '"cycles_unknown_price gpt-99"', '"deny" or "allow"'),
    in_location('cycles_unknown_price ""', '"cycles_unknown_price"',
                '"deny", "allow"'),
    in_location('cycles_max_output_tokens 0', '"cycles_max_output_tokens"',
                'from 1 to 100000000'),
    in_location('cycles_max_output_tokens many',
                '"cycles_max_output_tokens"', 'from 1 to'),
    in_location('cycles_estimate_margin 0.9', '"cycles_estimate_margin"',
                'from 1 to 10'),
    in_location('cycles_estimate_margin 10.001', '"cycles_estimate_margin"',
                'from 1 to 10'),
    in_location('cycles_estimate_margin 25%', '"cycles_estimate_margin"',
                'from 1 to 10'),
    in_location('cycles_estimate 1.5', '"cycles_estimate"', '"auto"',
                'whole number'),
    in_location('cycles_estimate -1', '"cycles_estimate"', '"auto"'),
    in_location('cycles_estimate 9223372036854775808', '"cycles_estimate"',
                'whole number'),
    in_location('cycles_actual exact', '"cycles_actual"', '"auto"',
                '"estimate"'),
    in_location('cycles_unit CREDITS', '"cycles_unit CREDITS"',
                '"cycles_estimate"', '"cycles_actual"'),
    in_location('cycles_unit RISK_POINTS; cycles_estimate 5',
                '"cycles_unit RISK_POINTS"', '"cycles_actual"'),
    in_location('cycles_provider clippy', '"cycles_provider"', '"auto"',
                '"openai"', '"bedrock-invoke"', '"other"'),
    in_location('cycles_websocket allow', '"cycles_websocket"',
                'deny or pass'),
]

DENIALS = [
    in_location('cycles_deny_status %s' % status, '"cycles_deny_status"',
                '"auto"', '429')
    for status in ('409', '500', '408', '200', '503', '399', '444', '499',
                   'never', '302')
]

DUPLICATES = [
    in_location('%s %s; %s %s' % (name, value, name, value),
                '"%s" directive is duplicate' % name,
                name='duplicate ' + name)
    for name, value in (
        ('cycles_unit', 'TOKENS'),
        ('cycles_api_key', 'secret'),
        ('cycles_action', 'kind name'),
        ('cycles_idempotency_key', '$request_id'),
        ('cycles_estimate', '5'),
        ('cycles_actual', 'estimate'),
        ('cycles_ttl', '10s'),
        ('cycles_grace_period', '1s'),
        ('cycles_overage_policy', 'REJECT'),
        ('cycles_timeout', '5s'),
        ('cycles_connect_timeout', '1s'),
        ('cycles_retry', 'attempts=1'),
        ('cycles_on_outage', 'allow'),
        ('cycles_provider', 'openai'),
        ('cycles_price_table', '%%PRICES%%'),
        ('cycles_unknown_price', 'allow'),
        ('cycles_max_output_tokens', '10'),
        ('cycles_estimate_margin', '2'),
        ('cycles_stream_usage', 'off'),
        ('cycles_stream_cutoff', 'on'),
        ('cycles_websocket', 'pass'),
        ('cycles_deny_status', '402'),
        ('cycles_deny_message', 'no'),
        ('cycles_deny_format', 'openai'),
        ('cycles_response_headers', 'off'))
] + [
    in_location('cycles on', '"cycles" directive is duplicate'),
    in_location('cycles_authority ledger=main',
                '"cycles_authority" directive is duplicate'),
]

PLACES = [
    wrong('cycles_status in server', '"cycles_status"', 'not allowed here',
          server='cycles_status;'),
    wrong('cycles_ledger in server', '"cycles_ledger"', 'not allowed here',
          server='cycles_ledger x path=%%DIR%%/ledger;'),
    wrong('cycles_ledger in location', '"cycles_ledger"', 'not allowed here',
          location='cycles_ledger x path=%%DIR%%/ledger;'),
]

LEDGERS = [
    wrong('ledger without path', '"cycles_ledger main"', 'path=',
          ledger='cycles_ledger main zone=8m;'),
    wrong('ledger with nothing', '"cycles_ledger"',
          ledger='cycles_ledger main;'),
    wrong('ledger with an unknown parameter', '"cycles_ledger main"',
          'zone=SIZE',
          ledger='cycles_ledger main path=%%DIR%%/ledger size=8m;'),
    wrong('two ledgers of one name', '"cycles_ledger main"', 'own',
          ledger=LEDGER + 'cycles_ledger main path=%%DIR%%/other;'),
    wrong('two ledgers on one path', '"cycles_ledger second"', 'path',
          ledger=LEDGER + 'cycles_ledger second path=%%DIR%%/ledger;'),
    wrong('zone too small', '"cycles_ledger main"', '1m at least',
          ledger='cycles_ledger main path=%%DIR%%/ledger zone=4k;'),
    wrong('zone is no size', '"cycles_ledger main"', '1m at least',
          ledger='cycles_ledger main path=%%DIR%%/ledger zone=big;'),
    wrong('zone in gigabytes', '"cycles_ledger main"', '"m" behind it',
          ledger='cycles_ledger main path=%%DIR%%/ledger zone=2g;'),
    wrong('bad sync', '"cycles_ledger main"', 'sync=interval|always',
          ledger='cycles_ledger main path=%%DIR%%/ledger sync=never;'),
    wrong('segments are too small', '"cycles_ledger main"', '1m to 1024m',
          ledger='cycles_ledger main path=%%DIR%%/ledger segment=1000k;'),
    wrong('segments are too large', '"cycles_ledger main"', '1m to 1024m',
          ledger='cycles_ledger main path=%%DIR%%/ledger segment=2g;'),
    wrong('retention is too short', '"cycles_ledger main"', '1d to 3650d',
          ledger='cycles_ledger main path=%%DIR%%/ledger retention=23h;'),
    wrong('retention is too long', '"cycles_ledger main"', '1d to 3650d',
          ledger='cycles_ledger main path=%%DIR%%/ledger retention=3651d;'),
    wrong('retention is no time', '"cycles_ledger main"', '1d to 3650d',
          ledger='cycles_ledger main path=%%DIR%%/ledger retention=always;'),
    wrong('budgets file is not there', '"cycles_ledger"', 'nowhere.json',
          ledger='cycles_ledger main path=%%DIR%%/ledger '
                 'budgets=%%DIR%%/nowhere.json;'),
]


def budget(**members):
    """A budgets file with one budget, changed by members; None removes."""

    entry = {'scope': 'tenant:acme', 'unit': 'USD_MICROCENTS',
             'allocated': {'unit': 'USD_MICROCENTS', 'amount': 1000}}
    entry.update(members)
    entry = {k: v for k, v in entry.items() if v is not None}
    return json.dumps({'tenants': [{'tenant_id': 'acme', 'name': 'A'}],
                       'budgets': [entry]})


def amount(value, unit='USD_MICROCENTS'):
    return {'unit': unit, 'amount': value}


def bad_budgets(name, text, *says):
    return wrong('budgets file: ' + name, 'budgets.json',
                 '"cycles_ledger main"', *says,
                 files={'budgets.json': text})


BUDGETS = [
    bad_budgets('not JSON', '{"budgets": [', 'line 1, column 13'),
    bad_budgets('empty', '', 'line 1'),
    bad_budgets('a list', '[]', 'object'),
    bad_budgets('unknown member', '{"budget": []}', 'budget is not known'),
    bad_budgets('unknown member of a budget', budget(limit=5),
                'budgets[0].limit is not known'),
    bad_budgets('unknown member of an amount',
                budget(allocated={'unit': 'USD_MICROCENTS', 'amount': 1,
                                  'currency': 'USD'}),
                'allocated.currency is not known'),
    bad_budgets('no scope', budget(scope=None), 'scope'),
    bad_budgets('scope without a level', budget(scope='acme'), 'scope'),
    bad_budgets('unknown level', budget(scope='team:acme'), 'scope'),
    bad_budgets('levels in the wrong order',
                budget(scope='app:a/tenant:acme'), 'scope'),
    bad_budgets('empty scope', budget(scope=''), 'scope'),
    bad_budgets('bad characters in a scope', budget(scope='tenant:a b'),
                'scope'),
    bad_budgets('unknown unit',
                budget(unit='EUR', allocated=amount(1, 'EUR')), 'unit'),
    bad_budgets('two units', budget(allocated=amount(1000, 'TOKENS')),
                'unit'),
    bad_budgets('no amount', budget(allocated=None), 'allocated'),
    bad_budgets('negative amount', budget(allocated=amount(-1)), 'amount'),
    bad_budgets('fraction of an amount', budget(allocated=amount(1.5)),
                'amount'),
    bad_budgets('an amount over int64', budget(allocated=amount(2 ** 63)),
                'too big integer'),
    bad_budgets('amount as text', budget(allocated=amount('1000')),
                'amount'),
    bad_budgets('unknown policy', budget(commit_overage_policy='IGNORE'),
                'commit_overage_policy'),
    bad_budgets('percent over 100',
                budget(caps={'above_percent': 101, 'max_tokens': 5}),
                'above_percent'),
    bad_budgets('unknown cap', budget(caps={'above_percent': 80, 'max': 5}),
                'caps.max is not known'),
    bad_budgets('caps of nothing', budget(caps={'above_percent': 80}),
                'caps limits nothing'),
    bad_budgets('scope in upper case', budget(scope='tenant:Acme'),
                'lower case'),
    bad_budgets('the same budget twice', json.dumps({
        'tenants': [{'tenant_id': 'acme', 'name': 'A'}],
        'budgets': 2 * [json.loads(budget())['budgets'][0]]}),
        'tenant:acme'),
    bad_budgets('the same tenant twice', json.dumps({
        'tenants': 2 * [{'tenant_id': 'acme', 'name': 'A'}]}), 'acme'),
    bad_budgets('a key that is no hash', json.dumps({
        'tenants': [{'tenant_id': 'acme', 'name': 'A'}],
        'api_keys': [{'tenant_id': 'acme', 'name': 'dev',
                      'secret_sha256': 'abc'}]}), 'secret_sha256'),
]

WRONG = (LATER + TIMES + SUBJECTS + AUTHORITIES + PRICES + DENIALS
         + DUPLICATES + PLACES + LEDGERS + BUDGETS)


@pytest.mark.parametrize('where, says', WRONG)
def test_wrong(where, says):
    good, text = nginx_t(**where)
    lines = emerg(text)

    assert not good
    assert len(lines) == 1, text

    for part in says:
        assert part in lines[0], lines[0]

    assert re.search(FIX, lines[0]) or re.search(CORE, lines[0]), lines[0]
    assert re.search(DIRECTIVE, lines[0]) or 'unknown "' in lines[0], lines[0]


# what to do instead; nginx itself says of some mistakes only what they are

FIX = (r"\b(write|give|add|set|use|make|must|needs|put|name|remove|correct"
       r"|get|there (is|are)|it (can|has)|not \w+(, \w+)+ (or|and) \w+)\b")

CORE = (r'(directive is duplicate|directive is not allowed here'
        r'|invalid number of arguments in .* directive'
        r'|unknown "\w+" variable)( in |$)')

DIRECTIVE = r'"cycles(_\w+)?\b'


def test_there_are_enough():
    """Of ours, not of nginx's own."""

    names = [where.id for where in WRONG
             if not re.match('duplicate |cycles_(status|ledger) in |cycles on$',
                             where.id)]
    assert len(names) >= 150
    assert len({name.split()[0] for name in names
                if name.startswith('cycles_')}) >= 25


# what is right


EVERYTHING = '''
    cycles on;
    cycles_authority ledger=main;
    cycles_api_key $http_x_key;
    cycles_subject tenant $http_x_tenant;
    cycles_subject workspace w.1;
    cycles_subject app $arg_app;
    cycles_subject workflow flow-1;
    cycles_subject agent agent_1;
    cycles_subject toolset tools;
    cycles_dimension cost_center $http_x_cost_center;
    cycles_dimension team.name red;
    cycles_action llm.completion $cycles_provider:$cycles_model a b $arg_t;
    cycles_unit USD_MICROCENTS;
    cycles_estimate auto;
    cycles_actual auto;
    cycles_ttl 60s;
    cycles_grace_period 5s;
    cycles_overage_policy ALLOW_WITH_OVERDRAFT;
    cycles_metadata ip $remote_addr;
    cycles_metadata Route chat;
    cycles_idempotency_key $http_idempotency_key;
    cycles_timeout 7s;
    cycles_connect_timeout 2s;
    cycles_retry attempts=5 initial=500ms multiplier=2 max=30s;
    cycles_on_outage allow;
    cycles_breaker failures=3 slow=1s open=10s;
    cycles_apply_caps off;
    cycles_signed_requests pass;
    cycles_trust_reservation 10.0.0.0/8 unix: secret=0123456789abcdef;
    cycles_on_abort input;
    cycles_on_missing_usage hold;
    cycles_drain timeout=1m size=1m number=10;
    cycles_provider auto;
    cycles_price_region eu;
    cycles_price_table %%PRICES%%;
    cycles_price my-model input_cost_per_token=1.5e-07
                          output_cost_per_token=6e-07
                          cache_read_input_token_cost=0
                          max_output_tokens=4096;
    cycles_model_alias deployment-1 gpt-4o;
    cycles_unknown_price gpt-4o;
    cycles_max_output_tokens 4096;
    cycles_max_estimate 100000000;
    cycles_estimate_margin 1.25;
    cycles_stream_usage on;
    cycles_stream_cutoff on;
    cycles_websocket deny;
    cycles_deny_status auto;
    cycles_deny_message "No budget left for $http_x_tenant.";
    cycles_deny_format auto;
    cycles_response_headers amounts;
'''


@pytest.mark.parametrize('where', ['http', 'server', 'location'])
def test_every_directive_everywhere(where):
    good, text = gateway.nginx_t(
        http=LEDGER + (EVERYTHING if where == 'http' else ''),
        server='%s location / { %s %s }' % (
            EVERYTHING if where == 'server' else '',
            EVERYTHING if where == 'location' else '', PROXY),
        files={'budgets.json': budgets(('tenant:acme', 1000000))})

    assert good, text
    assert warnings(text) == []


def directives_of(source):
    """The names in a table of commands."""

    with open(source) as file:
        return set(re.findall(r'\{ ngx_string\("(cycles\w*)"\),\s+\w+_CONF',
                              file.read()))


def test_everything_is_tried():
    names = directives_of(gateway.ROOT
                          + '/src/gateway/ngx_http_cycles_module.c')
    tried = set(re.findall(r'^\s+(cycles\w*) ', EVERYTHING, re.M))

    assert names - tried <= {'cycles_status', 'cycles_zone'}
    assert tried <= names


def right(directives, **where):
    if directives:
        where['location'] = directives + ';'

    return pytest.param(where, id=(directives or where['ledger'])[:60])


@pytest.mark.parametrize('where', [
    right('cycles_ttl 1s'),
    right('cycles_ttl 24h'),
    right('cycles_ttl 1000ms'),
    right('cycles_ttl 1d'),
    right('cycles_grace_period 0'),
    right('cycles_grace_period 60s'),
    right('cycles_grace_period 1m'),
    right('cycles_timeout 1ms; cycles_connect_timeout 1ms'),
    right('cycles_timeout 10m; cycles_connect_timeout 10m'),
    right('cycles_retry attempts=0'),
    right('cycles_retry attempts=20 initial=1ms multiplier=1 max=1ms'),
    right('cycles_retry multiplier=1.5 max=1h'),
    right('cycles_retry max=10s initial=100ms'),
    right('cycles_deny_status 400'),
    right('cycles_deny_status 402'),
    right('cycles_deny_status 403'),
    right('cycles_deny_status 429'),
    right('cycles_deny_status auto'),
    right('cycles_estimate_margin 1'),
    right('cycles_estimate_margin 10'),
    right('cycles_estimate_margin 1.001'),
    right('cycles_max_output_tokens 1'),
    right('cycles_max_output_tokens 100000000'),
    right('cycles_estimate 0; cycles_actual 0'),
    right('cycles_estimate 9223372036854775807'),
    right('cycles_unit TOKENS', table=''),
    right('cycles_unit CREDITS; cycles_estimate 5; cycles_actual estimate',
          table=''),
    right('cycles_unit RISK_POINTS; cycles_estimate $arg_e; '
          'cycles_actual $upstream_http_x_cost', table=''),
    right('cycles_price m input_cost_per_token=0.001', table=''),
    right('cycles_price m input_cost_per_token=0', table=''),
    right('cycles_unknown_price m; cycles_price m input_cost_per_token=1e-6',
          table=''),
    right('cycles_unknown_price allow'),
    right('cycles_provider openai'),
    right('cycles_provider gemini-interactions; cycles_websocket pass'),
    right('cycles_deny_format openai'),
    right('', ledger=LEDGER.replace(';', ' retention=1d segment=1m;')),
    right('', ledger=LEDGER.replace(';', ' sync=always retention=3650d;')),
    right('cycles_subject app ' + 128 * 'x'),
    right('cycles_api_key file:%%DIR%%/key', files={'key': 'secret\n'}),
    right('cycles_action $arg_kind $arg_name' + 10 * ' tag'),
    right(';'.join('cycles_dimension k%d v' % i for i in range(16))),
])
def test_right(where):
    good, text = nginx_t(**where)
    assert good, text
    assert warnings(text) == []


@pytest.mark.parametrize('base', [
    'cycles off;',
    '',
    'cycles_ttl 5s;',
    'cycles dry_run; cycles_authority ledger=main; cycles_subject app a;',
    'cycles on; cycles_authority @cycles; cycles_subject app a;'
    'cycles_ttl 60s;',
])
def test_modes(base):
    good, text = nginx_t(base=base)
    assert good, text
    assert warnings(text) == []


def test_authority_may_stand_below_its_use():
    good, text = nginx_t(
        base=BASE.replace('ledger=main', '@below'),
        location='', server='',
        http='')
    assert not good and '@below' in text

    good, text = gateway.nginx_t(
        http=TABLE,
        server='location / { cycles on; cycles_subject app a;'
               'cycles_authority @below;' + PROXY + '}'
               'location @below { proxy_pass http://127.0.0.1:1; }')
    assert good, text


def test_ledger_may_stand_below_its_use():
    good, text = gateway.nginx_t(
        http='''
            server {
                listen 127.0.0.1:%%FREE%%;
                location / { ''' + BASE + TABLE + PROXY + ''' }
            }
        ''' + LEDGER,
        free=gateway.free_port(),
        files={'budgets.json': budgets(('tenant:acme', 1000000))})
    assert good, text


@pytest.mark.parametrize('ledger', [
    'cycles_ledger main path=%%DIR%%/ledger;',
    'cycles_ledger main path=%%DIR%%/ledger zone=1m;',
    'cycles_ledger main path=%%DIR%%/ledger sync=always;',
    'cycles_ledger main path=%%DIR%%/ledger sync=interval;',
    'cycles_ledger main zone=16m budgets=%%DIR%%/budgets.json '
    'path=%%DIR%%/ledger sync=always;',
    LEDGER + 'cycles_ledger second path=%%DIR%%/second;',
])
def test_ledgers(ledger):
    good, text = nginx_t(ledger=ledger)
    assert good, text


@pytest.mark.parametrize('text', [
    '{}',
    budgets(),
    budget(),
    budget(allocated=amount(0)),
    budget(allocated=amount(2 ** 63 - 1)),
    budget(unit='TOKENS', allocated=amount(5, 'TOKENS')),
    budget(scope='tenant:acme/workspace:w/app:a/workflow:f/agent:g'
                 '/toolset:t'),
    budget(scope='tenant:acme/agent:g'),
    budget(overdraft_limit=amount(10)),
    budget(commit_overage_policy='REJECT'),
    budget(caps={'above_percent': 0, 'max_tokens': 0}),
    budget(caps={'above_percent': 80, 'max_tokens': 512,
                 'tool_denylist': ['web_search']}),
    json.dumps({'tenants': [{'tenant_id': 'acme', 'name': 'A'}],
                'api_keys': [{'tenant_id': 'acme', 'name': 'dev',
                              'secret_sha256': 64 * 'a'}],
                'admin_key_sha256': 64 * '0'}),
])
def test_budgets_file(text):
    good, output = nginx_t(files={'budgets.json': text})
    assert good, output


def test_bad_row_of_a_table_only_warns():
    with open(gateway.ROOT + '/t/prices.json') as file:
        table = json.load(file)
    table['broken'] = {'input_cost_per_token': 5}

    good, text = nginx_t(location='cycles_price_table %%DIR%%/table.json;',
                         files={'table.json': json.dumps(table)})
    assert good, text

    lines = warnings(text)
    assert len(lines) == 1
    assert '"broken"' in lines[0]
    assert lines[0].count('price table') == 1


def test_ttl_too_short_for_heartbeats_only_warns():
    good, text = nginx_t(base='cycles on; cycles_authority @cycles;'
                              'cycles_subject app a;',
                         location='cycles_ttl 15s; cycles_timeout 7s;')
    assert good, text
    assert len(warnings(text)) == 1
    assert '"cycles_ttl"' in text and '"cycles_timeout"' in text

    good, text = nginx_t(base='cycles on; cycles_authority @cycles;'
                              'cycles_subject app a;',
                         location='cycles_ttl 16s; cycles_timeout 7s;')
    assert good and warnings(text) == []
