"""TLS of the engine: contexts made from the options, and who connects as whom.

TLS 1.2 and newer only, whatever protocol the options name: the older ones are broken. A domain is verified by
RFC 5922, which is the transports' work; here is decided which domain that is.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeAlias

from sipsimple.core.certificate import load_self_signed
from sipsimple.sip.errors import OS_ERROR_BASE, PJSIPTLSError
from sipsimple.sip.transport import Destination, Identity, Peer

MINIMUM_VERSION: Final = ssl.TLSVersion.TLSv1_2
NO_TIMEOUT: Final = 60.0
"""What a handshake timeout of 0, which means none, comes to: strangers must not hold a connection for ever."""

_INVALID_VALUE: Final = 70004

Stamp: TypeAlias = tuple[int, ...]


class UnusableFile(OSError):
    """A certificate, key or list of authorities cannot be used.

    `system_error` is the number of the operating system, 0 when the file could be read.
    """

    def __init__(self, problem: str, system_error: int = 0) -> None:
        super().__init__(f"{problem}: {os.strerror(system_error)}" if system_error else problem)
        self.problem = problem
        self.system_error = system_error


class TLSSecurity:
    """The certificates of a running engine.

    What the options name is read at once, and again when a file has changed: certificates are renewed in place.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        """`options` are the `tls_...` options of the engine. Raises PJSIPTLSError."""
        self.handshake_timeout = options["tls_timeout"] / 1000 or NO_TIMEOUT
        self._ca_file: str | None = options["tls_ca_file"]
        self._certificate: str | None = options["tls_cert_file"]
        self._key: str | None = options["tls_privkey_file"]
        self._verify_server: bool = options["tls_verify_server"]
        self._clients: dict[Identity | None, tuple[Stamp, ssl.SSLContext]] = {}
        self._server: tuple[Stamp, ssl.SSLContext] | None = None
        self._server_lock = asyncio.Lock()
        try:
            if self._certificate is not None:
                self._server = _stamp(self._certificate, self._key), self._make_server()
            if self._ca_file is not None:
                _load_authorities(_context(ssl.PROTOCOL_TLS_CLIENT), self._ca_file)
        except UnusableFile as error:
            status = OS_ERROR_BASE + error.system_error if error.system_error else _INVALID_VALUE
            raise PJSIPTLSError(error.problem, status) from error

    async def server_context(self) -> ssl.SSLContext:
        """For those who connect to us; without a configured certificate one is made. Raises OSError."""
        async with self._server_lock:
            stamp = _stamp(self._certificate, self._key)
            if self._server is None:
                self._server = stamp, await asyncio.to_thread(self._make_server)
            elif self._server[0] != stamp:
                context = self._server[1]
                # What is being written just now cannot be used yet; the old one does until then.
                with suppress(UnusableFile):
                    context = await asyncio.to_thread(self._make_server)
                self._server = stamp, context
            return self._server[1]

    async def client_context(self, identity: Identity | None) -> ssl.SSLContext:
        """For connections of ours; raises UnusableFile when the certificate of the identity cannot be used."""
        certificate = self._certificate if identity is None else identity.certificate
        stamp = _stamp(certificate, self._key, self._ca_file)
        known = self._clients.get(identity)
        if known is not None and known[0] == stamp:
            return known[1]
        context = await asyncio.to_thread(self._make_client, identity)
        self._clients[identity] = stamp, context
        return context

    def _make_server(self) -> ssl.SSLContext:
        context = _context(ssl.PROTOCOL_TLS_SERVER)
        if self._certificate is not None:
            _load_certificate(context, self._certificate, self._key)
        else:
            load_self_signed(context)
        return context

    def _make_client(self, identity: Identity | None) -> ssl.SSLContext:
        context = _context(ssl.PROTOCOL_TLS_CLIENT)
        # The name is compared as SIP wants it (RFC 5922 7), which OpenSSL does not know.
        context.check_hostname = False
        if identity is None:
            certificate, key, verify = self._certificate, self._key, self._verify_server
        else:
            certificate, key, verify = identity.certificate, None, identity.verify_server
        if certificate is not None:
            _load_certificate(context, certificate, key)
        if not verify:
            context.verify_mode = ssl.CERT_NONE
        elif self._ca_file is not None:
            _load_authorities(context, self._ca_file)
        else:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return context


def address_of_record(uri: Any) -> str:
    """What identifies an account: `user@host`."""
    return f"{uri.user}@{uri.host.lower()}"


def complete(
    destination: Destination, sender: Any, request_uri: Any, identities: Mapping[str, Identity]
) -> Destination:
    """Say who has to be at a TLS destination for a request of this sender.

    That is the domain of the route where it is known. Else it is, as nobody else can have been asked for, the domain of
    the sender, that of the Request-URI, or the address itself. A destination without a peer is left alone: it is a
    connection that the remote has made.
    """
    peer = destination.peer
    if peer is None or destination.transport != "tls":
        return destination
    names = peer.names or tuple(dict.fromkeys((sender.host, request_uri.host, destination.host)))
    return destination._replace(peer=Peer(names, peer.identity or identities.get(address_of_record(sender))))


def _stamp(*files: str | None) -> Stamp:
    """What changes when one of the files does."""
    times = []
    for file in files:
        try:
            times.append(os.stat(file).st_mtime_ns if file is not None else 0)
        except OSError:
            times.append(0)
    return tuple(times)


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = MINIMUM_VERSION
    return context


def _load_certificate(context: ssl.SSLContext, certificate: str, key: str | None) -> None:
    file = f"certificate file {certificate}" + (f" with the key {key}" if key and key != certificate else "")
    _load(file, lambda: context.load_cert_chain(certificate, key, password=_no_password))


def _load_authorities(context: ssl.SSLContext, ca_file: str) -> None:
    _load(f"list of authorities {ca_file}", lambda: context.load_verify_locations(ca_file))


def _load(what: str, load: Callable[[], None]) -> None:
    try:
        load()
    except ssl.SSLError as error:
        reason = "it is not what PEM looks like" if error.reason is None else error.reason.replace("_", " ").lower()
        raise UnusableFile(f"the {what} cannot be used: {reason}") from error
    except OSError as error:
        raise UnusableFile(f"cannot read the {what}", error.errno or 0) from error
    except ValueError as error:
        raise UnusableFile(f"the {what} cannot be used: {error}") from error


def _no_password() -> str:
    # OpenSSL would ask for it on the terminal.
    raise ValueError("the private key is encrypted; store it without a password")
