"""What happens to a session, in order, and the coroutine that deals with it.

The flow of a call waits for nothing but its mailbox. So it needs no task of its own with a future for every event: the
mailbox resumes it, once in a turn of the loop however much has come, and it goes on until it has read all of that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Generator
from typing import Any

from sipsimple.session.events import Event


class _Pause:
    """Awaiting it hands control to the mailbox until there is a reason to go on."""

    def __await__(self) -> Generator[None, None, None]:
        yield


_PAUSE = _Pause()


class Mailbox:
    """The events of one session; used in the loop thread alone, apart from being made."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._flow: Coroutine[Any, Any, None] | None = None
        self._is_awake = False  # running, or about to
        self._is_late = False
        self._wakened: asyncio.Handle | None = None

    def follow(self, flow: Coroutine[Any, Any, None]) -> None:
        """Run the coroutine from the next turn of the loop on; it keeps its errors, and awaits nothing but `get`."""
        self._flow = flow
        self._wake()

    def put_nowait(self, event: Event) -> None:
        """Have the flow read this after all that came before."""
        self._events.append(event)
        self._wake()

    async def get(self, deadline: float | None = None) -> Event:
        """Take the next event out; raises TimeoutError when none has come by `deadline` (loop time)."""
        if not self._events and deadline is not None:
            await self._something_by(deadline)
        while not self._events:
            await _PAUSE
        return self._events.popleft()

    def close(self) -> None:
        """End the flow where it waits. Idempotent."""
        flow, self._flow = self._flow, None
        if self._wakened is not None:
            self._wakened.cancel()
        if flow is not None:
            flow.close()

    async def _something_by(self, deadline: float) -> None:
        self._is_late = False
        timer = asyncio.get_running_loop().call_at(deadline, self._too_late)
        try:
            while not self._events:
                if self._is_late:
                    raise TimeoutError
                await _PAUSE
        finally:
            timer.cancel()

    def _too_late(self) -> None:
        self._is_late = True
        self._wake()

    def _wake(self) -> None:
        if not self._is_awake and self._flow is not None:
            self._is_awake = True
            self._wakened = asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        flow, self._wakened = self._flow, None
        if flow is None:
            return
        try:
            flow.send(None)
        except StopIteration:
            self._flow = None
        finally:
            self._is_awake = False
