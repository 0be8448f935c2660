"""The timer wheel: nothing early, nothing lost, nothing kept."""

import gc
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipsimple.sip.timers import RFC_TIMING, SLOTS_PER_SECOND, TimerQueue, Timing

SLOT = 1 / SLOTS_PER_SECOND


class Sleepyhead:
    """A machine that wants to be woken at each of the given times."""

    def __init__(self, *times):
        self.alarm = None
        self.times = list(times)
        self.woken = []

    def next_wake(self):
        return self.times[0] if self.times else None

    def wake(self, now):
        self.woken.append(now)
        while self.times and self.times[0] <= now:
            self.times.pop(0)


def run_all(queue):
    while (when := queue.next_wake()) is not None:
        queue.run(when)


def test_the_values_of_rfc_3261():
    assert Timing(t1=0.5, t2=4.0, t4=5.0) == RFC_TIMING
    assert RFC_TIMING.timeout == 32.0
    assert RFC_TIMING.non_invite_trying_delay == 3.5


def test_a_timer_fires_at_its_time_and_not_before():
    queue, fired = TimerQueue(), []
    queue.call_at(1.0, fired.append, "one")
    queue.run(1.0 - SLOT / 2)
    assert fired == []
    queue.run(1.0)
    assert fired == ["one"]
    assert queue.next_wake() is None


def test_a_cancelled_timer_does_not_fire_and_keeps_nothing_alive():
    queue, argument = TimerQueue(), object()
    before = sys.getrefcount(argument)
    alarm = queue.call_at(1.0, print, argument)
    queue.cancel(alarm)
    queue.cancel(alarm)
    assert not alarm.armed
    assert len(queue) == 0
    assert sys.getrefcount(argument) == before
    queue.run(2.0)


def test_a_function_may_cancel_another_timer_of_the_same_moment():
    queue, fired = TimerQueue(), []
    queue.call_at(1.0, lambda: queue.cancel(second))
    second = queue.call_at(1.0, fired.append, "second")
    queue.run(1.0)
    assert fired == []


def test_a_timer_in_the_past_fires_in_the_next_slot_so_that_a_run_ends():
    queue, count = TimerQueue(), []

    def again():
        count.append(1)
        queue.call_at(0.0, again)

    queue.call_at(5.0, again)
    queue.run(5.0)
    assert len(count) == 1
    assert queue.next_wake() == 5.0 + SLOT


def test_an_exception_reaches_the_caller_and_the_other_timers_still_fire():
    queue, fired = TimerQueue(), []
    queue.call_at(1.0, int, "no number")
    queue.call_at(1.0, fired.append, "other")
    with pytest.raises(ValueError, match="no number"):
        queue.run(1.0)
    assert fired == []
    run_all(queue)
    assert fired == ["other"]


def test_a_machine_is_woken_at_each_of_its_times():
    queue, machine = TimerQueue(), Sleepyhead(0.5, 1.5, 3.5)
    queue.arm(machine)
    run_all(queue)
    assert machine.woken == [0.5, 1.5, 3.5]
    assert machine.alarm is None


def test_a_wake_up_that_moved_later_wakes_nobody_at_its_old_time():
    queue, machine = TimerQueue(), Sleepyhead(1.0)
    queue.arm(machine)
    machine.times = [2.0]
    queue.arm(machine)
    assert (len(queue), queue.next_wake()) == (1, 2.0)
    run_all(queue)
    assert machine.woken == [2.0]


def test_a_wake_up_that_did_not_move_stays_where_it_is():
    queue, machine = TimerQueue(), Sleepyhead(1.0)
    queue.arm(machine)
    first = machine.alarm
    queue.arm(machine)
    assert machine.alarm is first


def test_whoever_wakes_the_queue_hears_of_earlier_times_alone():
    told = []
    queue = TimerQueue(lambda: told.append(queue.next_wake()))
    queue.call_at(2.0, int)
    queue.call_at(3.0, int)
    queue.call_at(1.0, int)
    assert told == [2.0, 1.0]


def test_a_wake_up_that_moved_earlier_is_kept():
    queue, machine = TimerQueue(), Sleepyhead(32.0)
    queue.arm(machine)
    machine.times = [0.5]
    queue.arm(machine)
    assert len(queue) == 1
    assert queue.next_wake() == 0.5
    queue.run(0.5)
    assert machine.woken == [0.5]


@pytest.mark.parametrize("how", ["disarm", "nothing to wake for"])
def test_a_machine_that_sleeps_for_good_is_not_held(how):
    queue, machine = TimerQueue(), Sleepyhead(1.0)
    before = sys.getrefcount(machine)
    queue.arm(machine)
    if how == "disarm":
        queue.disarm(machine)
        queue.disarm(machine)
    else:
        machine.times = []
        queue.arm(machine)
    gc.disable()
    try:
        assert sys.getrefcount(machine) == before
    finally:
        gc.enable()
    assert machine.alarm is None


@settings(deadline=None)
@given(
    timers=st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=40),
    steps=st.lists(st.floats(0, 20), max_size=20),
)
def test_every_timer_fires_once_within_a_slot_unless_cancelled(timers, steps):
    queue, now, fired = TimerQueue(), 0.0, {}
    alarms = [
        queue.call_at(when, lambda i=i: fired.setdefault(i, []).append(now)) for i, (when, _) in enumerate(timers)
    ]
    for alarm, (_, cancelled) in zip(alarms, timers, strict=True):
        if cancelled:
            queue.cancel(alarm)
    for step in [*steps, 101.0]:
        before, now = now, now + step
        queue.run(now)
        for i, (when, cancelled) in enumerate(timers):
            if cancelled or when > now:
                assert i not in fired
            elif when <= now - SLOT:
                assert len(fired[i]) == 1
                assert fired[i][0] > before or fired[i][0] >= when
    assert set(fired) == {i for i, (_, cancelled) in enumerate(timers) if not cancelled}
    assert len(queue) == 0
