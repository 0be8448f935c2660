"""How the packets of a stream are kept secret, as the client tells the engine: keys, or how to agree on them.

Plain picklable values, because the engine may live in another process. Their texts do not tell any key.
"""

from __future__ import annotations

from typing import Final

from .values import Value

SUITES: Final = {
    "AES_CM_128_HMAC_SHA1_80": (16, 14),
    "AES_CM_128_HMAC_SHA1_32": (16, 14),
    "AEAD_AES_128_GCM": (16, 12),
    "AEAD_AES_256_GCM": (32, 12),
}
"""The suites that work here: octets of the master key and of the master salt."""


class SRTPKeys(Value):
    """A suite, and for each direction the master key followed by the master salt (RFC 3711 3.2.1)."""

    suite: str
    send: bytes
    receive: bytes

    def __repr__(self) -> str:
        return f"SRTPKeys(suite={self.suite!r})"


class DTLSKeying(Value):
    """Have the keys made by a DTLS handshake on the media ports (RFC 5764)."""

    active: bool
    """Whether we begin."""
    algorithm: str
    """The hash of the fingerprint, by its name in `hashlib`."""
    fingerprint: bytes
    """That of the certificate which the remote has to show."""
    identity: bytes
    """Our certificate and its private key, PEM."""

    def __repr__(self) -> str:
        return f"DTLSKeying(active={self.active!r}, algorithm={self.algorithm!r}, fingerprint={self.fingerprint!r})"


Security = SRTPKeys | DTLSKeying
