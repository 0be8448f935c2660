"""Chats with a party that is no good, or simply another one: its MSRP is written by the test."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sipsimple.streams import ChatStream, ChatStreamError
from sipsimple.streams.applications.chat import ChatMessage
from sipsimple.streams.msrp import chat as chat_module
from tests.support.agent import eventually, running_agent
from tests.support.msrp_agent import msrp_settings
from tests.support.raw_msrp import RawChat, RawConnection

CPIM = "message/cpim"
COMPOSING = "application/im-iscomposing+xml"
DID_DELIVER = "ChatStreamDidDeliverMessage"
DID_NOT_DELIVER = "ChatStreamDidNotDeliverMessage"
GOT = "ChatStreamGotMessage"
DID_END = "MediaStreamDidEnd"


def of(agent: Any, stream: Any, name: str) -> list[Any]:
    return [n.data for n in agent.record.all if n.sender is stream and n.name == name]


class Visit:
    """A chat of ours, and the raw party that has called it."""

    def __init__(self, agent: Any, session: Any, stream: Any, raw: RawChat, wire: RawConnection) -> None:
        self.agent = agent
        self.session = session
        self.stream = stream
        self.raw = raw
        self.wire = wire

    async def status(self, *args: Any, **kw: Any) -> int | None:
        """What a SEND is answered with."""
        await self.wire.send(*args, **kw)
        answer = await self.wire.next()
        assert answer is not None
        return answer.code


@asynccontextmanager
async def visited(bind: bool = True, **raw: Any) -> AsyncIterator[Visit]:
    """A raw party calls a chat of ours and connects."""
    async with running_agent(msrp_settings()) as agent:
        stream = RawChat(agent.account, **raw)
        session = agent.call(stream)
        callee = await agent.incoming()
        (chat,) = callee.proposed_streams
        callee.accept([chat])
        await agent.record.until(stream, "MediaStreamDidStart")
        wire = await RawConnection.open(stream)
        if bind:
            await wire.bind()
            await agent.record.until(chat, "MediaStreamDidStart")
        try:
            yield Visit(agent, session, chat, stream, wire)
        finally:
            await wire.close()
        if callee.state not in ("terminating", "terminated"):
            callee.end()
        await agent.record.until(chat, DID_END)
        await eventually(lambda: session.state == callee.state == "terminated", "the end of both sessions")


async def test_plain_messages_and_reports_as_wished(nothing_left):
    async with visited() as visit:
        assert await visit.status(body=b"plain", Content_Type="text/plain", Success_Report="yes") == 200
        report = await visit.wire.next()
        assert (report.method, report.status.code, str(report.byte_range)) == ("REPORT", 200, "1-5/5")
        # No answer and no report, as nobody wants one.
        await visit.wire.send(body=b"quiet", Content_Type="text/plain", Failure_Report="no")
        assert await visit.status(body=b"\xff\xfe", Content_Type="text/plain; charset=utf-16") == 200
        assert await visit.status(body=b"\xe4", Content_Type='text/plain; charset="latin1"') == 200
        assert await visit.status(body=b"\xe4x", Content_Type="text/plain; charset=rot13") == 200
        messages = [data.message for data in of(visit.agent, visit.stream, GOT)]
        assert [type(message) for message in messages] == [ChatMessage] * 5
        assert [message.body for message in messages] == ["plain", "quiet", "", "ä", "\ufffdx"]
        assert messages[0].sender == visit.stream.remote_identity
        assert messages[0].recipients == [visit.stream.local_identity]


@pytest.mark.spec(182)
async def test_types_that_nobody_takes(nothing_left):
    async with visited() as visit:
        assert await visit.status(body=b"x", Content_Type="application/x-evil") == 415
        assert await visit.status(body=b"x", Content_Type="TEXT/plain") == 200
        assert of(visit.agent, visit.stream, GOT)[0].message.body == "x"
        visit.stream.accept_wrapped_types = ["text/plain"]
        wrapped = b"From: <sip:x@y>\r\n\r\nContent-Type: image/png\r\n\r\n\x89PNG"
        assert await visit.status(body=wrapped, Content_Type=CPIM) == 200
        assert (await visit.wire.next()).status.code == 415


CHUNKS = {
    "wrong session": {"To_Path": "msrp://127.0.0.1:2855/other;tcp"},
    "wrong sender": {"From_Path": "msrp://127.0.0.1:2855/thief;tcp"},
    "no sender": {"From_Path": None},
    "no message id": {"Message_ID": None},
    "bad range": {"Byte_Range": "1-x/y"},
}


@pytest.mark.parametrize(("name", "code"), list(zip(CHUNKS, [481, 481, 400, 400, 400], strict=True)))
async def test_wrong_headers_are_refused_and_the_chat_goes_on(nothing_left, name, code):
    async with visited() as visit:
        headers = {"Content_Type": "text/plain", **CHUNKS[name]}
        assert await visit.status(body=b"evil", **headers) == code
        assert of(visit.agent, visit.stream, GOT) == []
        assert await visit.status(body=b"good", Content_Type="text/plain") == 200
        assert [data.message.body for data in of(visit.agent, visit.stream, GOT)] == ["good"]


@pytest.mark.parametrize(
    "garbage",
    [b"\x00" * 100, b"GET / HTTP/1.0\r\n\r\n", b"MSRP x SEND\r\n", b"MSRP abcd SEND\r\n" + b"X: y\r\n" * 5000],
    ids=["zeros", "http", "short id", "many headers"],
)
async def test_garbage_ends_the_stream_and_nothing_else(nothing_left, garbage):
    async with visited() as visit:
        await visit.wire.write(garbage)
        failed = await visit.agent.record.until(visit.stream, "MediaStreamDidFail")
        assert failed.context == "reading"
        assert await visit.wire.next() is None


@pytest.mark.parametrize("first", [b"\x00" * 100, b"", b"GET / HTTP/1.0\r\n\r\n"], ids=["zeros", "nothing", "http"])
async def test_strangers_before_the_right_one_do_no_harm(nothing_left, first):
    async with visited(bind=False) as visit:
        stranger = await RawConnection.open(visit.raw)
        await stranger.write(first)
        thief = await RawConnection.open(visit.raw)
        await thief.send(From_Path="msrp://127.0.0.1:2855/thief;tcp")
        assert (await thief.next()).code == 481
        await visit.wire.bind()
        await visit.agent.record.until(visit.stream, "MediaStreamDidStart")
        for connection in (stranger, thief):
            assert await connection.next() is None  # dropped, as the session has its connection
            await connection.close()


async def test_a_message_over_the_limit_is_refused_early(nothing_left, monkeypatch):
    monkeypatch.setattr(chat_module, "MAX_CHAT_MESSAGE", 10_000)
    async with visited() as visit:
        headers = {"Content_Type": "text/plain", "Message_ID": "big"}
        assert await visit.status(body=b"x", flag="+", Byte_Range="1-1/99999", **headers) == 413
        # One that does not say how long it will be.
        headers["Message_ID"] = "endless"
        codes = set()
        for number in range(20):
            start = number * 1000 + 1
            byte_range = f"{start}-{start + 999}/*"
            codes.add(await visit.status(body=b"x" * 1000, flag="+", Byte_Range=byte_range, **headers))
        assert codes == {200, 413}
        assert of(visit.agent, visit.stream, GOT) == []
        assert await visit.status(body=b"ok", Content_Type="text/plain") == 200


async def test_messages_without_end_are_bounded(nothing_left):
    async with visited() as visit:
        codes = [
            await visit.status(body=b"x", flag="+", Byte_Range="1-1/2", Content_Type="text/plain", Message_ID=f"m{n}")
            for n in range(100)
        ]
        assert set(codes) == {200, 413}
        assert await visit.status(body=b"ok", Content_Type="text/plain") == 200


async def test_a_message_in_chunks_in_any_order(nothing_left):
    async with visited() as visit:
        common = {"Content_Type": "text/plain", "Message_ID": "parts", "Success_Report": "yes"}
        assert await visit.status(body=b"hel", flag="+", Byte_Range="1-3/11", **common) == 200
        assert await visit.status(body=b"between", Content_Type="text/plain") == 200
        assert await visit.status(body=b"ld", flag="$", Byte_Range="10-11/11", **common) == 200
        assert await visit.status(body=b"lo wor", flag="+", Byte_Range="4-9/11", **common) == 200
        report = await visit.wire.next()
        assert (report.method, report.message_id, str(report.byte_range)) == ("REPORT", "parts", "1-11/11")
        messages = [data.message.body for data in of(visit.agent, visit.stream, GOT)]
        assert messages == ["between", "hello world"]
        assert await visit.status(body=b"gone", flag="+", Byte_Range="1-4/9", **common | {"Message_ID": "half"}) == 200
        assert await visit.status(body=b"", flag="#", Byte_Range="5-4/9", **common | {"Message_ID": "half"}) == 200
        assert len(of(visit.agent, visit.stream, GOT)) == 2


BAD_CPIM = [b"", b"From: <sip:a@b>", b"From: <sip:a@b>\r\n\r\nno type\r\n\r\nbody", b"\x00\xff" * 500, b"X: y\n" * 500]


@pytest.mark.parametrize("body", BAD_CPIM, ids=range(len(BAD_CPIM)))
async def test_broken_envelopes_are_reported_as_such(nothing_left, body):
    async with visited() as visit:
        assert await visit.status(body=body, Content_Type=CPIM, Success_Report="yes") == 200
        report = await visit.wire.next()
        assert (report.method, report.status.code) == ("REPORT", 400)
        assert of(visit.agent, visit.stream, GOT) == []


async def test_an_envelope_that_says_little_is_completed(nothing_left):
    async with visited() as visit:
        body = b"From: <not an address\r\nDateTime: yesterday\r\n\r\nContent-Type: text/plain\r\n\r\nHi"
        assert await visit.status(body=body, Content_Type=CPIM) == 200
        (data,) = of(visit.agent, visit.stream, GOT)
        assert data.message.sender == visit.stream.remote_identity
        assert data.message.timestamp.tzinfo is not None


BOMB = (
    b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
    b'<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"><state>&c;</state></isComposing>'
)


@pytest.mark.parametrize("body", [b"", b"active", BOMB, b"<a>" * 10_000], ids=["empty", "text", "bomb", "deep"])
async def test_broken_indications_are_not_told(nothing_left, body):
    async with visited() as visit:
        assert await visit.status(body=body, Content_Type=COMPOSING) == 200
        assert (await visit.wire.next()).status.code == 400
        assert of(visit.agent, visit.stream, "ChatStreamGotComposingIndication") == []
        good = b'<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"><state>active</state></isComposing>'
        assert await visit.status(body=good, Content_Type=COMPOSING) == 200
        (data,) = of(visit.agent, visit.stream, "ChatStreamGotComposingIndication")
        assert (data.state, data.refresh, data.last_active, data.content_type) == ("active", None, None, None)
        assert data.sender == visit.stream.remote_identity


# What we send to parties that are not like us


async def test_a_party_without_cpim_gets_plain_messages(nothing_left):
    async with visited(accept_types="text/plain") as visit:
        chat = visit.stream
        assert not chat.cpim_enabled
        chat.send_message("plain")
        sent = await visit.wire.next()
        assert (sent.content_type, sent.data) == ("text/plain", b"plain")
        for arguments in (
            {"subject": "x"},
            {"content_type": "image/png"},
            {"courtesy_recipients": [chat.remote_identity]},
        ):
            with pytest.raises(ChatStreamError):
                chat.send_message("x", **arguments)
        # Nothing is sent, and nothing is wrong.
        chat.send_composing_indication("active", 60)
        chat.send_message("", recipients=[chat.remote_identity])
        assert (await visit.wire.next()).data == b""


async def test_a_party_that_takes_little_says_so(nothing_left):
    async with visited(more=(("max-size", "500"),)) as visit:
        with pytest.raises(ChatStreamError):
            visit.stream.send_message("x" * 500)
        visit.stream.send_message("x")
        assert (await visit.wire.next()).content_type == CPIM


@pytest.mark.spec(190)
async def test_refusals_and_failure_reports_are_told_once(nothing_left):
    async with visited() as visit:
        ids = [visit.stream.send_message(text) for text in ("refused", "failed", "delivered", "silent")]
        chunks = [await visit.wire.next() for _ in ids]
        assert [chunk.message_id for chunk in chunks] == ids
        await visit.wire.respond(chunks[0], 413)
        for message_id, status in ((ids[1], "000 403 No"), (ids[2], "000 200 OK"), (ids[0], "000 200 OK")):
            size = len(chunks[ids.index(message_id)].data)
            byte_range = f"1-{size}/{size}"
            await visit.wire.send("REPORT", None, Message_ID=message_id, Byte_Range=byte_range, Status=status)
            await visit.wire.send("REPORT", None, Message_ID=message_id, Byte_Range=byte_range, Status=status)
        delivered = await visit.agent.record.until(visit.stream, DID_DELIVER)
        assert delivered.message_id == ids[2]
        failed = of(visit.agent, visit.stream, DID_NOT_DELIVER)
        assert [(data.message_id, data.code) for data in failed] == [(ids[0], 413), (ids[1], 403)]
        assert failed[1].reason == "No"
        await visit.wire.send("REPORT", None, Message_ID="unknown", Byte_Range="1-1/1", Status="000 200 OK")
        await visit.wire.send("REPORT", None, Message_ID=ids[3], Status="nonsense")
        visit.session.end()
        await visit.agent.record.until(visit.stream, DID_END)
        failed = of(visit.agent, visit.stream, DID_NOT_DELIVER)
        assert [data.message_id for data in failed] == [ids[0], ids[1], ids[3]]
        assert len(of(visit.agent, visit.stream, DID_DELIVER)) == 1


async def test_nobody_connects(nothing_left, monkeypatch):
    async with running_agent(msrp_settings()) as agent:
        session = agent.call(RawChat(agent.account))
        callee = await agent.incoming()
        callee.media_stream_timeout = 0.2
        (chat,) = callee.proposed_streams
        message_id = chat.send_message("anybody?")
        callee.accept([chat])
        await agent.record.until(callee, "DidEnd")
        await agent.record.until(chat, DID_END)
        assert [data.message_id for data in of(agent, chat, DID_NOT_DELIVER)] == [message_id]
        await agent.record.until(session, "DidEnd")


# Offers and answers

OFFERS = {
    "no path": {"path": ""},
    "another transport": {"transport": "TCP/TLS/MSRP"},
    "a path of another transport": {"path": "msrps://127.0.0.1:2855/x;tcp"},
    "no URI": {"path": "http://127.0.0.1/"},
    "one way": {"more": (("sendonly", ""),)},
    "inactive": {"more": (("inactive", ""),)},
    "a long path": {"path": " ".join(["msrp://127.0.0.1:2855/x;tcp"] * 40)},
}


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
async def test_offers_that_cannot_be_taken(nothing_left, offer):
    async with running_agent(msrp_settings()) as agent:
        session = agent.call(LooseChat(agent.account, **offer))
        assert (await agent.record.until(session, "DidFail")).code == 488


class LooseChat(RawChat):
    """Describes what no reader takes."""

    type = "loose-chat"

    def get_local_media(self, for_offer: bool) -> Any:
        path, self.path = self.path, RawChat.path
        media = super().get_local_media(for_offer)
        self.path = path
        media.attributes = [a for a in media.attributes if a.name != "path"]
        if path:
            media.attributes.insert(0, type(media.attributes[0])("path", path))
        return media


@pytest.mark.parametrize("offer", ["no path", "a path of another transport", "no URI"])
async def test_answers_that_cannot_be_used(nothing_left, offer):
    async with running_agent(msrp_settings()) as agent:
        chat = ChatStream(agent.account)
        session = agent.call(chat)
        callee = await agent.incoming()
        raw = LooseChat(agent.account, **OFFERS[offer])
        raw.index, callee.proposed_streams = 0, [raw]
        callee.accept([raw])
        failed = await agent.record.until(chat, "MediaStreamDidFail")
        assert failed.context == "sdp_negotiation"
        await agent.record.until(session, "DidEnd")
        await agent.record.until(callee, "DidEnd")
        await agent.record.until(chat, DID_END)


async def test_an_answer_that_leads_nowhere(nothing_left):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        path = f"msrp://127.0.0.1:{taken.getsockname()[1]}/x;tcp"
        async with running_agent(msrp_settings()) as agent:
            chat = ChatStream(agent.account)
            session = agent.call(chat)
            callee = await agent.incoming()
            raw = RawChat(agent.account, path=path)
            raw.index, callee.proposed_streams = 0, [raw]
            callee.accept([raw])
            failed = await agent.record.until(chat, "MediaStreamDidFail")
            assert failed.context == "start"
            assert "refused" in failed.reason
            await agent.record.until(session, "DidEnd")
            await agent.record.until(chat, DID_END)


async def test_an_offer_that_wants_to_be_called_back(nothing_left):
    """RFC 6135: the one that offers says that it listens, so the one that answers connects."""
    connected: asyncio.Future[RawConnection] = asyncio.get_running_loop().create_future()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set_result(RawConnection(reader, writer, "", ""))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with running_agent(msrp_settings()) as agent:
        port = server.sockets[0].getsockname()[1]
        raw = RawChat(agent.account, path=f"msrp://127.0.0.1:{port}/listening;tcp", more=(("setup", "passive"),))
        session = agent.call(raw)
        callee = await agent.incoming()
        (chat,) = callee.proposed_streams
        callee.accept([chat])
        wire = await connected
        await agent.record.until(raw, "MediaStreamDidStart")
        answer = raw.remote_sdp.media[0]
        assert answer.attributes.getfirst("setup") == "active"
        assert answer.port == 2855
        wire.local, wire.remote = raw.path, raw.remote_path
        bind = await wire.next()
        assert bind.content_type is None
        await wire.respond(bind)
        await agent.record.until(chat, "MediaStreamDidStart")
        session.end()
        await agent.record.until(chat, DID_END)
        await wire.close()
    server.close()
    await server.wait_closed()


async def test_a_reinvite_with_another_path_is_refused(nothing_left):
    async with visited() as visit:
        visit.raw.path = "msrp://127.0.0.1:2855/moved;tcp"
        assert visit.stream.validate_update(visit.raw.remote_sdp, 0) is False
        known = visit.stream.remote_description
        assert known.path[0].session_id == "raw"
