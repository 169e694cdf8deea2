# Copyright (C) nginx-cycles authors

"""Clients and servers for moments that a proper client never shows.

    H2Conn(port)     one HTTP/2 connection (prior knowledge), frame by frame
    Blackhole()      a port whose connections are never accepted: connect()
                     to it hangs
    stampede(...)    a thousand requests at the same moment, statuses only
"""

import errno
import re
import select
import socket
import struct

from gateway import HarnessError, TIMEOUT, free_port


DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = \
    0, 1, 3, 4, 6, 7, 8

END_STREAM, END_HEADERS, ACK = 1, 4, 1

CANCEL = 8


class H2Conn:
    """Requests get the stream numbers 1, 3, 5...; replies are not decoded:
    .data[stream] is what came as DATA, .headers counts HEADERS frames."""

    def __init__(self, port):
        self.sock = socket.create_connection(('127.0.0.1', port), TIMEOUT)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = b''
        self.next = 1
        self.data = {}
        self.headers = {}
        self.ended = set()
        self.was_reset = set()
        self.sock.sendall(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
        self._frame(SETTINGS, 0, 0, b'')

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.sock.close()

    def _frame(self, kind, flags, stream, payload):
        self.sock.sendall(struct.pack('>I', len(payload))[1:]
                          + bytes((kind, flags))
                          + struct.pack('>I', stream) + payload)

    @staticmethod
    def _literal(name, value):
        """HPACK: a literal that is not indexed, no Huffman code."""

        def text(s):
            s = s.encode()
            if len(s) < 127:
                return bytes((len(s),)) + s
            assert len(s) < 255
            return bytes((127, len(s) - 127)) + s

        return b'\0' + text(name) + text(value)

    def request(self, method, path, headers, body=b'', end=True):
        """Sends a request; returns its stream.  end=False: the body goes on
        with send()."""

        stream = self.next
        self.next += 2
        self.data[stream] = b''
        self.headers[stream] = 0

        block = b''
        fields = [(':method', method), (':scheme', 'http'),
                  (':path', path), (':authority', 'localhost')]
        for name, value in fields + list(headers.items()):
            block += self._literal(name.lower(), value)

        self._frame(HEADERS, END_HEADERS, stream, block)
        self.send(stream, body, end)
        return stream

    def send(self, stream, body, end=False):
        self._frame(DATA, END_STREAM if end else 0, stream, body)

    def reset(self, stream, code=CANCEL):
        self._frame(RST_STREAM, 0, stream, struct.pack('>I', code))

    def _fill(self, size):
        while len(self.buf) < size:
            data = self.sock.recv(65536)
            if not data:
                raise HarnessError('HTTP/2 connection closed')
            self.buf += data

    def read_frame(self):
        self._fill(9)
        size = int.from_bytes(self.buf[:3], 'big')
        kind, flags = self.buf[3], self.buf[4]
        stream = int.from_bytes(self.buf[5:9], 'big') & 0x7fffffff
        self._fill(9 + size)
        payload = self.buf[9:9 + size]
        self.buf = self.buf[9 + size:]

        if kind == SETTINGS and not flags & ACK:
            self._frame(SETTINGS, ACK, 0, b'')
        elif kind == PING and not flags & ACK:
            self._frame(PING, ACK, 0, payload)
        elif kind == DATA:
            self.data[stream] += payload
            if size:
                grow = struct.pack('>I', size)
                self._frame(WINDOW_UPDATE, 0, 0, grow)
                self._frame(WINDOW_UPDATE, 0, stream, grow)
        elif kind == HEADERS:
            self.headers[stream] += 1
        elif kind == RST_STREAM:
            self.was_reset.add(stream)

        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self.ended.add(stream)

    def read_until(self, done):
        """Reads frames until done() is true."""

        while not done():
            self.read_frame()

    def read_response(self, stream):
        self.read_until(lambda: stream in self.ended
                        or stream in self.was_reset)
        return self.data[stream]


class Blackhole:
    """The queue of this listening socket is full, so Linux drops each
    further SYN; open() makes it accept after all."""

    def __init__(self):
        self.port = free_port()
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(('127.0.0.1', self.port))
        self.sock.listen(0)
        self.fill = []

        for _ in range(4):
            conn = socket.socket()
            conn.setblocking(False)
            conn.connect_ex(('127.0.0.1', self.port))
            self.fill.append(conn)

    def waiting(self):
        """How many connect to it right now."""

        with open('/proc/net/tcp') as file:
            rows = [line.split() for line in file.readlines()[1:]]
        return len([row for row in rows
                    if row[2].endswith(':%04X' % self.port)
                    and row[3] == '02'])               # SYN_SENT

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        for conn in self.fill:
            conn.close()
        self.sock.close()


STATUS = re.compile(rb'HTTP/1\.1 (\d\d\d) ')


def stampede(port, requests, timeout=None):
    """Connects for each request (bytes) first, then sends them all at once
    and reads until each connection is closed by the other side: they should
    say "Connection: close".  Returns the statuses, None where none came."""

    timeout = 3 * TIMEOUT if timeout is None else timeout
    poll = select.epoll()
    conns = {}

    try:
        for number, data in enumerate(requests):
            sock = socket.socket()
            sock.setblocking(False)
            error = sock.connect_ex(('127.0.0.1', port))
            if error not in (0, errno.EINPROGRESS):
                raise HarnessError('connect: ' + errno.errorcode[error])
            conns[sock.fileno()] = (sock, number, data)
            poll.register(sock.fileno(), select.EPOLLOUT)

        waiting = set(conns)
        while waiting:
            ready = poll.poll(timeout)
            if not ready:
                raise HarnessError('%d can not connect' % len(waiting))
            for fd, _ in ready:
                waiting.discard(fd)
                poll.modify(fd, 0)

        found = [None] * len(requests)
        read = dict.fromkeys(conns, b'')

        for fd, (sock, number, data) in conns.items():
            if sock.send(data) != len(data):
                raise HarnessError('a request is too long')
            poll.modify(fd, select.EPOLLIN)

        waiting = set(conns)
        while waiting:
            ready = poll.poll(timeout)
            if not ready:
                raise HarnessError('%d of %d got no answer' % (
                    len(waiting), len(requests)))
            for fd, _ in ready:
                try:
                    data = conns[fd][0].recv(65536)
                except ConnectionResetError:
                    data = b''
                if data:
                    read[fd] += data
                    continue
                match = STATUS.match(read[fd])
                if match:
                    found[conns[fd][1]] = int(match.group(1))
                waiting.discard(fd)
                poll.unregister(fd)

        return found

    finally:
        poll.close()
        for sock, _, _ in conns.values():
            sock.close()
