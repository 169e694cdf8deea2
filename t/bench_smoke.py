# Copyright (C) nginx-cycles authors

"""The benchmark runs and writes its report; nothing is asserted of speed."""

import json
import os
import shutil
import subprocess
import sys

import pytest

import gateway


def test_bench_runs(tmp_path):
    if 'asan' in gateway.BINARY:
        pytest.skip('not with sanitizers')
    if not shutil.which('wrk'):
        pytest.skip('no wrk')

    done = subprocess.run(
        [sys.executable, os.path.join(gateway.ROOT, 'bench', 'bench.py'),
         '--smoke', '--out', str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    assert done.returncode == 0, done.stdout.decode()

    report = json.loads((tmp_path / 'report.json').read_text())
    for name in 'ledger_json', 'cycles_json', 'ledger_sse100':
        assert report['ratios'][name + '_cpu'] > 0
        assert report['ratios'][name + '_rps'] > 0
    assert 'plain proxy_pass' in (tmp_path / 'report.md').read_text()


@pytest.mark.parametrize('args', [
    (), ('-b', '100', '-l', '100', '-p', '2', '-k'), ('-S', '3', '-y')])
def test_ledger_in_process(args, tmp_path):
    if 'asan' in gateway.BINARY:
        pytest.skip('not with sanitizers')

    build = os.environ.get('BUILD', os.path.join(gateway.ROOT, 'build'))
    done = subprocess.run(
        [os.path.join(build, 'unit', 'bench_ledger'), '-s', '1', '-d',
         str(tmp_path), *args], stdout=subprocess.PIPE, timeout=120,
        check=True)
    report = json.loads(done.stdout)
    for name in 'pairs_per_s', 'pairs_per_core_s', 'cpu_us', 'p99_us', \
            'start_ms', 'zone_bytes':
        assert report[name] > 0
    assert not os.listdir(tmp_path)
