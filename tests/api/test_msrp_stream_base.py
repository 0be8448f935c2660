"""A stream of an application's own over MSRP, made from the documented base class alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sipsimple.application import SIPApplication
from sipsimple.configuration.backend.memory import MemoryBackend
from sipsimple.core import Engine
from sipsimple.msrp import Event, MSRPData
from sipsimple.notification import NotificationCenter
from sipsimple.streams import InvalidStreamError
from sipsimple.streams.msrp import MSRPStreamBase, MSRPStreamError, base
from sipsimple.util import Route
from tests.support.agent import Agent, Record, eventually, running_agent
from tests.support.msrp_agent import msrp_settings


class NoteStream(MSRPStreamBase):
    """Takes notes of everything; the lowest of all priorities, and a media type of its own."""

    type = "note"
    priority = 0
    media_type = "x-note"
    accept_types = ["text/plain"]
    accept_wrapped_types = None
    use_msrp_session = True
    offered_by_default = False

    def __init__(self, account: Any, direction: str = "sendrecv") -> None:
        super().__init__(account, direction)
        self.chunks: list[MSRPData] = []
        self.reports: list[MSRPData] = []
        self.others: list[str] = []
        self.delivered: list[str] = []
        self.failed: list[tuple[int, str]] = []
        self.started = 0

    @classmethod
    def new_from_sdp(cls, account: Any, remote_sdp: Any, stream_index: int) -> NoteStream:
        offer = cls._read_offer(account, remote_sdp, stream_index)
        stream = cls(account)
        stream.remote_offer = offer
        return stream

    def _handle_SEND(self, chunk: MSRPData) -> None:
        self.chunks.append(chunk)

    def _handle_REPORT(self, chunk: MSRPData) -> None:
        self.reports.append(chunk)

    def _handle_NOTE(self, chunk: MSRPData) -> None:
        self.others.append(chunk.headers["X-Note"])
        self.msrp_session.respond(chunk, 200)

    def _message_delivered(self, message: Any, chunk: MSRPData, is_complete: bool) -> None:
        self.delivered.append(message.message_id)

    def _message_failed(self, message: Any, code: int, reason: str, chunk: MSRPData | None) -> None:
        self.failed.append((code, reason))

    def _NH_MediaStreamDidStart(self, notification: Any) -> None:
        self.started += 1


@pytest.fixture(params=[("tcp", "127.0.0.1"), ("tls", "127.0.0.1"), ("tcp", "::1"), ("tls", "::1")], ids=str)
def place(request):
    return request.param


async def connect(
    agent: Any, address: str = "127.0.0.1", stream: NoteStream | None = None
) -> tuple[Any, Any, NoteStream, NoteStream]:
    stream = stream or NoteStream(agent.account)
    caller = agent.call(stream, routes=[Route(address, Engine().udp_port)])
    callee = await agent.incoming()
    assert [type(entry) for entry in callee.proposed_streams] == [type(stream)]
    (other,) = callee.proposed_streams
    callee.accept(callee.proposed_streams)
    await agent.record.until(caller, "DidStart")
    await agent.record.until(callee, "DidStart")
    return caller, callee, stream, other


@pytest.mark.spec(181, 182, 183, 184)
async def test_chunks_reports_and_own_notifications_reach_the_subclass(nothing_left, place):
    transport, address = place
    async with running_agent(msrp_settings(transport, address)) as agent:
        caller, callee, stream, other = await connect(agent, address)
        media = callee._invitation.sdp.active_remote.media[0]
        assert (media.media, media.transport) == ("x-note", "TCP/TLS/MSRP" if transport == "tls" else "TCP/MSRP")
        assert media.attributes.getfirst("accept-types") == "text/plain"
        assert "accept-wrapped-types" not in media.attributes
        assert ("fingerprint" in media.attributes) is (transport == "tls")
        assert stream.started == other.started == 1
        message = stream.msrp_session.send(b"hello", "text/plain", success_report=True)
        await eventually(lambda: stream.delivered == [message.message_id], "the report")
        assert [chunk.data for chunk in other.chunks] == [b"hello"]
        assert stream.reports[0].message_id == message.message_id
        stream.msrp_session.send(b"<a/>", "text/html")
        await eventually(lambda: stream.failed, "the refusal")
        assert stream.failed[0][0] == 415
        assert (await stream.msrp_session.request("NOTE", {"X-Note": "mine"})).code == 200
        assert other.others == ["mine"]
        assert stream.remote_identity.uri == caller.remote_identity.uri
        caller.end()
        await agent.record.until(callee, "DidEnd")
        for one in (stream, other):
            await agent.record.until(one, "MediaStreamDidEnd")
            assert agent.record.names(one) == [
                "MediaStreamDidInitialize",
                "MediaStreamDidStart",
                "MediaStreamWillEnd",
                "MediaStreamDidEnd",
            ]


class EventStream(NoteStream):
    """Wants the events themselves."""

    type = "event"
    media_type = "x-event"
    use_msrp_session = False

    def _handle_event(self, event: Event) -> None:
        self.others.append(type(event).__name__)


async def test_without_the_session_the_events_come_as_they_are(nothing_left):
    async with running_agent(msrp_settings()) as agent:
        stream = EventStream(agent.account)
        caller, _, stream, other = await connect(agent, stream=stream)
        message = stream.msrp_session.send(b"hello", "text/plain", success_report=True)
        await eventually(lambda: "MessageDelivered" in stream.others, "the report")
        assert message.outcome == 200
        caller.end()
        for one in (stream, other):
            await agent.record.until(one, "MediaStreamDidEnd")
        assert other.others == ["Bound", "DataReceived", "Disconnected"]
        assert stream.others[-1] == "Disconnected"
        assert (stream.chunks, other.chunks, stream.delivered) == ([], [], [])


@pytest.mark.spec(182)
async def test_a_subclass_refuses_chunks_as_it_likes(nothing_left):
    async with running_agent(msrp_settings()) as agent:
        caller, _, stream, other = await connect(agent, stream=StrictStream(agent.account))
        stream.msrp_session.send(b"hello", "text/plain")
        stream.msrp_session.send(b"please", "text/plain", headers={"X-Word": "please"}, success_report=True)
        await eventually(lambda: stream.delivered, "the report")
        assert [code for code, _ in stream.failed] == [413]
        assert [chunk.data for chunk in other.chunks] == [b"please"]
        caller.end()
        for one in (stream, other):
            await agent.record.until(one, "MediaStreamDidEnd")


class StrictStream(NoteStream):
    """Wants to be asked nicely."""

    type = "strict"
    media_type = "x-strict"

    def _screen(self, chunk: MSRPData) -> int:
        return 200 if "X-Word" in chunk.headers else 413


class PickyStream(NoteStream):
    """Fails where it is told to."""

    type = "picky"
    media_type = "x-picky"
    problem: Exception | None = None
    place = ""

    async def _prepare(self) -> None:
        if self.place == "prepare":
            raise self.problem

    def _negotiated(self, local_media: Any, remote_media: Any) -> None:
        if self.place == "negotiated":
            raise self.problem


@pytest.mark.parametrize(
    ("place", "problem", "context"),
    [
        ("prepare", OSError("no space"), "initialize"),
        ("prepare", MSRPStreamError("no way"), "initialize"),
        ("negotiated", InvalidStreamError("no use"), "sdp_negotiation"),
    ],
)
async def test_a_subclass_fails_with_its_reason(nothing_left, place, problem, context):
    async with running_agent(msrp_settings()) as agent:
        stream = PickyStream(agent.account)
        stream.place, stream.problem = place, problem
        session = agent.call(stream)
        if context != "initialize":
            callee = await agent.incoming()
            callee.accept(callee.proposed_streams)
        failed = await agent.record.until(stream, "MediaStreamDidFail")
        assert (failed.context, failed.reason, failed.failure.value) == (context, str(problem), problem)
        await agent.record.until(stream, "MediaStreamDidEnd")
        await eventually(lambda: session.state == "terminated", "the end of the session")


async def test_a_mistake_of_a_subclass_fails_the_stream_and_is_told_the_loop(nothing_left):
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))
    async with running_agent(msrp_settings()) as agent:
        stream = PickyStream(agent.account)
        stream.place, stream.problem = "prepare", ZeroDivisionError("a mistake")
        session = agent.call(stream)
        assert (await agent.record.until(stream, "MediaStreamDidFail")).context == "initialize"
        await agent.record.until(session, "DidFail")
    assert told == [stream.problem]


async def test_the_farewell_of_a_subclass_is_bounded(nothing_left, monkeypatch):
    monkeypatch.setattr(base, "FINISH_TIMEOUT", 0.05)

    async with running_agent(msrp_settings()) as agent:
        caller, _, stream, other = await connect(agent)
        said = []

        async def farewell() -> None:
            said.append(stream.msrp is not None)
            await asyncio.Event().wait()

        stream._finish = farewell
        caller.end()
        for one in (stream, other):
            await agent.record.until(one, "MediaStreamDidEnd")
        assert said == [True]


def test_the_base_itself_is_no_stream():
    with pytest.raises(TypeError):
        MSRPStreamBase(None)


async def test_the_application_has_not_ended_before_its_streams():
    record = Record()
    NotificationCenter().add_observer(record)
    async with SIPApplication.running(MemoryBackend(msrp_settings("tls"))) as application:
        _, _, stream, other = await connect(Agent(application, record))
        stream.msrp_session.send(b"the last words", "text/plain", success_report=True)
    NotificationCenter().remove_observer(record)
    ends = [n.sender for n in record.all if n.name in ("MediaStreamDidEnd", "SIPApplicationDidEnd")]
    assert set(ends[:2]) == {stream, other}
    assert ends[2:] == [application]
    assert [chunk.data for chunk in other.chunks] == [b"the last words"]


async def test_a_stream_that_does_not_end_holds_the_application_no_longer_than_it_may(monkeypatch, nothing_left):
    go_on = asyncio.Event()
    monkeypatch.setattr(NoteStream, "_finish", lambda self: go_on.wait())
    monkeypatch.setattr(base, "FINISH_TIMEOUT", 60.0)
    record = Record()
    NotificationCenter().add_observer(record)
    async with SIPApplication.running(MemoryBackend(msrp_settings())) as application:
        _, _, stream, other = await connect(Agent(application, record))
    assert "SIPApplicationDidEnd" in record.names(application)
    go_on.set()
    for one in (stream, other):
        assert "MediaStreamDidEnd" not in record.names(one)
        await record.until(one, "MediaStreamDidEnd")
    NotificationCenter().remove_observer(record)


async def test_a_mistake_in_what_a_subclass_does_at_the_end_does_not_keep_the_stream(nothing_left, monkeypatch):
    def mistaken(self: Any, event: Event) -> None:
        raise RuntimeError("a mistake of the application")

    monkeypatch.setattr(NoteStream, "_handle_event", mistaken)
    shown: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: shown.append(str(context["exception"])))
    async with running_agent(msrp_settings()) as agent:
        caller, _, stream, other = await connect(agent)
        caller.end()
        for one in (stream, other):
            await agent.record.until(one, "MediaStreamDidEnd")
    assert shown == ["a mistake of the application"] * 2


async def test_a_subclass_that_cannot_begin_fails_the_stream(nothing_left, monkeypatch):
    def mistaken(self: Any) -> None:
        raise RuntimeError("a mistake of the application")

    monkeypatch.setattr(NoteStream, "_ready", mistaken)
    shown: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: shown.append(str(context["exception"])))
    async with running_agent(msrp_settings()) as agent:
        stream = NoteStream(agent.account)
        caller = agent.call(stream)
        callee = await agent.incoming()
        (other,) = callee.proposed_streams
        callee.accept([other])
        for one in (stream, other):
            await agent.record.until(one, "MediaStreamDidEnd")
        failures = [n.data for n in agent.record.all if n.name == "MediaStreamDidFail"]
        assert {(data.context, data.reason) for data in failures} == {("start", "a mistake of the application")}
        await eventually(lambda: caller.state == callee.state == "terminated", "the end of both sessions")
    assert set(shown) == {"a mistake of the application"}
