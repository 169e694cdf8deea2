# Copyright (C) nginx-cycles authors

"""Stands between an SDK and the API: passes everything on as it is, and has
each answer checked as those to our own client are.

    with Proxy(api) as proxy:
        Sdk('http://127.0.0.1:%d' % proxy.port)
    proxy.calls                  (method, path, status) of each
"""

import http.server
import threading

import gateway


class Proxy:

    def __init__(self, api):
        proxy = self
        self.api = api
        self.calls = []
        self.errors = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def do_POST(self):
                proxy.forward(self)

            do_GET = do_POST

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0),
                                                      Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = 'http://127.0.0.1:%d' % self.port
        self.thread = threading.Thread(target=self.server.serve_forever,
                                       kwargs={'poll_interval': 0.05},
                                       daemon=True)

    def forward(self, handler):
        size = int(handler.headers.get('Content-Length') or 0)
        body = handler.rfile.read(size) if size else None
        headers = [(k, v) for k, v in handler.headers.items()
                   if k.lower() not in ('host', 'connection',
                                        'content-length')]

        r = gateway.request(self.api.nginx.port, handler.command,
                            handler.path, headers, body)
        path = handler.path.split('?')[0]
        self.calls.append((handler.command, path, r.status))
        try:
            self.api.check(handler.command, path, body, r)
        except Exception as error:      # in a thread: told at the end
            self.errors.append((handler.command, handler.path, r, error))

        handler.send_response_only(r.status)
        for key, value in r.headers:
            if key.lower() not in ('connection', 'keep-alive'):
                handler.send_header(key, value)
        handler.end_headers()
        handler.wfile.write(r.body)

    def statuses(self, method, path):
        return [s for m, p, s in self.calls if m == method and p == path]

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *rest):
        self.server.shutdown()
        self.thread.join(gateway.TIMEOUT)
        self.server.server_close()
        if kind is None:
            assert not self.errors, self.errors
