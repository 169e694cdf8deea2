# Copyright (C) nginx-cycles authors

"""The embedded ledger in the life of nginx: start, test, reload, upgrade, a
second nginx, a single process, a disk that is full or has to be waited for."""

import os
import pwd
import signal
import subprocess

import pytest

import gateway
from daemon import running
from gateway import (Gate, HarnessError, Nginx, USER, budgets, chat_stream,
                     ledger_gateway, wait_until)


COST = 4500000                  # of one answer of the fake provider


def spent(ng, scope='tenant:acme'):
    return ng.budget(scope)['spent']


def ask(ng, n=1):
    for _ in range(n):
        r = ng.chat(tenant='acme')
        assert r.status == 200, r
    wait_until(lambda: ng.live_reservations() == 0)


def ledger_args(provider, *entries, **kw):
    return ledger_gateway(provider, *(entries or (('tenant:acme', 10 ** 12),)),
                          **kw)


# what the status tells

def test_status(nginx, provider):
    ng = nginx(**ledger_args(provider, ('tenant:acme', 10 ** 12),
                             ('tenant:acme/workspace:w', 2 ** 53 + 1),
                             ledger='zone=2m'))
    declared = ng.status()['ledgers']['main']['records']
    wait_until(lambda: ng.status()['ledgers']['main']['synced'] == declared)
    ask(ng)

    status = ng.status()
    main = status['ledgers']['main']

    assert status['live_reservations'] == main['live_reservations'] == 0
    assert main['budget_count'] == 2
    assert main['zone_size'] == 2 * 1024 * 1024
    assert 0 < main['zone_used'] < main['zone_size']
    assert main['records'] == declared + 2
    assert main['log_size'] == os.path.getsize(
        ng.path('ledger/log-00000000000000000001.bin'))
    assert main['sync'] == 'interval'
    assert main['budgets'] == status['budgets']

    first, second = status['budgets']
    assert first['scope'] == first['scope_path'] == 'tenant:acme'
    assert second['scope'] == 'workspace:w'
    assert second['scope_path'] == 'tenant:acme/workspace:w'
    assert second['allocated'] == {'unit': 'USD_MICROCENTS',
                                   'amount': 2 ** 53 + 1}
    assert (first['remaining']['amount'] + first['spent']['amount']
            + first['reserved']['amount'] + first['debt']['amount']
            == first['allocated']['amount'])
    assert first['is_over_limit'] is False

    # written in the background, well within the second

    wait_until(lambda: ng.status()['ledgers']['main']['synced']
               == main['records'])


def test_two_ledgers(nginx, provider):
    args = ledger_args(provider)
    args['http'] += '''
        cycles_ledger other path=%%DIR%%/other budgets=%%DIR%%/other.json;
    '''
    args['server'] += '''
        location /other {
            cycles on;
            cycles_authority ledger=other;
            cycles_subject tenant $http_x_tenant;
            proxy_pass http://provider/v1/chat/completions;
        }
    '''
    args['files']['other.json'] = budgets(('tenant:acme', 7))
    ng = nginx(**args)

    assert ng.chat(tenant='acme').status == 200
    assert ng.chat(tenant='acme', path='/other').status == 429

    status = ng.status()
    assert sorted(status['ledgers']) == ['main', 'other']
    assert len(status['budgets']) == 2
    assert status['ledgers']['other']['budgets'][0]['allocated'][
        'amount'] == 7


# who creates what

def test_directory(nginx, provider):
    args = ledger_args(provider)
    args['http'] = args['http'].replace('/ledger', '/made/')
    ng = nginx(**args)
    ask(ng)

    st = os.stat(ng.path('made'))
    assert st.st_mode & 0o777 == 0o700

    if os.geteuid() == 0:
        user = pwd.getpwnam(USER).pw_uid
        assert st.st_uid == user
        for name in os.listdir(ng.path('made')):
            st = os.stat(ng.path('made/' + name))
            assert st.st_uid == user
            assert st.st_mode & 0o777 == 0o600


def files(ng):
    """All but ledger.db, which nginx writes to when it likes."""

    found = {}
    for name in sorted(os.listdir(ng.path('ledger'))):
        if name.startswith('ledger.db'):
            continue
        with open(ng.path('ledger/' + name), 'rb') as file:
            found[name] = file.read()
    return found


def nginx_t(ng):
    return subprocess.run(ng._argv('-t'), capture_output=True, text=True,
                          env=ng._environ(leaks=False))


