"""The queue of RFB data: bounded, in order, from any thread, and nothing is lost when somebody gives up waiting."""

from __future__ import annotations

import asyncio
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipsimple.streams.msrp.dataqueue import MAX_QUEUE_SIZE, PIECE_COST, DataQueue, QueueShutDown


@pytest.mark.spec(234, 235)
async def test_it_is_an_asyncio_queue_and_takes_send_and_wait():
    queue = DataQueue()
    await queue.put(b"one")
    queue.put_nowait(b"two")
    queue.send(bytearray(b"three"))
    assert queue.qsize() == 3
    assert not queue.empty()
    assert [await queue.get(), await queue.wait(), queue.get_nowait()] == [b"one", b"two", b"three"]
    assert queue.empty()
    with pytest.raises(asyncio.QueueEmpty):
        queue.get_nowait()
    with pytest.raises(TypeError):
        queue.send("text")


async def test_who_sends_is_told_when_half_is_free_and_who_puts_waits():
    rooms = []
    queue = DataQueue(2000, on_room=lambda: rooms.append(queue.size))
    first = queue.send(bytes(900))
    assert first.done()
    second = queue.send(bytes(1100))
    assert not second.done()
    putting = asyncio.ensure_future(queue.put(b"x"))
    await asyncio.sleep(0)
    with pytest.raises(asyncio.QueueFull):
        queue.put_nowait(b"y")
    assert len(await queue.get()) == 900
    assert not second.done()
    assert rooms == []
    assert len(await queue.get()) == 1100
    assert second.done()
    assert rooms == [1 + PIECE_COST]
    await putting


def test_who_never_waits_is_stopped():
    queue = DataQueue()
    piece = bytes(MAX_QUEUE_SIZE // 4)
    with pytest.raises(asyncio.QueueFull):
        for _ in range(5):
            queue.send(piece)
    assert queue.size < MAX_QUEUE_SIZE


async def test_giving_up_leaves_the_piece_in_the_queue():
    queue = DataQueue()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.wait(), 0)
    with pytest.raises(TimeoutError):
        queue.wait().wait(0)
    getting = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.send(b"settled, and cancelled before it is seen")
    getting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await getting
    assert queue.get_nowait() == b"settled, and cancelled before it is seen"
    assert queue.size == 0


async def test_after_the_end_what_is_there_can_still_be_taken():
    queue = DataQueue(10)
    stuck = queue.send(bytes(20))
    queue.shutdown()
    with pytest.raises(QueueShutDown):
        await stuck
    with pytest.raises(QueueShutDown):
        queue.send(b"late")
    assert await queue.get() == bytes(20)
    with pytest.raises(QueueShutDown):
        await queue.get()
    with pytest.raises(QueueShutDown):
        await queue.wait()


async def test_the_end_wakes_who_waits():
    queue = DataQueue()
    getting = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.shutdown()
    with pytest.raises(QueueShutDown):
        await getting


def test_threads_wait_on_both_sides():
    queue = DataQueue(5000)
    got = []

    def take() -> None:
        try:
            while True:
                got.append(queue.wait().wait(10))
        except QueueShutDown:
            pass

    taker = threading.Thread(target=take)
    taker.start()
    pieces = [bytes([number]) * 700 for number in range(100)]
    for piece in pieces:
        queue.send(piece).wait(10)
        assert queue.size < 6000
    queue.shutdown()
    taker.join(10)
    assert got == pieces


@settings(deadline=None, max_examples=50)
@given(st.lists(st.binary(max_size=50) | st.none(), max_size=60), st.integers(1, 400))
def test_order_and_count_hold_whatever_the_turns(turns, size):
    queue, sent, got = DataQueue(size), b"", b""
    for turn in turns:
        if turn is not None:
            queue.send(turn)
            sent += turn
        elif not queue.empty():
            got += queue.get_nowait()
        assert queue.full() is (queue.size >= size)
    while not queue.empty():
        got += queue.get_nowait()
    assert got == sent
    assert queue.size == 0
