"""The engine at its pace: commands in by a queue, a tick every 20 ms, events out by a queue.

The ticks keep absolute time: a late one is followed by others at a quicker pace, not in a burst, and those more than
`MAX_CATCH_UP` late are left out. While the engine has nothing to do, its thread sleeps until a command comes.
"""

from __future__ import annotations

import enum
import logging
import queue
import random
import time
import traceback
from typing import TYPE_CHECKING, Final

from .commands import Command, EngineDied, Event, Reply
from .lateness import Lateness

if TYPE_CHECKING:
    from .engine import Engine

log = logging.getLogger(__name__)

TICK: Final = 0.02  # seconds
MIN_INTERVAL: Final = 0.005  # between two ticks while catching up
MAX_CATCH_UP: Final = 0.2  # what is missed beyond that is not made up for
MAX_PENDING_EVENTS: Final = 10_000
MAX_PATIENCE: Final = 1.0  # seconds that a reply that can wait waits for other news: telling costs more than the news


class Pacer:
    """When to tick: every 20 ms of absolute time, however late single ticks are."""

    def __init__(self) -> None:
        self.next = 0.0
        self.skipped = 0
        self.late_max = 0.0
        self.lateness: Final = Lateness()
        self._due = 0.0

    def begin(self, first: float) -> None:
        """Tick at this time; after a time without ticks."""
        self.next = self._due = first

    def ticked(self, now: float) -> None:
        """Plan the next tick after one that began at `now`."""
        self.late_max = max(self.late_max, now - self._due)
        self.lateness.add(now - self._due)
        self._due += TICK
        missed = int((now - self._due) / TICK)
        if missed * TICK > MAX_CATCH_UP:
            self.skipped += missed
            self._due += missed * TICK
        self.next = max(self._due, now + MIN_INTERVAL)

    def make_room(self, now: float) -> None:
        """Leave the commands some time after a tick, however long it was: they may make the next ones shorter."""
        self.next = max(self.next, now + MIN_INTERVAL)


class _Signal(enum.Enum):
    WAKE = enum.auto()
    STOP = enum.auto()


class Runner:
    """Runs an engine in the thread that calls `run`; everything else is for any thread, and takes no lock."""

    def __init__(self, *, audio_backend: str | None = None) -> None:
        """`audio_backend` is one of miniaudio's names, such as `NULL`; None lets it choose."""
        self._audio_backend = audio_backend
        self._inbox: queue.SimpleQueue[list[Command] | _Signal] = queue.SimpleQueue()
        self.outbox: Final[queue.SimpleQueue[Event | None]] = queue.SimpleQueue()
        """What the engine tells; None is the end."""
        self._dropped_events = 0
        self._patient: list[Event] = []
        self._patient_until = 0.0

    def put(self, commands: list[Command]) -> None:
        """Have the commands obeyed, in their order, after those before them."""
        self._inbox.put(commands)

    def stop(self) -> None:
        """Have `run` return after the commands so far."""
        self._inbox.put(_Signal.STOP)

    def run(self) -> None:
        """Run the engine until `stop`; its defects are told as `EngineDied`."""
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
                self._tell_patient()
        except Exception:
            log.exception("the media engine died")
            self.outbox.put(EngineDied(traceback.format_exc()))
        finally:
            self.outbox.put(None)

    def _loop(self, engine: Engine) -> None:
        pacer = Pacer()
        ticking = False
        while True:
            item = self._next_item(pacer.next if ticking else None)
            if item is _Signal.STOP:
                return
            if item is _Signal.WAKE:
                engine.settle()
            elif item is not None:
                for command in item:
                    engine.handle(command, time.monotonic())
            was_ticking, ticking = ticking, engine.busy
            if ticking and not was_ticking:
                # There is no frame to send before; a call that is over by then costs no tick.
                pacer.begin(time.monotonic() + TICK)
            if ticking and (now := time.monotonic()) >= pacer.next:
                engine.tick(now)
                pacer.ticked(now)
                ended = time.monotonic()
                if not self._inbox.empty():
                    pacer.make_room(ended)
                self._measure(engine, pacer, ended - now)
            if self._patient and time.monotonic() >= self._patient_until:
                self._tell_patient()

    def _next_item(self, until: float | None) -> list[Command] | _Signal | None:
        """Wait for commands or a signal; None when it is time for the tick, or for something else."""
        if self._patient:
            until = self._patient_until if until is None else min(until, self._patient_until)
        timeout = None if until is None else until - time.monotonic()
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
        statistics["late_counts"] = pacer.lateness.counts
        statistics["load"] += (duration / TICK - statistics["load"]) / 50

    def _wake(self) -> None:
        self._inbox.put(_Signal.WAKE)

    def _tell_patient(self) -> None:
        """Tell what could wait."""
        for event in self._patient:
            self.outbox.put(event)
        self._patient.clear()

    def _emit(self, event: Event) -> None:
        if isinstance(event, Reply) and event.can_wait:
            if not self._patient:
                self._patient_until = time.monotonic() + MAX_PATIENCE
            self._patient.append(event)
            return
        self._tell_patient()
        # What strangers on the network cause must not pile up behind an observer that is stuck; replies are bounded.
        if self.outbox.qsize() < MAX_PENDING_EVENTS or isinstance(event, Reply):
            self.outbox.put(event)
            return
        if not self._dropped_events:
            log.error("more than %d media events wait for their observer; further ones are dropped", MAX_PENDING_EVENTS)
        self._dropped_events += 1
