# Copyright (C) nginx-cycles authors

"""A stand-in for a Cycles server (protocol v0.1.25), for tests.

It keeps real budgets, replays idempotent requests, expires reservations on
real time, and misbehaves on demand.  Standard library only; one thread; it
answers some ten thousand requests per second.

In a test:

    with FakeCycles() as cycles:                  # a free port of 127.0.0.1
        cycles.budget("tenant:acme", 500000)
        cycles.fault("commit", "drop_after")      # the next commit only
        ...                                       # cycles.url, cycles.port
        cycles.wait(lambda: cycles.count("commit") == 2)
        first, second = cycles.log("commit")
        assert first.body == second.body
        assert cycles.scope("tenant:acme")["spent"] == 930

From a shell: "python3 t/lib/fake_cycles.py --port 0" prints the port, then
the same is to be had over HTTP:

    POST /_budgets  [{"scope": "tenant:acme", "allocated": 500000}]
    POST /_fault    {"endpoint": "commit", "fault": "drop_after", "times": 1}
    POST /_release  {}                            lets held requests go on
    POST /_keys     {"cyc_live_1": "acme"}        only these keys are valid
    POST /_reset    {}                            forgets everything
    GET  /_log      every request so far          /_log?since=N
    GET  /_state    budgets, reservations, sums

Endpoints are reserve, commit, release, extend, event, decide, balances, get
and "*".  A fault is one of the names in FAULTS, or an object with members:

    apply    0, 1 or 2: how often the operation is carried out (1)
    delay    seconds to wait before that
    hold     true: wait for /_release (in a test: cycles.release()) before it
    end      "reply" (default), "close", "reset", "never", "truncate"
    status, body, headers    of the reply instead of the true ones

Faults of one endpoint are used up in the order they were given, "times" each
(-1: for ever); "skip" lets that many requests pass first; "match" is a text
that the body has to contain.
"""

import argparse
import asyncio
import base64
import heapq
import itertools
import json
import re
import socket
import struct
import sys
import threading
import time
import uuid


LEVELS = ("tenant", "workspace", "app", "workflow", "agent", "toolset")
UNITS = ("USD_MICROCENTS", "TOKENS", "CREDITS", "RISK_POINTS")
POLICIES = ("ALLOW_IF_AVAILABLE", "REJECT", "ALLOW_WITH_OVERDRAFT")
INT64_MAX = 2 ** 63 - 1

VALUE = re.compile(r"[A-Za-z0-9_.-]+\Z")
TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}\Z")

FAULTS = {
    "drop_before": {"apply": 0, "end": "close"},
    "drop_after": {"apply": 1, "end": "close"},
    "reset_before": {"apply": 0, "end": "reset"},
    "reset_after": {"apply": 1, "end": "reset"},
    "never_before": {"apply": 0, "end": "never"},
    "never_after": {"apply": 1, "end": "never"},
    "hold": {"hold": True},
    "duplicate": {"apply": 2},
    "truncated": {"apply": 1, "end": "truncate"},
    "malformed": {"apply": 1, "body": '{"decision":"ALLOW",'},
    "not_json": {"apply": 1, "body": "<html>it works</html>"},
    "empty": {"apply": 1, "body": ""},
    "wrong_2xx": {"apply": 1, "status": 202},
    "unavailable": {"apply": 0, "status": 503, "body": "no healthy upstream"},
    "internal": {"apply": 0, "status": 500, "body": {
        "error": "INTERNAL_ERROR", "message": "Internal error"}},
    "throttled": {"apply": 0, "status": 429, "headers": {"Retry-After": "1"},
                  "body": {"error": "LIMIT_EXCEEDED", "message": "slow down"}},
    "unauthorized": {"apply": 0, "status": 401, "body": {
        "error": "UNAUTHORIZED", "message": "INVALID_KEY"}},
    "store_away": {"apply": 0, "status": 401, "body": {
        "error": "UNAUTHORIZED", "message": "INTERNAL_ERROR"}},
    "expired": {"apply": 0, "status": 410, "body": {
        "error": "RESERVATION_EXPIRED", "message": "reservation expired"}},
}

REASONS = {200: "OK", 201: "Created", 202: "Accepted", 400: "Bad Request",
           401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
           409: "Conflict", 410: "Gone", 429: "Too Many Requests",
           500: "Internal Server Error", 503: "Service Unavailable"}


