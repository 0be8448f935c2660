"""What a session's call flow waits for: one small value for each thing that can happen to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sipsimple.notification import NotificationData


class StreamInitialized(NamedTuple):
    stream: Any


class StreamStarted(NamedTuple):
    stream: Any


class StreamFailed(NamedTuple):
    stream: Any
    reason: str


class DialogChanged(NamedTuple):
    """The invitation went to another state; `data` is that of `SIPInvitationChangedState`."""

    state: str
    data: NotificationData


class Negotiated(NamedTuple):
    """The offer and the answer agree on these descriptions."""

    local_sdp: Any
    remote_sdp: Any


class NegotiationFailed(NamedTuple):
    error: str


class AcceptRequested(NamedTuple):
    streams: list[Any]


class RejectRequested(NamedTuple):
    code: int
    reason: str | None


class EndRequested(NamedTuple):
    """The application wants the session to end."""


class AddRequested(NamedTuple):
    stream: Any


class RemoveRequested(NamedTuple):
    stream: Any


class CancelRequested(NamedTuple):
    """Our own proposal is to be withdrawn."""


class HoldChanged(NamedTuple):
    """The application wants another hold state than the one that is agreed."""


class AddressChanged(NamedTuple):
    """This host is reached at another address now; `attempt` counts how often that is being told."""

    attempt: int = 1


class StreamsLeft(NamedTuple):
    """The other party has to be told of streams that are gone; `attempt` counts how often."""

    attempt: int = 1


class DialogSettled(NamedTuple):
    """Something is over that kept us from proposing anything."""


Event = (
    StreamInitialized
    | StreamStarted
    | StreamFailed
    | DialogChanged
    | Negotiated
    | NegotiationFailed
    | AcceptRequested
    | RejectRequested
    | EndRequested
    | AddRequested
    | RemoveRequested
    | CancelRequested
    | HoldChanged
    | AddressChanged
    | StreamsLeft
    | DialogSettled
)
