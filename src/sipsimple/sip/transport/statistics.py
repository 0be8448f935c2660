"""What an endpoint counts: traffic, and everything it dropped or refused without telling anybody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

TraceFunction: TypeAlias = Callable[[bool, str, tuple[str, int], tuple[str, int], bytes], object]


@dataclass(slots=True)
class Statistics:
    """Counters of one endpoint since it was made."""

    requests_received: int = 0
    responses_received: int = 0
    requests_sent: int = 0
    responses_sent: int = 0
    retransmissions_absorbed: int = 0
    keep_alives: int = 0

    malformed: int = 0
    """Messages that could not be read; where enough was readable for it, a 400 was sent as well."""
    stray_responses: int = 0
    """Responses that belong to no client transaction."""
    stray_acks: int = 0
    """ACKs that belong to no server transaction and cannot be read."""
    unanswerable: int = 0
    """Refusals that could not go out, because the request had no Via."""
    rejected: int = 0
    """Requests that the endpoint itself refused: 400, 416, 481, 482, 503, 505, 513."""
    overloaded: int = 0
    """Requests refused with 503: by the limits of server transactions, or by limits of the endpoint's user."""
    shed: int = 0
    """INVITEs outside of dialogs refused with 503 because there was more to read than we kept up with."""
    send_errors: int = 0
    unreachable: int = 0
    """ICMP errors for datagrams of ours."""

    connections_refused: int = 0
    """Connections closed on arrival because of `MAX_CONNECTIONS` or `MAX_HANDSHAKES`."""
    handshakes_failed: int = 0
    """Connections of others that never came to speak TLS with us."""
    connections_timed_out: int = 0
    """Connections closed because a message, or the answer to a keep-alive, was too long in coming."""
    connections_idle_closed: int = 0
    connections_overrun: int = 0
    """Connections closed because the remote took less than we sent, see `MAX_WRITE_BUFFER`."""


class TraceHook:
    """Who sees the messages as they pass the wire; `call` is None when nobody does.

    Called with: received, transport in upper case, source address, destination address, bytes.
    """

    __slots__ = ("call",)

    def __init__(self) -> None:
        self.call: TraceFunction | None = None