class Refused(Exception):
    """an error of the protocol"""

    def __init__(self, status, code, message, details=None):
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details


class Budget:
    def __init__(self, scope, unit, allocated, overdraft_limit=0,
                 status="ACTIVE", caps=None):
        self.scope = scope
        self.unit = unit
        self.allocated = allocated
        self.overdraft_limit = overdraft_limit
        self.status = status
        self.caps = caps
        self.reserved = self.spent = self.debt = 0
        self.over_limit = False

    @property
    def remaining(self):
        return self.allocated - self.spent - self.reserved - self.debt

    def balance(self):
        unit = self.unit

        def amount(value):
            return {"unit": unit, "amount": value}

        balance = {"scope": self.scope.rpartition("/")[2],
                   "scope_path": self.scope,
                   "remaining": amount(self.remaining),
                   "reserved": amount(self.reserved),
                   "spent": amount(self.spent),
                   "allocated": amount(self.allocated)}
        if self.debt:
            balance["debt"] = amount(self.debt)
        if self.overdraft_limit:
            balance["overdraft_limit"] = amount(self.overdraft_limit)
        if self.over_limit:
            balance["is_over_limit"] = True
        return balance

    def state(self):
        return {"scope": self.scope, "unit": self.unit,
                "allocated": self.allocated, "remaining": self.remaining,
                "reserved": self.reserved, "spent": self.spent,
                "debt": self.debt, "over_limit": self.over_limit}


class Reservation:
    def __init__(self, tenant, request, scopes, budgets, now):
        self.id = str(uuid.uuid4())
        self.tenant = tenant
        self.subject = request["subject"]
        self.action = request["action"]
        self.unit = request["estimate"]["unit"]
        self.estimate = request["estimate"]["amount"]
        self.policy = request.get("overage_policy", POLICIES[0])
        self.grace = request.get("grace_period_ms", 5000)
        self.scopes = scopes
        self.budgets = budgets
        self.created = now
        self.expires = now + request.get("ttl_ms", 60000)
        self.extensions = 0
        self.status = "ACTIVE"
        self.metadata = request.get("metadata")
        self.committed = None

    def state(self):
        return {"id": self.id, "tenant": self.tenant, "status": self.status,
                "estimate": self.estimate, "committed": self.committed,
                "expires_at_ms": self.expires, "metadata": self.metadata,
                "extensions": self.extensions, "policy": self.policy,
                "scope": self.scopes[-1]}


# -- validation: the schemas of requests are closed


def check(condition, message):
    if not condition:
        raise Refused(400, "INVALID_REQUEST", message)


def unique(pairs):
    members = dict(pairs)
    check(len(members) == len(pairs), "duplicate member")
    return members


def check_members(value, name, required, optional=()):
    check(isinstance(value, dict), name + " must be an object")
    for member in required:
        check(member in value, "%s.%s is required" % (name, member))
    for member in value:
        check(member in required or member in optional,
              "unknown member %s.%s" % (name, member))


def check_integer(value, name, least=0, most=INT64_MAX):
    check(type(value) is int and least <= value <= most,
          name + " is out of range")


def check_string(value, name, most, least=1):
    check(isinstance(value, str) and least <= len(value) <= most,
          name + " must be a string of %d to %d" % (least, most))


def check_amount(value, name):
    check_members(value, name, ("unit", "amount"))
    check(value["unit"] in UNITS, name + ".unit")
    check_integer(value["amount"], name + ".amount")


def check_subject(subject):
    check_members(subject, "subject", (), LEVELS + ("dimensions",))
    check(any(level in subject for level in LEVELS), "subject is empty")
    for level in LEVELS:
        if level in subject:
            check_string(subject[level], "subject." + level, 128)
            check(VALUE.match(subject[level]), "subject." + level)
    dimensions = subject.get("dimensions", {})
    check(isinstance(dimensions, dict) and len(dimensions) <= 16,
          "subject.dimensions")
    for value in dimensions.values():
        check_string(value, "dimension", 256, 0)


def check_action(action):
    check_members(action, "action", ("kind", "name"), ("tags",))
    check_string(action["kind"], "action.kind", 64)
    check_string(action["name"], "action.name", 256)
    tags = action.get("tags", [])
    check(isinstance(tags, list) and len(tags) <= 10, "action.tags")
    for tag in tags:
        check_string(tag, "tag", 64, 0)


