"""A stream of an application's own over MSRP, made from the documented base class alone."""

from __future__ import annotations

from typing import Any

import pytest

from sipsimple.core import Engine
from sipsimple.msrp import MSRPData
from sipsimple.streams.msrp import MSRPStreamBase
from sipsimple.util import Route
from tests.support.agent import eventually, running_agent
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


async def connect(agent: Any, address: str = "127.0.0.1") -> tuple[Any, Any, NoteStream, NoteStream]:
    stream = NoteStream(agent.account)
    caller = agent.call(stream, routes=[Route(address, Engine().udp_port)])
    callee = await agent.incoming()
    assert [type(entry) for entry in callee.proposed_streams] == [NoteStream]
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


def test_the_base_itself_is_no_stream():
    with pytest.raises(TypeError):
        MSRPStreamBase(None)
