"""The engine in a thread: commands in by a queue, replies as futures, events in a thread of their own.

Two threads: one ticks, the other delivers, so that no observer however slow can delay a tick. The ticks keep absolute
time: a late one is followed by others at a quicker pace, not in a burst, and those more than `MAX_CATCH_UP` late are
left out. While the engine has nothing to do, its thread sleeps until a command comes.
"""

from __future__ import annotations

import enum
import itertools
import logging
import queue
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from .commands import Command, EngineDied, Event, Reply
from .errors import EngineStopped

if TYPE_CHECKING:
    from .engine import Engine

log = logging.getLogger(__name__)

TICK: Final = 0.02  # seconds
MIN_INTERVAL: Final = 0.005  # between two ticks while catching up
MAX_CATCH_UP: Final = 0.2  # what is missed beyond that is not made up for
STOP_TIMEOUT: Final = 5.0
MAX_PENDING_EVENTS: Final = 10_000
# With the interpreter's 5 ms, a busy application thread makes the median tick 70 ms late; with this, under 1 ms.
SWITCH_INTERVAL: Final = 0.0005


class Pacer:
    """When to tick: every 20 ms of absolute time, however late single ticks are."""

    def __init__(self) -> None:
        self.next = 0.0
        self.skipped = 0
        self.late_max = 0.0
        self._due = 0.0

    def begin(self, now: float) -> None:
        """Tick at once; after a time without ticks."""
        self.next = self._due = now

    def ticked(self, now: float) -> None:
        """Plan the next tick after one that began at `now`."""
        self.late_max = max(self.late_max, now - self._due)
        self._due += TICK
        missed = int((now - self._due) / TICK)
        if missed * TICK > MAX_CATCH_UP:
            self.skipped += missed
            self._due += missed * TICK
        self.next = max(self._due, now + MIN_INTERVAL)


class _Signal(enum.Enum):
    WAKE = enum.auto()
    STOP = enum.auto()


class ThreadHost:
    """Runs an engine in a thread of this process."""

    def __init__(self, *, audio_backend: str | None = None) -> None:
        """`audio_backend` is one of miniaudio's names, such as `NULL`; None lets it choose."""
        self.on_event: Callable[[Event], None] | None = None
        self._audio_backend = audio_backend
        self._ids = itertools.count(1)
        self._inbox: queue.SimpleQueue[Command | _Signal] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._futures: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self._running = False
        self._stopping = False
        self._end_reason = ""
        self._dropped_events = 0
        self._ticker = threading.Thread(target=self._run, name="media-engine", daemon=True)
        self._deliverer = threading.Thread(target=self._deliver, name="media-events", daemon=True)
        self._switch_interval = 0.0

    @property
    def running(self) -> bool:
        return self._running

    def new_id(self) -> int:
        """An identifier that no mixer, bridge, transport, stream, player or recorder has had; for any thread."""
        return next(self._ids)

    def start(self) -> None:
        """Start the engine; a host runs once."""
        self._switch_interval = sys.getswitchinterval()
        sys.setswitchinterval(min(self._switch_interval, SWITCH_INTERVAL))
        self._running = True
        self._deliverer.start()
        self._ticker.start()

    def stop(self) -> None:
        """End the engine with its sockets, files and threads; idempotent, and bounded by `STOP_TIMEOUT`."""
        with self._lock:
            first, self._stopping = not self._stopping, True
        if not first or not self._ticker.ident:
            return
        self._inbox.put(_Signal.STOP)
        limit = time.monotonic() + STOP_TIMEOUT
        for thread in (self._ticker, self._deliverer):
            if thread is not threading.current_thread():
                thread.join(max(0.0, limit - time.monotonic()))
        sys.setswitchinterval(self._switch_interval)

    # Neither of these takes a lock: the garbage collector may call `post` in the middle of the other, or of anything.

    def post(self, command: Command) -> None:
        """Have the command obeyed; a failure is told by `CommandFailed`. Raises EngineStopped."""
        self._check_running()
        self._inbox.put(command)

    def request(self, command: Command) -> Future[Any]:
        """Have the command obeyed; the future gives its reply or raises its MediaError. Raises EngineStopped."""
        self._check_running()
        future: Future[Any] = Future()
        # The command is on its way and cannot be taken back, so that the future cannot be cancelled either.
        future.set_running_or_notify_cancel()
        reply_to = next(self._ids)
        self._futures[reply_to] = future
        self._inbox.put(replace(command, reply_to=reply_to))
        if not self._running:  # it ended meanwhile, perhaps before it could see this future
            self._end_request(reply_to)
        return future

    def _check_running(self) -> None:
        if not self._running or self._stopping:
            raise EngineStopped

    # --- the thread of the engine

    def _run(self) -> None:
        try:
            # With it comes numpy; whoever only talks to the engine does without.
            from .engine import Engine

            engine = Engine(
                self._emit,
                self._wake,
                random=random.SystemRandom(),
                wall_clock_offset=time.time() - time.monotonic(),
                audio_backend=self._audio_backend,
            )
            try:
                self._loop(engine)
            finally:
                engine.close()
        except Exception:
            log.exception("the media engine died")
            self._outbox.put(EngineDied(traceback.format_exc()))
        finally:
            self._outbox.put(None)

    def _loop(self, engine: Engine) -> None:
        pacer = Pacer()
        ticking = False
        while True:
            item = self._next_item(pacer.next - time.monotonic() if ticking else None)
            if item is _Signal.STOP:
                return
            if item is _Signal.WAKE:
                engine.settle()
            elif item is not None:
                engine.handle(item, time.monotonic())
            was_ticking, ticking = ticking, engine.busy
            if ticking and not was_ticking:
                pacer.begin(time.monotonic())
            if ticking and (now := time.monotonic()) >= pacer.next:
                engine.tick(now)
                pacer.ticked(now)
                self._measure(engine, pacer, time.monotonic() - now)

    def _next_item(self, timeout: float | None) -> Command | _Signal | None:
        """Wait for a command or a signal; None when the time has come to tick."""
        try:
            if timeout is not None and timeout <= 0:
                return self._inbox.get_nowait()
            return self._inbox.get(timeout=timeout)
        except queue.Empty:
            return None

    def _measure(self, engine: Engine, pacer: Pacer, duration: float) -> None:
        statistics = engine.statistics
        statistics["skipped"] = pacer.skipped
        statistics["late_max"] = pacer.late_max
        statistics["load"] += (duration / TICK - statistics["load"]) / 50

    def _wake(self) -> None:
        self._inbox.put(_Signal.WAKE)

    def _emit(self, event: Event) -> None:
        # What strangers on the network cause must not pile up behind an observer that is stuck; replies are bounded.
        if self._outbox.qsize() < MAX_PENDING_EVENTS or isinstance(event, Reply):
            self._outbox.put(event)
            return
        if not self._dropped_events:
            log.error("more than %d media events wait for their observer; further ones are dropped", MAX_PENDING_EVENTS)
        self._dropped_events += 1

    # --- the thread of the events

    def _deliver(self) -> None:
        reason = ""
        while (event := self._outbox.get()) is not None:
            if isinstance(event, Reply):
                self._settle(event)
                continue
            if isinstance(event, EngineDied):
                reason = "it died of a defect: " + event.reason.rstrip().rpartition("\n")[2]
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
