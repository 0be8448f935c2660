"""The lines of standard input, for the event loop."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator


async def entered_lines() -> AsyncIterator[str]:
    """The lines of standard input without their ends, as they come, until it ends."""
    loop = asyncio.get_running_loop()
    entered: asyncio.Queue[str | None] = asyncio.Queue()

    def put(line: str | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(entered.put_nowait, line)

    def read() -> None:
        for line in sys.stdin:
            put(line.rstrip("\n"))
        put(None)

    # A thread that waits for input cannot be ended; a daemon does not keep the process from ending.
    threading.Thread(target=read, name="standard-input", daemon=True).start()
    while (line := await entered.get()) is not None:
        yield line
