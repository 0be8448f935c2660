"""What becomes of the messages and requests of a session: the transactions and reports that decide it (RFC 4975 7.1).

Each chunk of a message is a transaction with the next hop, whose answer depends on Failure-Report: with `yes` each
answer is awaited, with `partial` only bad news come, with `no` nothing does. Success is reported end to end.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from sipsimple.msrp import status
from sipsimple.msrp.errors import MalformedChunk
from sipsimple.msrp.events import (
    Event,
    MessageAccepted,
    MessageDelivered,
    MessageFailed,
    MessageSent,
    ReportReceived,
    ResponseReceived,
)
from sipsimple.msrp.outgoing import BytesBody, OutgoingMessage, SuppliedBody

if TYPE_CHECKING:
    from sipsimple.msrp.message import MSRPData
    from sipsimple.msrp.sender import Sender

__all__ = ["RESPONSE_TIMEOUT", "Ledger"]

RESPONSE_TIMEOUT: Final = 30.0
"""Seconds from the last byte of a chunk to its answer."""


class Ledger:
    """Every message of one session that may still fail. `events` is where its fate is told."""

    def __init__(self, events: deque[Event]) -> None:
        self.binding: OutgoingMessage | None = None
        """The message that binds the session to its connection; it is the machine's own, and its failure no event."""
        self._events = events
        self._messages: dict[str, OutgoingMessage] = {}
        self._transactions: dict[str, OutgoingMessage | str] = {}  # the message, or the method of another request
        self._deadlines: deque[tuple[float, str]] = deque()  # in order, as all wait equally long

    def enter(
        self, headers: dict[str, str], body: bytes | SuppliedBody, max_chunk_size: int | None = None
    ) -> OutgoingMessage:
        """Make a message of this session; raises ValueError for impossible headers or a message id in use."""
        message = OutgoingMessage(self, headers, BytesBody(body) if isinstance(body, bytes) else body, max_chunk_size)
        if message.message_id in self._messages:
            raise ValueError(f"a message with the id {message.message_id} is on its way already")
        self._messages[message.message_id] = message
        return message

    def open_request(self, transaction_id: str, method: str, now: float) -> None:
        """Await the answer to a request that is no SEND."""
        self._transactions[transaction_id] = method
        self._await(transaction_id, now)

    def chunk_started(self, message: OutgoingMessage, transaction_id: str) -> None:
        """The first byte of a chunk goes; an answer may come before the last."""
        if message.failure_report != "no":
            self._transactions[transaction_id] = message
            message.open_transactions.add(transaction_id)

    def chunk_ended(self, message: OutgoingMessage, transaction_id: str, now: float) -> None:
        """The last byte of a chunk goes."""
        if transaction_id in self._transactions:
            self._await(transaction_id, now)
        if isinstance(message.body, SuppliedBody) and message.body.problem is not None:
            self.fail(message, status.TIMEOUT, message.body.problem, None, None)
        elif message.is_sent and not message.outcome:
            if message.content_type is not None:
                self._events.append(MessageSent(message))
            self._settle(message)

    def take_response(self, chunk: MSRPData, sender: Sender | None) -> bool:
        """Match a response; False when nobody waits for it."""
        owner = self._transactions.pop(chunk.transaction_id, None)
        if owner is None or chunk.code is None:
            return False
        if isinstance(owner, str):
            event = ResponseReceived(chunk.transaction_id, owner, chunk.code, chunk.comment or "", chunk)
            self._events.append(event)
            return True
        owner.open_transactions.discard(chunk.transaction_id)
        if chunk.code == status.OK:
            self._settle(owner)
        else:
            self.fail(owner, chunk.code, chunk.comment or "", chunk, sender)
        return True

    def take_report(self, chunk: MSRPData, sender: Sender | None) -> bool:
        """Match a REPORT; False when it makes no sense."""
        try:
            report, byte_range = chunk.status, chunk.byte_range
        except MalformedChunk:
            return False
        if report is None or report.namespace != 0:
            return False
        message = self._messages.get(chunk.message_id or "")
        self._events.append(ReportReceived(chunk, message))
        if message is None:
            return False
        if report.code != status.OK:
            self.fail(message, report.code, report.comment, chunk, sender)
            return True
        end = message.sent if byte_range.end is None else min(byte_range.end, message.sent)
        if not message.success_report or not message.delivered_ranges.add(byte_range.start - 1, end):
            return False
        is_complete = message.is_sent and message.delivered_ranges.contains(0, message.sent)
        if is_complete:
            self._forget(message, status.OK)
        self._events.append(MessageDelivered(message, chunk, is_complete))
        return True

    def fail(
        self, message: OutgoingMessage, code: int, reason: str, chunk: MSRPData | None, sender: Sender | None
    ) -> None:
        """Decide that a message does not arrive; only the first decision counts."""
        if message.outcome:
            return
        self._forget(message, code)
        if sender is not None and not message.is_sent:
            sender.abort(message)
        if message is not self.binding:
            self._events.append(MessageFailed(message, code, reason, chunk))

    def wake(self, now: float, sender: Sender | None) -> None:
        """Decide about the transactions whose time is over."""
        while self._deadlines and self._deadlines[0][0] <= now:
            _, transaction_id = self._deadlines.popleft()
            owner = self._transactions.pop(transaction_id, None)
            if owner is None:
                continue
            comment = status.comment_of(status.TIMEOUT)
            if isinstance(owner, str):
                self._events.append(ResponseReceived(transaction_id, owner, status.TIMEOUT, comment, None))
                continue
            owner.open_transactions.discard(transaction_id)
            if owner.failure_report == "yes":
                self.fail(owner, status.TIMEOUT, comment, None, sender)
            else:
                self._settle(owner)

    def next_wake(self) -> float | None:
        """When the first transaction is over."""
        self._drop_decided()
        return self._deadlines[0][0] if self._deadlines else None

    def close(self, reason: str, sender: Sender | None) -> None:
        """Fail everything that has no final word yet, in the order in which it was sent."""
        for message in list(self._messages.values()):
            self.fail(message, status.TIMEOUT, reason, None, sender)
        for transaction_id, owner in self._transactions.items():
            if isinstance(owner, str):
                self._events.append(ResponseReceived(transaction_id, owner, status.TIMEOUT, reason, None))
        self._transactions.clear()
        self._deadlines.clear()

    def _await(self, transaction_id: str, now: float) -> None:
        self._drop_decided()
        self._deadlines.append((now + RESPONSE_TIMEOUT, transaction_id))

    def _drop_decided(self) -> None:
        while self._deadlines and self._deadlines[0][1] not in self._transactions:
            self._deadlines.popleft()

    def _settle(self, message: OutgoingMessage) -> None:
        """See whether the next hop has everything."""
        if not message.is_sent or message.open_transactions or message.outcome or message.is_accepted:
            return
        message.is_accepted = True
        if not message.success_report:
            self._forget(message, status.OK)
        if message.content_type is not None:
            self._events.append(MessageAccepted(message))

    def _forget(self, message: OutgoingMessage, outcome: int) -> None:
        message.outcome = outcome
        del self._messages[message.message_id]
        if message.failure_report == "partial":
            # Nobody has to answer these any more; without this each would be kept until its time is over.
            for transaction_id in message.open_transactions:
                self._transactions.pop(transaction_id, None)
            message.open_transactions.clear()
