# Copyright (C) nginx-cycles authors

"""The directory of "cycles_journal", read and written as another program of
the protocol would do it: from the documented format, with none of our code."""

import glob
import hashlib
import json
import os
import pwd

import gateway
from gateway import wait_until


def identity(base_url, tenant=None, api_key=''):
    """The directory of what one principal owes to one server."""

    who = ('tenant\n' + tenant if tenant and tenant.strip()
           else 'key\n' + api_key)
    digest = hashlib.pbkdf2_hmac('sha256', who.encode(),
                                 b'runcycles-commit-journal\n'
                                 + base_url.encode(), 30000)
    return digest.hex()[:16]


def file_name(reservation_id):
    return ('v2-' + hashlib.sha256(reservation_id.encode()).hexdigest()
            + '.json')


class Journal:

    def __init__(self, path, base_url='http://cycles'):
        self.path = path
        self.base_url = base_url

    def files(self, pattern='*.json'):
        return sorted(glob.glob(os.path.join(self.path, '*', pattern)))

    def records(self):
        """{path: record} of what can be read; files may go meanwhile."""

        found = {}
        for path in self.files():
            try:
                with open(path) as file:
                    found[path] = json.load(file)
            except FileNotFoundError:
                pass
        return found

    def record(self):
        """The only one."""

        (path, record), = self.records().items()
        return path, record

    def text(self):
        """All that is written anywhere in it."""

        text = ''
        for path in glob.glob(self.path + '/**', recursive=True):
            if os.path.isfile(path):
                with open(path, errors='replace') as file:
                    text += path + '\n' + file.read()
        return text

    def wait_empty(self, timeout=None):
        wait_until(lambda: not self.files(), timeout, 'an empty journal')

    def wait_record(self, check=lambda record: True, timeout=None):
        return wait_until(lambda: [(p, r) for p, r in self.records().items()
                                   if check(r)], timeout, 'a record')[0]

    def put(self, name, contents, tenant='acme'):
        """A file of the nginx user, as its workers would have left it."""

        where = os.path.join(self.path, identity(self.base_url, tenant))
        os.makedirs(where, mode=0o700, exist_ok=True)
        path = os.path.join(where, name)
        if not isinstance(contents, str):
            contents = json.dumps(contents)
        with open(path, 'w') as file:
            file.write(contents)
        os.chmod(path, 0o600)
        if os.geteuid() == 0:
            user = pwd.getpwnam(gateway.USER)
            for item in self.path, where, path:
                os.chown(item, user.pw_uid, user.pw_gid)
        return path


def commit_record(reservation_id, amount, base_url='http://cycles',
                  tenant='acme', key='key-1', **members):
    """What an SDK writes before its first commit."""

    actual = {'unit': 'USD_MICROCENTS', 'amount': amount}
    record = {
        'version': 1, 'reservation_id': reservation_id, 'base_url': base_url,
        'mode': 'commit',
        'commit_body': {'idempotency_key': key, 'actual': actual},
        'event_fallback_body': {
            'idempotency_key': key, 'subject': {'tenant': tenant},
            'action': {'kind': 'llm.completion', 'name': 'openai:gpt-4o'},
            'actual': actual,
            'metadata': {'recovered_reservation_id': reservation_id,
                         'recovery_reason':
                             'commit_after_reservation_expired'}},
        'recorded_at_ms': 1790000000000, 'not_before_ms': None}
    record.update(members)
    return record
