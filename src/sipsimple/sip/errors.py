"""The errors of the SIP library.

    SIPCoreError                       any misuse or failure inside the core
    ├── PJSIPError                     the network below refused: status, errno
    │   └── PJSIPTLSError              the TLS transport could not be made
    ├── SIPCoreInvalidStateError       the object is not in a state that allows the method
    ├── MalformedMessage               what a parser raises, whatever the bytes: status, detail
    │   └── MalformedURI
    ├── SDPNegotiationError            offer and answer have nothing in common: detail
    ├── TransportError                 a request or response could not be sent: transport, host, port, detail
    └── LimitReached                   a named bound was met: limit, retry_after

`PJSIPError` keeps the name and the numbers of the stack that the documented API was first written for, because
applications look at `errno`.
"""

from __future__ import annotations

import os
from typing import Final

__all__ = [
    "LimitReached",
    "MalformedMessage",
    "MalformedURI",
    "PJSIPError",
    "PJSIPTLSError",
    "SDPNegotiationError",
    "SIPCoreError",
    "SIPCoreInvalidStateError",
    "TransportError",
]

OS_ERROR_BASE: Final = 120000

STACK_TEXTS: Final = {
    70001: "Unknown Error (PJ_EUNKNOWN)",
    70004: "Invalid value or argument (PJ_EINVAL)",
    70006: "Not found (PJ_ENOTFOUND)",
    70009: "Timed out (PJ_ETIMEDOUT)",
    70010: "Too many objects of the specified type (PJ_ETOOMANY)",
    70011: "Object is busy (PJ_EBUSY)",
    70012: "Option/operation is not supported (PJ_ENOTSUP)",
    70013: "Invalid operation (PJ_EINVALIDOP)",
    70014: "Operation cancelled (PJ_ECANCELLED)",
    70015: "Object already exists (PJ_EEXISTS)",
    70017: "Size is too big (PJ_ETOOBIG)",
}


class SIPCoreError(Exception):
    """Something was misused or failed inside the core; `args[0]` is the text."""


class PJSIPError(SIPCoreError):
    """The network, a device or a file below the core refused."""

    def __init__(self, message: str, status: int) -> None:
        cause = _stack_text(status)
        super().__init__(message if cause in message else f"{message}: {cause}")
        self.status = status
        self.errno = status - OS_ERROR_BASE if status else 0

    @classmethod
    def from_os_error(cls, message: str, error: OSError) -> PJSIPError:
        """Translate an error of the operating system; its number becomes `errno`."""
        return cls(message, OS_ERROR_BASE + (error.errno or 0))


class PJSIPTLSError(PJSIPError):
    """The TLS transport could not be made from the given protocol, certificate, key or list of authorities."""


class SIPCoreInvalidStateError(SIPCoreError):
    """The object is not in a state that allows the method."""


class MalformedMessage(SIPCoreError):
    """The remote sent what the grammar does not allow; `status` is the response code that says so."""

    def __init__(self, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status


class MalformedURI(MalformedMessage):
    """The text is not a SIP or SIPS URI; `status` is 416 when it is a URI of another scheme."""


class SDPNegotiationError(SIPCoreError):
    """The offer and the answer have nothing in common."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class TransportError(SIPCoreError):
    """A message could not be sent to where it should go."""

    def __init__(self, transport: str, host: str, port: int, detail: str) -> None:
        super().__init__(f"cannot send to {transport}:{host}:{port}: {detail}")
        self.transport = transport
        self.host = host
        self.port = port
        self.detail = detail


class LimitReached(SIPCoreError):
    """One of the named bounds of the library was met; `retry_after` is in seconds."""

    def __init__(self, what: str, limit: int, retry_after: int | None = None) -> None:
        super().__init__(f"no more than {limit} {what}")
        self.limit = limit
        self.retry_after = retry_after


def _stack_text(status: int) -> str:
    if status > OS_ERROR_BASE:
        return os.strerror(status - OS_ERROR_BASE)
    return STACK_TEXTS.get(status, f"Unknown Error {status}")
