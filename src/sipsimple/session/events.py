"""What a session's call flow waits for: one small value for each thing that can happen to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sipsimple.notification import NotificationData


@dataclass(slots=True, frozen=True)
class StreamInitialized:
    stream: Any


@dataclass(slots=True, frozen=True)
class StreamStarted:
    stream: Any


@dataclass(slots=True, frozen=True)
class StreamFailed:
    stream: Any
    reason: str


@dataclass(slots=True, frozen=True)
class DialogChanged:
    """The invitation went to another state; `data` is that of `SIPInvitationChangedState`."""

    state: str
    data: NotificationData


@dataclass(slots=True, frozen=True)
class Negotiated:
    """The offer and the answer agree on these descriptions."""

    local_sdp: Any
    remote_sdp: Any


@dataclass(slots=True, frozen=True)
class NegotiationFailed:
    error: str


@dataclass(slots=True, frozen=True)
class AcceptRequested:
    streams: list[Any]


@dataclass(slots=True, frozen=True)
class RejectRequested:
    code: int
    reason: str | None


@dataclass(slots=True, frozen=True)
class EndRequested:
    pass


@dataclass(slots=True, frozen=True)
class AddRequested:
    stream: Any


@dataclass(slots=True, frozen=True)
class RemoveRequested:
    stream: Any


@dataclass(slots=True, frozen=True)
class CancelRequested:
    """Our own proposal is to be withdrawn."""


@dataclass(slots=True, frozen=True)
class HoldChanged:
    """The application wants another hold state than the one that is agreed."""


@dataclass(slots=True, frozen=True)
class AddressChanged:
    """This host is reached at another address now."""


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
)
