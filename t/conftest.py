# Copyright (C) nginx-cycles authors

"""Fixtures of the suites that run a real nginx; see t/lib/gateway.py."""

import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), 'lib'))

import daemon as background                               # noqa: E402
import gateway                                            # noqa: E402
import slow_disk                                          # noqa: E402
import wall_clock                                         # noqa: E402


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    setattr(item, 'report_' + call.when, outcome.get_result())


@pytest.fixture
def provider():
    """A FakeProvider that ends with the test."""

    with gateway.FakeProvider() as server:
        yield server


@pytest.fixture
def disk():
    """See t/lib/slow_disk.py; after the test nothing waits for it."""

    found = slow_disk.Disk()
    yield found
    found.close()


@pytest.fixture
def clock():
    """See t/lib/wall_clock.py."""

    found = wall_clock.Clock()
    yield found
    found.close()


@pytest.fixture
def nginx(request):
    """Starts an Nginx: nginx(http=..., server=...); at the end of the test
    each is stopped, its logs are checked, its directory removed."""

    yield from starter(request, gateway.Nginx)


@pytest.fixture
def daemon(request):
    """As nginx(), for one in the background; see t/lib/daemon.py."""

    yield from starter(request, background.Daemon)


def starter(request, kind):
    started = []

    def start(**kw):
        server = kind(**kw)
        started.append(server)
        return server.start()

    yield start

    passed = getattr(request.node, 'report_call', None)
    passed = passed is not None and passed.passed

    try:
        for server in started:
            server.finish()
        for server in started:
            if passed:
                server.check()
            else:
                print('error.log of %s:\n%s' % (
                    server.dir, server.error_log()[-8000:]))
                print('\n'.join(server.reports())[:8000])
    finally:
        for server in started:
            server.close()
