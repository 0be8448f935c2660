"""Handlers of desktop sharing against plain sockets in the place of VNC programs, and a stream that is two queues."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from typing import Any

import pytest
from zope.interface.verify import verifyObject

from sipsimple.loop import bind_loop, unbind_loop
from sipsimple.notification import NotificationCenter
from sipsimple.streams.msrp import (
    DesktopSharingHandlerBase,
    ExternalVNCServerHandler,
    ExternalVNCViewerHandler,
    IDesktopSharingHandler,
    InternalVNCServerHandler,
    InternalVNCViewerHandler,
)
from sipsimple.streams.msrp.dataqueue import QUEUE_SIZE, DataQueue
from tests.support.agent import Record, eventually

CONNECTED_LIMIT = 30.0


class QueuesOnly:
    """As much of a stream as a handler sees."""

    def __init__(self) -> None:
        self.incoming_queue = DataQueue()
        self.outgoing_queue = DataQueue()

    def begin(self, handler: Any) -> None:
        handler.initialize(self)
        NotificationCenter().post_notification("MediaStreamDidStart", self)

    async def end(self, handler: Any) -> None:
        NotificationCenter().post_notification("MediaStreamWillEnd", self)
        await handler._tasks.close()
        NotificationCenter().post_notification("MediaStreamDidEnd", self)
        await asyncio.sleep(0)


@pytest.fixture
async def record(nothing_left):
    record = Record()
    NotificationCenter().add_observer(record)
    bind_loop(asyncio.get_running_loop())
    yield record
    unbind_loop(asyncio.get_running_loop())
    NotificationCenter().remove_observer(record)


@pytest.fixture
def stream(record):
    return QueuesOnly()


def failure(record: Record, handler: Any) -> Any:
    found = [n.data for n in record.all if n.sender is handler and n.name == "DesktopSharingHandlerDidFail"]
    return found[0] if found else None


@pytest.mark.spec(213, 214, 215)
def test_all_handlers_have_the_interface_and_say_what_they_are(nothing_left):
    viewer = ExternalVNCViewerHandler()
    server = ExternalVNCServerHandler(("localhost", 5900))
    for handler, kind in (
        (viewer, "active"),
        (server, "passive"),
        (InternalVNCViewerHandler(), "active"),
        (InternalVNCServerHandler(), "passive"),
    ):
        assert verifyObject(IDesktopSharingHandler, handler)
        assert handler.type == kind
        assert isinstance(handler, DesktopSharingHandlerBase)
    viewer.close()
    viewer.close()
    with pytest.raises(TypeError):
        DesktopSharingHandlerBase()


@pytest.mark.spec(223, 224, 225, 226, 228, 229)
def test_a_viewer_handler_listens_when_it_is_made_in_any_thread(nothing_left):
    made = []

    def make() -> None:
        made.append(ExternalVNCViewerHandler())

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    (handler,) = made
    assert handler.address[0] == "127.0.0.1"
    assert handler.connect_timeout == 3
    with socket.create_connection(handler.address):
        pass
    with pytest.raises(OSError, match="in use"):
        ExternalVNCViewerHandler(handler.address)
    handler.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(handler.address)
    server = ExternalVNCServerHandler(("::1", 5901))
    assert (server.address, server.connect_timeout) == (("::1", 5901), 3)


def test_a_viewer_handler_that_is_forgotten_stops_listening(nothing_left):
    address = ExternalVNCViewerHandler(("::1", 0)).address
    gc.collect()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


@pytest.mark.spec(217, 218, 219, 220, 221, 222)
@pytest.mark.parametrize("kind", [InternalVNCViewerHandler, InternalVNCServerHandler])
async def test_internal_handlers_send_from_any_thread_and_tell_what_comes(record, stream, kind):
    handler = kind()
    with pytest.raises(RuntimeError):
        handler.send(b"early")
    stream.begin(handler)
    await asyncio.to_thread(lambda: handler.send(b"RFB 003.008\n").wait(5))
    assert await stream.outgoing_queue.get() == b"RFB 003.008\n"
    stream.incoming_queue.send(b"\x00\xff")
    stream.incoming_queue.send(b"more")
    got = await eventually(
        lambda: [n.data for n in record.all if n.name == "DesktopSharingStreamGotData"][1:], "the second piece"
    )
    assert got[0].data == b"more"
    assert got[0].timestamp
    with pytest.raises(RuntimeError):
        handler.initialize(stream)
    await stream.end(handler)


@pytest.mark.spec(223, 225)
async def test_the_first_viewer_is_served_and_no_other(record, stream):
    handler = ExternalVNCViewerHandler(connect_timeout=CONNECTED_LIMIT)
    # Connected before the stream has started, which is what an impatient viewer does.
    reader, writer = await asyncio.open_connection(*handler.address)
    stream.begin(handler)
    writer.write(b"from the viewer")
    assert await stream.outgoing_queue.get() == b"from the viewer"
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*handler.address)
    stream.incoming_queue.send(b"from the server")
    assert await reader.readexactly(15) == b"from the server"
    await stream.end(handler)
    assert await reader.read() == b""
    writer.close()
    assert failure(record, handler) is None


@pytest.mark.spec(216, 225)
async def test_no_viewer_in_time_is_a_failure_to_connect(record, stream):
    handler = ExternalVNCViewerHandler(connect_timeout=0.01)
    stream.begin(handler)
    data = await eventually(lambda: failure(record, handler), "the failure")
    assert data.context == "connecting"
    assert isinstance(data.failure.value, TimeoutError)
    assert f"port {handler.address[1]} in 0.01 s" in data.reason
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*handler.address)
    await stream.end(handler)


@pytest.mark.spec(216, 227, 228, 229)
async def test_no_server_is_a_failure_to_connect(record, stream):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = gone.getsockname()
    handler = ExternalVNCServerHandler(address)
    stream.begin(handler)
    data = await eventually(lambda: failure(record, handler), "the failure")
    assert data.context == "connecting"
    assert isinstance(data.failure.value, ConnectionRefusedError)
    await stream.end(handler)


@pytest.mark.spec(216, 227)
async def test_a_server_is_called_at_the_start_and_its_end_is_a_failure_to_read(record, stream):
    calls: asyncio.Queue[Any] = asyncio.Queue()
    server = await asyncio.start_server(lambda *ends: calls.put_nowait(ends), "127.0.0.1", 0)
    handler = ExternalVNCServerHandler(server.sockets[0].getsockname())
    handler.initialize(stream)
    await asyncio.sleep(0)
    assert handler._tasks._others() == set()
    NotificationCenter().post_notification("MediaStreamDidStart", stream)
    reader, writer = await calls.get()
    stream.incoming_queue.send(b"key")
    assert await reader.readexactly(3) == b"key"
    writer.write(b"the last words")
    writer.close()
    data = await eventually(lambda: failure(record, handler), "the failure")
    assert data.context == "reading"
    assert data.reason == "the VNC server has closed its connection"
    assert stream.outgoing_queue.get_nowait() == b"the last words"
    await stream.end(handler)
    server.close()
    await server.wait_closed()


@pytest.mark.spec(216)
async def test_a_program_that_takes_nothing_more_is_a_failure_to_send(record, stream):
    handler = ExternalVNCViewerHandler(connect_timeout=CONNECTED_LIMIT)
    stream.begin(handler)
    # A write error of the kernel cannot be had at will without one for reading: the reader is kept out of it.
    stream.outgoing_queue.send(bytes(QUEUE_SIZE))
    viewer = socket.create_connection(handler.address)
    viewer.sendall(b"x")
    await eventually(lambda: stream.outgoing_queue.qsize() == 2, "that the reader waits")
    viewer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    viewer.close()
    while failure(record, handler) is None:
        stream.incoming_queue.send(bytes(1000))
        await asyncio.sleep(0)
    assert failure(record, handler).context == "sending"
    assert isinstance(failure(record, handler).failure.value, OSError)
    await stream.end(handler)


async def test_neither_side_is_read_faster_than_the_other_takes(record, stream):
    handler = ExternalVNCViewerHandler(connect_timeout=CONNECTED_LIMIT)
    stream.begin(handler)
    with socket.create_connection(handler.address) as viewer:
        viewer.setblocking(False)
        # Outwards: nobody takes from the stream, so the viewer is stopped by its socket.
        written = 0
        idle = 0
        while idle < 50:
            try:
                written += viewer.send(bytes(65536))
                idle = 0
            except BlockingIOError:
                idle += 1
            await asyncio.sleep(0)
        assert stream.outgoing_queue.size < 2 * QUEUE_SIZE
        # Inwards: the viewer does not read, so the queue of the stream fills.
        accepted = 0
        while not stream.incoming_queue.full() and accepted < 1000:
            stream.incoming_queue.send(bytes(65536))
            accepted += 1
            for _ in range(5):
                await asyncio.sleep(0)
        assert accepted < 1000
        # The end does not wait for either.
        await asyncio.wait_for(stream.end(handler), 2)
