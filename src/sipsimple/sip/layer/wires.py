"""The way of one transaction: what its machine calls a `Wire`, towards one destination.

A message is encoded once, however often it is repeated. A failure to send reaches the transaction in a later turn of
the event loop, so that no transaction is told of it before whoever started it holds it in hand.
"""

from __future__ import annotations

from typing import Any, Protocol

from sipsimple.sip.message import Request, Response
from sipsimple.sip.transaction import InviteClient, Transaction
from sipsimple.sip.transport import Channel, Destination, Statistics, TransportError, TransportLayer


class WireOwner(Protocol):
    """The endpoint, as its wires see it."""

    transports: TransportLayer
    statistics: Statistics

    def schedule(self, sleeper: Any) -> None: ...
    def release_client(self, transaction: Any, wire: ClientWire) -> None: ...
    def release_server(self, transaction: Any, wire: ServerWire) -> None: ...
    def release_other(self, sleeper: Any) -> None: ...
    def start_cancel(self, transaction: InviteClient, cancel: Request, now: float) -> None: ...
    def report_failure(self, transaction: Any, error: TransportError) -> None:
        """Tell the transaction, None when it has ended, in a later turn of the loop."""


class _Encoded:
    """The message that was sent last, in bytes."""

    __slots__ = ("_data", "_message", "destination", "owner", "reliable", "schedule", "transaction")

    def __init__(self, owner: WireOwner, destination: Destination) -> None:
        self.owner = owner
        self.schedule = owner.schedule
        self.destination = destination
        self.reliable = destination.transport != "udp"
        self.transaction: Any = None
        self._message: Request | Response | None = None
        self._data = b""

    def remember(self, message: Request | Response, data: bytes) -> None:
        """Take the bytes of the message from who has them already."""
        self._message = message
        self._data = data

    def encode(self, message: Request | Response) -> bytes:
        """The bytes of the message, which must not change once it was sent."""
        if message is not self._message:
            self.remember(message, message.encode())
        return self._data

    def failed(self, error: TransportError) -> None:
        self.owner.report_failure(self.transaction, error)


class ClientWire(_Encoded):
    """From a client transaction to the next hop."""

    __slots__ = ("cancel_headers", "fallback")

    def __init__(self, owner: WireOwner, destination: Destination) -> None:
        super().__init__(owner, destination)
        self.cancel_headers: tuple[tuple[str, str], ...] = ()
        self.fallback: Destination | None = None
        """Where to go when nobody takes the connection: a large request may use UDP then."""

    def redirect(self, destination: Destination) -> None:
        """Lead to another destination from now on, with messages that are encoded anew."""
        self.destination = destination
        self.reliable = destination.transport != "udp"
        self.fallback = None
        self._message = None

    def send(self, message: Request | Response) -> None:
        self.owner.statistics.requests_sent += 1
        try:
            self.owner.transports.send(self.destination, self.encode(message), self.failed)
        except TransportError as error:
            self.failed(error)

    def release(self, transaction: Any) -> None:
        self.owner.release_client(transaction, self)
        self.transaction = None

    def start_cancel(self, transaction: Any, cancel: Request, now: float) -> None:
        self.owner.start_cancel(transaction, cancel, now)


class ServerWire(_Encoded):
    """Back to where a request came from: by the channel that brought it, else to where its Via says (18.2.2).

    It serves the repeated 2xx of an accepted INVITE too, which outlives nothing but is no transaction.
    """

    __slots__ = ("channel", "merge_key", "source")

    def __init__(self, owner: WireOwner, destination: Destination, source: Destination, channel: Channel) -> None:
        super().__init__(owner, destination)
        self.source = source
        self.channel = channel
        self.merge_key: tuple[str, ...] | None = None

    def send(self, message: Request | Response) -> None:
        self.owner.statistics.responses_sent += 1
        try:
            self.owner.transports.send_back(self.channel, self.destination, self.encode(message), self.failed)
        except TransportError as error:
            self.failed(error)

    def release(self, sleeper: Any) -> None:
        if sleeper is self.transaction:
            self.owner.release_server(sleeper, self)
            self.transaction = None
        else:
            self.owner.release_other(sleeper)

    def start_cancel(self, transaction: Any, cancel: Request, now: float) -> None:
        """Never called: only a client transaction cancels."""
        raise NotImplementedError("a server transaction has nothing to cancel")


def way_of(transaction: Transaction) -> ClientWire | ServerWire | None:
    """The wire of a transaction as this package knows it; None when the transaction has ended."""
    wire = transaction.wire
    return wire if isinstance(wire, ClientWire | ServerWire) else None
