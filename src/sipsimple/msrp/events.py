"""What happens in a session, in the order in which it happened."""

from __future__ import annotations

from dataclasses import dataclass

from sipsimple.msrp.message import MSRPData
from sipsimple.msrp.outgoing import OutgoingMessage

__all__ = [
    "BindFailed",
    "Bound",
    "DataReceived",
    "Disconnected",
    "Event",
    "MessageAccepted",
    "MessageDelivered",
    "MessageFailed",
    "MessageSent",
    "ReportReceived",
    "RequestReceived",
    "ResponseReceived",
]


@dataclass(frozen=True, slots=True)
class Bound:
    """Both ends know which connection is that of the session; messages flow from now on."""


@dataclass(frozen=True, slots=True)
class BindFailed:
    """The remote did not take our first SEND; 408 when it did not answer."""

    code: int
    comment: str


@dataclass(frozen=True, slots=True)
class DataReceived:
    """A part of a message, or a whole one when the session puts messages together.

    `chunk.byte_range` says which part. `chunk.continuation` is `+` when there is more to come, `$` with the end of the
    message and `#` when the sender has given it up.
    """

    chunk: MSRPData


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """A request of another method, one of those that the session was told to leave to us. It wants an answer."""

    chunk: MSRPData


@dataclass(frozen=True, slots=True)
class ResponseReceived:
    """The answer to a request of ours that was no SEND; without a `chunk` when none came (408)."""

    transaction_id: str
    method: str
    code: int
    comment: str
    chunk: MSRPData | None


@dataclass(frozen=True, slots=True)
class ReportReceived:
    """A REPORT, and the message that it is about if we still know that."""

    chunk: MSRPData
    message: OutgoingMessage | None


@dataclass(frozen=True, slots=True)
class MessageSent:
    """The last byte of a message was written."""

    message: OutgoingMessage


@dataclass(frozen=True, slots=True)
class MessageAccepted:
    """The next hop has all chunks of a message. With Failure-Report `partial` or `no`: has not said otherwise."""

    message: OutgoingMessage


@dataclass(frozen=True, slots=True)
class MessageDelivered:
    """The remote reports success, for the whole message when `is_complete`, else for a part."""

    message: OutgoingMessage
    chunk: MSRPData
    is_complete: bool


@dataclass(frozen=True, slots=True)
class MessageFailed:
    """A message did not arrive. `chunk` is the response or report that says so, if there is one.

    408: nobody has answered, or the session has ended before the remote reported success.
    """

    message: OutgoingMessage
    code: int
    reason: str
    chunk: MSRPData | None


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The session has ended; the last event. `error` is None when one of the parties closed it."""

    error: Exception | None


Event = (
    Bound
    | BindFailed
    | DataReceived
    | RequestReceived
    | ResponseReceived
    | ReportReceived
    | MessageSent
    | MessageAccepted
    | MessageDelivered
    | MessageFailed
    | Disconnected
)
