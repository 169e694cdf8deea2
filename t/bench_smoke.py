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