def test_nginx_t_leaves_it_alone(nginx, provider):
    ng = nginx(**ledger_args(provider))
    ask(ng)

    before = files(ng)
    with open(ng.path('budgets.json'), 'w') as file:
        file.write(budgets(('tenant:acme', 5)))

    result = nginx_t(ng)
    assert result.returncode == 0, result.stderr
    assert files(ng) == before
    assert ng.budget('tenant:acme')['allocated'] == 10 ** 12
    ask(ng)

    with open(ng.path('budgets.json'), 'w') as file:
        file.write('{"budgets":[{}]}')

    result = nginx_t(ng)
    assert result.returncode != 0
    assert 'budgets[0].scope is missing' in result.stderr
    ng.allow.append('scope is missing')
    ask(ng)


def test_nginx_t_of_a_new_one(provider):
    ng = Nginx(**ledger_args(provider))
    try:
        assert nginx_t(ng).returncode == 0
        assert os.listdir(ng.path('ledger')) == []
    finally:
        ng.close()


# reload

def test_reload_applies_budgets(nginx, provider):
    ng = nginx(**ledger_args(provider))
    ask(ng)
    was = spent(ng)
    assert was > 0
    records = ng.status()['ledgers']['main']['records']

    ng.reload()
    assert ng.status()['ledgers']['main']['records'] == records
    assert spent(ng) == was

    ng.files['budgets.json'] = budgets(('tenant:acme', was),
                                       ('tenant:new', 10 ** 12))
    ng.write_conf()
    ng.reload()

    assert spent(ng) == was
    assert ng.budget('tenant:acme')['remaining'] == 0
    assert ng.chat(tenant='acme').status == 429
    assert ng.chat(tenant='new').status == 200


def failed_reload(ng, says):
    mark = len(ng.error_log())
    ng.send_signal(signal.SIGHUP)
    wait_until(lambda: '[emerg]' in ng.error_log()[mark:])
    lines = [line for line in ng.error_log()[mark:].splitlines()
             if '[emerg]' in line]
    assert len(lines) == 1
    assert says in lines[0]
    ng.allow.append(says.replace('[', r'\[').replace(']', r'\]'))


def test_failed_reload(nginx, provider):
    ng = nginx(**ledger_args(provider, ledger='zone=1m'))
    ask(ng)
    workers = ng.workers()

    ng.files['budgets.json'] = '{"budgets":[{"scope":"x:y"}]}'
    ng.write_conf()
    failed_reload(ng, 'budgets[0].unit is missing')
    ask(ng)

    # more than the zone can hold, which only the running ledger knows

    ng.files['budgets.json'] = {'budgets': [
        {'scope': 'app:number-%d' % n, 'unit': 'TOKENS',
         'allocated': {'unit': 'TOKENS', 'amount': 5}}
        for n in range(12000)]}
    ng.write_conf()
    failed_reload(ng, 'need a larger zone')
    ask(ng)

    assert ng.workers() == workers
    assert ng.status()['ledgers']['main']['budget_count'] == 1


def test_reload_with_another_zone(nginx, provider):
    ng = nginx(**ledger_args(provider, ledger='zone=2m'))
    ask(ng)
    was = spent(ng)

    ng.reconfigure(http=ng.texts['HTTP'].replace('zone=2m', 'zone=4m'))
    assert 'until nginx is restarted' in ng.error_log()
    assert spent(ng) == was
    assert ng.status()['ledgers']['main']['zone_size'] == 2 * 1024 * 1024

    ng.quit()
    ng.start()
    assert spent(ng) == was
    assert ng.status()['ledgers']['main']['zone_size'] == 4 * 1024 * 1024


def test_reload_with_another_path_and_back(nginx, provider):
    ng = nginx(**ledger_args(provider))
    ask(ng)
    was = spent(ng)
    http = ng.texts['HTTP']

    ng.reconfigure(http=http.replace('%%DIR%%/ledger', '%%DIR%%/second'))
    assert spent(ng) == 0
    ask(ng, 2)
    assert spent(ng) == 2 * was

    ng.reconfigure(http=http)
    assert spent(ng) == was
    ask(ng)
    assert spent(ng) == 2 * was