def check_metrics(metrics):
    check_members(metrics, "metrics", (), ("tokens_input", "tokens_output",
                                           "latency_ms", "model_version",
                                           "custom"))
    for name in ("tokens_input", "tokens_output", "latency_ms"):
        if name in metrics:
            check_integer(metrics[name], name, 0, 2 ** 31 - 1)
    if "model_version" in metrics:
        check_string(metrics["model_version"], "model_version", 128, 0)


MEMBERS = {
    "reserve": (("idempotency_key", "subject", "action", "estimate"),
                ("ttl_ms", "grace_period_ms", "overage_policy", "dry_run",
                 "metadata")),
    "decide": (("idempotency_key", "subject", "action", "estimate"),
               ("metadata",)),
    "commit": (("idempotency_key", "actual"), ("metrics", "metadata")),
    "release": (("idempotency_key",), ("reason",)),
    "extend": (("idempotency_key", "extend_by_ms"), ("metadata",)),
    "event": (("idempotency_key", "subject", "action", "actual"),
              ("overage_policy", "metrics", "client_time_ms", "metadata")),
}


def check_request(endpoint, request):
    required, optional = MEMBERS[endpoint]
    check_members(request, "request", required, optional)
    check_string(request["idempotency_key"], "idempotency_key", 256)
    if "subject" in request:
        check_subject(request["subject"])
    if "action" in request:
        check_action(request["action"])
    for name in ("estimate", "actual"):
        if name in request:
            check_amount(request[name], name)
    if "ttl_ms" in request:
        check_integer(request["ttl_ms"], "ttl_ms", 1000, 86400000)
    if "grace_period_ms" in request:
        check_integer(request["grace_period_ms"], "grace_period_ms", 0, 60000)
    if "extend_by_ms" in request:
        check_integer(request["extend_by_ms"], "extend_by_ms", 1, 86400000)
    if "overage_policy" in request:
        check(request["overage_policy"] in POLICIES, "overage_policy")
    if "dry_run" in request:
        check(isinstance(request["dry_run"], bool), "dry_run")
    if "metrics" in request:
        check_metrics(request["metrics"])
    if "metadata" in request:
        check(isinstance(request["metadata"], dict), "metadata")
    if "reason" in request:
        check_string(request["reason"], "reason", 256, 0)


def scopes_of(subject):
    scopes = []
    path = ""
    for level in LEVELS:
        if level in subject:
            path += ("/" if path else "") + level + ":" + subject[level]
            scopes.append(path)
    return scopes


