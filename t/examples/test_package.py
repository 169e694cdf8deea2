# Copyright (C) nginx-cycles authors

"""The Debian package for the nginx of this machine: what is in it.  In bare
roots of other releases it is built and installed by make package-test."""

import os
import re
import subprocess
import sys

import pytest

import gateway
from gateway import ROOT

sys.path.insert(0, os.path.join(ROOT, 't', 'package'))

import contents                                           # noqa: E402


@pytest.fixture(scope='module')
def package(tmp_path_factory):
    """Built without optimization, which no test here looks at."""

    path = tmp_path_factory.mktemp('package')
    environ = {k: v for k, v in os.environ.items()
               if not k.startswith(('MAKE', 'MFLAGS'))}
    environ.update(BUILD=str(path), DEB_BUILD_OPTIONS='noopt parallel=2')
    done = subprocess.run(
        ['tools/package.sh', str(path / 'out')], cwd=ROOT, env=environ,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, universal_newlines=True)
    assert done.returncode == 0, done.stdout
    return done.stdout.split()[-1]


def test_contents(package):
    abi = '/usr/share/nginx/src/debian/libnginx-mod.abisubstvars'
    with open(abi) as file:
        abi = re.search(r'^nginx:abi=(.*)$', file.read(), re.M).group(1)

    assert list(contents.problems(package, abi)) == []


def test_it_is_found_if_something_is_missing(package, tmp_path):
    subprocess.run(['dpkg-deb', '-R', package, str(tmp_path / 'tree')],
                   check=True)
    tree = tmp_path / 'tree'
    (tree / 'etc/nginx/cycles/prices.json').unlink()
    (tree / 'DEBIAN/conffiles').write_text('/etc/nginx/cycles/budgets.json\n')
    control = tree / 'DEBIAN/control'
    control.write_text(re.sub(r'nginx-abi-\S+, ', '', control.read_text()))
    subprocess.run(['dpkg-deb', '-b', str(tree), str(tmp_path / 'bad.deb')],
                   check=True, stdout=subprocess.DEVNULL)

    assert [p.split()[0] for p in contents.problems(
        str(tmp_path / 'bad.deb'))] == [
            'it', 'etc/nginx/cycles/prices.json',
            'etc/nginx/cycles/prices.json']


def test_its_module_is_loaded(package, tmp_path):
    subprocess.run(['dpkg-deb', '-x', package, str(tmp_path)], check=True)
    load = (tmp_path / 'usr/share/nginx/modules-available/'
            'mod-http-cycles.conf').read_text().strip()
    module = re.fullmatch(r'load_module modules/(\S+);', load).group(1)

    good, text = gateway.nginx_t(
        module=str(tmp_path / 'usr/lib/nginx/modules' / module),
        http='cycles_zone 1m;')
    assert good, text
