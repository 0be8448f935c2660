"""Calls whose media finds its way by ICE, through the whole application: what each side tells, and what is agreed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aioice import stun

from sipsimple.account import Account
from sipsimple.core import SIPURI, Engine, ToHeader
from sipsimple.session import Session
from sipsimple.streams import AudioStream
from sipsimple.util import Route
from tests.support.agent import ALICE, SETTINGS, Agent, eventually, running_agent
from tests.support.raw_peer import RawPeer

BOB = "bob@example.org"
STATE = "AudioStreamICENegotiationStateDidChange"
SUCCESS, FAILURE = "AudioStreamICENegotiationDidSucceed", "AudioStreamICENegotiationDidFail"
PASSWORD = "abcdefghijklmnopqrstuvwx"
OFFER = """v=0
o=- 1 1 IN IP4 127.0.0.1
s=raw
c=IN IP4 127.0.0.1
t=0 0
m=audio {port} RTP/AVP 0
a=ice-ufrag:abcd
a=ice-pwd:abcdefghijklmnopqrstuvwx
a=candidate:1 1 UDP 2130706431 127.0.0.1 {candidate} typ host
"""


@pytest.fixture
async def both(nothing_left: None) -> AsyncIterator[Agent]:
    """A running application with the accounts of Alice and Bob, who both want ICE and know no server."""
    account = {
        "enabled": "true",
        "registration": {"enabled": "false"},
        "nat_traversal": {"use_ice": "true", "stun_server_list": []},
    }
    everything = {**SETTINGS["SIPSimpleSettings"], "default_account": ALICE}
    async with running_agent({"SIPSimpleSettings": everything, "Accounts": {ALICE: account, BOB: account}}) as agent:
        yield agent


def call(agent: Agent, user: str = "bob", port: int | None = None) -> tuple[Session, AudioStream]:
    """Alice calls Bob, or somebody at a port of this host."""
    session, stream = Session(agent.account), AudioStream(agent.account)
    session.connect(
        ToHeader(SIPURI("127.0.0.1", user)), [Route("127.0.0.1", port or Engine().udp_port, "udp")], [stream]
    )
    return session, stream


async def talking(agent: Agent) -> tuple[Session, Session]:
    """A call of Alice's that Bob has accepted."""
    caller, _ = call(agent)
    callee = await agent.incoming()
    callee.accept(callee.proposed_streams or [])
    for session in (caller, callee):
        await agent.record.until(session, "DidStart")
    return caller, callee


async def heard(session: Session, more: int = 10) -> None:
    """Wait for packets from the other side."""
    (stream,) = session.streams

    def packets() -> int:
        return int((stream.statistics or {"rx": {"packets": 0}})["rx"]["packets"])

    before = packets()
    await eventually(lambda: packets() >= before + more, f"{more} packets after {before}")


def states(agent: Agent, stream: object) -> list[str]:
    return [n.data.state for n in agent.record.all if n.sender is stream and n.name == STATE]


@pytest.mark.spec(161, 166, 167, 168, 169, 178, 179)
async def test_two_sides_with_ice_agree_on_a_pair_and_tell_so(both: Agent):
    for session in (first := await talking(both)):
        (stream,) = session.streams
        other = next(it for it in first if it is not session).streams[0]
        assert stream.ice_active is True
        assert (stream.local_rtp_candidate_type, stream.remote_rtp_candidate_type) == ("host", "host")
        assert (stream.remote_rtp_address_received, stream.remote_rtp_port_received) == (
            "127.0.0.1",
            other.local_rtp_port,
        )
        data = both.record.data(stream, SUCCESS)
        here, there = f"127.0.0.1:{stream.local_rtp_port}", f"127.0.0.1:{other.local_rtp_port}"
        assert data.chosen_local_candidates["rtp_cand_type"] == "host"
        assert data.chosen_local_candidates["rtp_cand_ip"] == here
        assert data.chosen_remote_candidates["rtp_cand_ip"] == there
        # RTCP goes where RTP goes.
        assert data.chosen_remote_candidates["rtcp_cand_ip"] == there
        assert re.fullmatch(r"\d+s:\d{3}", data.duration)
        assert [0, 1, here, "host"] in data.local_candidates
        assert [0, 1, there, "host"] in data.remote_candidates
        checks = [check[1:] for check in data.connectivity_checks_results]
        assert [1, here, there, "nominated", "Succeeded"] in checks
        assert states(both, stream) == [
            "ICE Candidates Gathering",
            "ICE Candidates Gathered",
            "ICE Session Initialized",
            "ICE Negotiation In Progress",
            "ICE Negotiation Succeeded",
        ]
        names = both.record.names(stream)
        assert names.index(SUCCESS) < names.index("MediaStreamDidStart")
        await heard(session)
    await end(both, *first)


