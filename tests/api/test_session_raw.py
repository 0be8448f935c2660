"""Sessions with a party that is written message by message: what a whole user agent would not do."""

from __future__ import annotations

import pytest

from sipsimple.configuration.settings import SIPSimpleSettings
from sipsimple.core import FrozenSDPSession
from sipsimple.util import Route
from tests.support.agent import Agent, eventually
from tests.support.raw_peer import RawPeer, description


async def test_6_12_a_missing_ack_fails_the_session(agent: Agent, monkeypatch):
    from sipsimple.sip.acceptance import Acceptance

    # 64*T1 would be 32 s: this call waits a second.
    monkeypatch.setattr(Acceptance, "start", _impatient(Acceptance.start))
    with RawPeer() as peer:
        peer.request("INVITE", description())
        callee = await agent.incoming()
        callee.accept(callee.proposed_streams)
        await peer.response(200)
        told = await agent.record.until(callee, "DidFail")
        assert (told.originator, told.code, told.reason, told.failure_reason) == ("local", 200, "OK", "missing ACK")
        assert agent.record.transactions(callee) == [("remote", "INVITE", 200, False)]
        assert (await peer.expect("BYE")).call_id == peer.call_id


def _impatient(start):
    from sipsimple.sip.timers import Timing

    def impatient(self, now):
        self.timing = Timing(t1=1 / 64)
        start(self, now)

    return impatient


async def test_an_invite_without_a_description_gets_our_offer_and_its_answer_in_the_ack(agent: Agent):
    with RawPeer() as peer:
        peer.request("INVITE")
        callee = await agent.incoming()
        assert {stream.type for stream in callee.proposed_streams} >= {"audio", "contract"}
        (stream,) = [stream for stream in callee.proposed_streams if stream.type == "contract"]
        callee.accept([stream])
        answer = await peer.response(200)
        assert b"m=x-contract" in answer.body
        assert callee.state == "accepting"
        peer.request("ACK", description(), cseq=peer.cseq)
        await agent.record.until(callee, "DidStart")
        assert callee.streams == [stream]
        peer.request("BYE")
        await agent.record.until(callee, "DidEnd")


async def test_6_13_an_unusable_answer_in_the_ack_ends_the_call(agent: Agent):
    with RawPeer() as peer:
        peer.request("INVITE")
        callee = await agent.incoming()
        callee.accept([stream for stream in callee.proposed_streams if stream.type == "contract"])
        await peer.response(200)
        peer.request("ACK", "nonsense\n", cseq=peer.cseq)
        told = await agent.record.until(callee, "DidFail")
        assert (told.originator, told.code) == ("remote", 200)
        assert told.failure_reason.startswith("SDP negotiation failed")
        await peer.expect("BYE")


async def test_6_11_a_reason_header_says_why_the_call_was_cancelled(agent: Agent):
    with RawPeer() as peer:
        branch = peer.request("INVITE", description())
        callee = await agent.incoming()
        peer.send(
            f"CANCEL sip:alice@127.0.0.1:{peer.target[1]} SIP/2.0\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{peer.port};branch={branch};rport\n"
            f"From: <sip:raw@127.0.0.1:{peer.port}>;tag={peer.tag}\n"
            "To: <sip:alice@127.0.0.1>\n"
            f"Call-ID: {peer.call_id}\n"
            f"CSeq: {peer.cseq} CANCEL\n"
            'Reason: SIP;cause=200;text="Call completed elsewhere"\n'
        )
        told = await agent.record.until(callee, "DidFail")
        assert told.failure_reason == "Call completed elsewhere"


async def test_6_15_a_reason_header_says_why_the_call_was_ended(agent: Agent):
    with RawPeer() as peer:
        peer.request("INVITE", description())
        callee = await agent.incoming()
        callee.accept(callee.proposed_streams)
        await peer.response(200)
        peer.request("ACK", cseq=peer.cseq)
        await agent.record.until(callee, "DidStart")
        peer.request("BYE", headers='Reason: Q.850;cause=16;text="Normal call clearing"\n')
        assert (await agent.record.until(callee, "DidEnd")).end_reason == "Normal call clearing"


async def test_6_1_every_provisional_response_is_told(agent: Agent):
    with RawPeer() as peer:
        caller = agent.call(routes=[Route("127.0.0.1", peer.port)])
        invite = await peer.expect("INVITE")
        peer.respond(invite, 100)
        for code in (180, 181, 180):
            peer.respond(invite, code)
        await agent.record.until(caller, "GotProvisionalResponse", 3)
        assert agent.record.short(caller).count("GotRingIndication") == 2
        peer.respond(invite, 200, "OK", description())
        await agent.record.until(caller, "DidStart")
        ack = await peer.expect("ACK")
        assert ack.cseq == (invite.cseq[0], "ACK")
        caller.end()
        peer.respond(await peer.expect("BYE"), 200)
        await agent.record.until(caller, "DidEnd")


