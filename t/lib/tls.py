# Copyright (C) nginx-cycles authors

"""A provider that speaks TLS, and certificates for it."""

import ssl
import subprocess

from gateway import FakeProvider


def make_certificates(path, names):
    """ca.pem, and cert.pem and key.pem for these names, in a directory."""

    def openssl(*args):
        subprocess.run(('openssl',) + args, check=True, cwd=path,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    key = ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1',
           '-nodes')
    openssl('req', '-x509', *key, '-keyout', 'ca.key', '-out', 'ca.pem',
            '-subj', '/CN=test CA', '-days', '2',
            '-addext', 'keyUsage=critical,keyCertSign,cRLSign')
    openssl('req', *key, '-keyout', 'key.pem', '-out', 'req.pem',
            '-subj', '/CN=' + names[0])
    (path / 'names').write_text(
        'authorityKeyIdentifier=keyid\nsubjectAltName=' + ','.join(
            'DNS:' + name for name in names) + '\n')
    openssl('x509', '-req', '-in', 'req.pem', '-CA', 'ca.pem', '-CAkey',
            'ca.key', '-CAcreateserial', '-out', 'cert.pem', '-days', '2',
            '-extfile', 'names')
    return path


def server_context(certificates):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / 'cert.pem',
                            certificates / 'key.pem')
    return context


class TlsProvider(FakeProvider):
    """A FakeProvider that only speaks TLS; .names are those asked for."""

    def __init__(self, certificates, port=None):
        self.names = []
        self.wanted = port
        self.context = server_context(certificates)
        self.context.sni_callback = (
            lambda sock, name, context: self.names.append(name))
        super().__init__()

    def listen(self):
        self.port = self.wanted or self.port

        async def start():
            self._server = await self._loop.create_server(
                self._connect, '127.0.0.1', self.port, ssl=self.context)

        self._call(start())
