"""What a session description says of DTLS: whose certificate it will be, and who begins (RFC 8122 5, RFC 4145 4).

DTLS-SRTP (RFC 5763) makes the keys in the media path; the description only binds the certificate to the signalling.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Any, Final

from sipsimple.sip.sdp.attributes import MalformedSDP

__all__ = ["SETUPS", "Fingerprint", "fingerprint_of", "setup_of"]

SETUPS: Final = ("active", "passive", "actpass", "holdconn")

# RFC 8122 5 forbids MD2 and MD5, and SHA-1 does not protect anybody any more.
_ALGORITHMS: Final = {"sha-256": "sha256", "sha-384": "sha384", "sha-512": "sha512", "sha-224": "sha224"}
_FINGERPRINT: Final = re.compile(r"([A-Za-z0-9-]{1,16})[ \t]+([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){0,63})[ \t]*")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The hash of a certificate, as in `a=fingerprint:sha-256 4A:AD:...`."""

    algorithm: str
    digest: bytes

    @classmethod
    def parse(cls, value: str) -> Fingerprint:
        """Read the value of an attribute. Raises MalformedSDP, also for hashes that prove nothing."""
        match = _FINGERPRINT.fullmatch(value)
        if match is None:
            raise MalformedSDP("a fingerprint needs the name of a hash, and pairs of hexadecimal digits")
        algorithm, digest = match[1].lower(), bytes.fromhex(match[2].replace(":", ""))
        name = _ALGORITHMS.get(algorithm)
        if name is None or hashlib.new(name).digest_size != len(digest):
            raise MalformedSDP(f"a fingerprint of {len(digest)} octets by {algorithm} is of no use")
        return cls(algorithm, digest)

    @classmethod
    def of(cls, certificate: bytes, algorithm: str = "sha-256") -> Fingerprint:
        """That of a certificate in DER."""
        return cls(algorithm, hashlib.new(_ALGORITHMS[algorithm], certificate).digest())

    def matches(self, certificate: bytes) -> bool:
        """Whether it is that of this certificate in DER."""
        return hmac.compare_digest(self.of(certificate, self.algorithm).digest, self.digest)

    def __str__(self) -> str:
        return f"{self.algorithm} {self.digest.hex(':').upper()}"


def fingerprint_of(sdp: Any, index: int) -> Fingerprint | None:
    """The first usable fingerprint of a media, or else of the whole description; None when there is none."""
    for owner in (sdp.media[index], sdp):
        for value in owner.attributes.getall("fingerprint"):
            try:
                return Fingerprint.parse(value)
            except MalformedSDP:
                continue
    return None


def setup_of(sdp: Any, index: int) -> str | None:
    """Who begins, as the writer of the description has it for a media; None when it does not say so."""
    for owner in (sdp.media[index], sdp):
        value: str = owner.attributes.getfirst("setup", "")
        if value.strip().lower() in SETUPS:
            return value.strip().lower()
    return None
