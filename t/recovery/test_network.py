# Copyright (C) nginx-cycles authors

"""What lies between nginx and a Cycles server fails or changes: its name, its
certificate.  Each is an outage that the log explains, and nothing is lost over
it.  And logs are reopened without any harm to the ledger or the journal."""

import os
import re
import signal
import ssl
import subprocess

import pytest

from gateway import Conn, Gate, chat_stream, process_title, wait_until
from authorities import Server, authority, cost
from dns import NXDOMAIN, SERVFAIL, SILENT, Dns
from journal import Journal


BUDGET = 10 ** 9

LOCATION = '''
    cycles_timeout 2s;
    cycles_connect_timeout 500ms;
    cycles_retry initial=20ms max=100ms;
    cycles_breaker off;
'''

JOURNAL = 'cycles_journal path=%%DIR%%/journal replay=200ms;'


def outage(ng, says):
    """A request is told to come back; the log says why."""

    mark = len(ng.error_log())
    r = ng.chat(tenant='acme')
    assert r.status == 503
    assert r.header('X-Cycles-Decision') == 'OUTAGE_DENY'
    assert r.header('Retry-After')
    text = ng.error_log()[mark:]
    assert re.search(says, text), text
    assert re.search(r'\[error\].*cycles reserve of key .*status 50\d, '
                     r'giving up', text)
    assert re.search(r'\[error\].*denying request, authority "@cycles" is '
                     r'unavailable', text)


# --------------------------------------------------------------- its name


class Named(Server):
    """At a name that is looked up while nginx runs."""

    def __init__(self, dns, **kw):
        super().__init__({'tenant:acme': BUDGET}, **kw)
        self.dns = dns

    def http(self):
        return ''

    def server(self):
        return '''
            location @cycles {
                resolver 127.0.0.1:%d valid=1s ipv6=off;
                resolver_timeout 1s;
                set $cycles_host cycles.test;
                proxy_pass http://$cycles_host:%d;
            }
        ''' % (self.dns.port, self.cycles.port)


@pytest.fixture
def named(nginx, provider):
    with Dns('127.0.0.1') as dns, Named(dns) as who:
        ng = who.attach(nginx(**who.gateway(
            provider, location=LOCATION, http=JOURNAL)))
        yield ng, who, dns


def test_the_server_moves(named, provider):
    """The name leads to another address; until that is known there is an
    outage, and what is owed is paid at the new one."""

    ng, who, dns = named
    gate = Gate()
    provider.script(chat_stream(3, gates={1: gate}))

    with Conn(ng.port) as conn:
        conn.send_chat(tenant='acme', stream=True, max_tokens=100)
        gate.wait_reached()

        who.cycles.move('127.0.0.2')
        outage(ng, r'connect\(\) failed')
        gate.open()
        assert conn.read_response().complete

    journal = Journal(ng.path('journal'))
    wait_until(lambda: len(journal.files()) == 1)
    assert who.cycles.count('commit') == 0

    dns.answer = '127.0.0.2'
    wait_until(lambda: ng.chat(tenant='acme').status == 200)
    journal.wait_empty()
    who.settled()
    assert who.check_sums()['charged'] == cost(10, 3) + cost(10, 5)


@pytest.mark.parametrize('answer, says', [
    (SERVFAIL, r'cycles\.test could not be resolved \(2: Server failure\)'),
    (NXDOMAIN, r'cycles\.test could not be resolved \(3: Host not found\)'),
    (SILENT, r'cycles\.test could not be resolved \(110: ')],
    ids=['failure', 'not found', 'silent'])
def test_the_name_is_not_found(named, answer, says):
    ng, who, dns = named
    dns.answer = answer
    outage(ng, says)
    assert who.cycles.log() == []
    dns.answer = '127.0.0.1'
    wait_until(lambda: ng.chat(tenant='acme').status == 200)
    who.settled()
    assert who.audit()['charged'] == cost(10, 5)


# -------------------------------------------------------- its certificate


