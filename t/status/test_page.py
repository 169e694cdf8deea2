# Copyright (C) nginx-cycles authors

"""The page of cycles_status in Chromium: what a person sees and does there.
Its pictures are in build/screenshots."""

import json
import os
import re

import pytest

import gateway
from browser import Browser
from gateway import Conn, Gate, chat, chat_stream, ledger_gateway, request
from _scrape import BUILD


AXE = os.path.join(BUILD, 'sdks', 'node_modules', 'axe-core', 'axe.min.js')
SHOTS = os.path.join(BUILD, 'screenshots')

LOADED = 'Number(document.body.dataset.cycle) > 0'

SCOPES = [
    ('tenant:acme', 50 * 10 ** 8, {'period': {
        'type': 'calendar', 'every': 'month', 'timezone': 'Europe/Berlin'}}),
    ('tenant:acme/workspace:production', 10 ** 7),
    ('tenant:acme/workspace:production/app:chatbot', 10 ** 7),
    ('tenant:acme/workspace:research', 5 * 10 ** 8),
    ('tenant:globex', 10 ** 7, {'period': {
        'type': 'rolling', 'seconds': 86400}}),
    ('tenant:initech', 1000),
    ('tenant:umbrella', 10 ** 9)]


@pytest.fixture(scope='module')
def browser():
    with Browser() as found:
        yield found


def url(ng):
    return 'http://127.0.0.1:%d/' % ng.status_port


def opened(browser, ng, every=2, **kw):
    page = browser.page(**kw)
    page.open(url(ng))
    page.wait(LOADED)
    if every:
        page.js('document.getElementById("every").value = "%d";'
                'document.getElementById("every").dispatchEvent('
                'new Event("change"))' % every)
    return page


def shot(page, name, full=True):
    page.shot(os.path.join(SHOTS, name + '.png'), full)


def accessible(page):
    """Nothing that axe calls serious or critical."""

    with open(AXE) as file:
        page.js(file.read() + '; 0')
    found = json.loads(page.js(
        'axe.run(document, {resultTypes: ["violations"]})'
        '.then((r) => JSON.stringify(r.violations))'))
    assert [(item['id'], item['impact'], node['html'][:200],
             node.get('failureSummary'))
            for item in found if item['impact'] in ('serious', 'critical')
            for node in item['nodes']] == []


def clean(page, ng):
    """No script has failed, the policy had nothing to forbid, and nobody else
    was asked."""

    assert page.errors == []
    assert {re.match(r'\w+://[^/]+/', address)[0]
            for address in page.requests} == {url(ng)}


@pytest.fixture
def busy(nginx, provider):
    """A gateway with some of everything, and three streams under way."""

    ng = nginx(**ledger_gateway(provider, *SCOPES, location='''
        cycles_subject app $http_x_app;
        cycles_price fast input_cost_per_token=1e-07
                          output_cost_per_token=4e-07;
    '''))

    provider.default = chat(prompt=9000, completion=2500, cached=4000,
                            reasoning=300)

    def ask(n, tenant, workspace='', app='', **kw):
        for _ in range(n):
            path, headers, body = gateway.chat_request(tenant=tenant, **kw)
            headers = dict(headers)
            headers.update({'X-Workspace': workspace, 'X-App': app})
            ng.post(path, body, headers)

    ask(20, 'acme', 'production', 'chatbot')
    ask(6, 'acme', 'research', model='fast')
    ask(20, 'globex')
    ask(4, 'umbrella', model='fast')
    ask(3, 'initech')
    ask(2, 'nobody')
    ask(2, 'acme', model='unheard-of')

    gates = [Gate() for _ in range(3)]
    conns = []
    for gate, tenant in zip(gates, ('acme', 'umbrella', 'acme')):
        provider.script(chat_stream(6, gates={3: gate}))
        conn = Conn(ng.port)
        conn.send_chat(tenant=tenant, stream=True)
        conn.read_head()
        gate.wait_reached()
        conns.append(conn)

    yield ng

    for gate, conn in zip(gates, conns):
        gate.open()
        conn.close()


def test_what_it_looks_like(browser, busy):
    page = opened(browser, busy, every=0)

    assert page.text('#health') == 'Healthy'
    assert page.text('#stream-count') == '3'
    cards = page.text('#cards')
    assert 'Live requests\n3\n' in cards
    rows = page.texts('#rows .c-name')
    assert [' '.join(row.strip('▸').split()) for row in rows] == [
        'tenant acme', 'workspace production', 'app chatbot',
        'workspace research', 'tenant globex', 'tenant initech',
        'tenant umbrella']
    assert 'UNKNOWN_PRICE' in page.text('#denials')
    assert 'BUDGET_NOT_FOUND' in page.text('#denials')
    assert '$' in page.text('#spend')
    assert [page.js('seconds(%s)' % s) for s in
            ('0.0000017', '0.00024', '0.0996', '0.9999', '123.4')] == [
        '1.7 µs', '240 µs', '100 ms', '1 s', '120 s']

    shot(page, 'light')
    accessible(page)

    page.dark()
    assert page.js('getComputedStyle(document.body).backgroundColor') == \
        'rgb(14, 19, 25)'
    shot(page, 'dark')
    accessible(page)
    clean(page, busy)


