# Copyright (C) nginx-cycles authors

"""Random operations of four processes on one ledger, and a model of it that
knows the formulas of the protocol and of the governance specification, and
shares no code with it.

The log says in which order the operations came.  Each one that has a record
must have been answered as the model would at that place, with the effects
that the model has, and with the remaining that the model has afterwards; each
one without a record as the model would at some place between the record
before it and the one after it.  Sums must explain themselves after every
record, and be what the ledger has in the end, also after a start from the
log, and after one from the tables.

Here it is some thousand operations; "make model" has MODEL_OPERATIONS of
them, with MODEL_SEED to repeat a run, but for the order.
"""

import collections
import datetime
import json
import os
import random
import subprocess
import zoneinfo

from gateway import BINARY, ROOT
from ledger_log import Log, TYPES, read_payload


OPERATIONS = int(os.environ.get('MODEL_OPERATIONS', 20000))
SEED = int(os.environ.get('MODEL_SEED')
           or (random.randrange(10 ** 6) if 'MODEL_OPERATIONS' in os.environ
               else 1))

BUILD = os.environ.get('BUILD', os.path.join(ROOT, 'build'))
UNIT = os.path.join(BUILD, 'unit-asan' if '/asan/' in BINARY else 'unit')

PROCESSES = 4

# half an hour before a day of 23 hours begins in Berlin

START = 1743287400000

UNKNOWN = -2 ** 63
ROLLING_S = 20
BIG = 2 ** 59

