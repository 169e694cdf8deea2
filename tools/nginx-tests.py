#!/usr/bin/env python3
# Copyright (C) nginx-cycles authors

"""tools/nginx-tests.py CHECKOUT NGINX MODULE [FILE.t ...]

Runs files of nginx's own test suite (a checkout of nginx-tests) without and
with our module loaded, and compares them test by test.  The suite must not
run as root: as root this becomes nobody.
"""

import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile


FILES = (
    'auth_request.t', 'body.t', 'body_chunked.t', 'h2.t', 'h2_request_body.t',
    'http_keepalive.t', 'mirror.t', 'proxy.t', 'proxy_chunked.t',
    'proxy_intercept_errors.t', 'proxy_keepalive.t', 'proxy_next_upstream.t',
    'proxy_request_buffering.t', 'proxy_unfinished.t', 'proxy_xar.t',
    'ssi.t', 'ssi_waited.t', 'subrequest_output_buffer_size.t', 'upstream.t',
    'upstream_keepalive.t')

LIMIT = 180

# The suite loads each module that "nginx -V" calls dynamic, from packages
# that need not be there; without that word it skips what needs them.

WRAPPER = '''#!/bin/sh
case "$*" in
    *-V*) %(nginx)s "$@" 2>&1 | sed 's/--with-[^ ]*=dynamic//g' ;;
    *)    exec %(nginx)s "$@" ;;
esac
'''


def prepare(checkout, nginx, module):
    """A directory that the unprivileged user can use."""

    top = tempfile.mkdtemp(prefix='cycles-nginx-tests-', dir='/tmp')
    shutil.copytree(checkout, os.path.join(top, 'tests'), symlinks=True,
                    ignore=shutil.ignore_patterns('.git', '.hg'))
    shutil.copy(module, os.path.join(top, 'module.so'))
    shutil.copy(nginx, os.path.join(top, 'nginx.real'))
    os.mkdir(os.path.join(top, 'tmp'))

    wrapper = os.path.join(top, 'nginx')
    with open(wrapper, 'w') as file:
        file.write(WRAPPER % {'nginx': os.path.join(top, 'nginx.real')})
    os.chmod(wrapper, 0o755)

    if os.geteuid() == 0:
        user = pwd.getpwnam('nobody')
        for path, _, names in os.walk(top):
            for name in [''] + names:
                os.lchown(os.path.join(path, name), user.pw_uid, user.pw_gid)
    return top


def become_nobody():
    user = pwd.getpwnam('nobody')
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


def run(top, name, module):
    """The results of one file: a list of (test, result)."""

    env = {'PATH': os.environ['PATH'], 'HOME': top, 'LC_ALL': 'C',
           'TMPDIR': os.path.join(top, 'tmp'),
           'ASAN_OPTIONS': 'detect_odr_violation=0:detect_leaks=0',
           'TEST_NGINX_BINARY': os.path.join(top, 'nginx')}
    if module:
        env['TEST_NGINX_GLOBALS'] = 'load_module %s;' % os.path.join(
            top, 'module.so')

    process = subprocess.Popen(
        ['perl', name], cwd=os.path.join(top, 'tests'), env=env,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
        preexec_fn=become_nobody if os.geteuid() == 0 else None)
    try:
        output = process.communicate(timeout=LIMIT)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        output = process.communicate()[0] + b'\nnot ok 0 - in time\n'

    results = []
    plan = None
    for line in output.decode('utf-8', 'replace').splitlines():
        match = re.match(r'(not ok|ok) (\d+)(?: - ([^#]*))?\s*(#.*)?$', line)
        if match:
            result, number, title, mark = match.groups()
            mark = re.match(r'# *(\w+)', mark).group(1) if mark else ''
            results.append(('%s %s' % (number, (title or '').strip()),
                            ('%s %s' % (result, mark)).strip()))
        elif line.startswith('1..0'):
            results.append(('all', line[4:].strip() or 'skipped'))
        elif line.startswith('1..'):
            plan = int(line[3:].split()[0])

    if plan is not None and len(results) < plan:
        results.append(('the end', 'not reached'))
    return results


def compare(top, name):
    """(same, results without, results with)"""

    for _ in range(3):
        without, loaded = run(top, name, False), run(top, name, True)
        if without == loaded:
            return True, without, loaded

    return False, without, loaded


def report(name, same, without, loaded):
    passed = sum(result == 'ok' for _, result in without)
    failed = [test for test, result in without if result == 'not ok']

    if without and without[0][0] == 'all':
        print('%-34s not for this nginx: %s' % (name, without[0][1]))
        return

    if without and without[-1][1] == 'not reached':
        failed.append('does not start or ends early on this nginx')

    print('%-34s %4d ok, %d not ok, %s' % (
        name, passed, len(failed), 'the same with the module'
        if same else 'DIFFERENT with the module'), flush=True)
    for test in failed:
        print('    not ok without the module either: %s' % test)

    if not same:
        for a, b in zip(without + [('-', '-')] * len(loaded),
                        loaded + [('-', '-')] * len(without)):
            if a != b:
                print('    without: %s: %s\n    with:    %s: %s' % (a + b))


def main():
    if len(sys.argv) < 4 or not os.path.isfile(
            os.path.join(sys.argv[1], 'lib', 'Test', 'Nginx.pm')):
        print('error: NGINX_TESTS_DIR must be a checkout of nginx-tests: '
              'git clone https://github.com/nginx/nginx-tests, then '
              'make nginx-tests NGINX_TESTS_DIR=nginx-tests',
              file=sys.stderr)
        return 2

    checkout, nginx, module = sys.argv[1:4]
    names = sys.argv[4:] or [
        name for name in FILES
        if os.path.exists(os.path.join(checkout, name))]

    version = subprocess.run([nginx, '-v'], stderr=subprocess.PIPE)
    print(version.stderr.decode().strip(), flush=True)

    different = total = 0
    top = prepare(checkout, nginx, module)
    try:
        for name in names:
            same, without, loaded = compare(top, name)
            report(name, same, without, loaded)
            different += not same
            total += len(without)
    finally:
        shutil.rmtree(top, ignore_errors=True)

    print('%d files, %d tests, %s' % (
        len(names), total, '%d files differ' % different if different
        else 'no difference with the module loaded'))
    return 1 if different else 0


if __name__ == '__main__':
    sys.exit(main())
