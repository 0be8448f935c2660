"""What can go wrong below the transaction layer (RFC 3261 18.4); all of it is a `TransportError`.

TransportError           transport, host, port, detail
  ListenError            an address could not be bound: address, errno
  TransportNotListening  nothing listens on the transport that is needed
  MessageTooLarge        the message does not fit the transport: size, limit
  SendError              the operating system or the remote host refused the message: errno
    ConnectError         no connection could be made
    ConnectionLost       the connection ended, or did not take what was sent: orderly
"""

from __future__ import annotations

import errno as errno_codes
import os
from typing import Final

from sipsimple.sip.errors import TransportError
from sipsimple.sip.transport.address import Destination, uri_host

__all__ = [
    "ConnectError",
    "ConnectionLost",
    "ListenError",
    "MessageTooLarge",
    "SendError",
    "TransportError",
    "TransportNotListening",
]

_LISTEN_ADVICE: Final = {
    errno_codes.EADDRINUSE: "another program uses this port: choose another one, or 0 for any free port",
    errno_codes.EADDRNOTAVAIL: "this machine has no such address: use one of its own, or 0.0.0.0 (::) for all",
    errno_codes.EACCES: "ports below 1024 need privileges: choose a higher one",
}


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
            *destination,
            f"nothing listens on {destination.transport} over {family}; "
            f"call listen({destination.transport!r}, ...) with an {family} address first",
        )


class MessageTooLarge(TransportError):
    """A request of `size` bytes is over the `limit` for UDP, and TCP is not there to take it (RFC 3261 18.1.1)."""

    def __init__(self, destination: Destination, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(
            *destination,
            f"the message has {size} bytes, the limit is {limit}: "
            "let TCP listen too, or send less (fewer codecs, a shorter body)",
        )


class SendError(TransportError):
    """A message was refused by the operating system or by the remote host; `errno` is 0 when neither gave a number."""

    def __init__(self, destination: Destination, error: OSError) -> None:
        self.errno = error.errno or 0
        super().__init__(*destination, _text(error))


class ConnectError(SendError):
    """No connection could be made."""


class ConnectionLost(SendError):
    """The connection ended; `orderly` when the remote, or we, closed it without an error."""

    def __init__(self, destination: Destination, error: OSError | None = None) -> None:
        self.orderly = error is None
        super().__init__(destination, error or ConnectionResetError("the connection is closed"))


def _text(error: OSError) -> str:
    if error.errno:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
