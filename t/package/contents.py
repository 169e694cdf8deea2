#!/usr/bin/env python3
# Copyright (C) nginx-cycles authors

"""What a package has to have, after the parts of Debian's policy that a
machine can check: t/package/contents.py FILE.deb [ABI]."""

import gzip
import os
import re
import stat
import subprocess
import sys
import tempfile


NAME = 'libnginx-mod-http-cycles'
DOC = 'usr/share/doc/%s/' % NAME

FILES = {
    'usr/lib/nginx/modules/ngx_http_cycles_module.so',
    'usr/share/nginx/modules-available/mod-http-cycles.conf',
    'etc/nginx/cycles/budgets.json',
    'etc/nginx/cycles/prices.json',
    DOC + 'README.Debian',
    DOC + 'README.md',
    DOC + 'changelog.gz',
    DOC + 'copyright',
    DOC + 'docs/directives.md',
    DOC + 'examples/site.conf',
}

DIRS = ('etc/nginx/cycles', 'usr/lib/nginx/modules',
        'usr/share/nginx/modules-available', DOC)


def output(*args):
    return subprocess.run(args, check=True, stdout=subprocess.PIPE,
                          universal_newlines=True).stdout


def problems(deb, abi=None):
    """Sentences; none: the package is as it should be."""

    with tempfile.TemporaryDirectory() as top:
        control = os.path.join(top, 'control')
        root = os.path.join(top, 'root')
        output('dpkg-deb', '-e', deb, control)
        output('dpkg-deb', '-x', deb, root)
        yield from control_problems(control, abi)
        yield from file_problems(root)
        yield from text_problems(root)


def control_problems(control, abi):
    with open(control + '/control') as file:
        text = file.read()

    fields = dict(re.findall(r'^([\w-]+): ?(.*)$', text, re.M))
    depends = [d.split()[0] for d in fields['Depends'].split(',')]
    abis = [d for d in depends if d.startswith('nginx-abi-')]

    if fields['Package'] != NAME:
        yield 'it is called ' + fields['Package']
    if len(abis) != 1 or abi and abis != [abi]:
        yield 'it depends on %s, not on one nginx-abi %s' % (abis, abi or '')
    for need in 'libc6', 'libjansson4', 'libsqlite3-0':
        if need not in depends and need + 't64' not in depends:
            yield 'it does not depend on ' + need
    if len(fields['Description']) > 80 or not re.search(
            r'^Description: .*\n .*\n', text, re.M):
        yield 'its description is not a line of 80 characters and a text'

    with open(control + '/conffiles') as file:
        conffiles = file.read().split()
    for name in FILES:
        if name.startswith('etc/') and '/' + name not in conffiles:
            yield name + ' is no conffile'

    with open(control + '/postinst') as file:
        text = file.read()
    if '50-mod-http-cycles.conf' not in text:
        yield 'postinst does not enable the module'

    for script in 'postinst', 'prerm', 'postrm':
        mode = os.stat(os.path.join(control, script)).st_mode
        if stat.S_IMODE(mode) != 0o755:
            yield script + ' cannot be executed'


def file_problems(root):
    found = set()

    for path, _, names in os.walk(root):
        for name in names:
            whole = os.path.join(path, name)
            short = os.path.relpath(whole, root)
            found.add(short)

            if stat.S_IMODE(os.lstat(whole).st_mode) != 0o644:
                yield short + ' has not the mode 644'
            if not short.startswith(DIRS):
                yield short + ' is in a place of others'

    for name in sorted(FILES - found):
        yield name + ' is missing'

    module = os.path.join(root, 'usr/lib/nginx/modules/'
                          'ngx_http_cycles_module.so')
    header = output('readelf', '-W', '-S', '-d', '-l', module)

    if '.debug_info' in header:
        yield 'the module has its debugging information'
    if not re.search(r'BIND_NOW|FLAGS.*NOW', header):
        yield 'the module is not linked with -z now'
    if 'GNU_RELRO' not in header:
        yield 'the module is not linked with -z relro'
    if re.search(r'R(UN)?PATH', header):
        yield 'the module has a path of libraries'


def text_problems(root):
    def read(name):
        path = os.path.join(root, name)
        opened = gzip.open if name.endswith('.gz') else open
        with opened(path, 'rb') as file:
            return file.read().decode()

    load = read('usr/share/nginx/modules-available/mod-http-cycles.conf')
    if load.strip() != 'load_module modules/ngx_http_cycles_module.so;':
        yield 'modules-available says ' + load
    if 'common-licenses/Apache-2.0' not in read(DOC + 'copyright'):
        yield 'copyright does not say where the licence is'
    if not re.match(r'nginx-cycles \(\S+\) \w+; urgency=', read(
            DOC + 'changelog.gz')):
        yield 'changelog does not begin with the version'


def main():
    found = list(problems(*sys.argv[1:]))
    for problem in found:
        print('%s: %s' % (os.path.basename(sys.argv[1]), problem))
    sys.exit(1 if found else 0)


if __name__ == '__main__':
    main()