class Ledger:
    """the budgets and what may be done to them"""

    def __init__(self, max_extensions=10, remaining_ttl=True, details=True):
        self.max_extensions = max_extensions
        self.remaining_ttl = remaining_ttl
        self.details = details
        self.budgets = {}
        self.reservations = {}
        self.replies = {}
        self.keys = None
        self.due = []
        self.sums = {"reserved": 0, "committed": 0, "released": 0,
                     "expired": 0, "charged": 0, "events": 0}
        self.replays = 0
        self.mismatches = 0

    def now(self):
        return int(time.time() * 1000)

    def expire(self, now):
        while self.due and self.due[0][0] < now:
            reservation = self.reservations[heapq.heappop(self.due)[1]]
            if reservation.status != "ACTIVE":
                continue
            deadline = reservation.expires + reservation.grace
            if deadline >= now:
                heapq.heappush(self.due, (deadline, reservation.id))
                continue
            for budget in reservation.budgets:
                budget.reserved -= reservation.estimate
            reservation.status = "EXPIRED"
            self.sums["expired"] += reservation.estimate

    # -- one request

    def handle(self, endpoint, rid, request, key, header_key):
        """returns a status and a body; raises Refused"""

        now = self.now()
        self.expire(now)

        if not key:
            raise Refused(401, "UNAUTHORIZED", "MISSING_KEY")
        if self.keys is not None and key not in self.keys:
            raise Refused(401, "UNAUTHORIZED", "INVALID_KEY")

        check_request(endpoint, request)

        idempotency_key = request["idempotency_key"]
        check(header_key is None or header_key == idempotency_key,
              "X-Idempotency-Key header does not match")

        reservation = None
        if rid is not None:
            reservation = self.reservations.get(rid)
            if reservation is None:
                raise Refused(404, "NOT_FOUND", "Resource not found: " + rid)

        tenant = self.tenant(key, request, reservation)

        place = (tenant, endpoint, rid, idempotency_key)
        payload = json.dumps(request, sort_keys=True)
        known = self.replies.get(place)

        if known:
            if known[0] != payload:
                self.mismatches += 1
                raise Refused(409, "IDEMPOTENCY_MISMATCH", "another payload")
            self.replays += 1
            return known[1], self.refresh(known[2], reservation, now)

        status, body = getattr(self, endpoint)(request, tenant, reservation,
                                               now)
        self.replies[place] = (payload, status, body)

        return status, body

    def tenant(self, key, request, reservation):
        named = request.get("subject", {}).get("tenant")
        if self.keys is not None:
            tenant = self.keys[key]
            owner = reservation.tenant if reservation else named
            if owner is not None and owner != tenant:
                raise Refused(403, "FORBIDDEN", "another tenant")
            return tenant
        return reservation.tenant if reservation else named or "default"

    def refresh(self, body, reservation, now):
        if "remaining_ttl_ms" not in body:
            return body
        if reservation is None:
            reservation = self.reservations[body["reservation_id"]]
        body = dict(body)
        body["remaining_ttl_ms"] = 0
        if reservation.status == "ACTIVE":
            body["remaining_ttl_ms"] = max(0, body["expires_at_ms"] - now)
        return body

    def find(self, subject, unit):
        scopes = scopes_of(subject)
        budgets = [self.budgets[scope, unit] for scope in scopes
                   if (scope, unit) in self.budgets]
        if not budgets:
            others = [budget for (scope, _), budget in self.budgets.items()
                      if scope in scopes]
            if others:
                raise Refused(400, "UNIT_MISMATCH", "another unit", {
                    "scope": others[0].scope, "requested_unit": unit,
                    "expected_units": [b.unit for b in others]})
            raise Refused(404, "NOT_FOUND", "Budget not found for provided "
                          "scope: " + scopes[-1])
        return scopes, budgets

    def admit(self, budgets, amount):
        for budget in budgets:
            code = None
            if budget.status == "FROZEN":
                code = "BUDGET_FROZEN"
            elif budget.status == "CLOSED":
                code = "BUDGET_CLOSED"
            elif budget.over_limit:
                code = "OVERDRAFT_LIMIT_EXCEEDED"
            elif budget.debt > 0 and budget.overdraft_limit == 0:
                code = "DEBT_OUTSTANDING"
            elif budget.remaining < amount:
                code = "BUDGET_EXCEEDED"
            if code:
                details = {"scope": budget.scope, "requested": amount,
                           "remaining": budget.remaining,
                           "reserved": budget.reserved,
                           "allocated": budget.allocated}
                raise Refused(409, code, "denied by " + budget.scope,
                              details if self.details else None)

    def reserve(self, request, tenant, _, now):
        unit = request["estimate"]["unit"]
        amount = request["estimate"]["amount"]
        dry_run = request.get("dry_run", False)
        scopes = scopes_of(request["subject"])
        body = {"decision": "ALLOW", "affected_scopes": scopes}

        try:
            scopes, budgets = self.find(request["subject"], unit)
            self.admit(budgets, amount)
        except Refused as e:
            if not dry_run or e.code == "UNIT_MISMATCH":
                raise
            body["decision"] = "DENY"
            body["reason_code"] = ("BUDGET_NOT_FOUND" if e.status == 404
                                   else e.code)
            return 200, body

        caps = budgets[-1].caps
        if caps is not None:
            body["decision"] = "ALLOW_WITH_CAPS"
            body["caps"] = caps

        if not dry_run:
            reservation = Reservation(tenant, request, scopes, budgets, now)
            for budget in budgets:
                budget.reserved += amount
            self.reservations[reservation.id] = reservation
            self.sums["reserved"] += amount
            heapq.heappush(self.due, (reservation.expires + reservation.grace,
                                      reservation.id))
            body["reservation_id"] = reservation.id
            body["reserved"] = {"unit": unit, "amount": amount}
            body["expires_at_ms"] = reservation.expires
            if self.remaining_ttl:
                body["remaining_ttl_ms"] = reservation.expires - now

        body["scope_path"] = scopes[-1]
        body["balances"] = [budget.balance() for budget in budgets]
        return 200, body

    def decide(self, request, tenant, _, now):
        body = self.reserve(dict(request, dry_run=True), tenant, _, now)[1]
        body.pop("balances", None)
        body.pop("scope_path", None)
        return 200, body

    def active(self, reservation, now, grace):
        if (reservation.status == "EXPIRED"
                or (reservation.status == "ACTIVE"
                    and now > reservation.expires + grace)):
            raise Refused(410, "RESERVATION_EXPIRED", "reservation expired")
        if reservation.status != "ACTIVE":
            raise Refused(409, "RESERVATION_FINALIZED",
                          "reservation is " + reservation.status)

    def overage(self, budgets, amount, policy):
        """what of an amount beyond the reserved may be charged"""

        if policy == "REJECT":
            for budget in budgets:
                if budget.remaining < amount:
                    raise Refused(409, "BUDGET_EXCEEDED", "no overage",
                                  {"scope": budget.scope,
                                   "requested": amount,
                                   "remaining": budget.remaining})

        limited = [budget for budget in budgets
                   if policy != "ALLOW_WITH_OVERDRAFT"
                   or budget.overdraft_limit == 0]
        charged = min([amount] + [max(budget.remaining, 0)
                                  for budget in limited])

        for budget in budgets:
            if budget in limited:
                continue
            deficit = charged - max(budget.remaining, 0)
            if deficit > 0 and budget.debt + deficit > budget.overdraft_limit:
                raise Refused(409, "OVERDRAFT_LIMIT_EXCEEDED", "too much debt",
                              {"scope": budget.scope, "requested": amount})

        for budget in budgets:
            funded = min(charged, max(budget.remaining, 0))
            if budget in limited:
                if budget.remaining < amount:
                    budget.over_limit = True
                funded = charged
            budget.spent += funded
            budget.debt += charged - funded

        return charged

    def commit(self, request, tenant, reservation, now):
        self.active(reservation, now, reservation.grace)
        if request["actual"]["unit"] != reservation.unit:
            raise Refused(400, "UNIT_MISMATCH", "another unit")

        actual = request["actual"]["amount"]
        estimate = reservation.estimate
        charged = actual

        if actual > estimate:
            charged = estimate + self.overage(reservation.budgets,
                                              actual - estimate,
                                              reservation.policy)
        for budget in reservation.budgets:
            budget.reserved -= estimate
            budget.spent += min(actual, estimate)

        reservation.status = "COMMITTED"
        reservation.committed = charged
        self.sums["committed"] += estimate
        self.sums["charged"] += charged

        unit = reservation.unit
        body = {"status": "COMMITTED",
                "charged": {"unit": unit, "amount": charged}}
        if actual < estimate:
            body["released"] = {"unit": unit, "amount": estimate - actual}
        body["balances"] = [b.balance() for b in reservation.budgets]
        return 200, body

    def release(self, request, tenant, reservation, now):
        self.active(reservation, now, reservation.grace)
        for budget in reservation.budgets:
            budget.reserved -= reservation.estimate
        reservation.status = "RELEASED"
        self.sums["released"] += reservation.estimate
        return 200, {"status": "RELEASED",
                     "released": {"unit": reservation.unit,
                                  "amount": reservation.estimate},
                     "balances": [b.balance() for b in reservation.budgets]}

    def extend(self, request, tenant, reservation, now):
        self.active(reservation, now, 0)
        if reservation.extensions >= self.max_extensions:
            raise Refused(409, "MAX_EXTENSIONS_EXCEEDED",
                          "Maximum reservation extensions reached")
        reservation.extensions += 1
        reservation.expires += request["extend_by_ms"]
        body = {"status": "ACTIVE", "expires_at_ms": reservation.expires}
        if self.remaining_ttl:
            body["remaining_ttl_ms"] = reservation.expires - now
        return 200, body

    def event(self, request, tenant, _, now):
        actual = request["actual"]["amount"]
        unit = request["actual"]["unit"]
        _, budgets = self.find(request["subject"], unit)
        charged = self.overage(budgets, actual,
                               request.get("overage_policy", POLICIES[0]))
        self.sums["events"] += charged
        body = {"status": "APPLIED", "event_id": str(uuid.uuid4())}
        if charged != actual:
            body["charged"] = {"unit": unit, "amount": charged}
        body["balances"] = [budget.balance() for budget in budgets]
        return 201, body

    def balances(self, path):
        return 200, {"balances": [b.balance() for b in self.budgets.values()]}

    def get(self, rid):
        self.expire(self.now())
        r = self.reservations.get(rid)
        if r is None:
            raise Refused(404, "NOT_FOUND", "Resource not found: " + rid)
        if r.status == "EXPIRED":
            raise Refused(410, "RESERVATION_EXPIRED", "reservation expired")
        body = {"reservation_id": r.id, "status": r.status,
                "subject": r.subject, "action": r.action,
                "reserved": {"unit": r.unit, "amount": r.estimate},
                "created_at_ms": r.created, "expires_at_ms": r.expires,
                "scope_path": r.scopes[-1], "affected_scopes": r.scopes}
        if r.committed is not None:
            body["committed"] = {"unit": r.unit, "amount": r.committed}
        return 200, body


