"""Tells the other party of a chat that somebody is typing (RFC 3994), no more often than it has to know."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from sipsimple.loop import TaskOwner
from sipsimple.streams import StreamError

REFRESH: Final = 60
"""Seconds for which the other party believes that somebody is still typing."""
IDLE_AFTER: Final = 15.0
"""Seconds without a key after which nobody is typing any more (RFC 3994, section 3.2)."""


class Composing:
    """Whether somebody is typing, as the other party was told."""

    def __init__(self, chat: Callable[[], Any | None], tasks: TaskOwner) -> None:
        self._chat = chat
        self._tasks = tasks
        self._active = False
        self._told_at = 0.0
        self._idle: asyncio.Task[Any] | None = None

    def typed(self, text: str) -> None:
        """The line was changed to this."""
        if not text.strip() or text.lstrip().startswith("/"):
            self._tell("idle")
            return
        now = asyncio.get_running_loop().time()
        if not self._active or now - self._told_at > REFRESH / 2:
            self._told_at = now
            self._tell("active")
        self._stop_timer()
        self._idle = self._tasks.spawn(self._grow_idle())

    def sent(self) -> None:
        """The line was said: the message itself tells that typing is over."""
        self._active = False
        self._stop_timer()

    async def _grow_idle(self) -> None:
        await asyncio.sleep(IDLE_AFTER)
        self._idle = None
        self._tell("idle")

    def _stop_timer(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _tell(self, state: str) -> None:
        if state == "idle":
            self._stop_timer()
            if not self._active:
                return
        self._active = state == "active"
        chat = self._chat()
        if chat is not None:
            try:
                chat.send_composing_indication(state, REFRESH)
            except StreamError:
                # The chat cannot tell: it only listens, or has ended this moment.
                self._active = False