async def end(agent: Agent, *sessions: Session) -> None:
    sessions[0].end()
    for session in sessions:
        await agent.record.until(session, "DidEnd")


@pytest.mark.spec(161, 168, 169)
async def test_a_hold_leaves_the_pair_as_it_is(both: Agent):
    caller, callee = await talking(both)
    caller.hold()
    await both.record.until(callee.streams[0], "AudioStreamDidChangeHoldState")
    caller.unhold()
    await both.record.until(callee.streams[0], "AudioStreamDidChangeHoldState", 2)
    for session in (caller, callee):
        await heard(session)
        assert session.streams[0].ice_active
        assert both.record.names(session.streams[0]).count(SUCCESS) == 1
        assert "AudioStreamDidChangeRTPParameters" not in both.record.names(session.streams[0])
    await end(both, caller, callee)


@pytest.mark.spec(161, 168, 169, 180)
async def test_a_call_to_somebody_without_ice_goes_on_without(both: Agent):
    Account(BOB).nat_traversal.use_ice = False
    caller, callee = await talking(both)
    (stream,) = caller.streams
    data = both.record.data(stream, FAILURE)
    assert data.reason == "the remote does not use ICE"
    assert data.timestamp is not None
    assert states(both, stream)[-1] == "ICE Negotiation Failed"
    assert FAILURE not in both.record.names(callee.streams[0])
    for session in (caller, callee):
        assert session.streams[0].ice_active is False
        assert session.streams[0].local_rtp_candidate_type is None
        await heard(session)
    await end(both, caller, callee)


async def test_a_call_from_somebody_without_ice_has_none(both: Agent):
    both.account.nat_traversal.use_ice = False
    caller, callee = await talking(both)
    assert states(both, callee.streams[0]) == []
    for session in (caller, callee):
        await heard(session)
    await end(both, caller, callee)


@pytest.mark.spec(180)
async def test_candidates_that_do_not_answer_end_in_plain_rtp(both: Agent, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sipsimple.media.ice.agent.MAX_NEGOTIATION", 0.3)
    with RawPeer() as peer:
        peer.request("INVITE", OFFER.format(port=9, candidate=9))
        session = await both.incoming()
        session.accept(session.proposed_streams or [])
        answer = (await peer.response(200)).body.decode()
        assert answer.count("a=candidate:") == 2
        peer.request("ACK", cseq=1)
        (stream,) = session.proposed_streams or session.streams
        data = await both.record.until(stream, FAILURE)
        assert data.reason == "no pair of candidates was agreed on in 0.3 seconds"
        await both.record.until(session, "DidStart")
        assert (stream.state, stream.ice_active) == ("ESTABLISHED", False)
        session.end()
        peer.respond(await peer.expect("BYE"), 200)
        await both.record.until(session, "DidEnd")


class LitePeer(asyncio.DatagramProtocol):
    """Media of a peer that only answers checks (RFC 8445 2.5)."""

    def __init__(self) -> None:
        self.asked: list[stun.Message] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if data[0] > 3:
            return
        request = stun.parse_message(data)
        self.asked.append(request)
        response = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction_id=request.transaction_id)
        response.attributes["XOR-MAPPED-ADDRESS"] = addr
        response.add_message_integrity(PASSWORD.encode())
        self.transport.sendto(bytes(response), addr)


