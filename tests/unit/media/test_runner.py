"""The pace of the engine when its ticks take longer than they should."""

from __future__ import annotations

import threading
import time
from typing import Any

from sipsimple.media import commands, engine
from sipsimple.media.runner import Runner

COMMANDS = 400
SLOW_TICK = 0.03


class SlowEngine:
    """Takes more than a whole interval for each tick, as one with too many streams does."""

    busy = True

    def __init__(self, *_: Any, **__: Any) -> None:
        self.ticks = 0
        self.obeyed = 0
        self.all_obeyed = threading.Event()
        self.statistics = {"load": 0.0}
        SlowEngine.last = self

    last: SlowEngine

    def handle(self, command: commands.Command, now: float) -> None:
        self.obeyed += 1
        if self.obeyed == COMMANDS:
            self.all_obeyed.set()

    def tick(self, now: float) -> None:
        self.ticks += 1
        time.sleep(SLOW_TICK)

    def settle(self) -> None: ...

    def close(self) -> None: ...


def test_commands_are_obeyed_in_time_although_each_tick_is_late(monkeypatch: Any) -> None:
    """Otherwise the very commands that end streams would wait behind the ticks of those streams."""
    monkeypatch.setattr(engine, "Engine", SlowEngine)
    runner = Runner()
    for number in range(COMMANDS):
        runner.put([commands.StopStream(number)])
    thread = threading.Thread(target=runner.run)
    thread.start()
    while not hasattr(SlowEngine, "last"):
        thread.join(0.001)
    slow = SlowEngine.last
    assert slow.all_obeyed.wait(5)
    ticks = slow.ticks
    runner.stop()
    thread.join(5)
    assert not thread.is_alive()
    assert ticks < COMMANDS / 4
