"""Signals end a command in order, on systems whose loops take them and on others."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from sipsimple.cli.running import SIGNALS, interruptible


def no_handlers(*arguments: Any) -> None:
    """What the loops of Windows do."""
    raise NotImplementedError


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("is_handled_by_loop", [True, False])
async def test_the_first_signal_asks_the_command_to_end_and_the_second_is_left_to_the_system(
    number: signal.Signals, is_handled_by_loop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    if not is_handled_by_loop:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "add_signal_handler", no_handlers)
        monkeypatch.setattr(loop, "remove_signal_handler", no_handlers)
    try:
        async with interruptible() as interrupt:
            signal.raise_signal(number)
            await asyncio.wait_for(interrupt.wait(), 5)
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        for each, handler in zip(SIGNALS, before, strict=True):
            signal.signal(each, handler)