async def test_a_peer_that_only_answers_has_us_choose(both: Agent):
    media, lite = await asyncio.get_running_loop().create_datagram_endpoint(LitePeer, local_addr=("127.0.0.1", 0))
    port = media.get_extra_info("sockname")[1]
    try:
        with RawPeer() as peer:
            offer = OFFER.format(port=port, candidate=port).replace("t=0 0\n", "t=0 0\na=ice-lite\n")
            peer.request("INVITE", offer)
            session = await both.incoming()
            session.accept(session.proposed_streams or [])
            await peer.response(200)
            peer.request("ACK", cseq=1)
            await both.record.until(session, "DidStart")
            (stream,) = session.streams
            assert (stream.ice_active, stream.remote_rtp_port) == (True, port)
            assert all("ICE-CONTROLLING" in request.attributes for request in lite.asked)
            # One check, and then what makes the pair the one (RFC 8445 8.1.1).
            assert ["USE-CANDIDATE" in request.attributes for request in lite.asked] == [False, True]
            session.end()
            peer.respond(await peer.expect("BYE"), 200)
            await both.record.until(session, "DidEnd")
    finally:
        media.close()


def username_in(message: Any) -> str:
    found = re.search(r"a=ice-ufrag:(\S+)", message.body.decode())
    assert found is not None
    return found[1]


@pytest.mark.parametrize("again", [True, False], ids=["other credentials", "the same credentials"])
async def test_a_remote_begins_anew_with_other_credentials(both: Agent, again: bool):
    media, lite = await asyncio.get_running_loop().create_datagram_endpoint(LitePeer, local_addr=("127.0.0.1", 0))
    port = media.get_extra_info("sockname")[1]
    try:
        with RawPeer() as peer:
            offer = OFFER.format(port=port, candidate=port).replace("t=0 0\n", "t=0 0\na=ice-lite\n")
            peer.request("INVITE", offer)
            session = await both.incoming()
            session.accept(session.proposed_streams or [])
            before = username_in(await peer.response(200))
            peer.request("ACK", cseq=1)
            await both.record.until(session, "DidStart")
            (stream,) = session.streams
            checks = len(lite.asked)
            second = offer.replace("o=- 1 1", "o=- 1 2")
            peer.request("INVITE", second.replace("ice-ufrag:abcd", "ice-ufrag:efgh") if again else second)
            after = username_in(await peer.response(200))
            peer.request("ACK", cseq=2)
            assert (after != before) is again
            if again:
                await both.record.until(stream, SUCCESS, 2)
                names = {request.attributes["USERNAME"] for request in lite.asked[checks:]}
                assert f"efgh:{after}" in names
            assert stream.ice_active
            session.end()
            peer.respond(await peer.expect("BYE"), 200)
            await both.record.until(session, "DidEnd")
            assert both.record.names(stream).count(SUCCESS) == (2 if again else 1)
    finally:
        media.close()


async def test_a_description_that_was_changed_on_its_way_is_answered_as_a_mismatch(both: Agent):
    with RawPeer() as peer:
        peer.request("INVITE", OFFER.format(port=4000, candidate=4002))
        session = await both.incoming()
        session.accept(session.proposed_streams or [])
        answer = (await peer.response(200)).body.decode()
        peer.request("ACK", cseq=1)
        await both.record.until(session, "DidStart")
        assert "a=ice-mismatch" in answer
        assert "a=candidate" not in answer
        assert session.streams[0].ice_active is False
        session.end()
        peer.respond(await peer.expect("BYE"), 200)
        await both.record.until(session, "DidEnd")


async def test_credentials_are_random_and_of_enough_bits(both: Agent):
    seen: set[Any] = set()
    with RawPeer() as peer:
        for _ in range(2):
            session, _ = call(both, "raw", peer.port)
            offer = await peer.expect("INVITE")
            lines = offer.body.decode().splitlines()
            username, password = (
                next(line.partition(":")[2] for line in lines if line.startswith(f"a={name}:"))
                for name in ("ice-ufrag", "ice-pwd")
            )
            assert re.fullmatch(r"[A-Za-z0-9+/]{4,256}", username)
            assert re.fullmatch(r"[A-Za-z0-9+/]{22,256}", password)
            assert lines[-1] == "a=sendrecv"
            seen |= {username, password}
            peer.respond(offer, 486)
            await both.record.until(session, "DidFail")
    assert len(seen) == 4


class TranslatingServer(asyncio.DatagramProtocol):
    """A STUN server that sees everybody as somebody behind an address translator."""

    OUTSIDE = "192.0.2.77"

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        request = stun.parse_message(data)
        response = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction_id=request.transaction_id)
        response.attributes["XOR-MAPPED-ADDRESS"] = (self.OUTSIDE, addr[1] + 1000)
        self.transport.sendto(bytes(response), addr)


