# Copyright (C) nginx-cycles authors

"""Reads the append-only log of an embedded ledger (docs/ledger-format.md).

An independent reader: it shares no code with the module, so what the tests
conclude from it does not depend on the code that they test.

    Log(directory).records()    list of Record, in their order
    State(records)              balances and reservations that follow
"""

import os
import struct
import uuid


HEAD = 32
SEGMENT_HEAD = 64

TYPES = {1: 'tenant', 2: 'budget', 3: 'api_key', 4: 'admin_key',
         5: 'funding', 6: 'period', 8: 'status',
         16: 'reserve', 17: 'commit', 18: 'release', 19: 'extend',
         20: 'expire', 21: 'event', 22: 'decision', 23: 'close'}

LEVELS = ('tenant', 'workspace', 'app', 'workflow', 'agent', 'toolset')


def _crc32c_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = (n >> 1) ^ (0x82f63b78 if n & 1 else 0)
        table.append(n)
    return table


_TABLE = _crc32c_table()


def crc32c(data):
    crc = 0xffffffff
    table = _TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xff] ^ (crc >> 8)
    return crc ^ 0xffffffff


class Damage(Exception):
    pass


class Record:
    """seq, time, kind, and the members of its kind; effects is a list of
    (budget, over_limit, reserved, spent, debt)."""

    def __init__(self, seq, time, kind):
        self.seq = seq
        self.time = time
        self.kind = kind
        self.effects = []

    def __repr__(self):
        fields = {k: v for k, v in vars(self).items()
                  if k in ('seq', 'kind', 'id', 'amount', 'charged', 'scope')}
        return '<%s>' % ' '.join('%s=%s' % item for item in fields.items())


class _In:

    def __init__(self, data):
        self.data = data
        self.pos = 0

    def bytes(self, n):
        if self.pos + n > len(self.data):
            raise Damage('record is too short')
        value = self.data[self.pos:self.pos + n]
        self.pos += n
        return value

    def int(self, n, signed=False):
        return int.from_bytes(self.bytes(n), 'little', signed=signed)

    def number(self):
        byte = self.int(1)
        return byte if byte < 248 else self.int(byte - 247)

    def amount(self):
        n = self.number()
        return -(n >> 1) - 1 if n & 1 else n >> 1

    def str(self):
        size = self.int(1)
        if size == 255:
            size = self.int(4)
        return self.bytes(size).decode('utf-8', 'replace')

    def head(self, rec):
        rec.id = str(uuid.UUID(bytes=self.bytes(16)))
        forms = self.int(1)
        if forms > 7:
            raise Damage('unknown form of a head')
        rec.digest = self.bytes(16) if forms & 1 else bytes(16)
        rec.key = str(uuid.UUID(bytes=self.bytes(16))) if forms & 2 else None
        rec.trace_id = self.bytes(16).hex() if forms & 4 else None
        if rec.key is None:
            rec.key = self.str()
        if rec.trace_id is None:
            rec.trace_id = self.str()

    def owner(self, rec, flags):
        if not flags & 8:
            rec.owner = self.str()
        self.subject(rec)
        self.action(rec)
        if flags & 8:
            rec.owner = rec.subject.get('tenant')
            if not rec.owner:
                raise Damage('the owner is a tenant that is not there')

    def subject(self, rec):
        mask = self.int(1)
        rec.subject = {LEVELS[i]: self.str() for i in range(6)
                       if mask & 1 << i}
        rec.dimensions = {self.str(): self.str() for _ in range(self.int(1))}

    def action(self, rec):
        rec.action = (self.str(), self.str())
        rec.tags = [self.str() for _ in range(self.int(1))]

    def effects(self, rec):
        for _ in range(self.number()):
            rec.effects.append((self.number(), self.int(1) & 1,
                                self.amount(), self.amount(),
                                self.amount()))


