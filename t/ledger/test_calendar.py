# Copyright (C) nginx-cycles authors
#
# Periods in local time against Python's zoneinfo, which reads the same
# database, from 1970 to 2100.  What it says is searched for shifts; around
# each of them the boundaries are found by looking at every minute.

import bisect
import datetime
import functools
import os
import random
import subprocess
import zoneinfo

import pytest

UTC = datetime.timezone.utc
DAY = 86400
EVERY = ['day', 'week', 'month', 'quarter', 'year']

FIRST = datetime.date(1969, 1, 1)
LAST = datetime.date(2101, 12, 31)

ZONES = ['UTC', 'Europe/Berlin', 'America/New_York', 'America/Sao_Paulo',
         'America/St_Johns', 'Asia/Kathmandu', 'Australia/Lord_Howe',
         'Africa/Casablanca', 'Pacific/Apia', 'Europe/Dublin']

module = os.environ['TEST_NGINX_MODULE']
asan = os.path.basename(os.path.dirname(module)) == 'asan'
build = os.path.dirname(os.path.dirname(module) if asan else module)
FILTER = os.path.join(build, 'unit-asan' if asan else 'unit',
                      'ledger_calendar')


def seconds(date):
    return (date.toordinal() - datetime.date(1970, 1, 1).toordinal()) * DAY


class Zone:
    def __init__(self, name):
        self.zone = zoneinfo.ZoneInfo(name)
        self.shifts = []           # (first second, offset before, and after)

        step = 12 * 3600
        at = seconds(FIRST)
        offset = self.offset(at)

        while at < seconds(LAST):
            then = self.offset(at + step)
            if then != offset:
                low, high = at, at + step
                while high - low > 1:
                    middle = (low + high) // 2
                    if self.offset(middle) == offset:
                        low = middle
                    else:
                        high = middle
                self.shifts.append((high, offset, then))
                offset = then
            at += step

        self.shifts.append((seconds(LAST) + 4 * DAY, offset, offset))
        self.times = [shift[0] for shift in self.shifts]

    def offset(self, at):
        then = datetime.datetime.fromtimestamp(at, UTC)
        return int(then.astimezone(self.zone).utcoffset().total_seconds())

    @functools.cache
    def begins(self, date):
        """The first second of a local date, or of a later one."""
        midnight = seconds(date)
        i = bisect.bisect(self.times, midnight - 2 * DAY)
        at, before, _ = self.shifts[i]

        if at > midnight + 2 * DAY:
            return midnight - before

        at = midnight - 15 * 3600
        while at + self.offset(at) < midnight:
            at += 60

        # the minute before is before it: a shift need not be on the minute

        while at - 1 + self.offset(at - 1) >= midnight:
            at -= 1

        return at


def first_day(every, date):
    if every == 'week':
        return date - datetime.timedelta(date.weekday())
    if every == 'month':
        return date.replace(day=1)
    if every == 'quarter':
        return date.replace(month=date.month - (date.month - 1) % 3, day=1)
    if every == 'year':
        return date.replace(month=1, day=1)
    return date


DATES = [datetime.date.fromordinal(day)
         for day in range(FIRST.toordinal(), LAST.toordinal())]
STARTS = {every: [date for date in DATES if date == first_day(every, date)]
          for every in EVERY}


def boundaries(zone, every):
    """Of all periods; a period of skipped days is none."""
    return sorted({zone.begins(date) for date in STARTS[every]})


@pytest.mark.parametrize('name', ZONES)
def test_zone(name):
    zone = Zone(name)
    chosen = random.Random(name)
    asked, expected = [], []

    for number, every in enumerate(EVERY):
        found = boundaries(zone, every)

        def ask(at):
            if 0 <= at < seconds(datetime.date(2100, 12, 31)):
                i = bisect.bisect(found, at)
                asked.append('%d %d' % (number, at * 1000
                                        + chosen.randrange(1000)))
                expected.append('%d %d' % (found[i - 1] * 1000,
                                           found[i] * 1000))

        for at in found:
            ask(at - 1)
            ask(at)

        for at in zone.times:
            for near in -DAY, -3600, -60, -1, 0, 59, 3600, DAY:
                ask(at + near)

        for _ in range(1000):
            ask(chosen.randrange(seconds(datetime.date(2100, 12, 31))))

    done = subprocess.run([FILTER, name], input='\n'.join(asked), text=True,
                          capture_output=True)

    assert done.returncode == 0, done.stderr
    got = done.stdout.split('\n')[:-1]
    assert len(got) == len(expected)

    wrong = [(EVERY[int(question.split()[0])], question, answer, right)
             for question, answer, right in zip(asked, got, expected)
             if answer != right]
    assert not wrong, '%d wrong, first: %s' % (len(wrong), wrong[:3])
