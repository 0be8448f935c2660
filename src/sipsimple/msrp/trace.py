"""What a connection tells those who watch: counters, one text per chunk for the trace, and lines for the log.

Hooks are plain callables, called in the event loop. While nobody watches tracing costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sipsimple.msrp.chunker import Chunker

if TYPE_CHECKING:
    from sipsimple.msrp.connection import MSRPConnection
    from sipsimple.msrp.message import MSRPData

__all__ = ["ChunkTracer", "ConnectionTracer", "Hooks", "Statistics"]

MAX_TRACED_BODY: Final = 64 * 1024
_READABLE: Final = ("text/", "message/")


@dataclass(frozen=True, slots=True)
class Hooks:
    """Who watches. `trace(connection, direction, text)` gets each complete chunk, `incoming` or `outgoing`;
    `log(message, level)` gets what is worth a line, with a level of `logging`.

    `is_traced(connection)` says whether a chunk that begins now is wanted by `trace`; None: all are."""

    trace: Callable[[MSRPConnection, str, str], None] | None = None
    log: Callable[[str, int], None] | None = None
    is_traced: Callable[[MSRPConnection], bool] | None = None


@dataclass(slots=True)
class Statistics:
    """Counters; connections may share one."""

    bytes_received: int = 0
    bytes_sent: int = 0
    chunks_received: int = 0
    malformed: int = 0
    """Connections given up because what came was no MSRP."""
    unroutable: int = 0
    """Chunks for sessions that are not here."""
    refused_connections: int = 0
    """Connections from strangers that were over the limit."""
    silent_connections: int = 0
    """Connections from strangers that did not say in time which session they are for."""


class ChunkTracer:
    """Makes one text of each chunk in one direction; a body that is no text is replaced by its size."""

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit
        self._chunker = Chunker()
        self._body: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Take what we have written ourselves; it is well formed."""
        for chunk in self._chunker.feed(data):
            self.add(chunk)

    def add(self, chunk: MSRPData) -> None:
        """Take a chunk or a segment of one."""
        content_type = chunk.content_type
        readable = content_type is not None and content_type.lower().startswith(_READABLE)
        if readable and self._size < MAX_TRACED_BODY:
            self._body.append(chunk.data[: MAX_TRACED_BODY - self._size])
        self._size += len(chunk.data)
        if not chunk.ends_chunk:
            return
        text = chunk.head()
        if content_type is not None:
            body = b"".join(self._body).decode(errors="replace")
            if not readable:
                body = f"({self._size} bytes of {content_type})"
            elif self._size > MAX_TRACED_BODY:
                body += f"(and {self._size - MAX_TRACED_BODY} bytes more)"
            text += f"\r\n{body}\r\n"
        self._body.clear()
        self._size = 0
        self._emit(f"{text}-------{chunk.transaction_id}{chunk.continuation}\r\n")


class ConnectionTracer:
    """Both directions of one connection. A chunk is traced when somebody watches as it begins."""

    def __init__(self, connection: MSRPConnection, hooks: Hooks) -> None:
        self._connection = connection
        self._hooks = hooks
        self._incoming = ChunkTracer(lambda text: self._emit("incoming", text))
        self._outgoing = ChunkTracer(lambda text: self._emit("outgoing", text))
        self._traces_incoming = self._traces_outgoing = False

    def received(self, chunk: MSRPData) -> None:
        """A chunk or a segment of one has come."""
        if chunk.starts_chunk:
            self._traces_incoming = self._is_wanted()
        if self._traces_incoming:
            self._incoming.add(chunk)

    def sent(self, data: bytes, *, begins_chunk: bool) -> None:
        """This is written; `begins_chunk` when the chunks before it have all ended."""
        if begins_chunk:
            self._traces_outgoing = self._is_wanted()
        if self._traces_outgoing:
            self._outgoing.feed(data)

    def _is_wanted(self) -> bool:
        if self._hooks.trace is None:
            return False
        return self._hooks.is_traced is None or self._hooks.is_traced(self._connection)

    def _emit(self, direction: str, text: str) -> None:
        if self._hooks.trace is not None:
            self._hooks.trace(self._connection, direction, text)