async def test_6_5_only_503_and_silence_make_the_next_route_be_tried(agent: Agent):
    with RawPeer() as busy, RawPeer() as overloaded:
        routes = [Route("127.0.0.1", overloaded.port), Route("127.0.0.1", busy.port), agent.route]
        caller = agent.call(routes=routes)
        overloaded.respond(await overloaded.expect("INVITE"), 503, "Overloaded")
        busy.respond(await busy.expect("INVITE"), 486, "Busy")
        told = await agent.record.until(caller, "DidFail")
        assert (told.code, told.originator) == (486, "remote")
        assert agent.record.transactions(caller) == [("local", "INVITE", 503, None), ("local", "INVITE", 486, None)]


async def test_6_2_a_redirection_tells_where_to(agent: Agent):
    with RawPeer() as peer:
        caller = agent.call(routes=[Route("127.0.0.1", peer.port)])
        peer.respond(await peer.expect("INVITE"), 302, "Moved Temporarily")
        told = await agent.record.until(caller, "DidFail")
        assert told.code == 302
        assert [contact.uri.port for contact in told.redirect_identities] == [peer.port]


async def test_6_6_an_answer_without_a_description_ends_the_call(agent: Agent):
    with RawPeer() as peer:
        caller = agent.call(routes=[Route("127.0.0.1", peer.port)])
        peer.respond(await peer.expect("INVITE"), 200, "OK")
        await peer.expect("ACK")
        peer.respond(await peer.expect("BYE"), 200)
        told = await agent.record.until(caller, "DidFail")
        assert (told.originator, told.code) == ("remote", 200)
        assert told.failure_reason.startswith("SDP negotiation failed")


async def test_6_1_an_answer_that_refuses_everything_ends_the_call(agent: Agent):
    with RawPeer() as peer:
        caller = agent.call(routes=[Route("127.0.0.1", peer.port)])
        invite = await peer.expect("INVITE")
        peer.respond(invite, 200, "OK", description().replace(" 9 TCP", " 0 TCP"))
        await peer.expect("ACK")
        peer.respond(await peer.expect("BYE"), 200)
        told = await agent.record.until(caller, "DidEnd")
        assert told.end_reason.startswith("SDP negotiation failed")


async def test_6_3_a_cancel_waits_for_a_provisional_response_but_not_for_ever(agent: Agent):
    with RawPeer() as peer:
        caller = agent.call(routes=[Route("127.0.0.1", peer.port)])
        await peer.expect("INVITE")
        caller.end()
        told = await agent.record.until(caller, "DidFail")
        assert (told.code, told.reason) == (487, "Session Cancelled")
        assert agent.record.transactions(caller) == [("local", "INVITE", 408, None)]


@pytest.mark.parametrize("answer", [200, 481])
async def test_6_3_a_2xx_that_crosses_the_cancel_is_reported_as_cancelled(agent: Agent, answer: int):
    with RawPeer() as peer:
        caller = agent.call(routes=[Route("127.0.0.1", peer.port)])
        invite = await peer.expect("INVITE")
        peer.respond(invite, 180)
        await agent.record.until(caller, "GotRingIndication")
        caller.end()
        peer.respond(await peer.expect("CANCEL"), 200)
        peer.respond(invite, 200, "OK", description())
        peer.respond(await peer.expect("BYE"), answer)
        told = await agent.record.until(caller, "DidFail")
        assert (told.originator, told.code, told.failure_reason) == ("local", 487, "user_request")
        assert agent.record.transactions(caller) == [("local", "INVITE", 487, None)]


async def test_6_4_a_call_that_rings_for_ever_is_withdrawn_when_the_time_is_up(agent: Agent):
    SIPSimpleSettings().sip.invite_timeout = 1
    with RawPeer() as peer:
        caller = agent.call(routes=[Route("127.0.0.1", peer.port)])
        invite = await peer.expect("INVITE")
        peer.respond(invite, 180)
        peer.respond(await peer.expect("CANCEL"), 200)
        peer.respond(invite, 487, "Request Terminated")
        told = await agent.record.until(caller, "DidFail")
        assert (told.originator, told.code, told.reason) == ("local", 408, "Request Timeout")
        assert told.failure_reason == "timeout"
        assert agent.record.transactions(caller) == [("local", "INVITE", 487, None)]


async def test_6_14_a_bye_that_nobody_answers_is_waited_for_a_second(agent: Agent):
    with RawPeer() as peer:
        caller = agent.call(routes=[Route("127.0.0.1", peer.port)])
        peer.respond(await peer.expect("INVITE"), 200, "OK", description())
        await agent.record.until(caller, "DidStart")
        caller.end()
        await agent.record.until(caller, "DidEnd")
        assert agent.record.transactions(caller)[-1] == ("local", "BYE", 408, None)