def _read_reserve(f, rec):
    f.head(rec)
    rec.unit, rec.policy, rec.decision, rec.flags = f.bytes(4)
    rec.caps_from = f.number()
    rec.amount = f.amount()
    rec.remaining = f.amount()
    rec.ttl_ms = f.amount()
    rec.grace_ms = f.amount()
    rec.expires_at_ms = rec.time + f.amount()
    f.owner(rec, rec.flags)
    f.effects(rec)
    rec.metadata = f.str()


def _read_settlement(f, rec):
    f.head(rec)
    rec.unit, rec.policy, rec.flags = f.bytes(3)
    rec.amount = f.amount()
    rec.charged = f.amount()
    rec.remaining = f.amount()
    if rec.kind == 'event':
        f.owner(rec, rec.flags)
    f.effects(rec)
    if rec.kind == 'release':
        rec.reason = f.str()
        return
    rec.tokens_input = f.amount()
    rec.tokens_output = f.amount()
    rec.latency_ms = f.amount()
    rec.model_version = f.str()
    rec.custom = f.str()
    if rec.kind == 'event':
        rec.client_time_ms = f.int(8, True)
    rec.metadata = f.str()


def _read_extend(f, rec):
    f.head(rec)
    rec.extend_by_ms = f.int(8, True)
    rec.expires_at_ms = f.int(8, True)
    rec.metadata = f.str()


def _read_decision(f, rec):
    f.head(rec)
    rec.owner = f.str()
    rec.unit, rec.decide, rec.decision, _ = f.bytes(4)
    rec.caps_from = f.int(4)
    rec.amount = f.int(8, True)
    rec.remaining = f.int(8, True)
    rec.reason = f.str()
    f.subject(rec)
    f.action(rec)


def _read_expire(f, rec):
    rec.ids = [str(uuid.UUID(bytes=f.bytes(16))) for _ in range(f.int(2))]
    f.effects(rec)


def _read_tenant(f, rec):
    rec.tenant = f.int(4)
    rec.tenant_id = f.str()
    rec.name = f.str()
    rec.status, rec.policy, _, _ = f.bytes(4)
    rec.terms = [f.int(8, True) for _ in range(3)]
    rec.created, rec.updated, rec.suspended, rec.closed = (
        f.int(8) for _ in range(4))
    rec.declared = f.bytes(16)
    rec.parent = f.str()
    rec.metadata = f.str()


def _read_budget(f, rec):
    rec.budget = f.int(4)
    rec.scope = f.str()
    rec.unit, rec.status, rec.policy, has_caps = f.bytes(4)
    rec.allocated = f.int(8, True)
    rec.overdraft_limit = f.int(8, True)
    if has_caps:
        f.bytes(1 + 8 + 8 + 8)
        f.str()
        f.str()
    rec.period = f.int(1)
    if rec.period == 1:
        rec.every = f.int(1)
        rec.timezone = f.str()
    elif rec.period == 2:
        rec.length_ms = f.int(8)
    if rec.period:
        rec.period_start, rec.period_end = f.int(8), f.int(8)
    if f.int(1):
        f.bytes(1 + 8 + 8)
    rec.created, rec.updated = f.int(8), f.int(8)
    f.effects(rec)
    rec.metadata = f.str()


def _read_api_key(f, rec):
    rec.api_key = f.int(4)
    rec.sha256 = f.bytes(32)
    rec.tenant_id = f.str()
    rec.name = f.str()
    rec.status = f.int(1)
    f.bytes(3)
    rec.permissions = f.int(4)
    rec.created, rec.expires, rec.revoked = (f.int(8) for _ in range(3))
    rec.declared = f.bytes(16)
    rec.prefix = f.str()
    rec.description = f.str()
    rec.scope_filter = f.str()
    rec.revoked_reason = f.str()
    rec.metadata = f.str()


