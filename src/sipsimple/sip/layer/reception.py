"""What becomes of a message that came in: the transaction it belongs to takes it, or it is refused, or dropped.

RFC 3261 8.2, 9.2, 17.1.3, 17.2.3, 18.3 and 18.4. Requests that are neither refused here nor known yet start a server
transaction, which is handed to the user.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final, Protocol

from sipsimple.sip.errors import MalformedMessage
from sipsimple.sip.layer.refusal import salvage, stateless_tag
from sipsimple.sip.layer.tables import Tables
from sipsimple.sip.layer.users import EndpointUser
from sipsimple.sip.layer.via import complete_via, response_destination
from sipsimple.sip.layer.wires import ServerWire, WireOwner
from sipsimple.sip.message import SIP_VERSION, Request, Response
from sipsimple.sip.timers import Timing
from sipsimple.sip.transaction import (
    InviteServer,
    NonInviteServer,
    ServerTransaction,
    State,
    cancelled_key,
    client_key,
    merge_key,
    server_key,
)
from sipsimple.sip.transport import Channel, Destination, SendError, TransportError
from sipsimple.sip.transport.errors import ConnectionLost
from sipsimple.sip.transport.stream import StreamConnection
from sipsimple.sip.validation import validate

RETRY_AFTER: Final = 10
"""What a remote is told to wait, in seconds, when there are too many transactions."""

MAX_LAG: Final = 0.5
"""Seconds of a continuous backlog after which new calls are refused, so that those in progress get on.