@pytest.fixture(scope='module')
def certificates(tmp_path_factory):
    """A directory with NAME.pem and NAME.key: ca and other, which have signed
    themselves; and of ca good, expired and elsewhere; foreign is of other."""

    path = tmp_path_factory.mktemp('certificates')
    key = ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1',
           '-nodes')

    def openssl(*args):
        subprocess.run(('openssl',) + args, check=True, cwd=path,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    # a newer "openssl x509" refuses to make what has expired already

    (path / 'config').write_text('\n'.join((
        '[ca]', 'default_ca = it', '[it]', 'database = index',
        'unique_subject = no', 'new_certs_dir = .', 'rand_serial = yes',
        'default_md = sha256', 'policy = it_has', '[it_has]',
        'commonName = supplied', '')))
    (path / 'index').touch()

    def make(name, host='cycles.test', ca='ca', valid=('-days', '2')):
        (path / 'names').write_text('subjectAltName=DNS:' + host)
        openssl('req', *key, '-keyout', name + '.key', '-out', 'req.pem',
                '-subj', '/CN=' + host)
        openssl('ca', '-batch', '-notext', '-config', 'config', '-in',
                'req.pem', '-cert', ca + '.pem', '-keyfile', ca + '.key',
                '-out', name + '.pem', *valid, '-extfile', 'names')

    for name in 'ca', 'other':
        openssl('req', '-x509', *key, '-keyout', name + '.key', '-out',
                name + '.pem', '-subj', '/CN=' + name, '-days', '2')
    make('good')
    make('expired', valid=('-startdate', '20200101000000Z',
                           '-enddate', '20200102000000Z'))
    make('elsewhere', host='elsewhere.test')
    make('foreign', ca='other')
    return path


class Secure(Server):

    def __init__(self, certificates, **kw):
        super().__init__({'tenant:acme': BUDGET}, **kw)
        self.certificates = certificates
        self.show('good')

    def show(self, name):
        """From now on it has this certificate."""

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificates / (name + '.pem'),
                                self.certificates / (name + '.key'))
        self.cycles.tls = context

    def http(self):
        return '''
            upstream cycles {
                server 127.0.0.1:%d max_fails=0;
                keepalive 16;
            }
        ''' % self.cycles.port

    def server(self):
        return '''
            location @cycles {
                proxy_pass https://cycles;
                proxy_ssl_name cycles.test;
                proxy_ssl_server_name on;
                proxy_ssl_verify on;
                proxy_ssl_session_reuse off;   # nginx would leak one
                proxy_ssl_trusted_certificate %%DIR%%/ca.pem;
            }
        '''

    def files(self):
        return {'ca.pem': (self.certificates / 'ca.pem').read_text()}


@pytest.mark.parametrize('bad, says', [
    ('foreign', r'certificate verify error: \(\d+:unable to verify'),
    ('expired', r'certificate verify error: \(\d+:certificate has expired'),
    ('elsewhere', r'certificate does not match "cycles\.test"')],
    ids=['foreign', 'expired', 'elsewhere'])
def test_the_certificate_is_wrong(nginx, provider, certificates, bad, says):
    """Nothing is sent to whoever that is; with what is under way, too."""

    with Secure(certificates) as who:
        ng = who.attach(nginx(**who.gateway(
            provider, location=LOCATION, http=JOURNAL)))
        gate = Gate()
        provider.script(chat_stream(3, gates={1: gate}))

        with Conn(ng.port) as conn:
            conn.send_chat(tenant='acme', stream=True, max_tokens=100)
            gate.wait_reached()

            who.cycles.close()
            who.show(bad)
            who.cycles.listen()
            seen = who.cycles.count()
            outage(ng, says)
            gate.open()
            assert conn.read_response().complete

        journal = Journal(ng.path('journal'))
        journal.wait_record()
        ng.wait_error_log(r'commit.*reservation "[^"]+".*status 502.*trying '
                          r'again')
        assert who.cycles.count() == seen

        who.cycles.close()
        who.show('good')
        who.cycles.listen()
        journal.wait_empty()
        assert ng.chat(tenant='acme').status == 200
        who.settled()
        assert who.check_sums()['charged'] == cost(10, 3) + cost(10, 5)


# ------------------------------------------------------- logs are reopened


@pytest.mark.parametrize('kind', ['ledger', 'cycles'])
def test_logs_are_reopened(nginx, provider, kind):
    """USR1, with a stream and a settlement under way: only nginx's own logs
    are other files then."""

    with authority(kind, {'tenant:acme': BUDGET}) as who:
        ng = who.attach(nginx(**who.gateway(
            provider, location=LOCATION,
            http=JOURNAL if who.remote else '')))
        gate = Gate()
        provider.script(chat_stream(3, gates={1: gate}))

        with Conn(ng.port) as conn:
            conn.send_chat(tenant='acme', stream=True, max_tokens=100)
            gate.wait_reached()
            before = open_files(ng)

            for name in 'access.log', 'error.log':
                os.rename(ng.path(name), ng.path(name + '.1'))
            ng.send_signal(signal.SIGUSR1)
            wait_until(lambda: os.path.exists(ng.path('access.log'))
                       and not any(path.endswith('.log.1')
                                   for path in open_files(ng)))
            assert before <= open_files(ng)

            gate.open()
            assert conn.read_response().complete

        assert ng.chat(tenant='acme').status == 200
        who.settled()
        assert who.audit()['charged'] == cost(10, 3) + cost(10, 5)
        assert len(ng.wait_access_log(2)) == 2
        with open(ng.path('access.log.1')) as file:
            assert file.read() == ''
        assert not any(process_title(pid) == '' for pid in ng.workers())


def open_files(ng):
    """Names below its directory that its workers have open; the tables of a
    ledger are open while they are written to."""

    found = set()
    for pid in ng.workers():
        for fd in os.listdir('/proc/%d/fd' % pid):
            try:
                path = os.readlink('/proc/%d/fd/%s' % (pid, fd))
            except FileNotFoundError:
                continue
            if path.startswith(ng.dir) and 'ledger.db' not in path:
                found.add(path)
    return found
