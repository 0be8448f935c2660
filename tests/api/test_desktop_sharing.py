"""Shared desktops through two sessions: who is the viewer, the data both ways, its bounds, and what makes them fail."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import threading
from typing import Any

import pytest

from sipsimple.core import Engine, SDPAttribute, SDPMediaStream, SDPSession
from sipsimple.msrp import status
from sipsimple.streams import (
    AudioStream,
    DesktopSharingStream,
    ExternalVNCServerHandler,
    ExternalVNCViewerHandler,
    InternalVNCServerHandler,
    InternalVNCViewerHandler,
    InvalidStreamError,
    MediaStreamRegistry,
)
from sipsimple.streams.msrp.dataqueue import QUEUE_SIZE
from sipsimple.util import Route
from tests.support.agent import LIMIT, Agent, eventually, running_agent
from tests.support.msrp_agent import msrp_settings

PLACES = [("tcp", "127.0.0.1"), ("tls", "127.0.0.1"), ("tcp", "::1"), ("tls", "::1")]
RFB = "application/x-rfb"


@pytest.fixture
async def agent(nothing_left):
    async with running_agent(msrp_settings()) as agent:
        yield agent


async def propose(agent: Agent, *streams: Any, address: str = "127.0.0.1") -> tuple[Any, Any]:
    """A call that was not answered yet."""
    caller = agent.call(*streams, routes=[Route(address, Engine().udp_port)])
    return caller, await agent.incoming()


async def accept(agent: Agent, caller: Any, callee: Any) -> None:
    callee.accept(callee.proposed_streams)
    await agent.record.until(caller, "DidStart")
    await agent.record.until(callee, "DidStart")


async def got(agent: Agent, handler: Any, data: bytes) -> None:
    """Wait until this is what has come, in as many pieces as it likes."""

    def received() -> bytes:
        name = "DesktopSharingStreamGotData"
        return b"".join(n.data.data for n in agent.record.all if n.sender is handler and n.name == name)

    await eventually(lambda: len(received()) >= len(data), "the data")
    assert received() == data


@pytest.mark.spec(213, 214, 215, 217, 219, 220, 222, 230, 231, 232)
@pytest.mark.parametrize("kind", [InternalVNCViewerHandler, InternalVNCServerHandler])
@pytest.mark.parametrize(("transport", "address"), PLACES)
async def test_viewer_and_server_talk_whoever_has_called(nothing_left, kind, transport, address):
    async with running_agent(msrp_settings(transport, address)) as agent:
        handler = kind()
        stream = DesktopSharingStream(agent.account, handler)
        caller, callee = await propose(agent, stream, address=address)
        (other,) = callee.proposed_streams
        assert isinstance(other, DesktopSharingStream)
        assert {handler.type, other.handler.type} == {"active", "passive"}
        assert handler.stream is None
        await accept(agent, caller, callee)
        offered = caller._invitation.sdp.active_local.media[0]
        answered = caller._invitation.sdp.active_remote.media[0]
        assert offered.media == "application"
        assert offered.transport == ("TCP/TLS/MSRP" if transport == "tls" else "TCP/MSRP")
        assert [offered.attributes.getfirst(name) for name in ("accept-types", "setup")] == [RFB, handler.type]
        assert [answered.attributes.getfirst(name) for name in ("accept-types", "setup")] == [RFB, other.handler.type]
        assert handler.stream is stream
        handler.send(b"RFB 003.008\n")
        handler.send(bytes(range(256)) * 1000)
        other.handler.send(b"\xff\x00")
        await got(agent, other.handler, b"RFB 003.008\n" + bytes(range(256)) * 1000)
        await got(agent, handler, b"\xff\x00")
        callee.end()
        await agent.record.until(caller, "DidEnd")
        await agent.record.until(stream, "MediaStreamDidEnd")
        await agent.record.until(other, "MediaStreamDidEnd")
        assert "MediaStreamDidFail" not in agent.record.names(stream) + agent.record.names(other)


@pytest.mark.spec(233)
async def test_the_handler_can_be_replaced_by_one_of_its_type_until_the_start(agent: Agent):
    stream = DesktopSharingStream(agent.account, InternalVNCViewerHandler())
    for wrong in (None, object()):
        with pytest.raises(TypeError):
            DesktopSharingStream(agent.account, wrong)
        with pytest.raises(TypeError):
            stream.handler = wrong
    with pytest.raises(TypeError):
        stream.handler = InternalVNCServerHandler()
    caller, callee = await propose(agent, stream)
    (other,) = callee.proposed_streams
    first, second = other.handler, InternalVNCServerHandler()
    with pytest.raises(TypeError):
        other.handler = InternalVNCViewerHandler()
    other.handler = second
    assert other.handler is second
    await accept(agent, caller, callee)
    assert (first.stream, second.stream) == (None, other)
    with pytest.raises(RuntimeError):
        other.handler = InternalVNCServerHandler()


@pytest.mark.spec(216)
async def test_a_failure_of_the_handler_is_that_of_the_stream(agent: Agent):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = gone.getsockname()
    stream = DesktopSharingStream(agent.account, ExternalVNCServerHandler(address))
    caller, callee = await propose(agent, stream)
    callee.accept(callee.proposed_streams)
    told = await agent.record.until(stream, "MediaStreamDidFail")
    (said,) = [n.data for n in agent.record.all if n.name == "DesktopSharingHandlerDidFail"]
    assert (told.context, told.failure, told.reason) == ("connecting", said.failure, said.reason)
    await agent.record.until(caller, "DidEnd")
    await agent.record.until(callee, "DidEnd")


async def test_a_handler_that_raises_fails_its_stream(agent: Agent, caplog):
    class Broken(InternalVNCServerHandler):
        def initialize(self, stream: Any) -> None:
            raise ZeroDivisionError("mine")

    stream = DesktopSharingStream(agent.account, Broken())
    _, callee = await propose(agent, stream)
    callee.accept(callee.proposed_streams)
    told = await agent.record.until(stream, "MediaStreamDidFail")
    assert (told.context, told.reason) == ("start", "mine")
    await agent.record.until(callee, "DidEnd")


async def test_a_refused_stream_lets_go_of_the_listener(agent: Agent):
    handler = ExternalVNCViewerHandler()
    caller, callee = await propose(agent, DesktopSharingStream(agent.account, handler))
    callee.reject()
    await agent.record.until(caller, "DidFail")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*handler.address)
    unused = DesktopSharingStream(agent.account, ExternalVNCViewerHandler())
    unused.end()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*unused.handler.address)


async def test_a_desktop_is_added_beside_audio_and_removed_again(nothing_left):
    async with running_agent(msrp_settings("tls")) as agent:
        # The descriptions of both are too long for UDP.
        caller, callee = await agent.talking(AudioStream(agent.account), transport="tcp")
        for one, two, kind in ((caller, callee, InternalVNCServerHandler), (callee, caller, InternalVNCViewerHandler)):
            stream = DesktopSharingStream(agent.account, kind())
            count = agent.record.short(one).count("DidRenegotiateStreams")
            one.add_stream(stream)
            proposal = await agent.record.until(two, "GotProposal", 1 + (two is caller))
            two.accept_proposal(proposal.streams)
            await agent.record.until(one, "DidRenegotiateStreams", count + 1)
            await agent.record.until(two, "DidRenegotiateStreams", count + 1)
            (other,) = proposal.streams
            stream.handler.send(b"beside the sound")
            await got(agent, other.handler, b"beside the sound")
            one.remove_stream(stream)
            await agent.record.until(one, "DidRenegotiateStreams", count + 2)
            await agent.record.until(two, "DidRenegotiateStreams", count + 2)
            assert [entry.type for entry in one.streams] == [entry.type for entry in two.streams] == ["audio"]
        caller.end()
        await agent.record.until(callee, "DidEnd")


def offer(setup: str | None = "active", transport: str = "TCP/MSRP", **changes: str) -> SDPSession:
    """Media of a desktop; a change to an empty text leaves the line out."""
    scheme = "msrps" if "TLS" in transport else "msrp"
    lines = {"path": f"{scheme}://127.0.0.1:2855/s3cr3t;tcp", "accept-types": RFB, "setup": setup or ""}
    lines |= {name.replace("_", "-"): value for name, value in changes.items()}
    attributes = [SDPAttribute(name, value) for name, value in lines.items() if value]
    media = SDPMediaStream("application", 2855, transport, formats=["*"], attributes=attributes)
    return SDPSession("127.0.0.1", media=[media])


@pytest.mark.spec(215)
async def test_offers_that_are_ours_foreign_or_unusable(agent: Agent):
    def read(sdp: SDPSession) -> Any:
        return DesktopSharingStream.new_from_sdp(agent.account, sdp, 0)

    assert DesktopSharingStream in MediaStreamRegistry()
    assert (DesktopSharingStream.type, DesktopSharingStream.priority) == ("desktop-sharing", 1)
    assert isinstance(read(offer("active")).handler, InternalVNCServerHandler)
    assert isinstance(read(offer("passive")).handler, InternalVNCViewerHandler)
    assert isinstance(read(offer(None)).handler, InternalVNCServerHandler)
    assert isinstance(read(offer(accept_types="text/plain Application/X-RFB")).handler, InternalVNCServerHandler)
    for foreign in (offer(accept_types="text/plain"), offer(accept_types="")):
        assert read(foreign) is None
    for unusable in (offer("actpass"), offer(transport="TCP/TLS/MSRP"), offer(path=""), offer(path="nonsense")):
        with pytest.raises(InvalidStreamError):
            read(unusable)


class Loose(DesktopSharingStream):
    """One that also says what it should not."""

    priority = None
    refused: tuple[int, ...] = ()

    def _message_failed(self, message: Any, code: int, reason: str, chunk: Any) -> None:
        self.refused += (code,)


async def test_other_content_is_refused_and_hurts_nobody(agent: Agent):
    stream = Loose(agent.account, InternalVNCViewerHandler())
    caller, callee = await propose(agent, stream)
    (other,) = callee.proposed_streams
    await accept(agent, caller, callee)
    stream.msrp_session.send(b"hello", "text/plain")
    await eventually(lambda: stream.refused, "the refusal")
    assert stream.refused == (status.UNSUPPORTED_MEDIA_TYPE,)
    stream.handler.send(b"still there")
    await got(agent, other.handler, b"still there")


async def test_data_that_is_broken_off_fails_the_stream(agent: Agent):
    stream = DesktopSharingStream(agent.account, InternalVNCViewerHandler())
    caller, callee = await propose(agent, stream)
    (other,) = callee.proposed_streams
    await accept(agent, caller, callee)
    go_on = threading.Event()

    class Slow:
        blocks = (bytes(100_000), bytes(100_000))

        def read(self, size: int) -> bytes:
            block, *self.blocks = self.blocks
            if not self.blocks:
                go_on.wait(LIMIT)
            return block

    message = stream.msrp_session.send(Slow(), RFB, size=200_000, failure_report="no")
    await eventually(lambda: not other.incoming_queue.empty() or message.sent, "the first part")
    stream.msrp_session.abort(message)
    told = await agent.record.until(other, "MediaStreamDidFail")
    go_on.set()
    assert told.context == "reading"
    assert "broken off" in told.reason
    await agent.record.until(caller, "DidEnd")


async def test_an_answer_of_the_wrong_role_fails_the_stream(agent: Agent):
    stream = DesktopSharingStream(agent.account, InternalVNCViewerHandler())
    caller, callee = await propose(agent, stream)
    (other,) = callee.proposed_streams
    other._sdp_attributes = lambda for_offer: [SDPAttribute("setup", "active")]
    callee.accept([other])
    told = await agent.record.until(stream, "MediaStreamDidFail")
    assert told.context == "sdp_negotiation"
    assert "active" in told.reason
    await agent.record.until(caller, "DidEnd")


@pytest.mark.spec(234, 235)
@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_a_viewer_that_does_not_read_stops_the_server_and_loses_nothing(nothing_left, transport):
    """24 MB from one VNC program to another one that looks away for a while; what waits in between stays small."""
    total = 24 * 1024 * 1024
    block = bytes(range(256)) * 256
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        with contextlib.suppress(ConnectionError):
            while sent < total:
                writer.write(block)
                await writer.drain()
                sent += len(block)
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with running_agent(msrp_settings(transport)) as agent:
        viewer = ExternalVNCViewerHandler()
        stream = DesktopSharingStream(agent.account, viewer)
        caller, callee = await propose(agent, stream)
        (other,) = callee.proposed_streams
        other.handler = ExternalVNCServerHandler(server.sockets[0].getsockname())
        reader, writer = await asyncio.open_connection(*viewer.address, limit=65536)
        await accept(agent, caller, callee)
        await eventually(stream.incoming_queue.full, "that the viewer is behind")
        await eventually(lambda: stream.msrp_session.is_reading_paused, "that nothing more is read")
        await eventually(other.outgoing_queue.full, "that the server is stopped")
        assert max(stream.incoming_queue.size, other.outgoing_queue.size) < 4 * QUEUE_SIZE
        assert other._unsent <= 8 * 65536
        assert sent < total
        digest, received = hashlib.sha256(), 0
        while received < total:
            data = await reader.read(1024 * 1024)
            assert data, "the connection was closed"
            digest.update(data)
            received += len(data)
        assert digest.digest() == hashlib.sha256(block * (total // len(block))).digest()
        writer.close()
        told = await agent.record.until(stream, "MediaStreamDidFail")
        assert (told.context, told.reason) == ("reading", "the VNC viewer has closed its connection")
        await agent.record.until(callee, "DidEnd")
    server.close()
    await server.wait_closed()
