# Copyright (C) nginx-cycles authors

"""A name server for one name, as the "resolver" of nginx.

    with Dns('127.0.0.1') as dns:       # resolver 127.0.0.1:PORT valid=1s;
        dns.answer = '127.0.0.2'        # or SERVFAIL, NXDOMAIN, SILENT
"""

import socket
import struct
import threading


SERVFAIL, NXDOMAIN, SILENT = 2, 3, 'silent'


class Dns(threading.Thread):

    def __init__(self, answer):
        super().__init__(daemon=True)
        self.answer = answer
        self.asked = 0
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(('127.0.0.1', 0))
        self.port = self.sock.getsockname()[1]

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self.sock.sendto(b'', ('127.0.0.1', self.port))
        self.join()
        self.sock.close()

    def run(self):
        while True:
            query, peer = self.sock.recvfrom(512)
            if not query:
                return
            self.asked += 1
            if self.answer != SILENT:
                self.sock.sendto(self._reply(query, self.answer), peer)

    def _reply(self, query, answer):
        end = query.index(b'\0', 12) + 5
        question = query[12:end]
        kind = struct.unpack('!H', question[-4:-2])[0]

        if answer in (SERVFAIL, NXDOMAIN):
            return query[:2] + struct.pack('!HHHHH', 0x8180 | answer, 1, 0, 0,
                                           0) + question

        # an address of the kind that is asked for, or none

        found = kind == 1
        reply = query[:2] + struct.pack('!HHHHH', 0x8180, 1, found, 0,
                                        0) + question
        if found:
            reply += struct.pack('!HHHIH', 0xc00c, 1, 1, 1, 4)
            reply += socket.inet_aton(answer)
        return reply