def test_reload_while_a_stream_runs(nginx, provider):
    ng = nginx(**ledger_args(provider))
    gate = Gate()
    provider.script(chat_stream(4, gates={2: gate}))

    with ng.connect() as conn:
        conn.send_chat(tenant='acme', stream=True)
        gate.wait_reached()
        assert ng.live_reservations() == 1
        ng.reload()
        assert ng.live_reservations() == 1
        gate.open()
        assert conn.read_response().complete

    wait_until(lambda: ng.live_reservations() == 0)
    assert spent(ng) > 0


# more than one nginx

def test_a_second_nginx(nginx, provider):
    ng = nginx(**ledger_args(provider))
    ask(ng)

    args = ledger_args(provider)
    args['http'] = args['http'].replace('%%DIR%%/ledger',
                                        ng.path('ledger'))
    other = Nginx(**args)

    try:
        with pytest.raises(HarnessError) as error:
            other.start()
        assert ('ledger "%s" is in use by the nginx with pid %d'
                % (ng.path('ledger'), ng.master)) in str(error.value)
    finally:
        other.close()

    ask(ng)


def holders(ng):
    """Who has the ledger open, behind the line of the boot."""

    with open(ng.path('ledger/lock')) as file:
        boot, *lines = file.read().splitlines()
    with open('/proc/sys/kernel/random/boot_id') as file:
        assert boot == 'boot ' + file.read().strip()
    return [int(line.split()[0]) for line in lines]


def test_binary_upgrade(daemon, provider):
    ng = daemon(**ledger_args(provider))
    old = ng.pid
    ask(ng)
    was = spent(ng)

    gate = Gate()
    provider.script(chat_stream(4, gates={2: gate}))

    with ng.connect() as conn:
        conn.send_chat(tenant='acme', stream=True)
        gate.wait_reached()

        ng.pid = ng.upgrade()
        ask_both(ng)
        assert spent(ng) == 21 * was
        assert ng.live_reservations() == 1

        os.kill(old, signal.SIGQUIT)
        gate.open()
        assert conn.read_response().complete

    wait_until(lambda: not running(old))

    # the new one alone, which is as good as any other

    wait_until(lambda: ng.live_reservations() == 0)
    now = spent(ng)
    assert now > 21 * was
    ask(ng)
    assert spent(ng) == now + was

    assert ng.pid in holders(ng)

    ng.end(ng.pid)
    ng.start()
    assert spent(ng) == now + was
    ask(ng)


def ask_both(ng):
    """Enough requests that both masters' workers have answered some."""

    for _ in range(20):
        assert ng.chat(tenant='acme').status == 200
    wait_until(lambda: ng.live_reservations() == 1)


def test_upgrade_with_another_zone(daemon, provider):
    ng = daemon(**ledger_args(provider, ledger='zone=2m'))
    ask(ng)

    ng.texts['HTTP'] = ng.texts['HTTP'].replace('zone=2m', 'zone=4m')
    ng.write_conf()
    ng.send_signal(signal.SIGUSR2)
    ng.wait_error_log("can't be changed by a binary upgrade")
    ng.allow.append("can't be changed by a binary upgrade")
    wait_until(lambda: os.path.exists(ng.path('nginx.pid')))

    ask(ng)


# without a master

def test_single_process(nginx, provider):
    ng = nginx(**ledger_args(provider, main='master_process off;',
                             workers=0))
    ask(ng, 2)
    was = spent(ng)
    assert was > 0

    assert holders(ng) == [ng.master]

    ng.quit()
    ng.start()
    assert spent(ng) == was


# durability

def test_sync_always(nginx, provider):
    ng = nginx(**ledger_args(provider, ledger='sync=always'))
    declared = ng.status()['ledgers']['main']['records']

    def one(n):
        return ng.chat(tenant='acme').status

    assert gateway.parallel(40, one, threads=16) == [200] * 40
    wait_until(lambda: ng.live_reservations() == 0)

    main = ng.status()['ledgers']['main']
    assert main['sync'] == 'always'
    assert main['records'] == declared + 80

    wait_until(lambda: ng.status()['ledgers']['main']['synced']
               == declared + 80)
    assert all(line['cycles_settlement'] in ('commit', 'pending')
               for line in ng.access_log())


def test_sync_always_denial_is_not_delayed(nginx, provider):
    ng = nginx(**ledger_args(provider, ('tenant:acme', 5),
                             ledger='sync=always'))
    declared = ng.status()['ledgers']['main']['records']
    assert ng.chat(tenant='acme').status == 429
    assert ng.status()['ledgers']['main']['records'] == declared


