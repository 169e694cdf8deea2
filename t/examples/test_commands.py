# Copyright (C) nginx-cycles authors

"""The commands in the documents: each block of a shell says what runs it."""

import hashlib
import json
import os
import re
import shutil
import subprocess

import pytest

import gateway
from documents import BLOCKS, blocks_for
from gateway import Nginx, ROOT, wait_until


KINDS = {'make', 'newcomer', 'ledger', 'tenants that end',
         'copy of the tables',
         'copy with the log', 'secret', 'dry run'}


def shell(text, check=True, **environ):
    return subprocess.run(
        ['bash', '-euo', 'pipefail', '-c', text], cwd=ROOT, check=check,
        env=dict(os.environ, **environ), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        universal_newlines=True, timeout=gateway.TIMEOUT)


def one(how, number=0):
    found = blocks_for(how)
    assert found, how
    return found[number][1]


def test_each_kind_is_used():
    assert {words for _, kind, mark, words, _ in BLOCKS
            if kind == 'sh' and mark == 'test'} == KINDS


@pytest.mark.parametrize('where, text', blocks_for('make'),
                         ids=lambda value: str(value)[:40])
def test_make(where, text):
    """What takes from minutes to hours is not run here: make knows what to
    do for it, and what t/run is given is there."""

    for line in text.splitlines():
        line = line.split('#')[0].strip()
        if line.startswith('make '):
            done = shell(line + ' -n SKIP_DEPS=1', check=False)
            assert done.returncode == 0, '%s: %s' % (where, done.stdout)
        else:
            run, file = line.split()
            assert run == 't/run'
            assert os.path.exists(os.path.join(
                ROOT, file.replace('asan:', ''))), line


def test_newcomer():
    """Runs in bare roots, by make package-test; here it is only read."""

    for where, text in blocks_for('newcomer'):
        shell('set -n\n' + text)

    for path in re.findall(r'/examples/([\w.-]+)', one('newcomer')):
        assert os.path.exists(os.path.join(ROOT, 'conf-examples', path))


def test_secret():
    for where, text in blocks_for('secret'):
        assert shell(text, secret='s3cret').stdout.split()[0] == \
            hashlib.sha256(b's3cret').hexdigest()


FOLDED = 'tenant:acme|USD_MICROCENTS|999550'


def tables(ng):
    done = shell(one('ledger'), check=False, DIR=ng.path('ledger'))
    print(repr(done.stdout))
    return done.stdout.split()


def test_tables_of_a_ledger(nginx, provider):
    ng = nginx(**gateway.ledger_gateway(
        provider, ('tenant:acme', 1000000),
        location='cycles_subject app chatbot;'))
    assert ng.chat(tenant='acme').status == 200

    wait_until(lambda: tables(ng) == [FOLDED, 'chatbot|450'])


def test_tenants_that_end(nginx, tmp_path):
    ng = nginx(http='cycles_ledger main path=%%DIR%%/ledger;',
               server='location /v1/ { cycles_api ledger=main admin_key=k; }')

    def call(method, path, body):
        r = ng.request(method, '/v1/admin/' + path, {
            'X-Admin-API-Key': 'k', 'Content-Type': 'application/json'},
            json.dumps(body).encode())
        assert r.status in (200, 201), r

    for name in 'ended', 'ended-too':
        call('POST', 'tenants', {'tenant_id': name, 'name': name})
        call('POST', 'budgets', {
            'tenant_id': name, 'scope': 'tenant:' + name, 'unit': 'TOKENS',
            'allocated': {'unit': 'TOKENS', 'amount': 1}})
    call('PATCH', 'tenants/ended', {'status': 'CLOSED'})
    wait_until(lambda: ng.status()['ledgers']['main']['fold_lag'] == 0)

    # nothing is, and what would be is told

    copy = str(tmp_path)
    shell('sqlite3 "$DIR/ledger.db" "VACUUM INTO \'$COPY/ledger.db\'"',
          DIR=ng.path('ledger'), COPY=copy)
    assert shell(one('tenants that end'), DIR=copy).stdout == ''
    shell('sqlite3 "$COPY/ledger.db" "UPDATE budget_sums SET'
          ' reserved = replace(reserved, \'0\', \'7\')"',
          COPY=copy)
    assert shell(one('tenants that end'), DIR=copy).stdout.split() \
        == ['tenant:ended|CLOSED|7']


def copied(tmp_path, ng):
    copy = tmp_path / 'copy'
    copy.mkdir()
    return {'DIR': ng.path('ledger'), 'COPY': str(copy)}


def starts_with(made_of, places):
    """A second nginx, on the copy: what it has left for acme."""

    other = Nginx(**made_of)
    try:
        shutil.rmtree(other.path('ledger'))
        shutil.copytree(places['COPY'], other.path('ledger'))
        if os.geteuid() == 0:
            shell('chown -R %s "$COPY"' % gateway.USER,
                  COPY=other.path('ledger'))
        other.start()
        left = other.budget('tenant:acme')['remaining']
        other.finish()
        other.check()
        return left
    finally:
        other.close()


@pytest.mark.parametrize('how', ['copy of the tables', 'copy with the log'])
def test_backup(nginx, provider, tmp_path, how):
    made_of = gateway.ledger_gateway(provider, ('tenant:acme', 1000000))
    ng = nginx(**made_of)
    assert ng.chat(tenant='acme').status == 200

    wait_until(lambda: FOLDED in tables(ng))
    left = 999550

    if how == 'copy with the log':

        # what is not folded yet is in it, too

        assert ng.chat(tenant='acme').status == 200
        left -= 450

    places = copied(tmp_path, ng)
    for where, text in blocks_for(how):
        shell(text, **places)

    assert starts_with(made_of, places) == left


@pytest.mark.parametrize('how', ['ledger', 'copy of the tables',
                                 'copy with the log', 'tenants that end'])
def test_where_there_are_no_tables_yet(tmp_path, how):
    """None are made: nginx could not write to those of another user."""

    (tmp_path / 'log-1.bin').write_text('')
    (tmp_path / 'copy').mkdir()
    done = shell(one(how), check=False, DIR=str(tmp_path),
                 COPY=str(tmp_path / 'copy'))
    assert done.returncode != 0
    assert sorted(os.listdir(tmp_path)) == ['copy', 'log-1.bin']


def test_numbers_of_a_dry_run(tmp_path):
    """Of lines as test_examples.py has nginx write them."""

    (tmp_path / 'dry-run.log').write_text(
        'DRY_RUN_ALLOW - estimate=900 actual=450 gpt-4o-mini acme\n'
        'DRY_RUN_ALLOW - estimate=2000 actual=550 gpt-4o acme\n'
        'DRY_RUN_DENY BUDGET_EXCEEDED estimate=100 actual=200000000 '
        'gpt-4o globex\n')

    lines = shell('cd "$HERE"\n' + one('dry run'),
                  HERE=str(tmp_path)).stdout.splitlines()

    assert sorted(lines) == sorted([
        '2 DRY_RUN_ALLOW -', '1 DRY_RUN_DENY BUDGET_EXCEEDED', '0.0',
        'acme 0.00 USD', 'globex 2.00 USD'])
