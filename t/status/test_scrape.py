# Copyright (C) nginx-cycles authors

"""What a scrape with more than ten thousand series costs a worker that has
other things to do."""

import concurrent.futures
import os
import threading
import time

import gateway
from gateway import Conn, chat_request, request
from _scrape import check, samples, scrape


MODELS = 2100

# of CPU; a build with sanitizers is another thing

LIMIT_MS = 100 if os.environ.get('ASAN_OPTIONS') else 5


def cpu_ms(pid):
    with open('/proc/%d/schedstat' % pid) as file:
        return int(file.read().split()[0]) / 1e6


def test_ten_thousand_series(nginx):
    ng = nginx(workers=1, log_level='warn', http='''
        cycles_zone 16m;
        keepalive_requests 1000000;
        cycles_ledger main path=%%DIR%%/ledger budgets=%%DIR%%/budgets.json;
        upstream provider { server 127.0.0.1:%%STUB%%; keepalive 8; }
        server {
            listen 127.0.0.1:%%STUB%%;
            access_log off;
            default_type application/json;
            return 200 '{"usage":{"prompt_tokens":10,"completion_tokens":5}}';
        }
    ''', server='''
        location / {
            cycles on;
            cycles_authority ledger=main;
            cycles_subject tenant $http_x_tenant;
            cycles_unit TOKENS;
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }
    ''', files={'budgets.json': gateway.budgets(('tenant:acme', 10 ** 15),
                                                unit='TOKENS')},
        stub=gateway.free_port())

    def ask(conn, model):
        path, headers, body = chat_request(tenant='acme', model=model)
        conn.send_request('POST', path, headers, body)
        assert conn.read_response().status == 200

    with Conn(ng.port) as conn:
        for i in range(MODELS):
            ask(conn, 'vendor/some-model-of-2026-%04d' % i)

    text = scrape(ng)
    check(text)
    found = samples(text)
    assert len({item[1].get('model') for item in found}) > MODELS
    assert len(found) > 10000

    worker = ng.workers()[0]
    costs = []
    for _ in range(15):
        before = cpu_ms(worker)
        assert request(ng.status_port, path='/?format=prometheus'
                       ).status == 200
        costs.append(cpu_ms(worker) - before)
    cost = sorted(costs)[len(costs) // 2]

    # and while it has other requests

    stop = threading.Event()

    def load():
        with Conn(ng.port) as conn:
            while not stop.is_set():
                ask(conn, 'vendor/some-model-of-2026-0001')

    waits = []
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(load) for _ in range(4)]
        try:
            for _ in range(15):
                before = time.monotonic()
                assert request(ng.status_port, path='/?format=prometheus'
                               ).status == 200
                waits.append((time.monotonic() - before) * 1000)
        finally:
            stop.set()
    for future in futures:
        future.result()

    if os.environ.get('SCRAPE_FIGURES'):
        with open(os.environ['SCRAPE_FIGURES'], 'w') as file:
            file.write('%d series, %d bytes: %.2f ms of CPU, %.2f ms until '
                       'it was read under load\n'
                       % (len(found), len(text), cost,
                          sorted(waits)[len(waits) // 2]))
    assert cost < LIMIT_MS
