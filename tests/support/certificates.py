"""An authority of our own, and the certificates, good and bad, that it signs for tests."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


def names(*wanted: str) -> list[x509.GeneralName]:
    """Alternative names: addresses, `sip:` URIs and DNS names, told apart by their looks."""
    result: list[x509.GeneralName] = []
    for name in wanted:
        if name.startswith("sip:"):
            result.append(x509.UniformResourceIdentifier(name))
            continue
        try:
            result.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            result.append(x509.DNSName(name))
    return result


class Authority:
    """Signs certificates; everything is written to files in one directory."""

    def __init__(self, directory: Path, name: str = "Test Authority") -> None:
        self._directory = directory
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(name, self._key.public_key(), self._key, authority=True)
        self.file = directory / f"{name}.pem"
        self.file.write_bytes(pem(self.certificate))

    def issue(
        self, *wanted: str, common_name: str | None = None, starts: int = -1, ends: int = 30, self_signed: bool = False
    ) -> str:
        """The file of a certificate for these names, and its key; it is valid from one day to another, from today."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = common_name or (wanted[0] if wanted else "nobody")
        certificate = self._sign(subject, key.public_key(), key if self_signed else self._key, wanted, starts, ends)
        path = self._directory / f"{len(list(self._directory.iterdir()))}.pem"
        path.write_bytes(pem(certificate) + private(key))
        return str(path)

    def _sign(
        self,
        subject: str,
        public_key: Any,
        signer: Any,
        wanted: tuple[str, ...] = (),
        starts: int = -1,
        ends: int = 30,
        authority: bool = False,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        itself = authority or signer is not self._key
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(_name(subject if itself else self._name))
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + starts * DAY)
            .not_valid_after(now + ends * DAY)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if wanted:
            builder = builder.add_extension(x509.SubjectAlternativeName(names(*wanted)), critical=False)
        return builder.sign(signer, hashes.SHA256())


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def private(key: Any, password: bytes | None = None) -> bytes:
    """The key as PEM, encrypted when there is a password."""
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