@pytest.mark.parametrize("answer", [481, 408])
async def test_6_25_an_answer_to_a_reinvite_that_says_the_dialog_is_gone_ends_it_and_a_timeout_does_not(
    agent: Agent, answer: int
):
    with RawPeer() as peer:
        caller = agent.call(routes=[Route("127.0.0.1", peer.port)])
        peer.respond(await peer.expect("INVITE"), 200, "OK", description())
        await agent.record.until(caller, "DidStart")
        caller.hold()
        peer.respond(await peer.expect("INVITE"), answer)
        if answer == 481:
            assert (await agent.record.until(caller, "DidEnd")).originator == "remote"
        else:
            await eventually(lambda: caller.state == "connected", "the old state")
            assert agent.record.transactions(caller)[-1] == ("local", "INVITE", 408, None)


async def test_early_media_is_played_before_the_call_is_answered(agent: Agent):
    with RawPeer() as peer:
        stream = agent.stream()
        caller = agent.call(stream, routes=[Route("127.0.0.1", peer.port)])
        invite = await peer.expect("INVITE")
        peer.respond(invite, 183, "Session Progress", description())
        await agent.record.until(stream, "MediaStreamDidStart")
        assert caller.state == "outgoing"
        assert "WillStart" not in agent.record.short(caller)
        peer.respond(invite, 200, "OK", description())
        await agent.record.until(caller, "DidStart")
        assert stream.calls == ["initialize", "start", "update"]
        assert agent.record.names(stream).count("MediaStreamDidStart") == 1


async def test_early_media_of_a_call_that_is_refused_ends_with_it(agent: Agent):
    with RawPeer() as peer:
        stream = agent.stream()
        caller = agent.call(stream, routes=[Route("127.0.0.1", peer.port)])
        invite = await peer.expect("INVITE")
        peer.respond(invite, 183, "Session Progress", description())
        await agent.record.until(stream, "MediaStreamDidStart")
        peer.respond(invite, 486, "Busy Here")
        assert (await agent.record.until(caller, "DidFail")).code == 486
        assert stream.calls == ["initialize", "start", "deactivate", "end"]


async def test_an_update_of_the_other_party_reaches_the_streams(agent: Agent):
    with RawPeer() as peer:
        peer.request("INVITE", description())
        callee = await agent.incoming()
        callee.accept(callee.proposed_streams)
        await peer.response(200)
        peer.request("ACK", cseq=peer.cseq)
        await agent.record.until(callee, "DidStart")
        peer.request("UPDATE", description(direction="sendonly").replace("o=- 1 1", "o=- 1 2"))
        await peer.response(200)
        told = await agent.record.until(callee, "DidChangeHoldState")
        assert (told.originator, told.on_hold) == ("remote", True)
        assert callee.streams[0].calls[-1] == "update"
        assert callee.state == "connected"


@pytest.mark.parametrize("place", ["IP6 ::1", "IP4 host.example"])
async def test_audio_for_an_address_that_cannot_be_reached_is_refused(agent: Agent, place: str):
    offer = description("audio").replace("TCP/X *", "RTP/AVP 0")
    elsewhere = offer.replace("IP4 127.0.0.1", place)
    with RawPeer() as peer:
        peer.request("INVITE", elsewhere)
        await peer.response(488)
        peer.request("ACK", cseq=peer.cseq)
        peer.call_id, peer.remote_tag = "another", None
        peer.request("INVITE", offer)
        callee = await agent.incoming()
        callee.accept(callee.proposed_streams)
        await peer.response(200)
        peer.request("ACK", cseq=peer.cseq)
        await agent.record.until(callee, "DidStart")
        peer.request("INVITE", elsewhere)
        await peer.response(488)
        assert callee.state == "connected"


def held_at_nowhere(version: int, connection: str) -> str:
    """Audio of the raw peer, whose `c=` line says where it wants to receive."""
    offer = description("audio").replace("TCP/X *", "RTP/AVP 0").replace("o=- 1 1", f"o=- 1 {version}")
    return offer.replace("c=IN IP4 127.0.0.1", f"c=IN {connection}")


@pytest.mark.parametrize("nowhere", ["IP4 0.0.0.0", "IP6 ::"])
async def test_6_21_hold_as_it_was_before_directions_is_understood(agent: Agent, nowhere: str):
    with RawPeer() as peer:
        peer.request("INVITE", held_at_nowhere(1, "IP4 127.0.0.1"))
        callee = await agent.incoming()
        callee.accept(callee.proposed_streams)
        await peer.response(200)
        peer.request("ACK", cseq=peer.cseq)
        await agent.record.until(callee, "DidStart")
        (stream,) = callee.streams
        for version, connection, answered, held in (
            (2, nowhere, "recvonly", True),
            (3, "IP4 127.0.0.1", "sendrecv", False),
        ):
            peer.request("INVITE", held_at_nowhere(version, connection))
            answer = FrozenSDPSession.parse((await peer.response(200)).body)
            assert answer.media[0].direction == answered
            peer.request("ACK", cseq=peer.cseq)
            told = await agent.record.until(callee, "DidChangeHoldState", version - 1)
            assert (told.originator, told.on_hold) == ("remote", held)
            assert stream.on_hold_by_remote == held
        assert stream.state == "ESTABLISHED"
