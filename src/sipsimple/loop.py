"""The one event loop, and the one door through which other threads come in.

Everything that touches a protocol machine runs in the loop thread. A public method may be called from any thread: it
checks its state at once, and hands the work to the loop with `run_in_loop`. What it starts is told by a `Result`,
which asyncio code awaits, other threads `wait()` for, and everybody else ignores.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
import traceback
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

LOOP_STOP_TIMEOUT: Final = 5.0


class Failure:
    """An exception as a value, in the shape that the contract's `failure` attributes have."""

    def __init__(self, value: BaseException) -> None:
        self.value = value
        self.type = type(value)

    def getErrorMessage(self) -> str:
        return str(self.value)

    def getTraceback(self) -> str:
        return "".join(traceback.format_exception(self.value))

    def __repr__(self) -> str:
        return f"Failure({self.value!r})"


class Result(Generic[T]):
    """The outcome of something that was started; may be awaited in any loop, waited for in any thread, or ignored.

    Cancelling an `await` gives up waiting; it does not stop what was started.
    """

    __slots__ = ("_future",)

    def __init__(self) -> None:
        self._future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def done(self) -> bool:
        return self._future.done()

    def set_result(self, value: T) -> None:
        """Settle it; only the first outcome counts."""
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self._future.set_result(value)

    def set_exception(self, error: BaseException) -> None:
        """Settle it as failed; only the first outcome counts."""
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self._future.set_exception(error)

    def add_done_callback(self, function: Callable[[Result[T]], object]) -> None:
        """Call `function(self)` when settled, in the thread that settles it, or now when it is settled already."""
        self._future.add_done_callback(lambda _: function(self))

    def wait(self, timeout: float | None = None) -> T:
        """Block this thread until settled; return the value or raise the error, TimeoutError after `timeout` seconds.

        Raises RuntimeError in the loop thread, which would wait for itself: use `await` there.
        """
        if not self._future.done() and in_loop_thread():
            raise RuntimeError("wait() would block the event loop; use `await` in the loop thread")
        return self._future.result(timeout)

    def __await__(self) -> Generator[Any, None, T]:
        return asyncio.shield(asyncio.wrap_future(self._future)).__await__()


class TaskOwner:
    """Owns tasks: nothing it spawned outlives `close()`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run the coroutine as a task; an exception that escapes it goes to the loop's exception handler."""
        name = f"{self.name}: {getattr(coroutine, '__qualname__', coroutine)}"
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            context = {"message": f"{task.get_name()} failed", "exception": error, "task": task}
            task.get_loop().call_exception_handler(context)

    def cancel(self) -> None:
        """Ask every task but the current one to end; one that is ending already is left to it."""
        for task in self._others():
            if not task.cancelling():
                task.cancel()

    async def close(self) -> None:
        """Cancel every task but the current one, and wait until they have ended."""
        while others := self._others():
            self.cancel()
            await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)

    def _others(self) -> set[asyncio.Task[Any]]:
        return self._tasks - {asyncio.current_task()}


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self, name: str = "sipsimple") -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._when_closed: list[Callable[[], object]] = []

    def start(self) -> None:
        """Make this the loop of the middleware; raises RuntimeError when there is one already."""
        try:
            bind_loop(self.loop, self._thread)
        except RuntimeError:
            self.loop.close()
            raise
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.run_until_complete(_end_tasks(self.loop))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            asyncio.set_event_loop(None)
            self.loop.close()
            for function in self._when_closed:
                function()

    def when_closed(self, function: Callable[[], object]) -> None:
        """Have the function called once the loop is closed, in its thread; register it before `stop`."""
        self._when_closed.append(function)

    def stop(self) -> None:
        """End the loop after what is already queued, and every task in it; joins unless called in the loop thread.

        Stopping twice, or before the start, is fine.
        """
        if self._thread.ident is None:
            self.loop.close()
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: it was stopped before
            self.loop.call_soon_threadsafe(self.loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(LOOP_STOP_TIMEOUT)
        # In the loop thread nobody waits for the end; whoever comes in now has to find the door closed.
        unbind_loop(self.loop)


async def _end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop) - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=LOOP_STOP_TIMEOUT)


class _Bound:
    loop: asyncio.AbstractEventLoop | None = None
    thread: threading.Thread | None = None


def bind_loop(loop: asyncio.AbstractEventLoop, thread: threading.Thread | None = None) -> None:
    """Make this the loop of the middleware; `thread` runs it (default: the calling thread)."""
    if _Bound.loop is not None and _Bound.loop is not loop:
        raise RuntimeError("another event loop runs the middleware already")
    _Bound.loop = loop
    _Bound.thread = thread or threading.current_thread()


def unbind_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Forget the loop, if it is the bound one."""
    if _Bound.loop is loop:
        _Bound.loop = _Bound.thread = None


def bound_loop() -> asyncio.AbstractEventLoop:
    """The loop of the middleware; raises RuntimeError when none runs."""
    if _Bound.loop is None:
        raise RuntimeError("nothing runs the middleware: start SIPApplication (or Engine) first")
    return _Bound.loop


def in_loop_thread() -> bool:
    """True in the thread that runs the bound loop."""
    return _Bound.thread is threading.current_thread()


def running_bound_loop() -> asyncio.AbstractEventLoop | None:
    """The loop of the middleware when this code runs in it, else None."""
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        return None
    return running if running is _Bound.loop else None


def run_in_loop(function: Callable[..., object], *args: Any) -> None:
    """Call the function in the loop thread: now when this is the loop thread, else as soon as the loop comes to it."""
    loop = bound_loop()
    try:
        inside = asyncio.get_running_loop() is loop
    except RuntimeError:
        # Also the loop thread may come by while its loop does not run, as before the start.
        inside = in_loop_thread()
    if inside:
        function(*args)
    else:
        loop.call_soon_threadsafe(function, *args)


def run_in_loop_or_now(function: Callable[..., object], *args: Any) -> None:
    """As `run_in_loop`, but where nothing runs the middleware the function is called now, in this thread."""
    if _Bound.loop is None:
        function(*args)
    else:
        run_in_loop(function, *args)
