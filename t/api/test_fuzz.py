# Copyright (C) nginx-cycles authors

"""schemathesis makes up requests from the OpenAPI document, good ones and bad
ones, and checks each answer against it.

Here it is a few hundred with a fixed seed; "make api-fuzz" asks for
API_FUZZ_CASES of them, with API_FUZZ_SEED to repeat a run.
"""

import glob
import json
import os
import random
import subprocess
import sys

import ledger_log
from _api import KEYS, SPEC, Api, amount, conf, ok, sha256


CASES = int(os.environ.get('API_FUZZ_CASES', 0))
SEED = int(os.environ.get('API_FUZZ_SEED')
           or (random.randrange(10 ** 6) if CASES else 1))

UNITS = ('USD_MICROCENTS', 'TOKENS', 'CREDITS', 'RISK_POINTS')

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


def schemathesis(directory, url, *args):
    """One run; returns its report."""

    with open(os.path.join(directory, 'schemathesis.toml'), 'w') as file:
        file.write(CONFIG)

    reports = os.path.join(directory, 'reports')
    env = dict(os.environ, SCHEMATHESIS_HOOKS='_fuzz_hooks',
               PYTHONPATH=os.path.dirname(os.path.abspath(__file__)))

    process = subprocess.run(
        [os.path.join(os.path.dirname(sys.executable), 'st'), 'run', SPEC,
         '--url', url, '-H', 'X-Cycles-API-Key: ' + KEYS['acme'], *args,
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


def test_schemathesis(nginx, tmp_path, capsys):
    entries = [('tenant:acme', 10 ** 12, {
        'unit': unit, 'allocated': amount(10 ** 12, unit),
        'overdraft_limit': amount(10 ** 6, unit)}) for unit in UNITS]
    kw = conf(*entries)
    kw['files']['budgets.json'] = json.dumps(dict(
        json.loads(kw['files']['budgets.json']),
        admin_key_sha256=sha256('operator')))
    ng = nginx(workers=1, **kw)
    url = 'http://127.0.0.1:%d' % ng.port

    api = Api(ng)
    with open(tmp_path / 'reservations.json', 'w') as file:
        json.dump([(ok(api.reserve(100, unit=unit, ttl_ms=86400000))[
            'reservation_id'], unit) for unit in UNITS * 50], file)

    report = schemathesis(tmp_path, url, '--seed', str(SEED), '-n',
                          '100' if CASES else '5')
    cases = report['test_cases']['generated']
    assert cases >= 300

    # the requests went all the way, and not only to the first check

    for name, phases in report['valid_rates'].items():
        if 'evidence' not in name and 'well-known' not in name:
            assert sum(p['accepted'] for p in phases.values()), name

    seed = SEED
    while cases < CASES:
        seed += 1
        report = schemathesis(tmp_path, url, '--seed', str(seed), '-n', '200',
                              '--phases', 'fuzzing,stateful')
        cases += report['test_cases']['generated']
    with capsys.disabled():
        print('# %d requests, seed %d' % (cases, SEED))

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
