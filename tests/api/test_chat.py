"""Two parties chatting through whole sessions."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from sipsimple.configuration.settings import SIPSimpleSettings
from sipsimple.core import SIPURI, Engine
from sipsimple.msrp import MSRPData
from sipsimple.notification import NotificationCenter
from sipsimple.streams import AudioStream, ChatStream, ChatStreamError
from sipsimple.streams.applications.chat import ChatIdentity, ChatMessage, CPIMHeader, CPIMMessage, CPIMNamespace
from sipsimple.util import Route
from tests.support.agent import LIMIT, eventually, running_agent
from tests.support.msrp_agent import msrp_settings

LOOPBACK = "127.0.0.1"
DID_DELIVER = "ChatStreamDidDeliverMessage"
DID_NOT_DELIVER = "ChatStreamDidNotDeliverMessage"
GOT = "ChatStreamGotMessage"


def of(agent: Any, stream: Any, name: str) -> list[Any]:
    """The data of all notifications of this name."""
    return [n.data for n in agent.record.all if n.sender is stream and n.name == name]


async def call(agent: Any, *streams: Any, address: str = LOOPBACK) -> tuple[Any, Any]:
    caller = agent.call(*streams, routes=[Route(address, Engine().udp_port)])
    callee = await agent.incoming()
    return caller, callee


async def chatting(agent: Any, address: str = LOOPBACK, stream: Any = None) -> tuple[Any, Any, Any, Any]:
    stream = stream or ChatStream(agent.account)
    caller, callee = await call(agent, stream, address=address)
    (other,) = callee.proposed_streams
    callee.accept([other])
    await agent.record.until(caller, "DidStart")
    await agent.record.until(callee, "DidStart")
    return caller, callee, stream, other


async def end(agent: Any, session: Any, *streams: Any) -> None:
    session.end()
    for stream in streams:
        await agent.record.until(stream, "MediaStreamDidEnd")


@pytest.mark.spec(188, 189, 191)
@pytest.mark.parametrize("address", [LOOPBACK, "::1"])
@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_a_message_each_way(nothing_left, transport, address):
    async with running_agent(msrp_settings(transport, address)) as agent:
        caller, _, alice, bob = await chatting(agent, address)
        sent = alice.send_message("Grüße, Bob")
        answered = bob.send_message("Hello Alice")
        for stream, other, message_id, text in (
            (alice, bob, sent, "Grüße, Bob"),
            (bob, alice, answered, "Hello Alice"),
        ):
            report = await agent.record.until(stream, DID_DELIVER)
            assert (report.message_id, report.code, report.reason) == (message_id, 200, "OK")
            assert report.chunk.message_id == message_id
            assert isinstance(report.timestamp, datetime)
            (written,) = of(agent, stream, "ChatStreamDidSendMessage")
            assert isinstance(written.message, MSRPData)
            assert written.message.message_id == message_id
            assert written.message.success_report == "yes"
            assert written.message.failure_report == "partial"
            (got,) = of(agent, other, GOT)
            assert isinstance(got.message, CPIMMessage)
            assert (got.message.body, got.message.content_type) == (text, "text/plain")
            assert str(got.message.sender.uri) == str(stream.local_identity.uri)
            assert got.message.recipients == [stream.remote_identity]
            assert got.message.timestamp.tzinfo is not None
        await end(agent, caller, alice, bob)


async def test_the_description_is_that_of_the_documentation(nothing_left):
    async with running_agent(msrp_settings("tls")) as agent:
        caller, callee, alice, bob = await chatting(agent)
        offer = callee._invitation.sdp.active_remote.media[0]
        answer = callee._invitation.sdp.active_local.media[0]
        for media in (offer, answer):
            assert (media.media, media.transport, list(media.formats)) == ("message", "TCP/TLS/MSRP", ["*"])
            names = [attribute.name for attribute in media.attributes]
            assert names == ["path", "accept-types", "accept-wrapped-types", "fingerprint", "fingerprint"]
            assert media.attributes.getfirst("accept-types") == "message/cpim text/* application/im-iscomposing+xml"
            assert media.attributes.getfirst("accept-wrapped-types") == "*"
            assert media.attributes.getfirst("path").startswith(f"msrps://{LOOPBACK}:{media.port}/")
        assert offer.port == 2855 != answer.port
        await end(agent, caller, alice, bob)


@pytest.mark.spec(185)
async def test_every_chunk_is_traced(nothing_left):
    async with running_agent(msrp_settings()) as agent:
        caller, _, alice, bob = await chatting(agent)
        transport = alice.msrp
        assert transport.getHost().host == LOOPBACK
        assert transport.getPeer() == bob.msrp.getHost()
        alice.send_message("for the trace")
        await agent.record.until(alice, DID_DELIVER)
        traced = of(agent, transport, "MSRPTransportTrace")
        (sent,) = [data for data in traced if "for the trace" in data.data]
        assert sent.direction == "outgoing"
        assert [data.direction for data in traced if " REPORT\r\n" in data.data] == ["incoming"]
        await end(agent, caller, alice, bob)
        assert alice.msrp is None


async def test_a_thousand_messages_each_way_arrive_in_order(nothing_left):
    async with running_agent(msrp_settings()) as agent:
        caller, _, alice, bob = await chatting(agent)
        texts = [f"message {number}" for number in range(1000)]
        async with NotificationCenter().subscribe(DID_DELIVER) as reports:
            ids = {stream: [stream.send_message(text) for text in texts] for stream in (alice, bob)}
            for _ in range(2000):
                await reports.next(LIMIT)
        for stream, other in ((alice, bob), (bob, alice)):
            assert [data.message_id for data in of(agent, stream, DID_DELIVER)] == ids[stream]
            assert [data.message.body for data in of(agent, other, GOT)] == texts
            assert of(agent, stream, DID_NOT_DELIVER) == []
        await end(agent, caller, alice, bob)


async def test_messages_of_other_types_and_sizes(nothing_left):
    async with running_agent(msrp_settings()) as agent:
        caller, _, alice, bob = await chatting(agent)
        image, page, long = bytes(range(256)) * 4000, "<b>ü</b>", "x" * 300_000
        for content, content_type in (
            (image, "image/png"),
            (page, "text/html"),
            (long, "text/plain"),
            ("", "text/plain"),
        ):
            alice.send_message(content, content_type)
        await agent.record.until(alice, DID_DELIVER, 4)
        assert [(data.message.body, data.message.content_type) for data in of(agent, bob, GOT)] == [
            (image, "image/png"),
            (page, "text/html"),
            (long, "text/plain"),
            ("", "text/plain"),
        ]
        await end(agent, caller, alice, bob)


async def test_what_an_envelope_can_say(nothing_left):
    async with running_agent(msrp_settings()) as agent:
        caller, _, alice, bob = await chatting(agent)
        moment = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
        header = CPIMHeader("Message-ID", CPIMNamespace("urn:ietf:params:imdn", "imdn"), "abc\\def")
        alice.send_message(
            "Hi",
            subject="Über\nalles",
            timestamp=moment,
            courtesy_recipients=[alice.remote_identity],
            required=["imdn.Message-ID"],
            additional_headers=[header],
        )
        message = (await agent.record.until(bob, GOT)).message
        assert (message.subject, message.timestamp) == ("Über\nalles", moment)
        assert message.courtesy_recipients == [alice.remote_identity]
        assert message.required == ["imdn.Message-ID"]
        assert message.additional_headers == [header]
        await end(agent, caller, alice, bob)


@pytest.mark.spec(187, 192)
async def test_composing_indications_both_ways(nothing_left):
    async with running_agent(msrp_settings()) as agent:
        caller, _, alice, bob = await chatting(agent)
        moment = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
        assert isinstance(alice.send_composing_indication("active", 60, moment), str)
        bob.send_composing_indication("idle", None)
        active = await agent.record.until(bob, "ChatStreamGotComposingIndication")
        assert (active.state, active.refresh, active.last_active, active.content_type) == ("active", 60, moment, "text")
        assert active.sender == ChatIdentity(alice.local_identity.uri, alice.local_identity.display_name)
        idle = await agent.record.until(alice, "ChatStreamGotComposingIndication")
        assert (idle.state, idle.refresh) == ("idle", None)
        for state, refresh in (("away", 60), ("active", 0), ("active", -1)):
            with pytest.raises(ValueError):
                alice.send_composing_indication(state, refresh)
        with pytest.raises(ChatStreamError):
            alice.send_composing_indication("active", 60, recipients=[ChatIdentity(SIPURI("example.com", "carol"))])
        await end(agent, caller, alice, bob)
        for stream in (alice, bob):
            assert not [n for n in agent.record.names(stream) if "Deliver" in n or "DidSend" in n or n == GOT]


async def test_private_messages_are_for_conferences_that_pass_them_on(nothing_left):
    carol = ChatIdentity(SIPURI("example.com", "carol"), "Carol")
    async with running_agent(msrp_settings()) as agent:
        caller, _, alice, bob = await chatting(agent)
        assert not alice.private_messages_allowed
        with pytest.raises(ChatStreamError):
            alice.send_message("psst", recipients=[carol])
        with pytest.raises(ChatStreamError):
            alice.send_message("psst", courtesy_recipients=[carol])
        alice.send_message("hello", recipients=[alice.remote_identity])
        await agent.record.until(alice, DID_DELIVER)
        await end(agent, caller, alice, bob)


async def conference(agent: Any, *capabilities: str) -> tuple[Any, Any, Any]:
    """A caller, its stream, and that of the conference."""
    stream = ChatStream(agent.account)
    caller, callee = await call(agent, stream)
    (focus,) = callee.proposed_streams
    focus.chatroom_capabilities = list(capabilities)
    callee.accept([focus])
    await agent.record.until(caller, "DidStart")
    return caller, stream, focus


async def test_private_messages_and_nicknames_in_a_conference(nothing_left):
    carol = ChatIdentity(SIPURI("example.com", "carol"), "Carol")
    async with running_agent(msrp_settings()) as agent:
        caller, alice, focus = await conference(agent, "nickname", "private-messages")
        assert alice.private_messages_allowed
        assert alice.nickname_allowed
        alice.send_message("psst", recipients=[carol])
        assert (await agent.record.until(focus, GOT)).message.recipients == [carol]

        wanted = 'Al "the \\ cat" Ü'
        request = alice.set_local_nickname(wanted)
        asked = await agent.record.until(focus, "ChatStreamGotNicknameRequest")
        assert asked.nickname == wanted
        focus.accept_nickname(asked.chunk)
        granted = await agent.record.until(alice, "ChatStreamDidSetNickname")
        assert (granted.message_id, granted.nickname) == (request, wanted)

        request = alice.set_local_nickname("taken")
        asked = await agent.record.until(focus, "ChatStreamGotNicknameRequest", 2)
        focus.reject_nickname(asked.chunk, 425)
        refused = await agent.record.until(alice, "ChatStreamDidNotSetNickname")
        assert (refused.message_id, refused.code, refused.reason) == (
            request,
            425,
            "Nickname Reserved Or Already In Use",
        )
        for name in ("line\nbreak", "x" * 2000):
            with pytest.raises(ValueError):
                alice.set_local_nickname(name)
        # One that is not answered before the end has an end all the same.
        alice.set_local_nickname("late")
        await agent.record.until(focus, "ChatStreamGotNicknameRequest", 3)
        await end(agent, caller, alice, focus)
        assert of(agent, alice, "ChatStreamDidNotSetNickname")[1].code == 408


async def test_who_is_no_conference_knows_no_nicknames(nothing_left):
    async with running_agent(msrp_settings()) as agent:
        caller, _, alice, bob = await chatting(agent)
        assert not alice.nickname_allowed
        with pytest.raises(ChatStreamError):
            alice.set_local_nickname("Al")
        response = await alice.msrp_session.request("NICKNAME", {"Use-Nickname": '"Al"'})
        assert response.code == 501
        bob.chatroom_capabilities = ["nickname"]
        assert (await alice.msrp_session.request("NICKNAME", {"Use-Nickname": "Al"})).code == 424
        assert of(agent, bob, "ChatStreamGotNicknameRequest") == []
        await end(agent, caller, alice, bob)


async def test_messages_before_the_start_are_kept_and_go_first(nothing_left):
    async with running_agent(msrp_settings()) as agent:
        alice = ChatStream(agent.account)
        ids = [alice.send_message("one")]
        caller, callee = await call(agent, alice)
        ids.append(alice.send_message("two"))
        (bob,) = callee.proposed_streams
        answered = bob.send_message("three")
        callee.accept([bob])
        await agent.record.until(alice, "MediaStreamDidStart")
        ids.append(alice.send_message("four"))
        await agent.record.until(alice, DID_DELIVER, 3)
        assert [data.message_id for data in of(agent, alice, DID_DELIVER)] == ids
        assert [data.message.body for data in of(agent, bob, GOT)] == ["one", "two", "four"]
        assert (await agent.record.until(bob, DID_DELIVER)).message_id == answered
        await agent.record.until(caller, "DidStart")
        await end(agent, caller, alice, bob)


async def test_messages_of_a_chat_that_never_starts_are_not_delivered(nothing_left):
    async with running_agent(msrp_settings()) as agent:
        alice = ChatStream(agent.account)
        message_id = alice.send_message("hello?")
        alice.send_composing_indication("active", 60)
        caller, callee = await call(agent, alice)
        callee.reject(603)
        await agent.record.until(caller, "DidFail")
        await agent.record.until(alice, "MediaStreamDidEnd")
        (told,) = of(agent, alice, DID_NOT_DELIVER)
        assert (told.message_id, told.code) == (message_id, 408)
        assert told.chunk.message_id == message_id
        with pytest.raises(ChatStreamError):
            alice.send_message("anybody?")


@pytest.mark.spec(190)
@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_every_message_has_one_last_word_when_the_connection_is_cut(nothing_left, transport):
    async with running_agent(msrp_settings(transport)) as agent:
        caller, callee, alice, bob = await chatting(agent)
        delivered = alice.send_message("first")
        await agent.record.until(alice, DID_DELIVER)
        bob.msrp_session.pause_reading()
        ids = [alice.send_message("x" * 5000) for _ in range(200)]
        ids += [alice.send_message("y" * 5_000_000)]
        await agent.record.until(alice, "ChatStreamDidSendMessage", 2)
        bob.msrp_session.connection.abort(ConnectionResetError("the cable was pulled"))
        await agent.record.until(alice, DID_NOT_DELIVER, 201)
        failed = await agent.record.until(alice, "MediaStreamDidFail")
        assert failed.context == "reading"
        assert failed.reason == str(failed.failure.value)
        assert [data.message_id for data in of(agent, alice, DID_DELIVER)] == [delivered]
        told = of(agent, alice, DID_NOT_DELIVER)
        assert sorted(data.message_id for data in told) == sorted(ids)
        assert {data.code for data in told} == {408}
        assert all(data.reason and data.chunk.message_id == data.message_id for data in told)
        with pytest.raises(ChatStreamError):
            alice.send_message("too late")
        await agent.record.until(caller, "DidEnd")
        await agent.record.until(callee, "DidEnd")
        for stream in (alice, bob):
            await agent.record.until(stream, "MediaStreamDidEnd")
        assert len(of(agent, alice, DID_NOT_DELIVER)) == 201


async def test_messages_without_a_report_when_the_session_ends_are_not_delivered(nothing_left):
    async with running_agent(msrp_settings()) as agent:
        caller, _, alice, bob = await chatting(agent)
        bob.msrp_session.pause_reading()
        message_id = alice.send_message("x" * 5000)
        await agent.record.until(alice, "ChatStreamDidSendMessage")
        await end(agent, caller, alice, bob)
        names = agent.record.names(alice)
        assert [data.message_id for data in of(agent, alice, DID_NOT_DELIVER)] == [message_id]
        assert names[-3:] == ["MediaStreamWillEnd", DID_NOT_DELIVER, "MediaStreamDidEnd"]


async def test_a_chat_beside_the_sound(nothing_left):
    async with running_agent(msrp_settings()) as agent:
        audio, chat = AudioStream(agent.account), ChatStream(agent.account)
        caller, callee = await call(agent, audio, chat)
        assert [stream.type for stream in callee.proposed_streams] == ["audio", "chat"]
        other = callee.proposed_streams[1]
        callee.accept(callee.proposed_streams)
        await agent.record.until(caller, "DidStart")
        await agent.record.until(callee, "DidStart")
        chat.send_message("Do you hear me?")
        await agent.record.until(chat, DID_DELIVER)
        # The hold of a session does not concern the chat.
        caller.hold()
        await agent.record.until(callee, "SIPSessionDidChangeHoldState")
        assert not chat.on_hold
        chat.send_message("And now?")
        await agent.record.until(chat, DID_DELIVER, 2)
        assert [data.message.body for data in of(agent, other, GOT)] == ["Do you hear me?", "And now?"]
        await end(agent, caller, chat, other)


async def test_a_chat_is_added_and_removed_while_the_session_runs(nothing_left):
    async with running_agent(msrp_settings()) as agent:
        caller, callee, alice, bob = await chatting(agent)
        for round_, (proposer, answerer) in enumerate(((caller, callee), (callee, caller)), start=1):
            second = ChatStream(agent.account)
            proposer.add_stream(second)
            await agent.record.until(answerer, "GotProposal", 2 * round_ - 1 if answerer is callee else 2)
            (other,) = answerer.proposed_streams
            answerer.accept_proposal([other])
            await agent.record.until(second, "MediaStreamDidStart")
            await agent.record.until(other, "MediaStreamDidStart")
            await eventually(lambda: len(caller.streams) == len(callee.streams) == 2, "both have two streams")
            second.send_message("by the second")
            alice.send_message("by the first")
            await agent.record.until(second, DID_DELIVER)
            await agent.record.until(alice, DID_DELIVER, round_)
            assert [data.message.body for data in of(agent, other, GOT)] == ["by the second"]
            await eventually(lambda: caller.state == callee.state == "connected", "both are connected")
            proposer.remove_stream(second)
            for stream in (second, other):
                await agent.record.until(stream, "MediaStreamDidEnd")
                assert "MediaStreamDidFail" not in agent.record.names(stream)
            await eventually(lambda: len(caller.streams) == len(callee.streams) == 1, "both have one stream")
            await eventually(lambda: caller.state == callee.state == "connected", "both are connected")
        await end(agent, caller, alice, bob)


async def test_what_cannot_be_written_is_refused_at_once(nothing_left):
    async with running_agent(msrp_settings()) as agent:
        early = ChatStream(agent.account)
        caller, _, alice, bob = await chatting(agent)
        for stream in (early, alice):
            for content_type in ("text/plain\r\nX: y", "text", "", "text/plain\0"):
                with pytest.raises(ChatStreamError):
                    stream.send_message("x", content_type)
        for arguments in (
            {"content": "\ud800"},
            {"content": "x", "additional_headers": [CPIMHeader("a b", None, "x")]},
            {"content": "x", "required": ["a\nb"]},
        ):
            with pytest.raises(ChatStreamError):
                alice.send_message(**arguments)
        alice.send_message("x", recipients=[ChatIdentity("sip:alice@127.0.0.1;transport=tcp")])
        await agent.record.until(alice, DID_DELIVER)
        assert len(of(agent, bob, GOT)) == 1
        await end(agent, caller, alice, bob)


async def test_what_turns_out_impossible_at_the_start_is_not_delivered(nothing_left):
    async with running_agent(msrp_settings()) as agent:
        alice = ChatStream(agent.account)
        ids = [alice.send_message("psst", recipients=[ChatIdentity(SIPURI("example.com", "carol"))])]
        ids.append(alice.send_message("\ud800"))
        good = alice.send_message("good")
        caller, _, alice, bob = await chatting(agent, stream=alice)
        assert (await agent.record.until(alice, DID_DELIVER)).message_id == good
        assert [data.message_id for data in of(agent, alice, DID_NOT_DELIVER)] == ids
        await end(agent, caller, alice, bob)


async def test_a_stream_of_one_direction(nothing_left):
    async with running_agent(msrp_settings()) as agent:
        session = agent.call(ChatStream(agent.account, "sendonly"))
        data = await agent.record.until(session, "DidFail")
        assert data.code == 488
        reader = ChatStream(agent.account, "recvonly")
        with pytest.raises(ChatStreamError):
            reader.send_message("no")
        with pytest.raises(ChatStreamError):
            reader.send_composing_indication("active", 60)


async def test_transports_that_do_not_match_are_refused(nothing_left):
    async with running_agent(msrp_settings("tls")) as agent:
        alice = ChatStream(agent.account)
        initialize = alice.initialize

        def with_tcp(session: Any, direction: str) -> None:
            SIPSimpleSettings().msrp.transport = "tcp"
            initialize(session, direction)

        alice.initialize = with_tcp
        session = agent.call(alice)
        await agent.record.until(alice, "MediaStreamDidInitialize")
        SIPSimpleSettings().msrp.transport = "tls"
        assert (await agent.record.until(session, "DidFail")).code == 488


async def test_a_program_of_threads_sends_in_order(nothing_left):
    async with running_agent(msrp_settings()) as agent:
        caller, _, alice, bob = await chatting(agent)
        ids: list[str] = []
        thread = threading.Thread(target=lambda: ids.extend(alice.send_message(str(n)) for n in range(50)))
        thread.start()
        await agent.record.until(alice, DID_DELIVER, 50)
        thread.join()
        assert [data.message_id for data in of(agent, alice, DID_DELIVER)] == ids
        assert [data.message.body for data in of(agent, bob, GOT)] == [str(n) for n in range(50)]
        await end(agent, caller, alice, bob)


async def test_an_application_that_stops_while_chatting_leaves_nothing(nothing_left):
    async with running_agent(msrp_settings("tls")) as agent:
        _, _, alice, bob = await chatting(agent)
        alice.send_message("bye")
    for stream in (alice, bob):
        assert agent.record.names(stream)[-1] == "MediaStreamDidEnd"


def test_a_plain_message_has_the_attributes_of_one_in_an_envelope():
    assert vars(ChatMessage("a", "text/plain")).keys() == vars(CPIMMessage("a", "text/plain")).keys()
