"""Messages on their way out: what they carry, and how much of it has left (RFC 4975 7.1).

The body is at hand, or somebody else supplies it block by block while it is being sent. The queue in which messages
wait for the wire is `sipsimple.msrp.sender`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from sipsimple.msrp.message import MSRPData, join_lines
from sipsimple.msrp.ranges import Coverage

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BLOCK_SIZE", "Body", "BytesBody", "OutgoingMessage", "Owner", "SuppliedBody"]

BLOCK_SIZE: Final = 1024 * 1024
"""Bytes that are asked of a supplier at a time. A change of threads for each piece would cost more than the piece."""
MAX_BLOCKS: Final = 2


class Body(Protocol):
    """What a message carries."""

    size: int | None
    """Its length in bytes; None as long as nobody knows."""

    def is_ready(self) -> bool:
        """Whether something can be done now: take a piece, or say that there is no more."""
        ...

    def is_at_end(self) -> bool:
        """Whether everything was taken."""
        ...

    def take(self, limit: int) -> bytes:
        """The next piece, of 1 to `limit` bytes; empty at the end."""
        ...


class BytesBody:
    """A body that is in memory."""

    def __init__(self, data: bytes) -> None:
        self.size: int | None = len(data)
        self._view = memoryview(data)

    def is_ready(self) -> bool:
        return True

    def is_at_end(self) -> bool:
        return not self._view

    def take(self, limit: int) -> bytes:
        piece = bytes(self._view[:limit])
        self._view = self._view[limit:] if len(self._view) > limit else memoryview(b"")  # lets go of what was sent
        return piece


class SuppliedBody:
    """A body that comes in blocks. The supplier looks at `wants`, then calls `supply`; at the end it calls `finish`."""

    def __init__(self, size: int | None = None) -> None:
        self.size = size
        self._problem: str | None = None
        self._blocks: deque[memoryview] = deque()
        self._supplied = 0
        self._finished = size == 0

    @property
    def problem(self) -> str | None:
        """Why there is no more of the body although it has not ended; None while some of it waits to be sent."""
        return None if self._blocks else self._problem

    @property
    def wants(self) -> int:
        """How many bytes the next block may have; 0: none for now, or ever."""
        if self._finished or self._problem is not None or len(self._blocks) >= MAX_BLOCKS:
            return 0
        return BLOCK_SIZE if self.size is None else min(BLOCK_SIZE, self.size - self._supplied)

    def supply(self, block: bytes) -> None:
        """Add a block; an empty one says that there is no more."""
        if not block:
            self.finish()
            return
        if self.size is not None and self._supplied + len(block) > self.size:
            raise ValueError(f"{self._supplied + len(block)} bytes supplied for a body of {self.size}")
        self._blocks.append(memoryview(block))
        self._supplied += len(block)
        self._finished = self._supplied == self.size

    def finish(self) -> None:
        """Say that there is no more. When the size was known and not reached, the message cannot be completed."""
        if self.size is not None and self._supplied < self.size:
            self._problem = f"the body ended after {self._supplied} of {self.size} bytes"
            return
        self.size = self._supplied
        self._finished = True

    def fail(self, problem: str) -> None:
        """Say that no more can be had."""
        self._problem = problem

    def is_ready(self) -> bool:
        return bool(self._blocks) or self._finished or self._problem is not None

    def is_at_end(self) -> bool:
        return self._finished and not self._blocks

    def take(self, limit: int) -> bytes:
        if not self._blocks:
            return b""
        block = self._blocks[0]
        if len(block) > limit:
            self._blocks[0] = block[limit:]
            return bytes(block[:limit])
        return bytes(self._blocks.popleft())


class Owner(Protocol):
    """The session of a message, which is told what becomes of it on the wire."""

    def chunk_started(self, message: OutgoingMessage, transaction_id: str) -> None:
        """The first byte of a chunk is about to go."""
        ...

    def chunk_ended(self, message: OutgoingMessage, transaction_id: str, now: float) -> None:
        """The last byte of a chunk is about to go."""
        ...


class OutgoingMessage:
    """One message of a session, from `send` until its end is known. Made by `MSRPSession.send`.

    `sent` counts the bytes of the body that have gone to the wire, `delivered` those that the remote has reported.
    """

    __slots__ = (
        "aborted",
        "body",
        "content_type",
        "delivered_ranges",
        "failure_report",
        "headers",
        "is_accepted",
        "is_sent",
        "max_chunk_size",
        "message_id",
        "open_transactions",
        "outcome",
        "owner",
        "prefix",
        "put_back",
        "sent",
        "success_report",
        "transaction_id",
    )

    def __init__(
        self,
        owner: Owner,
        headers: Mapping[str, str],
        body: Body,
        max_chunk_size: int | None = None,
    ) -> None:
        """`headers` are complete but for Byte-Range. Raises ValueError when they hold control characters.

        A chunk carries at most `max_chunk_size` bytes of the body; None: as much as there is.
        """
        self.owner = owner
        self.headers = dict(headers)
        self.body = body
        self.max_chunk_size = max_chunk_size
        self.message_id = self.headers["Message-ID"]
        self.content_type = self.headers.get("Content-Type")
        self.success_report = self.headers.get("Success-Report") == "yes"
        self.failure_report = self.headers.get("Failure-Report", "yes")
        self.put_back = b""
        """The end of a piece that was taken, but did not go yet."""
        self.sent = 0
        self.is_sent = False
        self.is_accepted = False
        self.aborted = False
        self.outcome = 0
        """The status that decided: 200, or why it failed; 0 as long as nothing has."""
        self.transaction_id = ""
        """That of the last chunk."""
        self.open_transactions: set[str] = set()
        self.delivered_ranges = Coverage()
        # All but the start line and the Byte-Range is the same in each chunk.
        lines = [f"{name}: {value}" for name, value in self.headers.items() if name != "Content-Type"]
        self.prefix = join_lines(lines).encode()

    @property
    def size(self) -> int | None:
        """The length of the body in bytes, None as long as it is not known."""
        return self.body.size

    @property
    def delivered(self) -> int:
        """How many bytes the remote has reported as received."""
        return self.delivered_ranges.count

    def is_ready(self) -> bool:
        """Whether something can be done now: send a piece, or the end."""
        return self.aborted or bool(self.put_back) or self.body.is_ready()

    def is_at_end(self) -> bool:
        """Whether everything was taken."""
        return not self.put_back and self.body.is_at_end()

    @property
    def is_broken(self) -> bool:
        """Whether the rest of the body cannot be had."""
        return not self.put_back and isinstance(self.body, SuppliedBody) and self.body.problem is not None

    def take(self, limit: int) -> bytes:
        """The next piece; empty when there is none now."""
        if not self.put_back:
            return self.body.take(limit)
        piece, self.put_back = self.put_back[:limit], self.put_back[limit:]
        return piece

    def chunk(self, data: bytes = b"") -> MSRPData:
        """The message as one chunk, to look at its headers. The body is not kept: give it as `data`."""
        total = "*" if self.size is None else self.size
        headers = {**self.headers, "Byte-Range": f"1-{self.sent}/{total}"}
        return MSRPData(self.transaction_id, method="SEND", headers=headers, data=data)

    def __repr__(self) -> str:
        return f"<OutgoingMessage {self.message_id} {self.sent}/{'*' if self.size is None else self.size}>"