def _read_funding(f, rec):
    f.head(rec)
    rec.owner = f.str()
    rec.unit, rec.operation, rec.admin, _ = f.bytes(4)
    rec.amount = f.int(8, True)
    rec.given_spent = f.int(8, True)
    rec.previous_allocated = f.int(8, True)
    rec.allocated = f.int(8, True)
    rec.spent = f.int(8, True)
    rec.reserved = f.int(8, True)
    rec.debt = f.int(8, True)
    f.effects(rec)
    rec.reason = f.str()
    rec.metadata = f.str()


def _read_period(f, rec):
    rec.turns = [dict(zip(('start', 'end', 'next_start', 'next_end',
                           'allocated', 'reserved', 'debt'),
                          (f.int(8, True) for _ in range(7))))
                 for _ in range(f.int(2))]
    f.effects(rec)


def _read_status(f, rec):
    rec.status, _ = f.bytes(2)
    rec.budgets = [f.int(4) for _ in range(f.int(2))]
    rec.reason = f.str()
    rec.metadata = f.str()


READERS = {'reserve': _read_reserve, 'commit': _read_settlement,
           'release': _read_settlement, 'event': _read_settlement,
           'extend': _read_extend, 'expire': _read_expire,
           'decision': _read_decision,
           'close': _read_expire, 'tenant': _read_tenant,
           'budget': _read_budget, 'api_key': _read_api_key,
           'funding': _read_funding, 'period': _read_period,
           'status': _read_status}


def _read(data, pos, name):
    """The record at pos and its end; (None, pos) where the log ends."""

    if pos + HEAD > len(data):
        return None, pos

    crc, size = struct.unpack_from('<II', data, pos)
    end = pos + size

    if (size < HEAD or end > len(data)
            or crc32c(data[pos + 4:end]) != crc):
        return None, pos

    seq, time = struct.unpack_from('<QQ', data, pos + 8)
    kind = TYPES.get(struct.unpack_from('<H', data, pos + 24)[0])
    if kind is None:
        raise Damage('%s: unknown type at %d' % (name, pos))

    try:
        return read_payload(kind, data[pos + HEAD:end], seq, time), end
    except Damage as error:
        raise Damage('%s: %s at %d: %s' % (name, kind, pos, error)) from None


def read_payload(kind, payload, seq=0, time=0):
    rec = Record(seq, time, kind)
    if kind in READERS:
        f = _In(payload)
        READERS[kind](f, rec)
        if f.pos != len(f.data):
            raise Damage('too long')
    return rec


class _Segment:

    def __init__(self, path):
        self.path = path
        self.clear()

    def clear(self):
        self.records = []
        self.end = SEGMENT_HEAD
        self.last = (SEGMENT_HEAD, b'')       # where, and its first bytes

    def read(self):
        with open(self.path, 'rb') as file:
            data = file.read()

        if data[:8] != b'CYCLELOG':
            raise Damage('%s has no header' % self.path)

        # a tail that was cut has taken with it what we knew

        at, head = self.last
        if data[at:at + len(head)] != head:
            self.clear()

        while True:
            rec, end = _read(data, self.end, self.path)
            if rec is None:
                return
            self.last = (self.end, data[self.end:self.end + HEAD])
            self.records.append(rec)
            self.end = end


class Log:
    """The log of a ledger that may grow between two looks at it."""

    def __init__(self, directory):
        self.directory = directory
        self.segments = {}

    def records(self):
        """All whole records, in their order."""

        names = sorted(name for name in os.listdir(self.directory)
                       if name.startswith('log-') and name.endswith('.bin')
                       and name != 'log-next.bin')
        found = []

        for name in names:
            segment = self.segments.get(name)
            if segment is None:
                segment = _Segment(os.path.join(self.directory, name))
                self.segments[name] = segment
            segment.read()
            found += segment.records

        for before, after in zip(found, found[1:]):
            if after.seq != before.seq + 1:
                raise Damage('record %d follows %d' % (after.seq, before.seq))

        return found

    def tail(self):
        """(path of the last segment, end of its last record)"""

        self.records()
        segment = self.segments[max(self.segments)]
        return segment.path, segment.end


