"""A certificate that this host signs for itself, for servers that nobody has configured one for (RFC 4572 3).

It is made once per process, on first need, and never written to disk but for the moment that `ssl` takes to read it.
"""

from __future__ import annotations

import datetime
import socket
import ssl
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

LIFETIME: Final = datetime.timedelta(days=365)
_CLOCK_TOLERANCE: Final = datetime.timedelta(days=1)


@cache
def self_signed_certificate() -> bytes:
    """The certificate and its private key, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    host = socket.gethostname() or "localhost"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_TOLERANCE)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_self_signed(context: ssl.SSLContext) -> None:
    """Have the context show our own certificate; raises OSError when no temporary file can be made."""
    # `ssl` reads files only. The directory is ours alone (mode 0700), and gone when this returns.
    with tempfile.TemporaryDirectory(prefix="sipsimple-") as directory:
        path = Path(directory) / "certificate.pem"
        path.write_bytes(self_signed_certificate())
        context.load_cert_chain(path)
