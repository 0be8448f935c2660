"""One MSRP session: what is accepted, answered and reported, and what becomes of the messages sent (RFC 4975 7).

The machine is driven by the chunks that its connection found, by the user and by the clock. What it sends it puts into
the sender of the connection; what happened it puts into `events`. The outgoing half is `sipsimple.msrp.ledger`.

    state     entered by                      messages of ours
    NEW       -                               wait
    BINDING   bind: our first SEND is out     wait
    WAITING   expect: the remote's has to come    wait
    READY     its 200, or the remote's SEND   go
    CLOSED    close, disconnected, BindFailed refused
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

from sipsimple.msrp import status
from sipsimple.msrp.assembly import Assembler, TooMuch
from sipsimple.msrp.errors import MalformedChunk, SessionClosed
from sipsimple.msrp.events import BindFailed, Bound, DataReceived, Event, RequestReceived
from sipsimple.msrp.ledger import Ledger
from sipsimple.msrp.message import ABORTED, COMPLETE, ByteRange, MSRPData
from sipsimple.msrp.outgoing import OutgoingMessage, SuppliedBody
from sipsimple.msrp.status import comment_of

if TYPE_CHECKING:
    from sipsimple.msrp.sender import Sender
    from sipsimple.msrp.uri import MSRPURI

__all__ = ["REPORT_SIZE", "SessionMachine", "State", "media_type_matches"]

REPORT_SIZE: Final = 64 * 1024
"""Received bytes after which success is reported, without waiting for the end of the message."""
MAX_REFUSED_MESSAGES: Final = 64


class State(Enum):
    """Where a session is in its life."""

    NEW = auto()
    BINDING = auto()
    WAITING = auto()
    READY = auto()
    CLOSED = auto()


class _Unreported(NamedTuple):
    """What has come of a message and was not reported; `chunk` is the last part of it."""

    chunk: MSRPData
    start: int
    end: int
    total: int | None

    def is_followed_by(self, chunk: MSRPData, byte_range: ByteRange) -> bool:
        return chunk.message_id == self.chunk.message_id and byte_range.start == self.end + 1


class SessionMachine:
    """The machine of one session. `local_path` and `remote_path` are those of the SDP, relays first.

    `screen` is asked about the first part of each chunk with a body, after all other checks; what it gives is the
    status of the answer, and anything but 200 refuses the chunk. Without `report_success` it is the user who calls
    `report`, when the data is where it belongs. Methods other than SEND and REPORT are answered 501, unless they are
    in `methods`, which are left to the user. What is sent goes in chunks of at most `max_chunk_size` bytes.
    """

    def __init__(
        self,
        local_path: Sequence[MSRPURI],
        remote_path: Sequence[MSRPURI],
        *,
        new_id: Callable[[], str],
        accept_types: Collection[str] = ("*",),
        max_message_size: int | None = None,
        max_chunk_size: int | None = None,
        assembler: Assembler | None = None,
        screen: Callable[[MSRPData], int] | None = None,
        report_success: bool = True,
        methods: Collection[str] = (),
    ) -> None:
        self.local_path = tuple(local_path)
        self.remote_path = tuple(remote_path)
        self.local_uri = self.local_path[-1]
        self.state = State.NEW
        self.events: deque[Event] = deque()
        self.unexpected = 0
        """Chunks that were dropped: reports and responses that make no sense here."""
        self._new_id = new_id
        self._accept_types = tuple(accept_types)
        self._max_message_size = max_message_size
        self._max_chunk_size = max_chunk_size
        self._assembler = assembler
        self._screen = screen
        self._report_success = report_success
        self._methods = frozenset(methods)
        self._sender: Sender | None = None
        self._held: list[OutgoingMessage] = []
        self._known_paths: tuple[str, str] | None = None
        self._refused_chunk: str | None = None
        self._refused_messages: OrderedDict[str, int] = OrderedDict()
        self._unreported: _Unreported | None = None
        self._from = str(self.local_uri)
        # RFC 4976 5.1: the path names our relays as the remote meets them; on the way out the nearest comes first.
        self._to = " ".join(str(uri) for uri in (*reversed(self.local_path[:-1]), *self.remote_path))
        self.ledger = Ledger(self.events)

    # The user

    def bind(self, sender: Sender) -> None:
        """Begin as the party that has connected: our first SEND, without a body, tells whose connection this is."""
        self._require(State.NEW)
        self._sender = sender
        self.state = State.BINDING
        self.ledger.binding = message = self._empty_message()
        sender.put(message)

    def expect(self) -> None:
        """Begin as the party that waits for the remote's first SEND."""
        self._require(State.NEW)
        self.state = State.WAITING

    def admits(self, chunk: MSRPData) -> bool:
        """Whether this chunk, which came over a new connection, is from the other end of this session."""
        return self._check_paths(chunk) == status.OK

    def attach(self, sender: Sender) -> None:
        """The connection on which the remote's first SEND is coming."""
        self._require(State.WAITING)
        self._sender = sender

    def send(
        self,
        body: bytes | SuppliedBody,
        content_type: str,
        *,
        message_id: str | None = None,
        success_report: bool = False,
        failure_report: str = "yes",
        headers: dict[str, str] | None = None,
    ) -> OutgoingMessage:
        """Queue a message; before READY it waits. Raises SessionClosed, and ValueError for impossible headers."""
        self._require(State.NEW, State.BINDING, State.WAITING, State.READY)
        if failure_report not in {"yes", "no", "partial"}:
            raise ValueError(f"failure_report is 'yes', 'no' or 'partial', not {failure_report!r}")
        complete = self._basic_headers(message_id or self._new_id())
        if success_report:
            complete["Success-Report"] = "yes"
        if failure_report != "yes":
            complete["Failure-Report"] = failure_report
        complete |= headers or {}
        complete["Content-Type"] = content_type
        message = self.ledger.enter(complete, body, self._max_chunk_size)
        if self.state is State.READY and self._sender is not None:
            self._sender.put(message)
        else:
            self._held.append(message)
        return message

    def keep_alive(self) -> OutgoingMessage:
        """Send a message without a body, which the remote answers and does not show; no answer: MessageFailed."""
        self._require(State.READY)
        message = self._empty_message()
        self._ready_sender().put(message)
        return message

    def abort(self, message: OutgoingMessage) -> None:
        """Give up a message of ours; what it becomes is MessageFailed."""
        if message in self._held:
            self._held.remove(message)
        self.ledger.fail(message, status.TIMEOUT, "the sender has given it up", None, self._sender)

    def refuse(self, message_id: str, code: int = status.STOP_SENDING) -> None:
        """Answer the rest of a message that is coming in with this status, and drop it."""
        self._refused_messages[message_id] = code
        self._refused_messages.move_to_end(message_id)
        if len(self._refused_messages) > MAX_REFUSED_MESSAGES:
            self._refused_messages.popitem(last=False)

    def request(self, method: str, headers: dict[str, str], now: float) -> str:
        """Send a request without a body, such as NICKNAME (RFC 7701); its id, which ResponseReceived repeats."""
        self._require(State.READY)
        transaction_id = self._new_id()
        path = {"To-Path": self._to, "From-Path": self._from}
        chunk = MSRPData(transaction_id, method=method, headers=path | headers)
        self._ready_sender().put_chunk(chunk.encode())
        self.ledger.open_request(transaction_id, method, now)
        return transaction_id

    def respond(self, chunk: MSRPData, code: int, comment: str | None = None) -> None:
        """Answer a request; not when it has said that it wants no answer, or not this one (RFC 4975 7.2)."""
        if chunk.method == "REPORT":
            return
        if chunk.method == "SEND":
            wish = chunk.failure_report
            if wish == "no" or (wish == "partial" and code == status.OK):
                return
        self._ready_sender().put_chunk(encode_response(chunk, code, self._from, self._to, comment))

    def report(self, chunk: MSRPData, code: int, byte_range: ByteRange, comment: str | None = None) -> None:
        """Send a REPORT about bytes of the message that this chunk is of (RFC 4975 7.1.2)."""
        text = comment_of(code) if comment is None else comment
        headers = {
            "To-Path": chunk.headers["From-Path"],
            "From-Path": self._from,
            "Message-ID": chunk.headers["Message-ID"],
            "Byte-Range": str(byte_range),
            "Status": f"000 {code:03d} {text}".rstrip(),
        }
        self._ready_sender().put_chunk(MSRPData(self._new_id(), method="REPORT", headers=headers).encode())

    def close(self, reason: str = "the session was closed") -> None:
        """End; every message without a final word becomes MessageFailed."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        self._held.clear()
        self.ledger.close(reason, self._sender)

    # The clock

    def wake(self, now: float) -> None:
        """Give up the transactions whose time is over (RFC 4975 7.1.1)."""
        self.ledger.wake(now, self._sender)
        self._follow_binding(None)

    def next_wake(self) -> float | None:
        """When to call `wake` at the latest."""
        return self.ledger.next_wake()

    # The network

    def receive(self, chunk: MSRPData, now: float) -> None:
        """Take a chunk, or a segment of one, whose To-Path begins with our URI."""
        if self.state is State.CLOSED or self._sender is None:
            self.unexpected += 1
        elif chunk.code is not None:
            if not self.ledger.take_response(chunk, self._sender):
                self.unexpected += 1
            self._follow_binding(chunk)
        elif chunk.method == "SEND":
            self._receive_send(chunk, now)
        elif chunk.method == "REPORT":
            if self._check_paths(chunk) != status.OK or not self.ledger.take_report(chunk, self._sender):
                self.unexpected += 1
        elif (code := self._check_paths(chunk)) != status.OK:
            self.respond(chunk, code)
        elif chunk.method in self._methods and self.state is State.READY:
            self.events.append(RequestReceived(chunk))
        else:
            self.respond(chunk, status.METHOD_UNKNOWN)

    def _receive_send(self, chunk: MSRPData, now: float) -> None:
        if chunk.transaction_id == self._refused_chunk:
            if chunk.ends_chunk:
                self._refused_chunk = None
            return
        code = self._check_send(chunk, now)
        if code == status.OK:
            if chunk.ends_chunk:
                self.respond(chunk, status.OK)
            self._report_received(chunk)
            return
        # The answer may go before the chunk has ended; what is still coming of it is nobody's business any more.
        self._refused_chunk = None if chunk.ends_chunk else chunk.transaction_id
        self._unreported = None
        if chunk.message_id is not None and chunk.continuation != COMPLETE:
            self.refuse(chunk.message_id, code)
        self.respond(chunk, code)

    def _check_send(self, chunk: MSRPData, now: float) -> int:
        """The status for this part of a message; when that is 200 the part was taken."""
        if (code := self._check_paths(chunk)) != status.OK:
            return code
        message_id, content_type = chunk.message_id, chunk.content_type
        try:
            byte_range = chunk.byte_range
        except MalformedChunk:
            return status.BAD_REQUEST
        if message_id is None:
            return status.BAD_REQUEST
        if self.state is not State.READY:
            self._become_ready()
        if content_type is None:
            if chunk.data:
                return status.UNSUPPORTED_MEDIA_TYPE
            return status.OK
        if refused := self._refused_messages.get(message_id):
            return refused
        if chunk.starts_chunk:
            if not media_type_matches(content_type, self._accept_types):
                return status.UNSUPPORTED_MEDIA_TYPE
            if self._screen is not None and (code := self._screen(chunk)) != status.OK:
                return code
        if self._max_message_size is not None:
            size = max(byte_range.end or 0, byte_range.total or 0)
            if size > self._max_message_size:
                return status.STOP_SENDING
        return status.OK if self._take(chunk, message_id, now) else status.STOP_SENDING

    def _take(self, chunk: MSRPData, message_id: str, now: float) -> bool:
        if self._assembler is None:
            self.events.append(DataReceived(chunk))
            return True
        try:
            whole = self._assembler.add(chunk, message_id, now)
        except TooMuch:
            return False
        if whole is not None:
            self.events.append(DataReceived(whole))
        return True

    def _report_received(self, chunk: MSRPData) -> None:
        """Report success for what has come since the last report: at the end of a message, and now and then before."""
        if not self._report_success or chunk.success_report != "yes" or chunk.continuation == ABORTED:
            self._unreported = None
            return
        byte_range = chunk.byte_range
        end = byte_range.end or 0
        pending = self._unreported
        if pending is not None and pending.is_followed_by(chunk, byte_range):
            start = pending.start
        else:
            if pending is not None:
                self.report(pending.chunk, status.OK, ByteRange(pending.start, pending.end, pending.total))
            start = byte_range.start
        is_complete = chunk.continuation == COMPLETE
        total = end if is_complete else byte_range.total
        if is_complete or end - start + 1 >= REPORT_SIZE:
            self.report(chunk, status.OK, ByteRange(start, end, total))
            self._unreported = None
        else:
            self._unreported = _Unreported(chunk, start, end, total)

    def _check_paths(self, chunk: MSRPData) -> int:
        texts = (chunk.headers.get("To-Path", ""), chunk.headers.get("From-Path", ""))
        if texts == self._known_paths:
            return status.OK
        try:
            to_path, from_path = chunk.to_path, chunk.from_path
        except MalformedChunk:
            return status.BAD_REQUEST
        # Relays on the way are the business of the one who put them there; the ends must be the two of the session.
        if to_path != (self.local_uri,) or from_path[-1] != self.remote_path[-1]:
            return status.NO_SESSION
        self._known_paths = texts
        return status.OK

    def _become_ready(self) -> None:
        self.state = State.READY
        self.events.append(Bound())
        held, self._held = self._held, []
        for message in held:
            self._ready_sender().put(message)

    def _follow_binding(self, chunk: MSRPData | None) -> None:
        """Become ready, or fail, with the message that binds; it is not one the user knows about."""
        message = self.ledger.binding
        if message is None or not message.outcome:
            return
        self.ledger.binding = None
        if message.outcome == status.OK:
            if self.state is State.BINDING:
                self._become_ready()
            return
        comment = (chunk.comment if chunk is not None else None) or comment_of(message.outcome)
        self.close(f"the remote refused the session: {message.outcome} {comment}")
        self.events.append(BindFailed(message.outcome, comment))

    def _empty_message(self) -> OutgoingMessage:
        return self.ledger.enter(self._basic_headers(self._new_id()), b"")

    def _basic_headers(self, message_id: str) -> dict[str, str]:
        return {"To-Path": self._to, "From-Path": self._from, "Message-ID": message_id}

    def _ready_sender(self) -> Sender:
        if self._sender is None:
            raise SessionClosed("the session has no connection yet")
        return self._sender

    def _require(self, *states: State) -> None:
        if self.state not in states:
            if self.state is State.CLOSED:
                raise SessionClosed("the session has ended")
            raise RuntimeError(f"not possible while the session is {self.state.name}")


def media_type_matches(content_type: str, accepted: Collection[str]) -> bool:
    """Whether a Content-Type is among the accepted types: `*`, `type/*` or exact, in any case (RFC 4975 8.6)."""
    if content_type in accepted or "*" in accepted:
        return True  # as nearly always
    media_type = content_type.partition(";")[0].strip().lower()
    main = media_type.partition("/")[0]
    return any(entry.lower() in {"*", "*/*", media_type, f"{main}/*"} for entry in accepted)


def encode_response(
    chunk: MSRPData, code: int, local_uri: str, fallback_path: str, comment: str | None = None
) -> bytes:
    """The wire form of a response: to the previous hop for a SEND, else all the way (RFC 4975 7.2)."""
    way_back = chunk.headers.get("From-Path") or fallback_path
    to_path = way_back.partition(" ")[0] if chunk.method == "SEND" else way_back
    headers = {"To-Path": to_path, "From-Path": local_uri}
    return MSRPData(chunk.transaction_id, code=code, comment=comment, headers=headers).encode()