class State:
    """What a log says: .budgets {scope: dict}, .reservations {id: dict},
    .events; .problems lists what must not happen in any log."""

    def __init__(self, recs):
        self.budgets = {}
        self.reservations = {}
        self.events = []
        self.problems = []
        self._by_id = {}
        for rec in recs:
            self._apply(rec)

    def _apply(self, rec):
        if rec.kind == 'budget':
            item = self.budgets.setdefault(rec.scope, {
                'reserved': 0, 'spent': 0, 'debt': 0})
            item['allocated'] = rec.allocated
            item['status'] = rec.status
            if rec.period:
                item['period'] = (rec.period_start, rec.period_end)
            else:
                item.pop('period', None)
            self._by_id[rec.budget] = item

        elif rec.kind == 'funding':
            item = self._by_id[rec.effects[0][0]]
            if (item['allocated'], item['spent'], item['reserved'],
                    item['debt']) != (rec.previous_allocated, rec.spent,
                                      rec.reserved, rec.debt):
                self._problem(rec, 'sums before it were others')
            item['allocated'] = rec.allocated

        elif rec.kind == 'period':
            for turn, effect in zip(rec.turns, rec.effects):
                item = self._by_id[effect[0]]
                if (item.get('period') != (turn['start'], turn['end'])
                        or rec.time < turn['end']
                        or effect[3] != -item['spent']
                        or [item[name] for name in ('allocated', 'reserved',
                                                    'debt')]
                        != [turn[name] for name in ('allocated', 'reserved',
                                                    'debt')]):
                    self._problem(rec, 'is not the period that has ended')
                item['period'] = (turn['next_start'], turn['next_end'])
                item.setdefault('periods', []).append(
                    dict(turn, spent=-effect[3]))

        elif rec.kind == 'status':
            for budget in rec.budgets:
                self._by_id[budget]['status'] = rec.status

        elif rec.kind == 'reserve':
            if rec.id in self.reservations:
                self._problem(rec, 'reserved twice')
            self.reservations[rec.id] = {
                'estimate': rec.amount, 'status': 'ACTIVE', 'key': rec.key,
                'subject': rec.subject, 'charged': None, 'extends': 0}

        elif rec.kind in ('commit', 'release'):
            self._end(rec, rec.id,
                      'COMMITTED' if rec.kind == 'commit' else 'RELEASED',
                      rec.charged)

        elif rec.kind in ('expire', 'close'):
            for id in rec.ids:
                self._end(rec, id, 'EXPIRED' if rec.kind == 'expire'
                          else 'RELEASED', 0)

        elif rec.kind == 'extend':
            self.reservations[rec.id]['extends'] += 1

        elif rec.kind == 'event':
            self.events.append(rec)

        for budget, over_limit, reserved, spent, debt in rec.effects:
            item = self._by_id[budget]
            item['reserved'] += reserved
            item['spent'] += spent
            item['debt'] += debt
            for name in 'reserved', 'spent', 'debt':
                if item[name] < 0:
                    self._problem(rec, name + ' is negative')

    def _end(self, rec, id, status, charged):
        item = self.reservations.get(id)
        if item is None:
            self._problem(rec, 'unknown reservation ' + id)
        elif item['status'] != 'ACTIVE':
            self._problem(rec, '%s is %s already' % (id, item['status']))
        else:
            item['status'] = status
            item['charged'] = charged

    def _problem(self, rec, text):
        self.problems.append('%r: %s' % (rec, text))

    def sums(self):
        """Estimates by the status of their reservations, and what was
        charged."""

        sums = {'reserved': 0, 'charged': 0, 'ACTIVE': 0, 'COMMITTED': 0,
                'RELEASED': 0, 'EXPIRED': 0}
        for item in self.reservations.values():
            sums['reserved'] += item['estimate']
            sums[item['status']] += item['estimate']
            sums['charged'] += item['charged'] or 0
        sums['charged'] += sum(rec.charged for rec in self.events)
        return sums