class Entry:
    """one request as it came"""

    __slots__ = ("number", "time", "connection", "endpoint", "method", "path",
                 "headers", "body", "status", "fault")

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def key(self):
        return self.headers.get("x-idempotency-key")

    def state(self):
        state = {name: getattr(self, name) for name in self.__slots__
                 if name != "body"}
        state["body"] = self.body.decode("utf-8", "replace")
        state["body_base64"] = base64.b64encode(self.body).decode()
        return state


PATH = re.compile(r"/v1/reservations/([^/]+)/(commit|release|extend)\Z")
ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")


def unescape(text):
    return ESCAPE.sub(lambda m: chr(int(m.group(1), 16)), text)


def route(method, path):
    path = path.partition("?")[0]
    if method == "POST":
        if path == "/v1/reservations":
            return "reserve", None
        if path == "/v1/events":
            return "event", None
        if path == "/v1/decide":
            return "decide", None
        match = PATH.match(path)
        if match:
            return match.group(2), unescape(match.group(1))
    elif method == "GET":
        if path == "/v1/balances":
            return "balances", None
        if path.startswith("/v1/reservations/"):
            return "get", unescape(path[17:])
    return None, None


class Connection(asyncio.Protocol):
    numbers = itertools.count(1)

    def __init__(self, server):
        self.server = server
        self.number = next(self.numbers)
        self.data = b""
        self.busy = False
        self.task = None
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        self.server.connections.add(self)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc):
        self.server.connections.discard(self)
        if self.task:
            self.task.cancel()

    def data_received(self, data):
        self.data += data
        self.advance()

    def advance(self):
        while not self.busy and self.data:
            end = self.data.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.data[:end].decode("latin-1").split("\r\n")
            headers = {}
            for line in head[1:]:
                name, _, value = line.partition(":")
                headers[name.strip().lower()] = value.strip()
            length = int(headers.get("content-length", 0))
            if len(self.data) < end + 4 + length:
                return
            body = self.data[end + 4:end + 4 + length]
            self.data = self.data[end + 4 + length:]
            method, path, _ = head[0].split(" ", 2)
            self.request(method, path, headers, body)

    def request(self, method, path, headers, body):
        server = self.server

        if path.startswith("/_"):
            status, reply = server.control(method, path, body)
            self.reply(status, reply, headers)
            return

        entry = server.enter(self.number, method, path, headers, body)
        fault = server.next_fault(entry.endpoint, entry.body)

        if fault is None:
            status, reply = server.handle(entry)
            server.left(entry, status)
            self.reply(status, reply, headers)
            return

        entry.fault = fault
        self.busy = True
        self.task = asyncio.ensure_future(self.misbehave(entry, fault))

    async def misbehave(self, entry, fault):
        server = self.server

        if fault.get("delay"):
            await asyncio.sleep(fault["delay"])
        if fault.get("hold"):
            await server.held()

        status, reply = 200, {}
        for _ in range(fault.get("apply", 1)):
            status, reply = server.handle(entry)

        status = fault.get("status", status)
        reply = fault.get("body", reply)
        end = fault.get("end", "reply")

        server.left(entry, status if end == "reply" else 0)

        if end == "never":
            return
        if end == "reset":
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                            struct.pack("ii", 1, 0))
            self.transport.abort()
            return
        if end == "close":
            self.transport.close()
            return

        self.reply(status, reply, entry.headers, fault.get("headers"),
                   end == "truncate")

        if end == "truncate":
            self.transport.close()
            return

        self.task = None
        self.busy = False
        self.advance()

    def reply(self, status, body, request_headers, headers=None, cut=False):
        trace_id = uuid.uuid4().hex
        match = TRACEPARENT.match(request_headers.get("traceparent", ""))
        if match:
            trace_id = match.group(1)
        request_id = str(uuid.uuid4())

        if isinstance(body, dict) and "error" in body:
            body = dict({"request_id": request_id, "trace_id": trace_id},
                        **body)
        if not isinstance(body, str):
            body = json.dumps(body, separators=(",", ":"))
        body = body.encode()

        lines = ["HTTP/1.1 %d %s" % (status, REASONS.get(status, "Other")),
                 "Content-Type: application/json",
                 "Content-Length: %d" % len(body),
                 "X-Request-Id: " + request_id,
                 "X-Cycles-Trace-Id: " + trace_id]
        for name, value in (headers or {}).items():
            lines.append("%s: %s" % (name, value))
        close = request_headers.get("connection", "").lower() == "close"
        if close:
            lines.append("Connection: close")

        if cut:
            body = body[:len(body) // 2]
        head = "\r\n".join(lines) + "\r\n\r\n"
        self.transport.write(head.encode("latin-1") + body)
        if close:
            self.transport.close()


class Server:
    """what runs in the event loop"""

    def __init__(self, **options):
        self.options = options
        self.connections = set()
        self.condition = threading.Condition()
        self.reset()

    def reset(self):
        self.ledger = Ledger(**self.options)
        self.faults = []
        self.entries = []
        self.waiting = []

    def enter(self, connection, method, path, headers, body):
        entry = Entry()
        entry.number = len(self.entries)
        entry.time = time.monotonic()
        entry.connection = connection
        entry.endpoint = route(method, path)[0]
        entry.method = method
        entry.path = path
        entry.headers = headers
        entry.body = body
        entry.status = None
        entry.fault = None
        self.entries.append(entry)
        self.notify()
        return entry

    def left(self, entry, status):
        entry.status = status
        self.notify()

    def notify(self):
        with self.condition:
            self.condition.notify_all()

    def handle(self, entry):
        endpoint, rid = route(entry.method, entry.path)
        try:
            if endpoint is None:
                raise Refused(500, "INTERNAL_ERROR", "Internal error")
            if endpoint == "balances":
                return self.ledger.balances(entry.path)
            if endpoint == "get":
                return self.ledger.get(rid)
            try:
                request = json.loads(entry.body, object_pairs_hook=unique)
            except ValueError:
                raise Refused(400, "INVALID_REQUEST", "not JSON") from None
            return self.ledger.handle(
                endpoint, rid, request,
                entry.headers.get("x-cycles-api-key"),
                entry.headers.get("x-idempotency-key"))
        except Refused as e:
            body = {"error": e.code, "message": e.message}
            if e.details:
                body["details"] = e.details
            return e.status, body

    def add_fault(self, endpoint, fault, times=1, skip=0, match=""):
        if isinstance(fault, str):
            fault = FAULTS[fault]
        self.faults.append([endpoint, fault, times, skip, match])

    def next_fault(self, endpoint, body):
        for item in self.faults:
            if item[0] not in ("*", endpoint):
                continue
            if item[4].encode() not in body:
                continue
            if item[3] > 0:
                item[3] -= 1
                return None
            if item[2] > 0:
                item[2] -= 1
                if item[2] == 0:
                    self.faults.remove(item)
            return item[1]
        return None

    async def held(self):
        event = asyncio.Event()
        self.waiting.append(event)
        await event.wait()

    def release(self):
        waiting, self.waiting = self.waiting, []
        for event in waiting:
            event.set()

    def state(self):
        ledger = self.ledger
        ledger.expire(ledger.now())
        statuses = {}
        for reservation in ledger.reservations.values():
            statuses[reservation.status] = statuses.get(
                reservation.status, 0) + 1
        counts = {}
        for entry in self.entries:
            counts[entry.endpoint] = counts.get(entry.endpoint, 0) + 1
        return {"budgets": [b.state() for b in ledger.budgets.values()],
                "reservations": [r.state()
                                 for r in ledger.reservations.values()],
                "statuses": statuses, "sums": dict(ledger.sums),
                "requests": counts, "replays": ledger.replays,
                "mismatches": ledger.mismatches}

    def set_budget(self, scope, allocated, unit=UNITS[0], **members):
        self.ledger.budgets[scope, unit] = Budget(scope, unit, allocated,
                                                  **members)

    def control(self, method, path, body):
        name, _, query = path.partition("?")
        value = json.loads(body) if body else {}
        if name == "/_state":
            return 200, self.state()
        if name == "/_log":
            since = int(query.partition("since=")[2] or 0)
            return 200, [entry.state() for entry in self.entries[since:]]
        if method != "POST":
            return 404, {"error": "NOT_FOUND", "message": path}
        if name == "/_budgets":
            for budget in value:
                self.set_budget(**budget)
        elif name == "/_fault":
            for fault in value if isinstance(value, list) else [value]:
                self.add_fault(**fault)
        elif name == "/_release":
            self.release()
        elif name == "/_keys":
            self.ledger.keys = value
        elif name == "/_reset":
            self.reset()
        else:
            return 404, {"error": "NOT_FOUND", "message": path}
        return 200, {}


class FakeCycles:
    """the server in a thread of its own; everything here may be called from
    any other thread"""

    def __init__(self, port=0, **options):
        self.server = Server(**options)
        self.host = "127.0.0.1"
        self.port = port
        self.tls = None                     # an SSLContext; see listen()
        self.loop = asyncio.new_event_loop()
        self.listening = None
        self.thread = threading.Thread(target=self.loop.run_forever,
                                       daemon=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    @property
    def url(self):
        return "http://%s:%d" % (self.host, self.port)

    def start(self):
        self.thread.start()
        self.listen()
        return self

    def stop(self):
        self.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    def listen(self):
        """starts to listen, on the same port as before"""

        async def listen():
            return await self.loop.create_server(
                lambda: Connection(self.server), self.host, self.port,
                backlog=4096, reuse_address=True, ssl=self.tls)

        self.listening = asyncio.run_coroutine_threadsafe(
            listen(), self.loop).result(10)
        self.port = self.listening.sockets[0].getsockname()[1]

    def move(self, host):
        """to another address, with all that it knows"""

        self.close()
        self.host = host
        self.listen()

    def close(self):
        """refuses connections and drops those that it has; keeps the state"""

        def close():
            if self.listening:
                self.listening.close()
                self.listening = None
            for connection in list(self.server.connections):
                connection.transport.abort()

        self._call(close)

    def _call(self, function, *args, **kwargs):
        async def call():
            return function(*args, **kwargs)

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(10)

    def budget(self, scope, allocated, unit=UNITS[0], **members):
        self._call(self.server.set_budget, scope, allocated, unit, **members)

    def fault(self, endpoint, fault, times=1, skip=0, match=""):
        self._call(self.server.add_fault, endpoint, fault, times, skip, match)

    def clear_faults(self):
        self._call(self.server.faults.clear)

    def keys(self, keys):
        """{key: tenant}; None: any key, and the tenant is the subject's"""

        def set_keys():
            self.server.ledger.keys = keys

        self._call(set_keys)

    def release(self):
        self._call(self.server.release)

    def reset(self):
        self._call(self.server.reset)

    def log(self, endpoint=None):
        return [entry for entry in list(self.server.entries)
                if endpoint in (None, entry.endpoint)]

    def count(self, endpoint=None):
        return len(self.log(endpoint))

    def state(self):
        return self._call(self.server.state)

    def scope(self, scope, unit=UNITS[0]):
        def get():
            self.server.ledger.expire(self.server.ledger.now())
            return self.server.ledger.budgets[scope, unit].state()

        return self._call(get)

    def wait(self, predicate, timeout=10):
        """waits for a condition that only changes with requests or replies,
        or with time; AssertionError when it does not come true"""

        deadline = time.monotonic() + timeout
        while not predicate():
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError("timed out, log: %s" % [
                    (e.endpoint, e.status) for e in self.log()][-20:])
            with self.server.condition:
                self.server.condition.wait(min(left, 0.05))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--budget", action="append", default=[],
                        metavar="SCOPE=AMOUNT")
    parser.add_argument("--max-extensions", type=int, default=10)
    args = parser.parse_args()

    cycles = FakeCycles(args.port, max_extensions=args.max_extensions).start()
    for budget in args.budget:
        scope, _, allocated = budget.rpartition("=")
        cycles.budget(scope, int(allocated))

    print(cycles.port, flush=True)

    try:
        cycles.thread.join()
    except KeyboardInterrupt:
        cycles.stop()


if __name__ == "__main__":
    sys.exit(main())
