"""What can go wrong below the transaction layer (RFC 3261 18.4); all of it is a `TransportError`.

TransportError           transport, host, port, detail
  ListenError            an address could not be bound: address, errno
  TransportNotListening  nothing listens on the transport that is needed
  MessageTooLarge        the message does not fit the transport: size, limit
  SendError              the operating system or the remote host refused the message: errno
    ConnectError         no connection could be made
      TLSVerificationError  the certificate of the remote is not good: check
    ConnectionLost       the connection ended, or did not take what was sent: orderly
"""

from __future__ import annotations

import errno as errno_codes
import os
import ssl
from typing import Final

from sipsimple.sip.errors import TransportError
from sipsimple.sip.transport.address import Destination, uri_host

__all__ = [
    "ConnectError",
    "ConnectionLost",
    "ListenError",
    "MessageTooLarge",
    "SendError",
    "TLSVerificationError",
    "TransportError",
    "TransportNotListening",
]

_LISTEN_ADVICE: Final = {
    errno_codes.EADDRINUSE: "another program uses this port: choose another one, or 0 for any free port",
    errno_codes.EADDRNOTAVAIL: "this machine has no such address: use one of its own, or 0.0.0.0 (::) for all",
    errno_codes.EACCES: "ports below 1024 need privileges: choose a higher one",
}

_TLS_ADVICE: Final = {
    "WRONG_VERSION_NUMBER": "the remote does not speak TLS on this port",
    "UNSUPPORTED_PROTOCOL": "the remote speaks no TLS 1.2 or newer",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the remote speaks no TLS 1.2 or newer",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the remote wants a certificate of ours: set tls.certificate of the account",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the remote has refused; it may want a certificate of ours (tls.certificate)",
    "TLSV1_ALERT_UNKNOWN_CA": "the remote does not know who has signed our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our certificate has expired",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the remote does not accept our certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the remote does not accept our certificate",
}

_CHECKS: Final = {
    7: ("signature", "its signature is wrong"),
    9: ("not yet valid", "it is not valid yet; is the clock of this host right?"),
    10: ("expired", "it has expired"),
    18: ("self-signed", "it is signed by itself; add it to tls.ca_list to trust it"),
    19: ("unknown authority", "it is signed by an authority that is not in tls.ca_list"),
    20: ("unknown authority", "it is signed by an authority that is not in tls.ca_list"),
    21: ("unknown authority", "it is signed by an authority that is not in tls.ca_list, or a link to it is missing"),
    23: ("revoked", "it was revoked"),
    24: ("authority", "one that vouches for it must not do so"),
    26: ("purpose", "it was not made for servers"),
}
"""By the codes of OpenSSL (x509_vfy.h): the name of the check, and what it found."""


class ListenError(TransportError):
    """A transport could not listen on `address` and `port`; `errno` is 0 when no system call failed."""

    def __init__(self, transport: str, address: str, port: int, error: OSError) -> None:
        self.address = address
        self.errno = error.errno or 0
        advice = _LISTEN_ADVICE.get(self.errno)
        super().__init__(transport, address, port, _text(error) + (f" ({advice})" if advice else ""))
        self.args = (f"cannot listen on {transport} {uri_host(address)}:{port}: {self.detail}",)


class TransportNotListening(TransportError):
    """The transport for the destination is closed, or listens on no address of its family."""

    def __init__(self, destination: Destination) -> None:
        family = "IPv6" if ":" in destination.host else "IPv4"
        super().__init__(
            *destination[:3],
            f"nothing listens on {destination.transport} over {family}; "
            f"call listen({destination.transport!r}, ...) with an {family} address first",
        )


class MessageTooLarge(TransportError):
    """A request of `size` bytes is over the `limit` for UDP, and TCP is not there to take it (RFC 3261 18.1.1)."""

    def __init__(self, destination: Destination, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(
            *destination[:3],
            f"the message has {size} bytes, the limit is {limit}: "
            "let TCP listen too, or send less (fewer codecs, a shorter body)",
        )


class SendError(TransportError):
    """A message was refused by the operating system or by the remote host; `errno` is 0 when neither gave a number."""

    def __init__(self, destination: Destination, error: OSError) -> None:
        # What `ssl` puts there is no number of the operating system.
        self.errno = 0 if isinstance(error, ssl.SSLError) else error.errno or 0
        super().__init__(*destination[:3], _text(error))


class ConnectError(SendError):
    """No connection could be made."""


class TLSVerificationError(ConnectError):
    """The certificate of the remote is not good.

    `check` says which check it did not pass: "expired", "not yet valid", "self-signed", "unknown authority",
    "host name", "purpose", "signature", "authority", "revoked", or "other".
    """

    def __init__(self, destination: Destination, check: str, finding: str) -> None:
        self.check = check
        whom = " or ".join(destination.peer.names) if destination.peer and destination.peer.names else destination.host
        super().__init__(destination, OSError(f"the certificate for {whom} was not accepted: {finding}"))

    @classmethod
    def from_ssl(cls, destination: Destination, error: ssl.SSLCertVerificationError) -> TLSVerificationError:
        """Translate what OpenSSL found."""
        return cls(destination, *_CHECKS.get(error.verify_code, ("other", error.verify_message)))


class ConnectionLost(SendError):
    """The connection ended; `orderly` when the remote, or we, closed it without an error."""

    def __init__(self, destination: Destination, error: OSError | None = None) -> None:
        self.orderly = error is None
        super().__init__(destination, error or ConnectionResetError("the connection is closed"))


def _text(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        reason = error.reason or str(error)
        return f"TLS failed: {_TLS_ADVICE.get(reason) or reason.replace('_', ' ').lower()}"
    if error.errno:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
