"""The queues between a desktop sharing stream and its handler: RFB data (RFC 6143) on its way, bounded and in order.

A queue is an `asyncio.Queue` of bytes in what it offers, and has the `send` and `wait` that the contract's
applications know. All of it may be called from any thread. Its size is that of the data, not the number of pieces.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Final

from sipsimple.loop import Result

__all__ = ["QUEUE_SIZE", "DataQueue", "QueueShutDown"]

QUEUE_SIZE: Final = 256 * 1024
"""Bytes from which on a queue is full: who puts has to wait, who sends is told by the Result."""
MAX_QUEUE_SIZE: Final = 32 * 1024 * 1024
"""Bytes that a queue holds of somebody who does not wait when it is full."""
PIECE_COST: Final = 64
"""Bytes that a piece counts beside its data, so that a flood of small ones is bounded too."""


class QueueShutDown(Exception):
    """The stream has ended: nothing can be put into its queue any more, or nothing is left in it."""


class _Taken(Result[bytes]):
    """The piece that somebody waits for; whoever gives up waiting leaves it in the queue."""

    __slots__ = ("__weakref__", "_give_up", "_is_claimed")

    def __init__(self, give_up: Callable[[_Taken], None]) -> None:
        super().__init__()
        self._give_up = give_up
        self._is_claimed = False

    def wait(self, timeout: float | None = None) -> bytes:
        try:
            piece = super().wait(timeout)
        except TimeoutError:
            self._give_up(self)
            raise
        self._is_claimed = True
        return piece

    def __await__(self) -> Generator[Any, None, bytes]:
        try:
            piece = yield from super().__await__()
        except asyncio.CancelledError:
            self._give_up(self)
            raise
        self._is_claimed = True
        return piece

    def take_back(self) -> bytes | None:
        """What it was settled with, if nobody has seen that; once."""
        future = self._future
        if self._is_claimed or not future.done() or future.exception() is not None:
            return None
        self._is_claimed = True
        return future.result()


class DataQueue:
    """A queue of RFB data, full with `max_size` bytes.

    `on_room` is called, in the thread that has taken something, when a queue that was full is half empty.
    """

    def __init__(self, max_size: int = QUEUE_SIZE, *, on_room: Callable[[], None] | None = None) -> None:
        self._max_size = max_size
        self._on_room = on_room
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._was_full = False
        self._is_shut_down = False
        # Weakly: who was cancelled before the first step of its `await` has dropped what it would have waited for.
        self._takers: deque[weakref.ref[_Taken]] = deque()
        self._senders: list[Result[None]] = []
        self._lock = threading.RLock()

    # In

    def send(self, data: bytes | bytearray | memoryview) -> Result[None]:
        """Put data in at once; what it returns is done as soon as the queue is not full.

        Raises QueueShutDown when the stream has ended, asyncio.QueueFull when nobody has waited for far too long, and
        TypeError for what is no bytes.
        """
        piece = _piece(data)
        settled: Result[None] = Result()
        with self._lock:
            self._require_room(piece, MAX_QUEUE_SIZE)
            self._add(piece)
            if self.full():
                self._senders.append(settled)
                return settled
        settled.set_result(None)
        return settled

    async def put(self, data: bytes | bytearray | memoryview) -> None:
        """Put data in, and wait until the queue is not full; raises as `send`."""
        done = self.send(data)
        if not done.done():
            await done

    def put_nowait(self, data: bytes | bytearray | memoryview) -> None:
        """Put data in; raises asyncio.QueueFull when the queue is full, and QueueShutDown."""
        piece = _piece(data)
        with self._lock:
            self._require_room(piece, self._max_size)
            self._add(piece)

    # Out

    def wait(self) -> Result[bytes]:
        """The next piece: `await` it in a loop, or call `wait(timeout)` of what is returned in a thread.

        That raises QueueShutDown when the stream has ended and the queue is empty. Who gives up waiting loses nothing.
        """
        taken = _Taken(self._give_up)
        with self._lock:
            self._takers.append(weakref.ref(taken))
            self._hand_out()
            if self._is_shut_down and not taken.done():
                self._forget(taken)
                taken.set_exception(QueueShutDown("the stream has ended"))
        self._tell_room()
        return taken

    async def get(self) -> bytes:
        """The next piece, waiting for it if need be; raises QueueShutDown when there will be none."""
        try:
            return self.get_nowait()
        except asyncio.QueueEmpty:
            return await self.wait()

    def get_nowait(self) -> bytes:
        """The next piece; raises asyncio.QueueEmpty when there is none, QueueShutDown when there will be none."""
        with self._lock:
            if not self._pieces:
                if self._is_shut_down:
                    raise QueueShutDown("the stream has ended")
                raise asyncio.QueueEmpty
            piece = self._take()
        self._tell_room()
        return piece

    # What it is like

    def qsize(self) -> int:
        """The number of pieces."""
        return len(self._pieces)

    @property
    def size(self) -> int:
        """The bytes that are held, with what the pieces cost."""
        return self._size

    def empty(self) -> bool:
        return not self._pieces

    def full(self) -> bool:
        return self._size >= self._max_size

    def shutdown(self) -> None:
        """Take no more. What is in the queue can still be taken; who waits in vain gets QueueShutDown."""
        with self._lock:
            self._is_shut_down = True
            takers, self._takers = self._takers, deque()
            senders, self._senders = self._senders, []
        waiting: list[Result[Any]] = [taker for entry in takers if (taker := entry()) is not None]
        waiting += senders
        for result in waiting:
            result.set_exception(QueueShutDown("the stream has ended"))

    # With the lock

    def _require_room(self, piece: bytes, limit: int) -> None:
        if self._is_shut_down:
            raise QueueShutDown("the stream has ended")
        if self._pieces and self._size + len(piece) > limit:
            raise asyncio.QueueFull(f"{self._size} bytes wait; await what send() returns before sending more")

    def _add(self, piece: bytes) -> None:
        if not piece:
            return
        self._pieces.append(piece)
        self._size += len(piece) + PIECE_COST
        self._hand_out()
        self._was_full = self._was_full or self.full()

    def _take(self) -> bytes:
        piece = self._pieces.popleft()
        self._size -= len(piece) + PIECE_COST
        return piece

    def _hand_out(self) -> None:
        while self._takers and self._pieces:
            taker = self._takers.popleft()()
            if taker is not None:
                taker.set_result(self._take())

    def _forget(self, taken: _Taken) -> None:
        self._takers = deque(entry for entry in self._takers if entry() not in (None, taken))

    def _give_up(self, taken: _Taken) -> None:
        with self._lock:
            if not taken.done():
                self._forget(taken)
            elif (piece := taken.take_back()) is not None:
                self._pieces.appendleft(piece)
                self._size += len(piece) + PIECE_COST
                self._hand_out()

    def _tell_room(self) -> None:
        """Wake who waits for room, when half of it is free again."""
        with self._lock:
            if not self._was_full or self._size > self._max_size // 2:
                return
            self._was_full = False
            senders, self._senders = self._senders, []
        for settled in senders:
            settled.set_result(None)
        if self._on_room is not None:
            self._on_room()


def _piece(data: bytes | bytearray | memoryview) -> bytes:
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"RFB data is bytes, not {type(data).__name__}")
    return bytes(data)
