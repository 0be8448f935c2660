"""Transports and transactions of one SIP element in one asyncio loop (RFC 3261 17 and 18).

The endpoint finds the transaction of each message and runs its timers. What belongs to no dialog it answers by
itself: CANCEL, merged requests, what is malformed, too new, or too much. It knows no dialogs; its user does.

Everything happens in the loop in which the endpoint was made; its methods are not for other threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

from sipsimple.sip.layer.reception import Reception
from sipsimple.sip.layer.tables import Tables
from sipsimple.sip.layer.users import EndpointUser
from sipsimple.sip.layer.via import write_via
from sipsimple.sip.layer.wires import ClientWire, ServerWire, way_of
from sipsimple.sip.message import Request, Response
from sipsimple.sip.timers import RFC_TIMING, Alarm, Sleeper, TimerQueue, Timing
from sipsimple.sip.transaction import (
    ClientTransaction,
    ClientUser,
    InviteClient,
    NonInviteClient,
    ServerTransaction,
)
from sipsimple.sip.transaction.base import NOBODY
from sipsimple.sip.transport import (
    Address,
    ConnectError,
    Destination,
    MessageTooLarge,
    Security,
    SendError,
    Statistics,
    TraceFunction,
    TraceHook,
    TransportError,
    TransportLayer,
    TransportName,
    TransportNotListening,
)
from sipsimple.sip.transport.address import looks_like_ip

__all__ = ["MAX_UDP_REQUEST_SIZE", "Endpoint", "EndpointUser"]

MAX_UDP_REQUEST_SIZE: Final = 1300
"""A larger request goes by TCP, because datagrams that IP must fragment get lost (RFC 3261 18.1.1)."""
MAX_DATAGRAM_SIZE: Final = 65000

DEFAULT_MAX_FORWARDS: Final = 70


class Endpoint:
    """Transports, transactions and their timers. To be made inside the running event loop, ended with `close()`."""

    def __init__(self, user: EndpointUser, *, user_agent: str = "sipsimple", timing: Timing = RFC_TIMING) -> None:
        self.user = user
        self.user_agent = user_agent
        self.timing = timing
        self.statistics = Statistics()
        self.tables = Tables()
        self._loop = asyncio.get_running_loop()
        self.now: Callable[[], float] = self._loop.time
        """The clock of the endpoint and its transactions: monotonic seconds."""
        self._timers = TimerQueue(self._set_timer)
        self.schedule: Callable[[Sleeper], None] = self._timers.arm
        """Wake a machine when its `next_wake()` says; to be called again when that has changed."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._trace = TraceHook()
        self.closed = False
        self.transports = TransportLayer(Reception(self), self.schedule, self.statistics, self._trace)

    @property
    def on_trace(self) -> TraceFunction | None:
        """Called with every message that passes the wire; see `TraceHook`."""
        return self._trace.call

    @on_trace.setter
    def on_trace(self, function: TraceFunction | None) -> None:
        self._trace.call = function

    # Transports.

    async def listen(self, transport: TransportName, address: str, port: int, security: Security | None = None) -> int:
        """Open a transport on an IP literal, one of each family; port 0 takes any free one. TLS needs `security`.

        Returns the port. Raises ListenError, whose text says what to do.
        """
        return await self.transports.listen(transport, address, port, security)

    async def close_transport(self, transport: TransportName) -> None:
        """Close a transport in bounded time; the client transactions that use it fail. Idempotent."""
        stranded = self.tables.clients_over(transport)
        await self.transports.close_transport(transport)
        for transaction in stranded:
            if (way := way_of(transaction)) is not None:
                error = SendError(way.destination, ConnectionAbortedError("the transport was closed"))
                self.report_failure(transaction, error)

    async def close(self) -> None:
        """Forget all transactions without telling anybody, and close all transports in bounded time. Idempotent."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        transactions: list[ClientTransaction | ServerTransaction] = list(self.tables.clients.values())
        transactions += self.tables.servers.values()
        for transaction in transactions:
            transaction.user = NOBODY
            self._timers.disarm(transaction)
            if (way := way_of(transaction)) is not None:
                way.transaction = None
        self.tables.clear()
        await self.transports.close()

    def listens(self, transport: TransportName, host: str | None = None) -> bool:
        """True when the transport listens in the address family of `host`, or in any."""
        return self.transports.listens(transport, host)

    def local_address(self, transport: TransportName, host: str | None = None) -> Address | None:
        """The address and port to write into a Via or Contact for `host`; None when the transport does not listen.

        For a transport that listens on all addresses it is the one that the kernel sends from towards `host`, or by
        the default route when `host` is None.
        """
        return self.transports.local_address(transport, host)

    def has_connection(self, destination: Destination) -> bool:
        """True when there is an open connection with the destination."""
        return self.transports.connection(destination) is not None

    def keep_alive(self, destination: Destination) -> None:
        """Send a keep-alive (RFC 5626 4.4); raises TransportError, also when the connection is not there any more.

        A connection whose remote answers nothing for 10 s is taken for lost.
        """
        self.transports.keep_alive(destination)

    def keep_open(self, destination: Destination) -> None:
        """As `keep_alive`, for a remote that may not know how to answer: its silence means nothing."""
        self.transports.keep_open(destination)

    # Sending.

    def send_request(self, request: Request, destination: Destination, user: ClientUser) -> ClientTransaction:
        """Start a client transaction for a request, which gets a new Via, and Max-Forwards when it has none.

        The request belongs to the transaction from now on. Over UDP a request above `MAX_UDP_REQUEST_SIZE` goes by
        TCP, and by UDP only when nobody takes the connection; `destination_of` tells. Raises TransportNotListening,
        MessageTooLarge when TCP does not listen, and LimitReached. What fails later is told by
        `user.on_transport_error`, never before this has returned.
        """
        wanted = destination
        destination, data = self._dress(request, wanted)
        wire = ClientWire(self, destination)
        wire.remember(request, data)
        if destination is not wanted and len(data) <= MAX_DATAGRAM_SIZE:
            wire.fallback = wanted
        kind = InviteClient if request.method == "INVITE" else NonInviteClient
        return self._start_client(kind(request, wire, user, timing=self.timing), wire)

    def send_stateless(self, request: Request, destination: Destination) -> None:
        """Send a request that has no transaction: the ACK to a 2xx. Sending the same object again repeats it.

        Raises TransportError; a later failure is only counted.
        """
        if "Via" not in request.headers:
            destination, data = self._dress(request, destination)
        else:
            destination, data = destination._replace(transport=_transport_of(request)), request.encode()
        self.statistics.requests_sent += 1
        self.transports.send(destination, data, self._count_failure)

    def cancel(self, transaction: InviteClient, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Cancel an INVITE as soon as a provisional response has come; the CANCEL gets these headers besides its own.

        The outcome is told as for any other response: 487, or the 2xx that was faster. Raises
        SIPCoreInvalidStateError when there is a final response already.
        """
        way = way_of(transaction)
        if isinstance(way, ClientWire):
            way.cancel_headers = tuple(headers)
        transaction.cancel(self.now())

    def respond(self, transaction: ServerTransaction, response: Response) -> None:
        """Send a response; raises SIPCoreInvalidStateError when the state of the transaction forbids it."""
        if "Server" not in response.headers:
            response.headers.add("Server", self.user_agent)
        transaction.respond(response, self.now())

    def destination_of(self, transaction: ClientTransaction | ServerTransaction) -> Destination | None:
        """Where the request went, or where it came from; None when the transaction has ended."""
        way = way_of(transaction)
        if way is None:
            return None
        return way.source if isinstance(way, ServerWire) else way.destination

    # Timers for machines above: the repeated 2xx, refreshes.

    def call_at(self, when: float, function: Callable[..., object], *args: Any) -> Alarm:
        """Call `function(*args)` at `now() == when`, or less than a hundredth of a second later."""
        return self._timers.call_at(when, function, *args)

    def cancel_alarm(self, alarm: Alarm) -> None:
        """Disarm what `call_at` has armed."""
        self._timers.cancel(alarm)

    # What the wires want of their owner.

    def release_client(self, transaction: ClientTransaction, wire: ClientWire) -> None:
        self._timers.disarm(transaction)
        self.tables.remove_client(transaction, wire.destination)

    def release_server(self, transaction: ServerTransaction, wire: ServerWire) -> None:
        self._timers.disarm(transaction)
        self.tables.remove_server(transaction, wire.merge_key)

    def release_other(self, sleeper: Sleeper) -> None:
        self._timers.disarm(sleeper)

    def start_cancel(self, invite: InviteClient, cancel: Request, now: float) -> None:
        if "User-Agent" not in cancel.headers:
            cancel.headers.add("User-Agent", self.user_agent)
        way = way_of(invite)
        if isinstance(way, ClientWire):
            for name, value in way.cancel_headers:
                cancel.headers.add(name, value)
            wire = ClientWire(self, way.destination)
            self._start_client(NonInviteClient(cancel, wire, NOBODY, timing=self.timing), wire)

    def report_failure(self, transaction: Any, error: TransportError) -> None:
        self.statistics.send_errors += 1
        if transaction is not None:
            self._loop.call_soon(self._fail, transaction, error)

    def _fail(self, transaction: Any, error: TransportError) -> None:
        if self.closed:
            return
        wire = way_of(transaction)
        if isinstance(wire, ClientWire) and wire.fallback is not None and isinstance(error, ConnectError):
            self._fall_back(transaction, wire, wire.fallback)
        else:
            transaction.transport_failed(error, self.now())

    def _count_failure(self, error: TransportError) -> None:
        self.statistics.send_errors += 1

    def _start_client(self, transaction: ClientTransaction, wire: ClientWire) -> ClientTransaction:
        wire.transaction = transaction
        self.tables.add_client(transaction, wire.destination)
        transaction.start(self.now())
        return transaction

    def _dress(self, request: Request, destination: Destination) -> tuple[Destination, bytes]:
        """Make a request of the user ready for the wire; returns where it goes, and its bytes."""
        headers = request.headers
        if "Max-Forwards" not in headers:
            headers.add("Max-Forwards", str(DEFAULT_MAX_FORWARDS))
        if "User-Agent" not in headers:
            headers.add("User-Agent", self.user_agent)
        self._write_via(request, destination)
        data = request.encode()
        if destination.transport != "udp" or len(data) <= MAX_UDP_REQUEST_SIZE:
            return destination, data
        if not self.transports.listens("tcp", destination.host):
            raise MessageTooLarge(destination, len(data), MAX_UDP_REQUEST_SIZE)
        destination = destination._replace(transport="tcp")
        self._write_via(request, destination)
        return destination, request.encode()

    def _fall_back(self, transaction: ClientTransaction, wire: ClientWire, fallback: Destination) -> None:
        """Send by UDP, after all, what nobody takes by TCP (RFC 3261 18.1.1)."""
        self.tables.remove_client(transaction, wire.destination)
        self._write_via(transaction.request, fallback)
        wire.redirect(fallback)
        transaction.begin_again()
        self._start_client(transaction, wire)

    def _write_via(self, request: Request, destination: Destination) -> None:
        if not looks_like_ip(destination.host):
            # The socket would look the name up, and hold the event loop meanwhile.
            raise ValueError(f"{destination.host!r} is no IP address: look it up first (RFC 3263)")
        local = self.transports.local_address(destination.transport, destination.host)
        if local is None:
            raise TransportNotListening(destination)
        write_via(request, destination.transport, local)

    def _set_timer(self) -> None:
        when = self._timers.next_wake()
        if when is None or self.closed:
            return
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._run_timers)

    def _run_timers(self) -> None:
        self._timer = None
        try:
            self._timers.run(self._loop.time())
        finally:
            self._set_timer()


def _transport_of(request: Request) -> TransportName:
    name = request.via.transport.lower()
    return "tcp" if name == "tcp" else "tls" if name == "tls" else "udp"