def test_on_a_phone(browser, busy):
    page = opened(browser, busy, every=0, width=390, height=844, phone=True)

    # it is not wider than the phone, and all of a budget is to be seen

    assert page.js('document.documentElement.scrollWidth') == 390
    for part in '.c-name', '.c-bar', '.c-amount', '.c-left':
        box = page.js('JSON.stringify(document.querySelector("#rows %s")'
                      '.getBoundingClientRect())' % part)
        box = json.loads(box)
        assert box['left'] >= 0 and box['right'] <= 390 and box['height'] > 5

    # what is to be touched is large enough

    small = page.js('[...document.querySelectorAll("button, select, input")]'
                    '.filter((e) => e.type !== "radio")'
                    '.map((e) => e.getBoundingClientRect().height)'
                    '.filter((h) => h < 40).length')
    assert small == 0

    shot(page, 'phone')
    accessible(page)
    page.dark()
    shot(page, 'phone-dark')
    clean(page, busy)


def test_it_goes_on_by_itself(browser, nginx, provider):
    """A stream begins and ends, and a request is denied, while somebody
    looks."""

    ng = nginx(**ledger_gateway(provider, ('tenant:acme', 10 ** 8),
                                ('tenant:poor', 10)))
    page = opened(browser, ng)
    assert page.text('#streams') == 'No request is under way.'
    assert page.text('#denials') == 'Nothing was denied.'

    gate = Gate()
    provider.script(chat_stream(6, gates={3: gate}))
    with Conn(ng.port) as conn:
        conn.send_chat(tenant='acme', stream=True)
        head = conn.read_head()
        gate.wait_reached()

        page.wait('document.querySelectorAll("#streams code").length === 1')
        assert 'acme' in page.text('#streams')
        assert page.js('document.querySelectorAll("#rows .seg-held")'
                       '.length') == 1
        shot(page, 'stream')

        gate.open()
        conn.read_response(head=head)

    page.wait('document.querySelectorAll("#streams code").length === 0')
    page.wait('document.querySelectorAll("#rows .seg-held").length === 0')
    assert page.js('document.querySelectorAll("#rows .seg-spent").length') == 1

    assert ng.chat(tenant='poor').status == 429
    page.wait('document.querySelectorAll("#denials time").length === 1')
    row = page.text('#denials tr')
    assert 'BUDGET_EXCEEDED' in row and 'poor' in row

    # it is told to those who can't see it, too

    assert page.text('#live') == 'Denied: BUDGET_EXCEEDED for poor'
    shot(page, 'denial')
    clean(page, ng)


def test_ten_thousand_budgets(browser, nginx, provider):
    entries = []
    for i in range(100):
        tenant = 'tenant:t%d' % i
        entries.append((tenant, 10 ** 9))
        entries += [('%s/workspace:w%d' % (tenant, k), 10 ** 8)
                    for k in range(99)]
    ng = nginx(**ledger_gateway(provider, *entries))

    page = opened(browser, ng, every=0)
    assert page.text('#budget-count') == '10,000'

    # collapsed at first; few rows exist, however many there are

    assert page.js('state.rows.length') == 100
    page.js('document.getElementById("expand").click()')
    assert page.js('state.rows.length') == 10000
    assert page.js('document.getElementById("tree")'
                   '.getAttribute("aria-rowcount")') == '10001'
    assert page.js('document.querySelectorAll("#rows > div").length') < 60

    page.js('document.getElementById("tree").scrollTop = 1e9')
    page.wait('!!document.getElementById("row-9999")')
    assert page.text('#row-9999 .c-name').endswith('w98')
    shot(page, 'ten-thousand', full=False)

    # one of them is found

    page.js('document.getElementById("search").focus()')
    page.type('t42/workspace:w7')
    page.wait('state.rows.length === 12')
    assert page.texts('#rows .c-name')[1].endswith('w7')
    accessible(page)
    clean(page, ng)


