"""How the media engine is reached: commands in, replies as futures, events in a thread of their own.

What runs the engine is a thread of this process (`ThreadHost`) or a process of its own (`process.ProcessHost`); both
have one face. Commands go out in batches, because waking the engine costs more than most commands. Events are
delivered by a thread of their own, so that no observer however slow can delay a tick.
"""

from __future__ import annotations

import itertools
import logging
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from .commands import Command, EngineDied, Event, Reply
from .errors import EngineStopped
from .runner import Runner

log = logging.getLogger(__name__)

STOP_TIMEOUT: Final = 5.0
# With the interpreter's 5 ms, a busy application thread makes the median tick 70 ms late; with this, under 1 ms.
SWITCH_INTERVAL: Final = 0.0005


class Host(ABC):
    """What every host does: gives out identifiers, matches replies with requests, delivers events."""

    def __init__(self) -> None:
        self.on_event: Callable[[Event], None] | None = None
        self.schedule: Callable[[bool], object] = lambda _: self.flush()
        """Called in the thread that has a command, with whether somebody waits for its outcome, to have `flush` called
        soon; by default it is called at once."""
        self._waiting: deque[Command] = deque()
        self._is_flushing = False
        # Reentrant: the garbage collector may post a command while this thread writes others.
        self._flush_lock = threading.RLock()
        self._ids = itertools.count(1)
        self._futures: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self._running = False
        self._stopping = False
        self._end_reason = ""
        self._deliverer = threading.Thread(target=self._deliver, name="media-events", daemon=True)

    @property
    def running(self) -> bool:
        return self._running

    def new_id(self) -> int:
        """An identifier that no mixer, bridge, transport, stream, player or recorder has had; for any thread."""
        return next(self._ids)

    def start(self) -> None:
        """Start the engine; a host runs once. Raises OSError."""
        self._begin()
        self._running = True
        self._deliverer.start()

    def stop(self) -> None:
        """End the engine with its sockets, files and threads; idempotent, and bounded by `STOP_TIMEOUT`."""
        with self._lock:
            first, self._stopping = not self._stopping, True
        if not first or not self._deliverer.ident:
            return
        limit = time.monotonic() + STOP_TIMEOUT
        self.flush()
        self._end()
        self._join(self._deliverer, limit)
        self._clean_up(limit)

    def _join(self, thread: threading.Thread, limit: float) -> None:
        if thread is not threading.current_thread():
            thread.join(max(0.0, limit - time.monotonic()))

    # --- what runs the engine

    @abstractmethod
    def _begin(self) -> None:
        """Start what runs the engine."""

    @abstractmethod
    def _submit(self, commands: list[Command]) -> None:
        """Hand commands to the engine; never blocks, and is called by one thread at a time."""

    @abstractmethod
    def _next_event(self) -> Event | None:
        """Wait for an event; None is the end."""

    @abstractmethod
    def _end(self) -> None:
        """Ask the engine to end after the commands so far."""

    @abstractmethod
    def _clean_up(self, limit: float) -> None:
        """Wait until this time (monotonic) for the engine to end, and free what is left of it."""

    # --- commands

    # The garbage collector may call `post` in the middle of anything, the others of these included.

    def post(self, command: Command) -> None:
        """Have the command obeyed; a failure is told by `CommandFailed`. Raises EngineStopped."""
        self._check_running()
        self._waiting.append(command)
        self.schedule(False)

    def request(self, command: Command) -> Future[Any]:
        """Have the command obeyed; the future gives its reply or raises its MediaError. Raises EngineStopped."""
        self._check_running()
        future: Future[Any] = Future()
        # The command is on its way and cannot be taken back, so that the future cannot be cancelled either.
        future.set_running_or_notify_cancel()
        reply_to = next(self._ids)
        self._futures[reply_to] = future
        self._waiting.append(command.wanting(reply_to))
        self.schedule(not command.can_wait)
        if not self._running:  # it ended meanwhile, perhaps before it could see this future
            self._end_request(reply_to)
        return future

    def flush(self) -> None:
        """Hand all waiting commands to the engine, in the order in which they came; for any thread."""
        with self._flush_lock:
            if self._is_flushing:
                return  # the garbage collector came here; what it posted goes out with the rest
            self._is_flushing = True
            try:
                while self._waiting:
                    self._submit([self._waiting.popleft() for _ in range(len(self._waiting))])
            finally:
                self._is_flushing = False

    def _check_running(self) -> None:
        if not self._running or self._stopping:
            raise EngineStopped

    # --- the thread of the events

    def _deliver(self) -> None:
        reason = ""
        while (event := self._next_event()) is not None:
            if isinstance(event, Reply):
                self._settle(event)
                continue
            if isinstance(event, EngineDied):
                reason = "it died: " + event.reason.rstrip().rpartition("\n")[2]
                self._end_requests(reason)
            self._observe(event)
        self._end_requests(reason)

    def _observe(self, event: Event) -> None:
        if self.on_event is None:
            return
        try:
            self.on_event(event)
        except Exception:  # the observer's defect must not keep later events from it
            log.exception("the observer of media events failed on %r", event)

    def _settle(self, reply: Reply) -> None:
        future = self._futures.pop(reply.reply_to)
        if reply.error is not None:
            future.set_exception(reply.error)
        else:
            future.set_result(reply.value)

    def _end_requests(self, reason: str) -> None:
        """Fail what waits for a reply that cannot come any more, and refuse what comes later."""
        self._end_reason = reason
        self._running = False
        for reply_to in list(self._futures):
            self._end_request(reply_to)

    def _end_request(self, reply_to: int) -> None:
        future = self._futures.pop(reply_to, None)
        if future is not None:
            future.set_exception(EngineStopped(self._end_reason) if self._end_reason else EngineStopped())


class ThreadHost(Host):
    """Runs an engine in a thread of this process, for small tools and for debugging.

    The limit of open files (two sockets a stream) and the threads of numpy's linear algebra (`OPENBLAS_NUM_THREADS`,
    best 1) are then the application's to set.
    """

    def __init__(self, *, audio_backend: str | None = None) -> None:
        """`audio_backend` is one of miniaudio's names, such as `NULL`; None lets it choose."""
        super().__init__()
        self._runner = Runner(audio_backend=audio_backend)
        self._ticker = threading.Thread(target=self._runner.run, name="media-engine", daemon=True)
        self._switch_interval = 0.0

    def _begin(self) -> None:
        self._switch_interval = sys.getswitchinterval()
        sys.setswitchinterval(min(self._switch_interval, SWITCH_INTERVAL))
        self._ticker.start()

    def _submit(self, commands: list[Command]) -> None:
        self._runner.put(commands)

    def _next_event(self) -> Event | None:
        return self._runner.outbox.get()

    def _end(self) -> None:
        self._runner.stop()

    def _clean_up(self, limit: float) -> None:
        self._join(self._ticker, limit)
        sys.setswitchinterval(self._switch_interval)
