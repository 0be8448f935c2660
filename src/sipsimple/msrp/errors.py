"""What can go wrong in the MSRP library.

    MSRPError
    ├── MalformedURI            text that is no MSRP URI
    ├── MalformedChunk          bytes that are no MSRP (RFC 4975 9)
    ├── MSRPConnectError        a connection could not be made
    │   ├── MSRPTimeoutError    ... in time; also for AUTH, binding and waiting
    │   └── TLSVerifyError      ... because the remote is not who it should be (RFC 4572, RFC 4975 14)
    ├── RequestRefused          a request of ours got a negative answer
    │   ├── BindRefused         ... the first SEND, which binds session and connection
    │   └── RelayRefused        ... the AUTH request to a relay (RFC 4976)
    ├── SessionClosed           the session or its connection has ended
    └── UnusableCertificate     a certificate, key or list of authorities of ours cannot be read

What the remote does wrong while a session runs is an event and a counter, not one of these.
"""

from __future__ import annotations

from sipsimple.msrp.status import comment_of

__all__ = [
    "BindRefused",
    "MSRPConnectError",
    "MSRPError",
    "MSRPTimeoutError",
    "MalformedChunk",
    "MalformedURI",
    "RelayRefused",
    "RequestRefused",
    "SessionClosed",
    "TLSVerifyError",
    "UnusableCertificate",
]


class MSRPError(Exception):
    """The root of the tree."""


class MalformedURI(MSRPError, ValueError):
    """Text that is no MSRP URI; the text of the error says why."""


class MalformedChunk(MSRPError, ValueError):
    """Bytes that are no MSRP; the text of the error says why.

    When the chunker raises it, the border of the next chunk is lost and the connection has to go.
    """


class MSRPConnectError(MSRPError):
    """A connection to `host` and `port` could not be made, for a `reason` in words."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"cannot connect to {host}:{port}: {reason}")
        self.host = host
        self.port = port
        self.reason = reason


class MSRPTimeoutError(MSRPConnectError, TimeoutError):
    """Nothing came from the remote within `limit` seconds; `phase` says what was waited for."""

    def __init__(self, host: str, port: int, phase: str, limit: float) -> None:
        super().__init__(host, port, f"{phase} took longer than {limit:g} s")
        self.phase = phase
        self.limit = limit


class TLSVerifyError(MSRPConnectError):
    """The certificate of the remote failed a check: `fingerprint`, `chain`, `host name` or `validity`."""

    def __init__(self, host: str, port: int, check: str, reason: str) -> None:
        super().__init__(host, port, f"the {check} of its certificate is wrong: {reason}")
        self.check = check


class RequestRefused(MSRPError):
    """A request of ours was answered with the status `code`; `comment` is what the remote says about it."""

    def __init__(self, method: str, code: int, comment: str = "") -> None:
        self.method = method
        self.code = code
        self.comment = comment or comment_of(code)
        super().__init__(f"{method} was refused: {code} {self.comment}")


class BindRefused(RequestRefused):
    """The remote does not know our session, or has it on another connection."""


class RelayRefused(RequestRefused):
    """The relay does not take us: wrong password, no permission, or no relay at all."""


class SessionClosed(MSRPError):
    """The session has ended, by `close` or because its connection is gone."""


class UnusableCertificate(MSRPError, ValueError):
    """A certificate, key or list of authorities cannot be used; the text says which and why."""