def test_with_the_keyboard(browser, nginx, provider):
    entries = [('tenant:t%d' % i, 10 ** 9) for i in range(40)]
    entries += [('tenant:t0/workspace:w%d' % i, 10 ** 8) for i in range(3)]
    ng = nginx(**ledger_gateway(provider, *entries))
    page = opened(browser, ng, every=0, height=700)

    def active():
        return page.js('document.getElementById(document.getElementById('
                       '"tree").getAttribute("aria-activedescendant"))'
                       '.querySelector(".c-name").title')

    # from the top of the page to the tree with Tab alone

    for _ in range(12):
        page.key('Tab')
        if page.js('document.activeElement.id') == 'tree':
            break
    assert page.js('document.activeElement.id') == 'tree'
    assert active() == 'tenant:t0'
    assert page.js('state.rows.length') == 40

    page.key('ArrowRight')
    assert page.js('state.rows.length') == 43
    assert page.js('document.getElementById("row-0")'
                   '.getAttribute("aria-expanded")') == 'true'
    page.key('ArrowRight')
    page.key('ArrowDown')
    assert active() == 'tenant:t0/workspace:w1'
    page.key('ArrowLeft')
    assert active() == 'tenant:t0'
    page.key('ArrowLeft')
    assert page.js('state.rows.length') == 40

    page.key('End')
    assert active() == 'tenant:t39'
    box = json.loads(page.js('JSON.stringify([document.getElementById('
                             '"row-39"), document.getElementById("tree")]'
                             '.map((e) => e.getBoundingClientRect()))'))
    assert box[1]['top'] <= box[0]['top']
    assert box[0]['bottom'] <= box[1]['bottom'] + 1
    page.key('Home')
    page.key('Enter')
    assert page.js('state.rows.length') == 43
    shot(page, 'keyboard', full=False)
    clean(page, ng)


def test_names_are_text(browser, nginx, provider):
    """Clients make up names; whatever they try stays a text."""

    name = '<img src=x onerror=document.title="mine"><b>bold</b>"\\\''
    ng = nginx(http='''
        cycles_ledger main path=%%DIR%%/ledger budgets=%%DIR%%/budgets.json;
    ''', server='''
        location / {
            cycles on;
            cycles_authority ledger=main;
            cycles_subject tenant $http_x_tenant;
            cycles_unit TOKENS;
            proxy_pass http://127.0.0.1:%%PROVIDER%%;
        }
    ''', files={'budgets.json': gateway.budgets(('tenant:acme', 10 ** 6),
                                                unit='TOKENS')},
        provider=provider.port)

    assert ng.chat(tenant='acme', model=name).status == 200
    assert ng.chat(tenant='stranger', model=name).status == 429
    ng.wait_access_log(2)

    page = opened(browser, ng, every=0)
    assert name in page.text('#spend')
    assert name in page.text('#denials')
    assert page.js('document.querySelectorAll("img, b").length') == 0
    assert page.js('document.title') == 'Cycles'
    assert '15 tokens' in page.text('#spend')
    clean(page, ng)

    # and a script that came in all the same would not run

    page.js('{ const s = document.createElement("script");'
            ' s.textContent = "document.title = 1"; document.body.append(s) }')
    assert page.js('document.title') == 'Cycles'
    assert len(page.errors) == 1


def test_when_nginx_does_not_answer(browser, nginx, provider):
    ng = nginx(**ledger_gateway(provider, ('tenant:acme', 10 ** 8)))
    page = opened(browser, ng)
    ng.stop()
    page.wait('document.getElementById("health").textContent === "Trouble"')
    assert 'what is shown may be old' in page.text('#problems')
    assert 'tenant acme' in ' '.join(page.text('#rows').split())

    ng.start()
    page.wait('document.getElementById("health").textContent === "Healthy"')
    assert page.text('#problems') == ''


def test_theme_is_remembered(browser, nginx, provider):
    ng = nginx(**ledger_gateway(provider, ('tenant:acme', 10 ** 8)))
    page = opened(browser, ng, every=0)
    page.js('document.getElementById("theme").value = "dark";'
            'document.getElementById("theme").dispatchEvent('
            'new Event("change"))')
    colour = 'getComputedStyle(document.body).backgroundColor'
    assert page.js(colour) == 'rgb(14, 19, 25)'

    page.call('Page.reload')
    page.wait('document.readyState === "complete" && ' + LOADED)
    assert page.js(colour) == 'rgb(14, 19, 25)'


def test_headers(nginx, provider):
    ng = nginx(**ledger_gateway(provider, ('tenant:acme', 1)))
    r = request(ng.status_port, path='/')
    assert r.status == 200
    assert r.header('content-type') == 'text/html; charset=utf-8'
    assert r.header('cache-control') == 'no-store'
    assert r.header('x-content-type-options') == 'nosniff'
    assert r.header('referrer-policy') == 'no-referrer'

    policy = r.header('content-security-policy')
    assert "default-src 'none'; script-src 'sha256-" in policy
    assert 'unsafe' not in policy

    # nothing is loaded from anywhere

    assert not re.findall(r'(?:src|href)="(?!#|data:,)', r.text)
    assert 'http' not in re.sub(r'http-equiv', '', r.text)