BUDGETS = [
    ('tenant:a', BIG, 2 ** 56, None),
    ('tenant:a/app:b', BIG // 2, 2 ** 55, None),
    ('tenant:a/app:b/agent:x', BIG // 4, 2 ** 54, None),
    ('tenant:a/workspace:w', BIG // 2, 0, None),
    ('tenant:r', BIG // 8, 0, {'type': 'rolling', 'seconds': ROLLING_S}),
    ('tenant:r/workflow:w', BIG // 16, 2 ** 53,
     {'type': 'rolling', 'seconds': ROLLING_S}),
    ('tenant:c', BIG // 4, 2 ** 55,
     {'type': 'calendar', 'every': 'day', 'timezone': 'Europe/Berlin'}),
    ('tenant:c/agent:z', BIG // 8, 0,
     {'type': 'calendar', 'every': 'day', 'timezone': 'America/New_York'}),
    ('tenant:s', BIG // 4, 0, None),
    ('tenant:s/app:p', BIG // 8, 2 ** 53 + 1, None),
    ('tenant:e', BIG // 4, 2 ** 54, None),
    ('tenant:e/app:q', BIG // 8, 0, None),
]

Operation = collections.namedtuple(
    'Operation', 'name now before after code record args answer')


def operations(path):
    with open(path) as file:
        for line in file:
            said, _, answer = line.partition(' : ')
            name, now, before, after, code, record, *args = said.split()
            yield Operation(name, int(now), int(before), int(after), code,
                            int(record), args, answer.split())


def bounds(period, ms):
    """The period that ms belongs to."""

    zone = zoneinfo.ZoneInfo(period['timezone'])
    date = datetime.datetime.fromtimestamp(ms / 1000, zone).date()

    def midnight(day):
        return int(datetime.datetime.combine(
            day, datetime.time(), zone).timestamp() * 1000)

    return midnight(date), midnight(date + datetime.timedelta(1))


class Budget:
    def __init__(self, scope, allocated, limit, period=None):
        self.scope = scope
        self.allocated = allocated
        self.limit = limit
        self.spent = self.reserved = self.debt = 0
        self.over = False
        self.status = 'ACTIVE'
        self.period = period
        self.start = self.end = None
        if period and period['type'] == 'calendar':
            self.start, self.end = bounds(period, START)
        elif period:
            self.start = START
            self.end = START + 1000 * ROLLING_S

    @property
    def remaining(self):
        return self.allocated - self.spent - self.reserved - self.debt

    @property
    def funded(self):
        return max(self.remaining, 0)

    def stale(self, now):
        return self.end is not None and now >= self.end \
            and self.status != 'CLOSED'

    def sums(self):
        return (self.allocated, self.remaining, self.reserved, self.spent,
                self.debt, int(self.over))


class Refused(Exception):
    def __init__(self, code, budget=None, at=None):
        self.code = code
        self.denial = ['-', '0', '0']
        if budget is not None:
            self.denial = [budget.scope, str(budget.remaining),
                           str(budget.reserved)]
        elif at is not None:
            self.denial = [at, '0', '0']


class NotHere(Exception):
    """The ledger would have written a record first."""


def path_of(subject):
    levels = ('tenant', 'workspace', 'app', 'workflow', 'agent', 'toolset')
    return ['%s:%s' % (level, value.lower())
            for level, value in zip(levels, subject.split('/')) if value]


def prefixes(subject):
    parts = path_of(subject)
    return ['/'.join(parts[:i + 1]) for i in range(len(parts))]


class Model:
    """ask(operation) is the answer at this place, as (code, answer, what);
    do(what) is what it does, where it has a record."""

    def __init__(self):
        self.budgets = {scope: Budget(scope, *rest)
                        for scope, *rest in BUDGETS}
        self.tenants = {name: 'ACTIVE' for name in 'arcse'}
        self.held = {}                  # reservations
        self.live = {}                  # of them
        self.keys = {}                  # (operation, owner, key): what

    # what requests have in common

    def scopes(self, subject, unit='TOKENS'):
        scopes = prefixes(subject)
        found = [self.budgets[s] for s in scopes if s in self.budgets]
        if not found:
            raise Refused('NOT_FOUND', at=scopes[-1])
        if unit != 'TOKENS':
            raise Refused('UNIT_MISMATCH', at=found[0].scope)
        return found

    @staticmethod
    def turned(budgets, now):
        if any(b.stale(now) for b in budgets):
            raise NotHere

    def due(self, budgets, now):
        """Money is not short because of what is due."""

        for held in self.live.values():
            if now > held['expires'] + held['grace']:
                raise NotHere

    @staticmethod
    def replay(known, payload):
        if known['payload'] != payload:
            raise Refused('IDEMPOTENCY_MISMATCH')

    # reserve, decide, dry run

    def reserve(self, op):
        subject, key, unit, n, ttl, grace, policy = op.args
        n, ttl, grace = int(n), int(ttl), int(grace)
        owner = subject.split('/')[0].lower()
        space = 'decide' if op.name == 'decide' else 'reserve'
        payload = (op.name, subject, unit, n, ttl, grace, policy)
        known = self.keys.get((space, owner, key))

        if known:
            self.replay(known, payload)
            return known['code'], self.reserve_again(known, op.now), None

        what = {'op': op, 'payload': payload, 'space': (space, owner, key),
                'code': 'OK', 'budgets': [], 'n': n}
        try:
            found = self.may_reserve(subject, owner, unit, n, op.now)
        except Refused as error:
            answer = ['-', '0', error.code, '0', '0', '0', str(UNKNOWN)]
            if error.code == 'NOT_FOUND':
                answer[2] = 'BUDGET_NOT_FOUND'
            if op.name == 'reserve' or error.code == 'UNIT_MISMATCH':
                return error.code, answer + error.denial, None
            what['answer'] = answer
            return 'OK', answer + error.denial, what

        least = min(b.remaining for b in found) - n
        if op.name != 'reserve':
            answer = ['-', '1', '-', '0', '0', '0', str(least)]
        else:
            what.update(budgets=found, ttl=ttl, grace=grace, policy=policy)
            answer = ['ID', '1', '-', str(n), str(op.now + ttl), str(ttl),
                      str(least)]
        what['answer'] = answer
        return 'OK', answer + ['-', '0', '0'], what

    def may_reserve(self, subject, owner, unit, n, now):
        status = self.tenants.get(owner, 'ACTIVE')
        if status != 'ACTIVE':
            raise Refused('TENANT_' + status)
        found = self.scopes(subject, unit)
        self.turned(found, now)
        for b in found:
            if b.status != 'ACTIVE':
                raise Refused('BUDGET_' + b.status, b)
            if b.over:
                raise Refused('OVERDRAFT_LIMIT_EXCEEDED', b)
            if b.debt > 0 and b.limit == 0:
                raise Refused('DEBT_OUTSTANDING', b)
            if b.remaining < n:
                self.due(found, now)
                raise Refused('BUDGET_EXCEEDED', b)
        return found

    def reserve_again(self, known, now):
        answer = list(known['answer'])
        held = self.held.get(answer[0])
        if held:
            live = held['status'] == 'ACTIVE'
            answer[5] = str(max(0, int(answer[4]) - now) if live else 0)
        return answer + ['-', '0', '0']

    def do_reserve(self, what, op):
        answer = list(what['answer'])
        if answer[0] == 'ID':
            answer[0] = op.answer[0]
            self.held[answer[0]] = {
                'n': what['n'], 'budgets': what['budgets'],
                'expires': op.now + what['ttl'], 'grace': what['grace'],
                'policy': what['policy'], 'status': 'ACTIVE', 'settled': None,
                'owner': what['space'][1], 'extends': {}}
            self.live[answer[0]] = self.held[answer[0]]
            for b in what['budgets']:
                b.reserved += what['n']
        self.keys[what['space']] = {'payload': what['payload'],
                                    'answer': answer, 'code': what['code']}

    # what is charged

    def charge(self, budgets, held, n, policy, now):
        """[(budget, spent, debt, over)], and what is charged"""

        more = n - held
        if more <= 0:
            return [(b, n, 0, b.over) for b in budgets], n

        if any(b.funded < more for b in budgets):
            self.due(budgets, now)

        def in_debt(b):
            return policy == 'ALLOW_WITH_OVERDRAFT' and b.limit > 0

        c = min([more] + [b.funded for b in budgets if not in_debt(b)])
        done = []
        for b in budgets:
            debt = max(0, c - b.funded) if in_debt(b) else 0
            if debt and b.debt + debt > b.limit:
                raise Refused('OVERDRAFT_LIMIT_EXCEEDED', b)
            done.append((b, held + c - debt, debt, b.over or (
                b.funded < more and not in_debt(b))))
        return done, held + c

    @staticmethod
    def least(changes, held):
        return min(b.remaining + held - spent - debt
                   for b, spent, debt, _ in changes)

    def event(self, op):
        subject, key, n, policy = op.args
        n = int(n)
        owner = subject.split('/')[0].lower()
        payload = (subject, n, policy)
        known = self.keys.get(('event', owner, key))
        if known:
            self.replay(known, payload)
            return 'OK', known['answer'] + ['-', '0', '0'], None

        if self.tenants.get(owner) == 'CLOSED':
            raise Refused('TENANT_CLOSED')
        found = self.scopes(subject)
        self.turned(found, op.now)
        for b in found:
            if b.status != 'ACTIVE':
                raise Refused('BUDGET_' + b.status, b)
            if policy == 'REJECT' and b.remaining < n:
                self.due(found, op.now)
                raise Refused('BUDGET_EXCEEDED', b)
        changes, charged = self.charge(found, 0, n, policy, op.now)
        answer = ['ID', str(charged), str(self.least(changes, 0))]
        return 'OK', answer + ['-', '0', '0'], {
            'changes': changes, 'held': 0, 'space': ('event', owner, key),
            'payload': payload, 'answer': answer}

    def do_event(self, what, op):
        self.change(what)
        self.keys[what['space']] = {
            'payload': what['payload'],
            'answer': [op.answer[0]] + what['answer'][1:]}

    @staticmethod
    def change(what):
        for b, spent, debt, over in what['changes']:
            b.reserved -= what['held']
            b.spent += spent
            b.debt += debt
            b.over = over

    # commit, release, extend

    def reservation(self, op):
        held = self.held.get(op.args[0])
        if held is None:
            raise Refused('NOT_FOUND')
        return held

    def settled(self, held):
        if self.tenants.get(held['owner']) == 'CLOSED':
            raise Refused('TENANT_CLOSED')
        if held['status'] == 'EXPIRED':
            raise Refused('RESERVATION_EXPIRED')
        if held['status'] != 'ACTIVE':
            raise Refused('RESERVATION_FINALIZED')

    def commit(self, op):
        held = self.reservation(op)
        n = int(op.args[2])
        known = held['settled']
        if held['status'] == 'COMMITTED' and known['key'] == op.args[1]:
            self.replay(known, n)
            return 'OK', known['answer'], None
        self.settled(held)
        if op.now > held['expires'] + held['grace']:
            raise Refused('RESERVATION_EXPIRED')
        self.turned(held['budgets'], op.now)
        if held['policy'] == 'REJECT' and n > held['n']:
            raise Refused('BUDGET_EXCEEDED', held['budgets'][0])
        changes, charged = self.charge(held['budgets'], held['n'], n,
                                       held['policy'], op.now)
        answer = [str(charged), str(max(0, held['n'] - charged)), '0', '0',
                  str(self.least(changes, held['n'])), '-', '0', '0']
        return 'OK', answer, {'reservation': held, 'changes': changes,
                              'held': held['n'], 'answer': answer,
                              'payload': n}

    def do_commit(self, what, op):
        self.change(what)
        del self.live[op.args[0]]
        what['reservation'].update(status='COMMITTED', settled={
            'key': op.args[1], 'payload': what['payload'],
            'answer': what['answer']})

    def release(self, op):
        held = self.reservation(op)
        known = held['settled']
        if held['status'] == 'RELEASED' and known \
                and known['key'] == op.args[1]:
            return 'OK', known['answer'], None
        self.settled(held)
        if op.now > held['expires'] + held['grace']:
            raise Refused('RESERVATION_EXPIRED')
        self.turned(held['budgets'], op.now)
        changes = [(b, 0, 0, b.over) for b in held['budgets']]
        answer = ['0', str(held['n']), '0', '0',
                  str(self.least(changes, held['n'])), '-', '0', '0']
        return 'OK', answer, {'reservation': held, 'changes': changes,
                              'held': held['n'], 'answer': answer}

    def do_release(self, what, op):
        self.change(what)
        del self.live[op.args[0]]
        what['reservation'].update(status='RELEASED', settled={
            'key': op.args[1], 'answer': what['answer']})

    def extend(self, op):
        held = self.reservation(op)
        n = int(op.args[2])
        known = held['extends'].get(op.args[1])
        if known:
            self.replay(known, n)
            ttl = max(0, known['expires'] - op.now) \
                if held['status'] == 'ACTIVE' else 0
            return 'OK', self.extended(known['expires'], ttl), None
        self.settled(held)
        if op.now > held['expires']:
            raise Refused('RESERVATION_EXPIRED')
        expires = held['expires'] + n
        return 'OK', self.extended(expires, expires - op.now), {
            'reservation': held, 'changes': (), 'payload': n,
            'expires': expires}

    @staticmethod
    def extended(expires, ttl):
        return ['0', '0', str(expires), str(ttl), str(UNKNOWN), '-', '0', '0']

    def do_extend(self, what, op):
        what['reservation']['expires'] = what['expires']
        what['reservation']['extends'][op.args[1]] = {
            'payload': what['payload'], 'expires': what['expires']}

    # the operator

    def fund(self, op):
        scope, key, name, n, given = op.args
        n, given = int(n), int(given)
        owner = scope.split('/')[0].partition(':')[2]
        payload = (scope, name, n, given)
        known = self.keys.get(('fund', owner, key)) if key != '-' else None
        if known:
            self.replay(known, payload)
            return 'OK', known['answer'], None

        if self.tenants.get(owner) == 'CLOSED':
            raise Refused('TENANT_CLOSED')
        b = self.budgets.get(scope)
        if b is None:
            raise Refused('BUDGET_NOT_FOUND')
        if b.status != 'ACTIVE':
            raise Refused('BUDGET_' + b.status)
        self.due([b], op.now)
        self.turned([b], op.now)

        allocated, spent, debt = b.allocated, b.spent, b.debt
        paid = min(n, debt)
        if name == 'CREDIT':
            allocated += n
            spent += paid
            debt -= paid
        elif name == 'DEBIT':
            if b.remaining < n:
                raise Refused('BUDGET_EXCEEDED')
            allocated -= n
        elif name == 'RESET':
            allocated = n
        elif name == 'REPAY_DEBT':
            allocated += n - paid
            debt -= paid
        else:
            allocated = n
            spent = max(given, 0)

        if not 0 <= allocated < 2 ** 63 \
                or spent + debt + b.reserved >= 2 ** 63:
            raise Refused('INVALID_REQUEST')
        after = allocated - spent - debt - b.reserved
        answer = [str(i) for i in (b.allocated, allocated, b.spent, spent,
                                   b.debt, debt, b.remaining, after, op.now)]
        return 'OK', answer, {
            'budget': b, 'set': (allocated, spent, debt), 'answer': answer,
            'space': ('fund', owner, key), 'payload': payload,
            'changes': [(b, spent - b.spent, debt - b.debt, debt > b.limit)],
            'held': 0}

    def do_fund(self, what, op):
        self.change(what)
        what['budget'].allocated = what['set'][0]
        self.keys[what['space']] = {'payload': what['payload'],
                                    'answer': what['answer']}

    def define(self, op):
        """create, limit, freeze, unfreeze, close"""

        scope = op.args[0]
        owner = scope.split('/')[0].partition(':')[2]
        status = self.tenants.get(owner)
        b = self.budgets.get(scope)

        if op.name == 'create':
            if status is None:
                raise Refused('TENANT_NOT_FOUND')
            if status != 'ACTIVE':
                raise Refused('TENANT_' + status)
            if b is not None:
                raise Refused('DUPLICATE_RESOURCE')
            b = Budget(scope, int(op.args[1]), int(op.args[2]))
            return 'OK', self.seen(b), {'create': b, 'changes': [
                (b, 0, 0, False)], 'held': 0}

        if b is None:
            raise Refused('BUDGET_NOT_FOUND')
        if status == 'CLOSED':
            raise Refused('TENANT_CLOSED')
        if b.status == 'CLOSED':
            raise Refused('BUDGET_CLOSED')
        self.turned([b], op.now)

        if op.name == 'limit':
            limit = int(op.args[2])
            over = b.debt > limit
            return 'OK', self.seen(b, over=over), {
                'budget': b, 'limit': limit, 'changes': [(b, 0, 0, over)],
                'held': 0}

        to = {'freeze': 'FROZEN', 'unfreeze': 'ACTIVE',
              'close': 'CLOSED'}[op.name]
        if to == b.status:
            raise Refused('BUDGET_FROZEN' if to == 'FROZEN'
                          else 'INVALID_REQUEST')
        return 'OK', self.seen(b, status=to), {'budget': b, 'status': to,
                                               'changes': (), 'held': 0}

    @staticmethod
    def seen(b, over=None, status=None):
        return [str(i) for i in (
            b.allocated, b.reserved, b.spent, b.debt, b.remaining,
            int(b.over if over is None else over),
            ['ACTIVE', 'FROZEN', 'CLOSED'].index(status or b.status))]

    def do_define(self, what, op):
        if 'create' in what:
            self.budgets[what['create'].scope] = what['create']
            return
        self.change(what)
        if 'limit' in what:
            what['budget'].limit = what['limit']
        if 'status' in what:
            what['budget'].status = what['status']

    def tenant(self, op):
        to = ['ACTIVE', 'SUSPENDED', 'CLOSED'][int(op.args[1])]
        if self.tenants[op.args[0]] == to:
            return 'OK', [], None
        if self.tenants[op.args[0]] == 'CLOSED':
            raise Refused('TENANT_CLOSED')
        return 'OK', [], {'tenant': op.args[0], 'to': to, 'changes': ()}

    def do_tenant(self, what, op):
        self.tenants[what['tenant']] = what['to']

    KINDS = {'reserve': 'reserve', 'decide': 'reserve', 'dry_run': 'reserve',
             'create': 'define', 'limit': 'define', 'freeze': 'define',
             'unfreeze': 'define', 'close': 'define'}

    def ask(self, op):
        kind = self.KINDS.get(op.name, op.name)
        try:
            return getattr(self, kind)(op)
        except Refused as error:
            return error.code, self.refusal(kind, op, error), None

    @staticmethod
    def refusal(kind, op, error):
        if kind == 'reserve':
            return ['-', '0', error.code, '0', '0', '0',
                    str(UNKNOWN)] + error.denial
        if kind == 'event':
            return ['-', '0', str(UNKNOWN)] + error.denial
        if kind == 'fund':
            return ['0'] * 9 if error.code != 'IDEMPOTENCY_MISMATCH' \
                else op.answer
        if kind == 'define':
            return ['0'] * 7
        if kind == 'tenant':
            return []
        return ['0', '0', '0', '0', str(UNKNOWN)] + error.denial

    def do(self, what, op):
        getattr(self, 'do_' + self.KINDS.get(op.name, op.name))(what, op)

    # what nobody has asked for

    def ended(self, rec, status):
        for rid in rec.ids:
            held = self.live.pop(rid)
            if status == 'EXPIRED':
                assert rec.time > held['expires'] + held['grace'], rec
            else:
                assert self.tenants[held['owner']] == 'CLOSED', rec
            held['status'] = status
            for b in held['budgets']:
                b.reserved -= held['n']

    def turns(self, rec, scopes):
        for turn, effect in zip(rec.turns, rec.effects):
            b = self.budgets[scopes[effect[0]]]
            assert b.stale(rec.time), rec
            assert (turn['start'], turn['end']) == (b.start, b.end), rec
            assert effect[2:] == (0, -b.spent, 0), rec
            if b.period['type'] == 'calendar':
                b.start, b.end = bounds(b.period, rec.time)
            else:
                length = b.end - b.start
                n = (rec.time - b.start) // length
                b.start += n * length
                b.end += n * length
            assert (turn['next_start'], turn['next_end']) \
                == (b.start, b.end), rec
            b.spent = 0
            b.over = b.debt > b.limit

    def check(self):
        """The sums explain themselves."""

        live = collections.Counter()
        for held in self.live.values():
            for b in held['budgets']:
                live[b.scope] += held['n']
        for b in self.budgets.values():
            assert b.reserved == live[b.scope], b.scope
            assert b.spent >= 0 and b.debt >= 0 and b.reserved >= 0, b.scope


def answers(op, code, answer):
    """Whether it is the answer that was given."""

    if code != op.code:
        return False
    given = list(op.answer)
    if answer and answer[0] == 'ID':
        given[0] = 'ID'
    return given == answer


def compare(log, ops):
    """Goes through the log; returns the model of the end."""

    model = Model()
    scopes = {}
    first = min(op.before for op in ops)

    # whose record is whose: the others have found it there

    makers = {op.record: op for op in ops
              if op.record > op.before and op.code == 'OK'
              and log[op.record - 1].time == op.now}
    others = collections.deque(sorted(
        (op for op in ops if makers.get(op.record) is not op),
        key=lambda op: op.before))
    waiting = []

    for rec in [None] + log:
        seq = rec.seq if rec else 0
        if rec and seq > first:
            op = makers.get(seq)
            if op:
                code, answer, what = model.ask(op)
                assert what and answers(op, code, answer), \
                    (op, code, answer)
                held = what.get('held', -what.get('n', 0))
                if op.name in ('decide', 'dry_run'):
                    changes = ()
                elif op.name == 'reserve':
                    changes = [(b, 0, 0, b.over) for b in what['budgets']]
                else:
                    changes = what['changes']
                want = [(b.scope, int(over), -held, spent, debt)
                        for b, spent, debt, over in changes]
                if rec.kind == 'budget':
                    scopes[rec.budget] = rec.scope
                assert [(scopes[i], *rest) for i, *rest in rec.effects] \
                    == want, (op, rec.effects, want)
                model.do(what, op)
            elif rec.kind == 'expire':
                model.ended(rec, 'EXPIRED')
            elif rec.kind == 'close':
                model.ended(rec, 'RELEASED')
            elif rec.kind == 'period':
                model.turns(rec, scopes)
            elif rec.kind == 'status':
                assert rec.reason == 'tenant_closed', rec
                for i in rec.budgets:
                    model.budgets[scopes[i]].status = 'CLOSED'
            else:
                raise AssertionError('nobody was told of %r' % rec)
        elif rec and rec.kind == 'budget':
            scopes[rec.budget] = rec.scope

        while others and others[0].before <= seq:
            waiting.append(others.popleft())
        still = []
        for op in waiting:
            try:
                code, answer, what = model.ask(op)
                found = what is None and answers(op, code, answer)
            except NotHere:
                found = False
            if not found:
                assert op.after > seq, (op, code, answer)
                still.append(op)
        waiting = still
        model.check()

    assert not waiting and not others
    return model


def test_four_processes(tmp_path, capsys):
    directory = tmp_path / 'ledger'
    directory.mkdir()

    def amount(n):
        return {'unit': 'TOKENS', 'amount': n}

    with open(tmp_path / 'budgets.json', 'w') as file:
        json.dump({
            'tenants': [{'tenant_id': name} for name in 'arcse'],
            'budgets': [dict({
                'scope': scope, 'unit': 'TOKENS', 'allocated': amount(n),
                'overdraft_limit': amount(limit)},
                **({'period': period} if period else {}))
                for scope, n, limit, period in BUDGETS]}, file)

    subprocess.run([os.path.join(UNIT, 'model_ops'), directory,
                    tmp_path / 'budgets.json', str(PROCESSES),
                    str(OPERATIONS), str(SEED), str(START)], check=True)

    log = Log(directory).records()
    ops = [op for i in range(PROCESSES)
           for op in operations(tmp_path / ('ops-%d' % i))]
    model = compare(log, ops)

    codes = collections.Counter(op.code for op in ops)
    kinds = collections.Counter(rec.kind for rec in log)
    with capsys.disabled():
        print('# %d operations, %d records, seed %d: %s' % (
            len(ops), len(log), SEED, ', '.join(
                '%s %d' % item for item in codes.most_common())))

    assert len(ops) > OPERATIONS * 0.9
    assert kinds['period'] > 2 and kinds['expire']
    assert model.tenants['e'] == 'CLOSED'
    assert codes['OK'] > len(ops) / 4

    want = sorted((b.scope, *b.sums()) for b in model.budgets.values())
    for i in range(3):
        with open(tmp_path / ('balances-%d' % i)) as file:
            rows = [line.split() for line in file]
        assert sorted((scope, *map(int, rest))
                      for scope, _, *rest in rows) == want


def test_the_corpus_of_the_fuzzer_has_all_records():
    """Whole ones, of the log as it is now; see t/fuzz/ledger_record.c."""

    found = set()
    directory = os.path.join(ROOT, 't', 'fuzz', 'corpus', 'ledger_record')
    for name in os.listdir(directory):
        with open(os.path.join(directory, name), 'rb') as file:
            data = file.read()
        while data:
            size = int.from_bytes(data[1:3], 'little')
            found.add(read_payload(TYPES[data[0]], data[3:3 + size]).kind)
            data = data[3 + size:]
    assert found == set(TYPES.values())
