# Copyright (C) nginx-cycles authors

"""The benchmark runs and writes its report; nothing is asserted of speed."""

import json
import os
import subprocess
import sys

import pytest

import gateway


RATIOS = ('ledger_json_cpu', 'ledger_json_rps', 'ledger_sse100_cpu',
          'ledger_sse1m_cpu', 'ledger_trickle_cpu', 'always_c256_rps',
          'cycles_json_cpu', 'pairs_per_s_core', 'pairs_per_s_http')


def test_bench_runs(tmp_path):
    if 'asan' in gateway.BINARY:
        pytest.skip('not with sanitizers')

    done = subprocess.run(
        [sys.executable, os.path.join(gateway.ROOT, 'bench', 'bench.py'),
         '--out', str(tmp_path)], env=dict(os.environ, BENCH_QUICK='1'),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=240)
    assert done.returncode == 0, done.stdout.decode()

    report = json.loads((tmp_path / 'report.json').read_text())
    for name in RATIOS:
        assert report['ratios'][name] > 0, name
    assert 'plain `proxy_pass`' in (tmp_path / 'report.md').read_text()
    assert (tmp_path / 'json-cpu_us.svg').read_text().startswith('<svg')


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
