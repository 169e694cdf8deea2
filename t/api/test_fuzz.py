# Copyright (C) nginx-cycles authors

"""schemathesis makes up requests from the OpenAPI document, good ones and bad
ones, and checks each answer against it: from the protocol's for the API, from
the governance specification's for the admin plane.

Here it is a few hundred with a fixed seed; "make api-fuzz" asks for
API_FUZZ_CASES of them from each, with API_FUZZ_SEED to repeat a run.
"""

import glob
import json
import os
import random
import subprocess
import sys

import ledger_log
from _admin import ADMIN_KEY, Admin, plane
from _api import DOCUMENTS, KEYS, OPENAPI, amount, ok


CASES = int(os.environ.get('API_FUZZ_CASES', 0))
SEED = int(os.environ.get('API_FUZZ_SEED')
           or (random.randrange(10 ** 6) if CASES else 1))

UNITS = ('USD_MICROCENTS', 'TOKENS', 'CREDITS', 'RISK_POINTS')

# what there is of the governance specification, and what of it the key of a
# tenant may do

OF_TENANTS = ('createBudget', 'listBudgets', 'lookupBudget', 'fundBudget')

OF_OPERATOR = OF_TENANTS + (
    'createTenant', 'listTenants', 'getTenant', 'updateTenant',
    'updateBudget', 'freezeBudget', 'unfreezeBudget', 'createApiKey',
    'listApiKeys', 'updateApiKey', 'revokeApiKey', 'introspectAuth')

# nginx itself answers TRACE; the two public resources are not there, so
# neither are other methods on them

CONFIG = '''
continue-on-failure = true

[output.sanitization]
enabled = false

[checks.positive_data_acceptance]
expected-statuses = ["2xx", "403", "404", "409", "410"]

[phases.coverage]
unexpected-methods = ["delete", "get", "options", "patch", "post", "put",
                      "query"]

[[operations]]
include-path-regex = "evidence|well-known"
checks.unsupported_method.enabled = false
'''


def schemathesis(directory, url, document, *args):
    """One run; returns its report."""

    with open(os.path.join(directory, 'schemathesis.toml'), 'w') as file:
        file.write(CONFIG)

    reports = os.path.join(directory, 'reports')
    env = dict(os.environ, SCHEMATHESIS_HOOKS='_fuzz_hooks',
               PYTHONPATH=os.path.dirname(os.path.abspath(__file__)))

    process = subprocess.run(
        [os.path.join(os.path.dirname(sys.executable), 'st'), 'run',
         os.path.join(OPENAPI, document),
         '--url', url, *args,
         '--generation-database', 'none', '--warnings', 'off', '--no-color',
         '--report', 'json', '--report-dir', reports],
        cwd=directory, env=env, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True)

    found = glob.glob(os.path.join(reports, '*.json'))
    assert process.returncode == 0 and len(found) == 1, \
        'seed %d\n%s' % (SEED, process.stdout[-20000:])

    with open(found[0]) as file:
        report = json.load(file)
    os.remove(found[0])
    return report


def known(directory, reservations=()):
    """What the hooks know of."""

    with open(os.path.join(directory, 'state.json'), 'w') as file:
        json.dump({'reservations': dict(reservations), 'api_key': KEYS['acme'],
                   'admin_key': ADMIN_KEY}, file)


def campaign(directory, url, document, header, least, only=(),
             phases='examples,coverage,fuzzing,stateful', wanted=CASES):
    """One run of all phases, then as many requests as were asked for; returns
    the number of requests."""

    args = ['-H', header]
    for operation in only:
        args += ['--include-operation-id', operation]

    report = schemathesis(directory, url, document, *args, '--seed',
                          str(SEED), '-n', '100' if CASES else '5',
                          '--phases', phases)
    cases = report['test_cases']['generated']
    assert cases >= least

    # the requests went all the way, and not only to the first check

    for name, phases in report['valid_rates'].items():
        if 'evidence' not in name and 'well-known' not in name:
            assert sum(p['accepted'] for p in phases.values()), (name, phases)

    seed = SEED
    while cases < wanted:
        seed += 1
        report = schemathesis(directory, url, document, *args, '--seed',
                              str(seed), '-n', '200', '--phases',
                              'fuzzing,stateful')
        cases += report['test_cases']['generated']
    return cases


def test_api(nginx, tmp_path, capsys):
    ng = nginx(workers=1, **plane(*(('tenant:acme', 10 ** 12, {
        'unit': unit, 'allocated': amount(10 ** 12, unit),
        'overdraft_limit': amount(10 ** 6, unit)}) for unit in UNITS)))

    api = Admin(ng)
    known(tmp_path, [(ok(api.reserve(100, unit=unit, ttl_ms=86400000))[
        'reservation_id'], unit) for unit in UNITS * 50])

    cases = campaign(tmp_path, 'http://127.0.0.1:%d' % ng.port, DOCUMENTS[0],
                     'X-Cycles-API-Key: ' + KEYS['acme'], 300)
    with capsys.disabled():
        print('# %d requests to the API, seed %d' % (cases, SEED))

    # and no sum was lost

    state = ledger_log.State(ledger_log.Log(ng.path('ledger')).records())
    found = ok(api.balances())['balances']
    assert len(found) == len(UNITS)
    for balance in found:
        says = {k: v['amount'] for k, v in balance.items()
                if isinstance(v, dict)}
        assert says['remaining'] == says['allocated'] - says['spent'] \
            - says['reserved'] - says['debt']
        assert 0 < says['spent']
    assert not state.problems
    for name in 'spent', 'reserved', 'debt':
        assert sum(b[name]['amount'] for b in found) \
            == state.budgets['tenant:acme'][name]


def test_admin_plane(nginx, tmp_path, capsys):
    ng = nginx(workers=1, **plane(*(('tenant:acme', 10 ** 12, {
        'unit': unit, 'allocated': amount(10 ** 12, unit)})
        for unit in UNITS)))

    admin = Admin(ng)
    secret = admin.secret('budgets:read', 'budgets:write')
    url = 'http://127.0.0.1:%d' % ng.port
    known(tmp_path)

    # first, as long as the budgets are active

    cases = campaign(tmp_path, url, DOCUMENTS[1], 'X-Cycles-API-Key: '
                     + secret, 20, OF_TENANTS, 'examples,fuzzing', CASES // 10)
    cases += campaign(tmp_path, url, DOCUMENTS[1], 'X-Admin-API-Key: '
                      + ADMIN_KEY, 300, OF_OPERATOR)
    with capsys.disabled():
        print('# %d requests to the admin plane, seed %d' % (cases, SEED))

    # and what was answered is what a start finds

    before = admin.everything()
    assert len(before['tenants']) > 2 and len(before['keys']) > 2 \
        and len(before['ledgers']) > len(UNITS)
    for item in before['ledgers']:
        assert item['remaining']['amount'] == item['allocated']['amount'] \
            - item['spent']['amount'] - item['reserved']['amount'] \
            - item['debt']['amount']
    ng.stop()
    ng.start()
    assert admin.everything() == before
