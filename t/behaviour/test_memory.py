# Copyright (C) nginx-cycles authors

"""What streams take is the kernel's again when they have ended: pieces are
cut from blocks of 2 MB, of which one stays with the worker."""

import contextlib

import pytest

import gateway
from gateway import (Conn, Gate, chat_auto, chat_stream, ledger_gateway,
                     wait_until)
from meter import cost


BLOCK = 2 << 20

# of 3.7 KB each, in three blocks

STREAMS = 1300


def blocks(pid):
    """What it wants huge pages for, in bytes."""

    size = wanted = 0

    with open('/proc/%d/smaps' % pid) as file:
        for line in file:
            name, _, rest = line.partition(':')
            if name == 'Size':
                size = int(rest.split()[0]) * 1024
            if name == 'VmFlags' and 'hg' in rest.split():
                wanted += size

    return wanted


@pytest.mark.skipif('asan' in gateway.BINARY,
                    reason='pieces are of malloc() there')
def test_blocks(nginx, provider):
    ng = nginx(workers=1, **ledger_gateway(
        provider, ('tenant:a', 10 ** 12), location='proxy_buffering off;'))
    worker, = ng.workers()
    spent = 0

    assert blocks(worker) == 0
    assert ng.chat(tenant='a').status == 200

    if blocks(worker) == 0:
        pytest.skip('this kernel has no huge pages')

    assert blocks(worker) == BLOCK
    spent += cost()

    # twice: what comes after has memory that was given back before

    for _ in range(2):
        gate = Gate()
        provider.default = chat_stream(5, gates={2: gate}, with_usage=True)
        before = len(provider.requests)

        with contextlib.ExitStack() as stack:
            conns = [stack.enter_context(Conn(ng.port))
                     for _ in range(STREAMS)]

            for conn in conns:
                conn.send_chat(tenant='a', stream=True)

            provider.wait_requests(before + STREAMS)
            for conn in conns:
                assert conn.read_head()[0] == 200
            assert ng.live_reservations() == STREAMS
            assert blocks(worker) >= 3 * BLOCK

            gate.open()
            for conn in conns:
                conn.read_until(b'data: [DONE]\n\n')

        spent += STREAMS * cost()
        wait_until(lambda: ng.live_reservations() == 0)
        wait_until(lambda: blocks(worker) == BLOCK)

        # what was given back is not used again

        provider.default = chat_auto
        assert ng.chat(tenant='a').status == 200
        spent += cost()

        balance = ng.budget('tenant:a')
        assert balance['spent'] == spent
        assert balance['reserved'] == 0
