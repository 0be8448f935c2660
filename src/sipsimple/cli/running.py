"""Runs the middleware for one command: start, signals, errors in words, and an end that always hangs up.

The first SIGINT or SIGTERM asks the command to end, which hangs up and unregisters within seconds; a second one kills
the process as usual.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import typer

from sipsimple.application import SIPApplication
from sipsimple.cli.config import Snapshot, watched
from sipsimple.cli.output import CommandError
from sipsimple.core import SIPCoreError

T = TypeVar("T")

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """The user, or the system, asked the command to end."""


class Interrupt:
    """Whether the command shall end."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Ask the command to end."""
        self._event.set()

    async def wait(self) -> None:
        """Wait until the command shall end."""
        await self._event.wait()

    async def race(self, awaitable: Awaitable[T], timeout: float | None = None) -> T:
        """The result of the awaitable; raises Interrupted or TimeoutError when that comes first."""
        work = asyncio.ensure_future(awaitable)
        interrupted = asyncio.create_task(self._event.wait())
        try:
            await asyncio.wait((work, interrupted), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            raise Interrupted if interrupted.done() else TimeoutError
        finally:
            for task in (work, interrupted):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    async def pause(self, seconds: float | None) -> None:
        """Let time pass, for ever with None; raises Interrupted when the command shall end first."""
        try:
            await self.race(self._event.wait(), seconds)
        except TimeoutError:
            return
        raise Interrupted


@asynccontextmanager
async def interruptible() -> AsyncIterator[Interrupt]:
    """Turn the signals that end a process into an Interrupt, the first time they come."""
    loop = asyncio.get_running_loop()
    interrupt = Interrupt()

    def received() -> None:
        interrupt.set()
        release()

    def release() -> None:
        for number in SIGNALS:
            try:
                loop.remove_signal_handler(number)
            except NotImplementedError:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    for number in SIGNALS:
        try:
            loop.add_signal_handler(number, received)
        except NotImplementedError:  # the loops of Windows leave signals to the signal module
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(received))
    try:
        yield interrupt
    finally:
        release()


@asynccontextmanager
async def running(configuration: Snapshot) -> AsyncIterator[SIPApplication]:
    """The application, started; raises CommandError when it does not start."""
    logging.getLogger("sipsimple").addHandler(logging.NullHandler())
    with watched():
        context = SIPApplication.running(configuration.backend())
        try:
            application = await context.__aenter__()
        except SIPCoreError as error:
            raise CommandError(str(error)) from error
        try:
            yield application
        finally:
            await context.__aexit__(None, None, None)


def run(command: Coroutine[Any, Any, int]) -> None:
    """Run the coroutine of a command to its end, and end with the status that it returns."""
    status = asyncio.run(command)
    if status:
        raise typer.Exit(status)
