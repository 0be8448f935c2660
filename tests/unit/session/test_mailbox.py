"""The mailbox of a session: it runs the flow of a call without a task."""

from __future__ import annotations

import asyncio

import pytest

from sipsimple.session.events import AddressChanged, CancelRequested, EndRequested
from sipsimple.session.mailbox import Mailbox
from tests.support.programs import until

PAUSE = 0.01


class Reader:
    """A flow that reads three events, the second one within a time."""

    def __init__(self, within: float | None = None) -> None:
        self.mailbox = Mailbox()
        self.within = within
        self.read: list[object] = []
        self.turns = 0
        self.over = asyncio.Event()
        self.mailbox.follow(self.run())

    async def run(self) -> None:
        try:
            self.read.append(await self.mailbox.get())
            deadline = None if self.within is None else asyncio.get_running_loop().time() + self.within
            try:
                self.read.append(await self.mailbox.get(deadline))
            except TimeoutError:
                self.read.append("late")
            self.read.append(await self.mailbox.get())
        finally:
            self.over.set()


async def test_all_that_has_come_is_read_in_one_turn():
    reader = Reader()
    events = [EndRequested(), CancelRequested(), AddressChanged()]
    for event in events:
        reader.mailbox.put_nowait(event)
    assert reader.read == []
    await asyncio.sleep(0)
    assert reader.read == events
    assert reader.over.is_set()
    reader.mailbox.put_nowait(EndRequested())


async def test_a_flow_that_waits_is_resumed_by_what_comes():
    reader = Reader(within=60)
    await asyncio.sleep(0)
    for count, event in enumerate((EndRequested(), CancelRequested(), AddressChanged()), 1):
        reader.mailbox.put_nowait(event)
        await asyncio.sleep(0)
        assert len(reader.read) == count
    assert reader.over.is_set()


async def test_an_event_that_does_not_come_in_time_is_not_waited_for():
    reader = Reader(within=PAUSE)
    reader.mailbox.put_nowait(EndRequested())
    await until(lambda: len(reader.read) == 2, "giving up")
    reader.mailbox.put_nowait(AddressChanged())
    await reader.over.wait()
    assert reader.read == [EndRequested(), "late", AddressChanged()]


async def test_what_comes_while_the_flow_runs_is_read_by_it():
    mailbox, read = Mailbox(), []

    async def flow() -> None:
        mailbox.put_nowait(EndRequested())
        read.append(await mailbox.get())

    mailbox.follow(flow())
    await asyncio.sleep(0)
    assert read == [EndRequested()]


@pytest.mark.parametrize("started", [True, False])
async def test_closing_ends_the_flow_where_it_waits(started):
    reader = Reader()
    if started:
        await asyncio.sleep(0)
    reader.mailbox.close()
    reader.mailbox.close()
    reader.mailbox.put_nowait(EndRequested())
    await asyncio.sleep(0)
    assert reader.read == []
    assert reader.over.is_set() is started