def want_server(agent: Agent, *ports: int) -> None:
    agent.account.nat_traversal.stun_server_list = [f"127.0.0.1:{port}" for port in ports]


@pytest.mark.spec(162, 163)
async def test_who_is_behind_an_address_translator_says_how_it_is_seen(both: Agent):
    server, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        TranslatingServer, local_addr=("127.0.0.1", 0)
    )
    try:
        want_server(both, server.get_extra_info("sockname")[1])
        with RawPeer() as peer:
            session, stream = call(both, "raw", peer.port)
            offer = await peer.expect("INVITE")
            text = offer.body.decode()
            seen = re.findall(
                r"a=candidate:S1 (\d) UDP \d+ 192.0.2.77 (\d+) typ srflx raddr 127.0.0.1 rport (\d+)\r\n", text
            )
            assert [(component, int(there) - int(here)) for component, there, here in seen] == [
                ("1", 1000),
                ("2", 1000),
            ]
            assert f"m=audio {seen[0][1]} " in text
            assert f"a=rtcp:{seen[1][1]} IN IP4 192.0.2.77" in text
            assert "c=IN IP4 192.0.2.77" in text.partition("m=audio")[2]
            assert (stream.local_rtp_address, stream.local_rtp_port) == ("192.0.2.77", int(seen[0][1]))
            peer.respond(offer, 486)
            await both.record.until(session, "DidFail")
    finally:
        server.close()


async def test_servers_are_asked_in_their_order_until_one_answers(both: Agent, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sipsimple.media.ice.agent.STUN_TIMEOUT", 0.2)
    server, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        TranslatingServer, local_addr=("127.0.0.1", 0)
    )
    try:
        with RawPeer() as silent, RawPeer() as peer:
            for ports, host in (
                ((silent.port, server.get_extra_info("sockname")[1]), "192.0.2.77"),
                ((silent.port,), "127.0.0.1"),
            ):
                want_server(both, *ports)
                session, stream = call(both, "raw", peer.port)
                offer = await peer.expect("INVITE")
                assert stream.local_rtp_address == host
                assert stream.state == "INITIALIZED"
                peer.respond(offer, 486)
                await both.record.until(session, "DidFail")
            failures = [n.data.reason for n in both.record.all if n.name == "RTPTransportDidFail"]
            assert failures == [f"the STUN server 127.0.0.1:{silent.port} does not answer"] * 2
    finally:
        server.close()


async def test_rtcp_shares_the_port_of_rtp_where_the_offer_wants_it(both: Agent):
    with RawPeer() as peer, RawPeer() as media:
        offer = OFFER.partition("a=ice")[0].format(port=media.port) + "a=rtcp-mux\n"
        peer.request("INVITE", offer)
        session = await both.incoming()
        session.accept(session.proposed_streams or [])
        assert "a=rtcp-mux" in (await peer.response(200)).body.decode()
        peer.request("ACK", cseq=1)
        await both.record.until(session, "DidStart")
        port = session.streams[0].local_rtp_port
        await asyncio.get_running_loop().sock_recv(media.socket, 2048)
        session.end()
        peer.respond(await peer.expect("BYE"), 200)
        await both.record.until(session, "DidEnd")
        async with asyncio.timeout(5):
            kinds = set()
            while not kinds & {200, 201}:  # the goodbye, which follows a report
                data, source = await asyncio.get_running_loop().sock_recvfrom(media.socket, 2048)
                assert source[1] == port
                kinds.add(data[1])


@pytest.mark.parametrize("keying", ["sdes", "dtls"])
async def test_what_goes_the_way_that_was_found_is_encrypted(both: Agent, keying: str):
    for name in (ALICE, BOB):
        rtp = Account(name).rtp
        rtp.srtp_encryption, rtp.srtp_keying, rtp.use_srtp_without_tls = "mandatory", keying, True
    caller, callee = await talking(both)
    for session in (caller, callee):
        (stream,) = session.streams
        await eventually(lambda stream=stream: stream.srtp_active, "encryption")
        assert stream.ice_active
        await heard(session)
        assert (stream.srtp_keying, stream.statistics["srtp"]["unauthentic"]) == (keying, 0)
    await end(both, caller, callee)