It is T1: callers who wait longer repeat themselves, which makes it worse (RFC 5390 4).
"""

_SENT_REQUEST: Final = re.compile(rb"([A-Za-z]+) .*?\r\nVia: [^\r\n]*;branch=([^;,\s]+)", re.DOTALL)


class ReceptionOwner(WireOwner, Protocol):
    """The endpoint, as reception sees it."""

    user: EndpointUser
    user_agent: str
    timing: Timing
    tables: Tables
    closed: bool

    def now(self) -> float: ...


class Reception:
    """Takes what the transports receive."""

    def __init__(self, owner: ReceptionOwner) -> None:
        self._owner = owner
        self._tables = owner.tables
        self._statistics = owner.statistics
        self._loop = asyncio.get_running_loop()

    def on_message(self, message: Request | Response, source: Destination, channel: Channel) -> None:
        if self._owner.closed:
            return
        # A mistake of the user must neither end the connection nor keep the next datagram from being read.
        try:
            if isinstance(message, Response):
                self._take_response(message)
            else:
                self._take_request(message, source, channel)
        except Exception as error:  # noqa: BLE001
            self._report(f"{message!r} was not taken", error)

    def on_malformed(self, data: bytes, error: MalformedMessage, source: Destination, channel: Channel) -> None:
        """Answer what can be answered of a request that is no message, and count it."""
        self._statistics.malformed += 1
        answer = salvage(data, error.status)
        if answer is not None:
            self._statistics.rejected += 1
            self._send_back(channel, source, answer)

    def on_unreachable(self, datagram: bytes, error: SendError) -> None:
        """End the client transaction whose request an ICMP error came back for."""
        self._statistics.unreachable += 1
        sent = _SENT_REQUEST.match(datagram)
        if sent is None:
            return
        method, branch = (part.decode("ascii", "replace") for part in sent.groups())
        transaction = self._tables.clients.get((branch, method))
        if transaction is not None:
            self._owner.report_failure(transaction, error)

    def on_connection_lost(self, connection: StreamConnection, error: ConnectionLost) -> None:
        """End the client transactions that have lost their connection, then tell the user."""
        for transaction in self._tables.stranded(connection.remote, error):
            self._owner.report_failure(transaction, error)
        self._loop.call_soon(self._tell_lost, connection.remote, error)

    def _tell_lost(self, remote: Destination, error: ConnectionLost) -> None:
        if not self._owner.closed:
            self._owner.user.on_connection_lost(remote, error)

    def _take_response(self, response: Response) -> None:
        self._statistics.responses_received += 1
        try:
            # RFC 3261 8.1.3.3: a response with a second Via was meant for somebody else.
            transaction = self._tables.clients.get(client_key(response)) if len(response.vias) == 1 else None
            if transaction is None:
                self._statistics.stray_responses += 1
                return
            validate(response)
        except MalformedMessage:
            self._statistics.malformed += 1
            return
        transaction.receive(response, self._owner.now())

    def _take_request(self, request: Request, source: Destination, channel: Channel) -> None:
        self._statistics.requests_received += 1
        try:
            complete_via(request, source)
            key = server_key(request)
            transaction = self._tables.servers.get(key)
            if transaction is not None:
                if request.method != "ACK":
                    self._statistics.retransmissions_absorbed += 1
                transaction.receive(request, self._owner.now())
                return
            validate(request)
        except MalformedMessage as error:
            self._statistics.malformed += 1
            # What writes another version writes its Via otherwise, and that is what fails first.
            status = error.status if request.version == SIP_VERSION else 505
            self._refuse(request, status, source, channel)
            return
        if request.method == "ACK":
            self._owner.user.on_acknowledgement(request)
        elif request.method == "CANCEL":
            self._cancel(request, key, source, channel)
        else:
            self._begin(request, key, source, channel)

    def _begin(self, request: Request, key: tuple[str, ...], source: Destination, channel: Channel) -> None:
        in_dialog = request.to.tag is not None
        if request.method == "INVITE" and not in_dialog and self._owner.transports.lag() > MAX_LAG:
            self._statistics.shed += 1
            self._refuse(request, 503, source, channel, retry_after=RETRY_AFTER)
            return
        if not self._tables.has_room(in_dialog):
            self._statistics.overloaded += 1
            self._refuse(request, 503, source, channel, retry_after=RETRY_AFTER)
            return
        merge = None if in_dialog else merge_key(request)
        if merge is not None and self._tables.is_merged(merge):
            self._refuse(request, 482, source, channel)
            return
        transaction = self._start(request, key, source, channel, merge)
        try:
            self._owner.user.on_request(transaction, request)
        except MalformedMessage as error:
            self._statistics.malformed += 1
            self._answer_mistake(transaction, error.status)
        except Exception as error:  # noqa: BLE001
            self._answer_mistake(transaction, 500)
            self._report(f"the user failed over {request!r}", error)

    def _start(
        self,
        request: Request,
        key: tuple[str, ...],
        source: Destination,
        channel: Channel,
        merge: tuple[str, ...] | None,
    ) -> ServerTransaction:
        owner = self._owner
        wire = ServerWire(owner, response_destination(request, source), source, channel)
        wire.merge_key = merge
        kind = InviteServer if request.method == "INVITE" else NonInviteServer
        transaction = kind(request, wire, owner.user, timing=owner.timing, key=key)
        wire.transaction = transaction
        self._tables.add_server(transaction, merge)
        transaction.start(owner.now())
        return transaction

    def _cancel(self, cancel: Request, key: tuple[str, ...], source: Destination, channel: Channel) -> None:
        invite = self._tables.servers.get(cancelled_key(cancel))
        if not isinstance(invite, InviteServer):
            self._refuse(cancel, 481, source, channel)
            return
        # There is one CANCEL for each INVITE, so the limit of transactions needs no check here.
        transaction = self._start(cancel, key, source, channel, None)
        last = invite.last_response
        tag = last.to.tag if last is not None else None
        transaction.respond(self._response(cancel, 200, tag or stateless_tag(invite.request)), self._owner.now())
        if invite.state is State.PROCEEDING:
            self._owner.user.on_cancel(invite, cancel)

    def _answer_mistake(self, transaction: ServerTransaction, code: int) -> None:
        if transaction.state in {State.TRYING, State.PROCEEDING}:
            request = transaction.request
            transaction.respond(self._response(request, code, stateless_tag(request)), self._owner.now())

    def _refuse(
        self, request: Request, code: int, source: Destination, channel: Channel, *, retry_after: int | None = None
    ) -> None:
        """Answer without a transaction; a retransmission will get the same answer again."""
        if request.method == "ACK":
            self._statistics.stray_acks += 1
            return
        self._statistics.rejected += 1
        response = self._response(request, code, stateless_tag(request))
        if retry_after is not None:
            response.headers.add("Retry-After", str(retry_after))
        if "Via" not in response.headers:
            self._statistics.unanswerable += 1
            return
        try:
            destination = response_destination(request, source)
        except MalformedMessage:
            destination = source
        self._send_back(channel, destination, response.encode())

    def _response(self, request: Request, code: int, tag: str) -> Response:
        response = request.make_response(code, to_tag=tag)
        response.headers.add("Server", self._owner.user_agent)
        return response

    def _send_back(self, channel: Channel, destination: Destination, data: bytes) -> None:
        try:
            self._owner.transports.send_back(channel, destination, data, self._not_sent)
            self._statistics.responses_sent += 1
        except TransportError as error:
            self._not_sent(error)

    def _not_sent(self, error: TransportError) -> None:
        self._statistics.send_errors += 1

    def _report(self, message: str, error: Exception) -> None:
        context: dict[str, Any] = {"message": message, "exception": error}
        self._loop.call_exception_handler(context)
