"""INVITE that forks, is redirected, or is routed strictly: the other side is written message by message."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sipsimple.core import FrozenSDPSession, Header, Invitation
from sipsimple.sip.endpoint import Endpoint
from sipsimple.sip.transport import TransportNotListening
from tests.support.raw_peer import RawPeer
from tests.unit.core.kit import parties, route
from tests.unit.core.test_invitation import called, description, reached

SDP = FrozenSDPSession.new(description(41000)).encode().decode().replace("\r\n", "\n")


@pytest.fixture
def peer(engine):
    with RawPeer() as peer:
        yield peer


def place_call(peer: RawPeer, **more: Any) -> Invitation:
    sender, receiver, contact = parties(peer.port)
    caller = Invitation()
    caller.send_invite(sender, receiver, route(peer.port), contact, description(), **more)
    return caller


def answer_from(peer: RawPeer, tag: str, invite: Any, code: int, headers: str = "", body: str | None = None) -> None:
    """Answer as the fork with this tag."""
    peer.tag = tag
    peer.respond(invite, code, body=SDP if body is None and 200 <= code < 300 else body or "", headers=headers)


async def until_silent(peer: RawPeer) -> list[Any]:
    """Everything that has arrived, in order; ends with the answer to an OPTIONS that is sent now."""
    messages = []
    peer.call_id, remote_tag, call_id, peer.remote_tag = "probe", peer.remote_tag, peer.call_id, None
    branch = peer.request("OPTIONS")
    while True:
        message = await peer.receive()
        if message.via.branch == branch:
            peer.call_id, peer.remote_tag = call_id, remote_tag
            return messages
        messages.append(message)


async def test_every_fork_rings_and_the_one_that_answers_gets_the_call(engine, record, peer):
    caller = place_call(peer)
    invite = await peer.expect("INVITE")
    answer_from(peer, "desk", invite, 180)
    answer_from(peer, "mobile", invite, 183)
    answer_from(peer, "mobile", invite, 180)
    answer_from(peer, "mobile", invite, 200)
    ack = await peer.expect("ACK")
    assert ack.to.tag == "mobile"
    await reached(caller, "connected")
    early = [n.data.code for n in record.of(caller) if getattr(n.data, "state", None) == "early"]
    assert early == [180, 183, 180]
    assert caller.remote_identity.tag == "mobile"


async def test_second_fork_is_acknowledged_then_released(engine, record, peer):
    caller = place_call(peer)
    invite = await peer.expect("INVITE")
    answer_from(peer, "desk", invite, 200)
    assert (await peer.expect("ACK")).to.tag == "desk"
    await reached(caller, "connected")
    answer_from(peer, "mobile", invite, 200)
    assert (await peer.expect("ACK")).to.tag == "mobile"
    bye = await peer.expect("BYE")
    assert bye.to.tag == "mobile"
    peer.respond(bye, 200)
    answer_from(peer, "mobile", invite, 200)
    answer_from(peer, "desk", invite, 200)
    assert [(m.method, m.to.tag) for m in await until_silent(peer)] == [("ACK", "mobile"), ("ACK", "desk")]
    assert caller.state == "connected"


async def test_fork_that_cannot_be_released_does_no_harm(engine, peer, monkeypatch, caplog):
    caller = place_call(peer)
    invite = await peer.expect("INVITE")
    answer_from(peer, "desk", invite, 200)
    await peer.expect("ACK")
    await reached(caller, "connected")

    def not_now(endpoint: Endpoint, request: Any, destination: Any, user: Any) -> None:
        raise TransportNotListening(destination)

    monkeypatch.setattr(Endpoint, "send_request", not_now)
    answer_from(peer, "mobile", invite, 200)
    answer_from(peer, "desk", invite, 200)
    assert [(m.method, m.to.tag) for m in await until_silent(peer)] == [("ACK", "mobile"), ("ACK", "desk")]
    assert caller.state == "connected"
    assert not caplog.records


async def test_forks_without_end_are_ignored(engine, peer, monkeypatch):
    monkeypatch.setattr("sipsimple.core.invitation.outgoing.MAX_FORKS", 3)
    caller = place_call(peer)
    invite = await peer.expect("INVITE")
    for number in range(10):
        answer_from(peer, f"ring{number}", invite, 180)
    for number in range(10):
        answer_from(peer, f"phone{number}", invite, 200)
    await reached(caller, "connected")
    sent = await until_silent(peer)
    assert {message.to.tag for message in sent} == {"phone0", "phone1", "phone2"}
    assert [message.to.tag for message in sent if message.method == "ACK"] == ["phone0", "phone1", "phone2"]


async def test_fork_that_was_released_cannot_end_the_call(engine, peer):
    caller = place_call(peer)
    invite = await peer.expect("INVITE")
    answer_from(peer, "desk", invite, 200)
    await peer.expect("ACK")
    await reached(caller, "connected")
    peer.tag, peer.remote_tag, peer.call_id = "mobile", invite.from_.tag, invite.call_id
    peer.request("BYE")
    await peer.response(481)
    assert caller.state == "connected"
    peer.tag = "desk"
    peer.request("BYE")
    await peer.response(200)
    assert caller.state == "disconnected"


async def test_2xx_after_the_end_is_acknowledged_then_released(engine, peer):
    caller = place_call(peer, timeout=0.05)
    invite = await peer.expect("INVITE")
    await reached(caller, "disconnected")
    answer_from(peer, "late", invite, 200)
    assert (await peer.expect("ACK")).to.tag == "late"
    assert (await peer.expect("BYE")).to.tag == "late"


async def test_each_fork_keeps_its_own_route_set(engine, peer):
    caller = place_call(peer)
    invite = await peer.expect("INVITE")
    answer_from(peer, "desk", invite, 180, headers=f"Record-Route: <sip:127.0.0.1:{peer.port};lr;x=desk>\n")
    answer_from(peer, "mobile", invite, 180, headers=f"Record-Route: <sip:127.0.0.1:{peer.port};lr;x=mobile>\n")
    answer_from(peer, "mobile", invite, 200, headers=f"Record-Route: <sip:127.0.0.1:{peer.port};lr;x=confirmed>\n")
    # RFC 3261 13.2.2.4: the 2xx has the last word on the route set.
    assert [str(r.uri.parameters["x"]) for r in (await peer.expect("ACK")).routes] == ["confirmed"]
    await reached(caller, "connected")
    caller.end(timeout=1)
    assert [str(r.uri.parameters["x"]) for r in (await peer.expect("BYE")).routes] == ["confirmed"]


async def test_strict_router_becomes_the_request_uri(engine, peer):
    caller = place_call(peer)
    invite = await peer.expect("INVITE")
    strict = f"sip:127.0.0.1:{peer.port};strict=yes"
    answer_from(peer, "bob", invite, 200, headers=f"Record-Route: <sip:far.example.org;lr>\nRecord-Route: <{strict}>\n")
    for method in ("ACK", "BYE"):
        request = await peer.expect(method)
        assert request.raw_uri == strict
        target = f"<sip:raw@127.0.0.1:{peer.port}>"
        assert request.headers.get_all("Route") == ["<sip:far.example.org;lr>", target]
        if method == "ACK":
            await reached(caller, "connected")
            caller.end(timeout=1)


async def test_loose_routes_of_an_incoming_call_are_kept_in_order(engine, peer):
    calling = asyncio.ensure_future(called())
    await asyncio.sleep(0)
    first = f"<sip:127.0.0.1:{peer.port};lr>"
    peer.request("INVITE", SDP, f"Record-Route: {first}\nRecord-Route: <sip:second.example.org;lr>\n")
    callee = await calling
    callee.send_response(200, sdp=description(41000))
    response = await peer.response(200)
    assert [r.body for r in response.record_routes] == [first, "<sip:second.example.org;lr>"]
    peer.request("ACK", cseq=peer.cseq)
    await reached(callee, "connected")
    callee.end(timeout=1)
    bye = await peer.expect("BYE")
    assert bye.headers.get_all("Route") == [first, "<sip:second.example.org;lr>"]
    assert bye.raw_uri == f"sip:raw@127.0.0.1:{peer.port}"


async def test_redirection_is_reported_and_not_followed(engine, record, peer):
    caller = place_call(peer)
    invite = await peer.expect("INVITE")
    contacts = "Contact: <sip:bob@home.example.org>;q=0.7\nContact: <tel:+31203456789>;q=0.2\n"
    peer.respond(invite, 302, "Moved Temporarily", headers=contacts)
    assert (await peer.expect("ACK")).cseq[0] == invite.cseq[0]
    await reached(caller, "disconnected")
    data = record.of(caller)[-1].data
    assert (data.code, data.originator) == (302, "remote")
    targets = [(str(contact.uri), contact.q) for contact in data.headers["Contact"]]
    assert ("sip:bob@home.example.org", 0.7) in targets
    assert ("tel:+31203456789", 0.2) in targets
    assert await until_silent(peer) == []


async def test_refused_fork_does_not_end_the_call_that_another_takes(engine, peer):
    # A forking proxy keeps the refusals to itself as long as somebody rings; a second final answer is none of ours.
    caller = place_call(peer)
    invite = await peer.expect("INVITE")
    answer_from(peer, "desk", invite, 200)
    await peer.expect("ACK")
    await reached(caller, "connected")
    answer_from(peer, "mobile", invite, 486)
    assert await until_silent(peer) == []
    assert caller.state == "connected"


async def test_reason_of_a_cancel_goes_out_and_comes_in(engine, record, peer):
    text = 'SIP;cause=200;text="Call completed elsewhere"'
    caller = place_call(peer)
    invite = await peer.expect("INVITE")
    peer.respond(invite, 180)
    await reached(caller, "early")
    caller.end([Header("Reason", text)], timeout=1)
    cancel = await peer.expect("CANCEL")
    assert cancel.headers.get("Reason") == text
    peer.respond(cancel, 200)
    peer.respond(invite, 487)
    await reached(caller, "disconnected")


async def test_reason_of_a_bye_goes_out_and_comes_in(engine, record, peer):
    text = r'Q.850;cause=16;text="Normal \"call\" clearing"'
    caller = place_call(peer)
    invite = await peer.expect("INVITE")
    peer.respond(invite, 200, body=SDP)
    await reached(caller, "connected")
    peer.remote_tag = invite.from_.tag
    peer.request("BYE", headers=f"Reason: {text}\n")
    await peer.response(200)
    assert record.of(caller)[-1].data.disconnect_reason == 'Normal "call" clearing'
    other = place_call(peer)
    peer.respond(await peer.expect("INVITE"), 200, body=SDP)
    await reached(other, "connected")
    other.end([Header("Reason", text)], timeout=1)
    assert (await peer.expect("BYE")).headers.get("Reason") == text


async def test_reason_of_a_cancel_that_comes_in_is_told(engine, record, peer):
    calling = asyncio.ensure_future(called())
    await asyncio.sleep(0)
    branch = peer.request("INVITE", SDP)
    callee = await calling
    peer.send(
        f"CANCEL sip:alice@127.0.0.1:{peer.target[1]} SIP/2.0\n"
        f"Via: SIP/2.0/UDP 127.0.0.1:{peer.port};branch={branch};rport\n"
        f"From: <sip:raw@127.0.0.1:{peer.port}>;tag={peer.tag}\nTo: <sip:alice@127.0.0.1>\n"
        f"Call-ID: {peer.call_id}\nCSeq: {peer.cseq} CANCEL\nMax-Forwards: 70\n"
        'Reason: SIP;cause=200;text="Call completed elsewhere"\n'
    )
    await peer.response(487)
    assert record.of(callee)[-1].data.disconnect_reason == "Call completed elsewhere"
