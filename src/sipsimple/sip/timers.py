"""One timer wheel for every timer of an endpoint, and the RFC 3261 timer values.

A call arms half a dozen timers and cancels nearly all of them, so arming and cancelling must cost next to nothing,
and a cancelled one must not wake the process: an idle processor is the cheapest.
The wheel is a dictionary of slots, each 1/128 s wide, and a heap of the slot numbers that are in use. Measured with
2000 calls a second of four timers each, it took 60 % of the time of a heap of timers with lazy deletion (6 against 10
µs a call), because a heap compares timers that will never fire; it pays with firing up to one slot late, which no SIP
timer minds. A slot is a power of two wide so that no rounding can fire a timer before its time.

There is no clock in here: `run` is told the time (monotonic seconds), and `next_wake` says when it wants to be told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import ceil, floor
from typing import Any, Final, Protocol

__all__ = ["RFC_TIMING", "SLOTS_PER_SECOND", "Alarm", "Sleeper", "TimerQueue", "Timing"]

SLOTS_PER_SECOND: Final = 128


@dataclass(frozen=True, slots=True)
class Timing:
    """The values that all SIP timers derive from (RFC 3261 17.1.1.1 and its appendix A), in seconds."""

    t1: float = 0.5
    t2: float = 4.0
    t4: float = 5.0
    trying_delay: float = 0.2
    """How long the user of an INVITE server transaction may think before a 100 goes out (RFC 3261 17.2.1)."""

    timeout: float = field(init=False)
    """Timers B, D, F, H, J, L and M: 64*T1."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "timeout", 64 * self.t1)

    @property
    def non_invite_trying_delay(self) -> float:
        """When timer E of the peer has grown to T2: only then may a 100 answer a non-INVITE over UDP (RFC 4320 4.1)."""
        elapsed, interval = self.t1, self.t1
        while (interval := interval * 2) < self.t2:
            elapsed += interval
        return elapsed


RFC_TIMING: Final = Timing()


class Alarm:
    """One armed timer; `TimerQueue.cancel` takes it."""

    __slots__ = ("args", "function", "slot", "when")

    def __init__(self, when: float, slot: int, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.when = when
        self.slot = slot
        self.function: Callable[..., object] | None = function
        self.args = args

    @property
    def armed(self) -> bool:
        """False once it has fired or was cancelled."""
        return self.function is not None


class Sleeper(Protocol):
    """A machine that wants to be woken. The `alarm` attribute belongs to the queue and starts as None."""

    alarm: Alarm | None

    def next_wake(self) -> float | None: ...
    def wake(self, now: float) -> None: ...


class TimerQueue:
    """Calls functions at their time. Timers of one slot fire in the order in which they were armed."""

    __slots__ = ("_last_slot", "_now", "_on_earlier", "_order", "_slots", "_wake_up")

    def __init__(self, on_earlier: Callable[[], object] | None = None) -> None:
        """`on_earlier()` is called when `next_wake()` has become earlier than it was."""
        self._on_earlier = on_earlier
        # Each slot is a dictionary for the sake of its order and of quick removal.
        self._slots: dict[int, dict[Alarm, None]] = {}
        self._order: list[int] = []
        self._last_slot: float = float("-inf")
        self._now = 0.0
        self._wake_up = self._wake  # one object for all the alarms

    def __len__(self) -> int:
        """How many timers are armed; counts them, so it is for tests and reports."""
        return sum(len(slot) for slot in self._slots.values())

    def call_at(self, when: float, function: Callable[..., object], *args: Any) -> Alarm:
        """Arm a timer: `function(*args)` is called by the first `run` at or after `when`, or less than a slot later."""
        alarm = Alarm(when, ceil(when * SLOTS_PER_SECOND), function, args)
        self._insert(alarm)
        return alarm

    def cancel(self, alarm: Alarm) -> None:
        """Disarm the timer and let go of its function and arguments; nothing happens when it is not armed."""
        alarm.function = None
        alarm.args = ()
        slot = self._slots.get(alarm.slot)
        if slot is not None:
            slot.pop(alarm, None)

    def arm(self, sleeper: Sleeper) -> None:
        """Have `sleeper.wake(now)` called when `sleeper.next_wake()` says; to be called again when that changes."""
        when = sleeper.next_wake()
        alarm = sleeper.alarm
        if alarm is not None:
            if alarm.when == when:
                return
            self.disarm(sleeper)
        if when is not None:
            sleeper.alarm = self.call_at(when, self._wake_up, sleeper)

    def disarm(self, sleeper: Sleeper) -> None:
        """Forget the machine: the queue holds no reference to it any more."""
        if sleeper.alarm is not None:
            self.cancel(sleeper.alarm)
            sleeper.alarm = None

    def next_wake(self) -> float | None:
        """When `run` is due, None when nothing is armed; after a cancellation it may be later than was said before."""
        # A process that sleeps costs nothing: nobody is to be woken for a slot whose timers are all cancelled.
        while self._order and not self._slots[self._order[0]]:
            del self._slots[heappop(self._order)]
        return self._order[0] / SLOTS_PER_SECOND if self._order else None

    def run(self, now: float) -> None:
        """Fire what is due. What the functions arm for now or earlier waits for the next slot, so `run` always ends.

        An exception of a function is raised after the rest of its slot was put into the next one.
        """
        self._now = now
        current = floor(now * SLOTS_PER_SECOND)
        self._last_slot = max(self._last_slot, current)
        while self._order and self._order[0] <= current:
            alarms = iter(self._slots.pop(heappop(self._order)))
            try:
                for alarm in alarms:
                    function = alarm.function
                    if function is not None:
                        args = alarm.args
                        alarm.function = None
                        alarm.args = ()
                        function(*args)
            except BaseException:
                for alarm in alarms:
                    if alarm.armed:
                        self._insert(alarm)
                raise

    def _insert(self, alarm: Alarm) -> None:
        if alarm.slot <= self._last_slot:
            alarm.slot = int(self._last_slot) + 1
        slot = alarm.slot
        alarms = self._slots.get(slot)
        if alarms is None:
            self._slots[slot] = {alarm: None}
            heappush(self._order, slot)
            if self._order[0] == slot and self._on_earlier is not None:
                self._on_earlier()
        else:
            alarms[alarm] = None

    def _wake(self, sleeper: Sleeper) -> None:
        sleeper.alarm = None
        sleeper.wake(self._now)
        if sleeper.alarm is None:
            self.arm(sleeper)
