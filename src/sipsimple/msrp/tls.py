"""TLS for MSRP: who we are, whom we trust, and fingerprints of certificates (RFC 4975 14, RFC 4572 5).

A remote is trusted because authorities vouch for the name in its certificate, or because the certificate is the one
whose fingerprint came with the SDP. TLS 1.2 and newer only.

The fingerprint of a party that connects to us cannot be checked: `ssl` lets only those certificates pass that an
authority vouches for. What proves that party is that it knows our URI, whose session id cannot be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import ssl
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from sipsimple.msrp.errors import MSRPConnectError, TLSVerifyError, UnusableCertificate

__all__ = ["Fingerprint", "Security", "explain_tls_error"]

_ALGORITHMS: Final = {
    "sha-1": "sha1",
    "sha-224": "sha224",
    "sha-256": "sha256",
    "sha-384": "sha384",
    "sha-512": "sha512",
}
_FINGERPRINT: Final = re.compile(r"(sha-[0-9]{1,3}) +([0-9A-F]{2}(?::[0-9A-F]{2})+)", re.IGNORECASE)
_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

# What OpenSSL calls the failed check: X509_V_ERR_...
_VALIDITY_ERRORS: Final = {9, 10}
_NAME_ERRORS: Final = {62, 64}


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The hash of a certificate, as in `a=fingerprint:sha-1 4A:AD:...`."""

    algorithm: str
    digest: bytes

    @classmethod
    def parse(cls, text: str) -> Fingerprint:
        """Read the value of the attribute; raises ValueError, also for hashes that are not known."""
        match = _FINGERPRINT.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text[:80]!r} is no fingerprint")
        algorithm, digest = match[1].lower(), bytes.fromhex(match[2].replace(":", ""))
        name = _ALGORITHMS.get(algorithm)
        if name is None or hashlib.new(name).digest_size != len(digest):
            raise ValueError(f"a fingerprint of {len(digest)} bytes by {algorithm} is not known")
        return cls(algorithm, digest)

    @classmethod
    def of(cls, certificate: bytes, algorithm: str = "sha-1") -> Fingerprint:
        """That of a certificate in DER; raises ValueError when the algorithm is not known."""
        if algorithm not in _ALGORITHMS:
            raise ValueError(f"{algorithm!r} is none of {', '.join(_ALGORITHMS)}")
        return cls(algorithm, hashlib.new(_ALGORITHMS[algorithm], certificate).digest())

    def matches(self, certificate: bytes | None) -> bool:
        """Whether it is that of this certificate in DER."""
        return certificate is not None and hmac.compare_digest(self.of(certificate, self.algorithm).digest, self.digest)

    def __str__(self) -> str:
        return f"{self.algorithm} {self.digest.hex(':').upper()}"


class Security:
    """Our certificate, and whom we trust. All arguments are PEM.

    `certificate` is the certificate, what else of the chain there is, and the private key without a password; None: we
    show none, and nobody can connect to us. `authorities` None: those of the system. Without `verify` a remote is
    believed whatever it shows, unless there is a fingerprint.
    """

    def __init__(
        self, *, certificate: bytes | None = None, authorities: bytes | None = None, verify: bool = True
    ) -> None:
        self.certificate = certificate
        self.authorities = authorities
        self.verify = verify

    def fingerprint(self, algorithm: str = "sha-1") -> Fingerprint:
        """The fingerprint of our certificate, for the SDP; raises UnusableCertificate when there is none."""
        match = _CERTIFICATE.search((self.certificate or b"").decode("ascii", "replace"))
        if match is None:
            raise UnusableCertificate("there is no certificate to make a fingerprint of")
        try:
            return Fingerprint.of(ssl.PEM_cert_to_DER_cert(match[0]), algorithm)
        except ValueError as error:
            raise UnusableCertificate(f"the certificate cannot be used: {error}") from error

    @cached_property
    def server_context(self) -> ssl.SSLContext:
        """For those who connect to us; raises UnusableCertificate. It may read files."""
        if self.certificate is None:
            raise UnusableCertificate("cannot take TLS connections without a certificate and private key")
        return self._context(ssl.PROTOCOL_TLS_SERVER)

    @cached_property
    def client_context(self) -> ssl.SSLContext:
        """For connections to a remote that authorities vouch for; raises UnusableCertificate. It may read files."""
        context = self._context(ssl.PROTOCOL_TLS_CLIENT)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.authorities is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        else:
            try:
                context.load_verify_locations(cadata=self.authorities.decode("ascii", "replace"))
            except ssl.SSLError as error:
                raise UnusableCertificate(f"the list of authorities cannot be used: {error.reason or error}") from error
        return context

    @cached_property
    def fingerprint_context(self) -> ssl.SSLContext:
        """For connections to a remote whose fingerprint is compared afterwards; raises UnusableCertificate."""
        context = self._context(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    def _context(self, protocol: int) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate is not None:
            # `ssl` reads files only. The directory is ours alone (mode 0700), and gone when this returns.
            with tempfile.TemporaryDirectory(prefix="msrp-") as directory:
                path = Path(directory) / "certificate.pem"
                path.write_bytes(self.certificate)
                try:
                    context.load_cert_chain(path, password=_no_password)
                except (OSError, ValueError) as error:
                    reason = getattr(error, "reason", None) or error
                    raise UnusableCertificate(f"the certificate cannot be used: {reason}") from error
        return context


def explain_tls_error(error: ssl.SSLError, host: str, port: int) -> MSRPConnectError:
    """What a failed handshake means."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return MSRPConnectError(host, port, f"TLS failed: {error.reason or error}")
    check = "chain"
    if error.verify_code in _VALIDITY_ERRORS:
        check = "validity"
    elif error.verify_code in _NAME_ERRORS:
        check = "host name"
    return TLSVerifyError(host, port, check, error.verify_message)


def _no_password() -> str:
    # OpenSSL would ask for it on the terminal.
    raise ValueError("the private key is encrypted; store it without a password")