def test_sync_always_replay_of_a_key(nginx, provider):
    ng = nginx(**ledger_args(
        provider, ledger='sync=always',
        location='cycles_idempotency_key $http_idempotency_key;'))

    for _ in range(3):
        r = ng.chat(tenant='acme', headers={'Idempotency-Key': 'same'})
        assert r.status == 200

    wait_until(lambda: ng.live_reservations() == 0)


# expiry without traffic

def test_expiry_by_timer(nginx, provider):
    ng = nginx(**ledger_args(
        provider, location='cycles_ttl 1s; cycles_grace_period 0;'))
    gate = Gate()
    provider.script(chat_stream(4, gates={2: gate}))

    with ng.connect() as conn:
        conn.send_chat(tenant='acme', stream=True)
        gate.wait_reached()
        assert ng.budget('tenant:acme')['reserved'] > 0
        ng.kill9()

    ng.start()
    wait_until(lambda: ng.budget('tenant:acme')['reserved'] == 0)
    status = ng.status()
    assert status['live_reservations'] == 0
    assert status['ledgers']['main']['expired'] == 1
    gate.open()


# a damaged log

def test_torn_log(nginx, provider):
    ng = nginx(**ledger_args(provider))
    ask(ng)
    was = spent(ng)
    ng.quit()

    with open(ng.path('ledger/log-00000000000000000001.bin'), 'ab') as file:
        file.write(b'\1\2\3')

    ng.start()
    assert 'the last 3 bytes of' in ng.error_log()
    assert spent(ng) == was


def test_damaged_log(provider):
    ng = Nginx(**ledger_args(provider))

    try:
        ng.start()
        ask(ng, 3)
        ng.quit()
        ng.check()

        log = ng.path('ledger/log-00000000000000000001.bin')
        with open(log, 'r+b') as file:
            file.seek(150)
            file.write(b'\xff')
        with open(log, 'rb') as file:
            before = file.read()

        with pytest.raises(HarnessError) as error:
            ng.start()
        assert 'is damaged at offset' in str(error.value)
        assert 'restore the file from a backup' in str(error.value)
        with open(log, 'rb') as file:
            assert file.read() == before
    finally:
        ng.close()


# a full disk

@pytest.fixture
def small_disk(provider):
    """An nginx whose ledger is on a disk of 8 MB."""

    if os.geteuid() != 0:
        pytest.skip('a small disk needs root')

    ng = Nginx(**ledger_args(
        provider, location='cycles_ttl 60s;', allow=["can't take",
                                                        'ledger.db']))
    path = ng.path('ledger')
    user = pwd.getpwnam(USER)
    done = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', 'size=8m,mode=700,uid=%d,gid=%d'
         % (user.pw_uid, user.pw_gid), 'tmpfs', path], capture_output=True)
    if done.returncode != 0:
        ng.close()
        pytest.skip('cannot mount: %s' % done.stderr)

    try:
        yield ng
    finally:
        ng.stop()
        subprocess.run(['umount', path], check=True)
        ng.close()


def all_folded(ng):
    main = ng.status()['ledgers']['main']
    return main['folded'] == main['records']


def fill(path):
    with open(path, 'ab', buffering=0) as file:
        try:
            while True:
                file.write(b'x' * 4096)
        except OSError:
            pass


def test_full_disk(small_disk, provider):
    ng = small_disk.start()
    ask(ng)

    gates = [Gate() for _ in range(4)]
    conns = []
    for gate in gates:
        provider.script(chat_stream(4, gates={2: gate}))
        conn = ng.connect()
        conn.send_chat(tenant='acme', stream=True)
        gate.wait_reached()
        conns.append(conn)

    fill(ng.path('ledger/ballast'))

    # what was preallocated is used up at some time

    def denied():
        return 503 in gateway.parallel(
            200, lambda n: ng.chat(tenant='acme').status, threads=16)

    wait_until(denied)
    assert ng.live_reservations() == 4
    assert 'can\'t take reservations: no room for the log' in ng.error_log()
    was = spent(ng)

    for gate, conn in zip(gates, conns):
        gate.open()
        assert conn.read_response().complete
        conn.close()

    wait_until(lambda: ng.live_reservations() == 0)
    assert spent(ng) > was
    was = spent(ng)

    os.unlink(ng.path('ledger/ballast'))
    ask(ng)
    assert spent(ng) > was
    was = spent(ng)
    wait_until(lambda: all_folded(ng))

    ng.quit()
    ng.start()
    assert spent(ng) == was
    assert "can't be settled" not in ng.error_log()
    ng.check()
