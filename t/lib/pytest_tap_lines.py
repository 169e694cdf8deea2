# Copyright (C) nginx-cycles authors

"""A pytest plugin that prints TAP, so that prove can run pytest files.

The text of a failure follows its "not ok" line as TAP comments; pytest's own
report goes nowhere.
"""

import sys

import pytest


class TapReporter:

    def __init__(self, out):
        self.out = out
        self.count = 0

    def line(self, text):
        self.out.write(text + '\n')
        self.out.flush()

    def comment(self, text):
        for line in str(text).splitlines():
            self.line('# ' + line)

    def pytest_sessionfinish(self):
        self.line('1..%d' % self.count)

    def pytest_collectreport(self, report):
        if report.failed:
            self.count += 1
            self.line('not ok %d - %s is collected' % (
                self.count, report.nodeid))
            self.comment(report.longrepr)

    def pytest_runtest_logreport(self, report):
        name = report.nodeid.split('::', 1)[-1].replace('#', ' ')

        if report.when == 'call' or report.outcome != 'passed':
            self.result(report, name)

    def result(self, report, name):
        self.count += 1

        if report.skipped:
            reason = report.longrepr
            if isinstance(reason, tuple):
                reason = reason[2]
            self.line('ok %d - %s # SKIP %s' % (self.count, name, reason))
        elif report.passed:
            self.line('ok %d - %s' % (self.count, name))
        else:
            if report.when == 'teardown':
                name += ' (what it left behind)'
            self.line('not ok %d - %s' % (self.count, name))
            self.comment(report.longrepr)
            for title, text in report.sections:
                self.comment('--- %s ---\n%s' % (title, text))


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    config.pluginmanager.register(TapReporter(sys.__stdout__), 'tap-lines')
    terminal = config.pluginmanager.get_plugin('terminalreporter')
    if terminal is not None:
        config.pluginmanager.unregister(terminal)
