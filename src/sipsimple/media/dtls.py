"""A DTLS handshake for the keys of SRTP (RFC 5764), by OpenSSL; the sockets are somebody else's.

Datagrams go in and come out. The certificate of the remote is whatever it shows, and then has to be the one whose
fingerprint came by the signalling (RFC 5763 5). OpenSSL keeps the time of its retransmissions (RFC 6347 4.2.4) itself,
by the clock of the system.

The library is loaded when the first handshake needs it.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

from .errors import StreamError
from .keys import SUITES, DTLSKeying, SRTPKeys

if TYPE_CHECKING:
    from OpenSSL import SSL

MAX_DATAGRAM: Final = 1200
"""Octets of the datagrams that we send: they pass every network without being cut."""
HANDSHAKE_SECONDS: Final = 20.0
"""OpenSSL sends again after 1, 2, 4, 8 seconds; then the remote is not there."""
_RECORD_HEADER: Final = 13
_EXPORTER: Final = b"EXTRACTOR-dtls_srtp"

# The names of OpenSSL for the profiles of RFC 5764 4.1.2 and RFC 7714 14.2, in our order of preference.
_PROFILES: Final = {
    b"SRTP_AEAD_AES_256_GCM": "AEAD_AES_256_GCM",
    b"SRTP_AEAD_AES_128_GCM": "AEAD_AES_128_GCM",
    b"SRTP_AES128_CM_SHA1_80": "AES_CM_128_HMAC_SHA1_80",
    b"SRTP_AES128_CM_SHA1_32": "AES_CM_128_HMAC_SHA1_32",
}


class Handshake:
    """One association with the remote. `keys` are there when it succeeded, `failure` says why it did not."""

    def __init__(self, keying: DTLSKeying, now: float) -> None:
        """Raises StreamError when our certificate cannot be used, or the library is not there."""
        self._keying: Final = keying
        self._until: Final = now + HANDSHAKE_SECONDS
        self._ssl: Final = _library()
        self._connection: Final[SSL.Connection] = self._ssl.Connection(_context(keying.identity), None)
        self._connection.set_ciphertext_mtu(MAX_DATAGRAM)
        if keying.active:
            self._connection.set_connect_state()
        else:
            self._connection.set_accept_state()
        self.keys: SRTPKeys | None = None
        self.failure: str | None = None

    @property
    def done(self) -> bool:
        """Whether the outcome is known."""
        return self.keys is not None or self.failure is not None

    def begin(self) -> list[bytes]:
        """The datagrams to send first: none when the remote begins."""
        return self._advance() if self._keying.active else []

    def receive(self, datagram: bytes) -> list[bytes]:
        """Take a datagram in; returns the datagrams to send."""
        if self.failure is not None or not datagram:
            return []
        self._connection.bio_write(datagram)
        return self._advance()

    def wake(self, now: float) -> list[bytes]:
        """Send again what was not answered in time; cheap when it is not time yet."""
        if self.done:
            return []
        if now >= self._until:
            self.failure = "the remote did not complete the DTLS handshake in time"
            return []
        if self._connection.DTLSv1_get_timeout() == 0:
            self._connection.DTLSv1_handle_timeout()
        return self._outgoing()

    def end(self) -> list[bytes]:
        """Say goodbye, if there was a conversation."""
        if self.keys is None:
            return []
        try:
            self._connection.shutdown()
        except self._ssl.Error:
            return []
        return self._outgoing()

    def _advance(self) -> list[bytes]:
        try:
            if self.keys is None:
                self._connection.do_handshake()
                self._complete()
            else:
                # The remote has lost our last words and repeats its own; there is no other traffic.
                self._connection.recv(MAX_DATAGRAM)
        except (self._ssl.WantReadError, self._ssl.ZeroReturnError):
            pass
        except self._ssl.Error as error:
            if self.keys is None:
                self.failure = f"the DTLS handshake failed: {_reason(error)}"
        return self._outgoing()

    def _complete(self) -> None:
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        if certificate is None or not self._is_expected(certificate):
            self.failure = "the remote shows another certificate than its description says"
            return
        suite = _PROFILES.get(self._connection.get_selected_srtp_profile())
        if suite is None:
            self.failure = "the remote knows no protection for SRTP that is known here"
            return
        key_size, salt_size = SUITES[suite]
        secret = self._connection.export_keying_material(_EXPORTER, 2 * (key_size + salt_size), None)
        keys, salts = secret[: 2 * key_size], secret[2 * key_size :]
        client = keys[:key_size] + salts[:salt_size]
        server = keys[key_size:] + salts[salt_size:]
        self.keys = SRTPKeys(suite, client, server) if self._keying.active else SRTPKeys(suite, server, client)

    def _is_expected(self, certificate: Any) -> bool:
        from cryptography.hazmat.primitives.serialization import Encoding

        digest = hashlib.new(self._keying.algorithm, certificate.public_bytes(Encoding.DER)).digest()
        return hmac.compare_digest(digest, self._keying.fingerprint)

    def _outgoing(self) -> list[bytes]:
        try:
            return datagrams(self._connection.bio_read(1 << 16))
        except self._ssl.WantReadError:
            return []


def datagrams(records: bytes) -> list[bytes]:
    """Put DTLS records into as few datagrams as hold them; no record is cut (RFC 6347 4.1.1)."""
    packed: list[bytes] = []
    start = position = 0
    while position < len(records):
        length = _RECORD_HEADER + int.from_bytes(records[position + 11 : position + 13], "big")
        if position > start and position + length - start > MAX_DATAGRAM:
            packed.append(records[start:position])
            start = position
        position += length
    return [*packed, records[start:]] if records else []


def load() -> None:
    """Load the library; raises StreamError when it is not installed."""
    _library()


def loaded() -> bool:
    """Whether `load` would cost nothing."""
    return _library.cache_info().currsize > 0


@cache
def _library() -> Any:
    try:
        from OpenSSL import SSL
    except ImportError as error:
        raise StreamError(f"DTLS needs pyOpenSSL, which cannot be loaded: {error}; install it") from error
    return SSL


@lru_cache(maxsize=4)
def _context(identity: bytes) -> Any:
    """What all handshakes with our certificate share; raises StreamError when it cannot be used."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    ssl = _library()
    context = ssl.Context(ssl.DTLS_METHOD)
    try:
        context.use_certificate(x509.load_pem_x509_certificate(identity))
        context.use_privatekey(load_pem_private_key(identity, None))
        context.check_privatekey()
    except (ValueError, TypeError, ssl.Error) as error:
        raise StreamError(f"our certificate cannot be used for DTLS: {error}") from error
    # Nobody vouches for these certificates; the fingerprint is compared when the handshake is over.
    context.set_verify(ssl.VERIFY_PEER | ssl.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
    context.set_cipher_list(b"ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:!aNULL:!eNULL:!PSK")
    context.set_tlsext_use_srtp(b":".join(_PROFILES))
    return context


def _reason(error: Exception) -> str:
    """The last of what OpenSSL gives as reasons."""
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return str(reasons[-1][-1]) if reasons else type(error).__name__
