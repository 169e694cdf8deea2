# Copyright (C) nginx-cycles authors

"""Stands between two sides of HTTP/1.1, passes every byte on as it is, and
keeps them.

    with Relay(port) as relay:                  # in front of 127.0.0.1:port
        ...                                     # requests to relay.port
        relay.find(mark)                        # [Exchange, ...]

An Exchange has the request (method, path, headers, body) and the reply
(status, headers, body) of what carried the mark in its head; bodies are
without chunked encoding.  Headers are lists of pairs.
"""

import asyncio
import collections
import threading

from gateway import TIMEOUT, free_port


Exchange = collections.namedtuple(
    'Exchange', 'method path request_headers request_body status headers '
    'body')


class Relay:

    def __init__(self, target):
        self.target = target
        self.port = free_port()
        self._streams = []              # [from the client, to the client]
        self._tasks = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever,
                                        daemon=True)

    def __enter__(self):
        self._thread.start()
        self._server = self._call(asyncio.start_server(
            self._serve, '127.0.0.1', self.port))
        return self

    def __exit__(self, *exc):
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(TIMEOUT)
        self._loop.close()

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(
            coroutine, self._loop).result(TIMEOUT)

    async def _stop(self):
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        streams = [bytearray(), bytearray()]
        self._streams.append(streams)
        self._tasks.add(asyncio.current_task())

        try:
            reader2, writer2 = await asyncio.open_connection(
                '127.0.0.1', self.target)
            await asyncio.gather(self._pass(reader, writer2, streams[0]),
                                 self._pass(reader2, writer, streams[1]))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(asyncio.current_task())
            writer.close()

    async def _pass(self, reader, writer, stream):
        try:
            while True:
                data = await reader.read(65536)
                if not data:
                    return
                stream += data
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    def find(self, mark):
        """The exchanges whose request has the mark in its head."""

        found = []
        for sent, received in list(self._streams):
            if mark.encode() in sent:
                found += [x for x in exchanges(bytes(sent), bytes(received))
                          if mark in str(x.request_headers)]
        return found


def exchanges(sent, received):
    """The complete ones of a connection."""

    found = []
    while True:
        request, sent = _message(sent)
        reply, received = _message(received)

        while reply and reply[0].split(' ')[1] == '100':
            reply, received = _message(received)

        if request is None or reply is None:
            return found

        method, path, _ = request[0].split(' ')
        found.append(Exchange(method, path, *request[1:],
                              int(reply[0].split(' ')[1]), *reply[1:]))


def _message(data):
    """((first line, headers, body) or None, the rest)"""

    head, end, rest = data.partition(b'\r\n\r\n')
    if not end:
        return None, data

    lines = head.decode('latin-1').split('\r\n')
    headers = [tuple(part.strip() for part in line.split(':', 1))
               for line in lines[1:]]
    fields = {name.lower(): value for name, value in headers}

    if lines[0].startswith('HTTP/1.1 100'):
        return (lines[0], headers, b''), rest

    if fields.get('transfer-encoding') == 'chunked':
        body = b''
        while True:
            if body and not rest:

                # who has seen "[DONE]" may leave before the last chunk

                return (lines[0], headers, body), rest

            size, end, rest = rest.partition(b'\r\n')
            if not end or len(rest) < int(size, 16) + 2:
                return None, data
            body += rest[:int(size, 16)]
            rest = rest[int(size, 16) + 2:]
            if int(size, 16) == 0:
                return (lines[0], headers, body), rest

    if 'content-length' not in fields and lines[0].startswith('HTTP/'):
        return (lines[0], headers, rest), b''   # up to the connection's end

    size = int(fields.get('content-length', 0))
    if len(rest) < size:
        return None, data
    return (lines[0], headers, rest[:size]), rest[size:]
