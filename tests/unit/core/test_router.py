"""What the core answers by itself, and to whom it hands the rest."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sipsimple.core import SIPURI, FromHeader, Message, Request, Subscription, ToHeader
from sipsimple.core.stack import stack
from tests.support.raw_peer import RawPeer
from tests.unit.core.kit import parties, route, sender_of, told
from tests.unit.core.test_early import call_from
from tests.unit.core.test_forks import SDP
from tests.unit.core.test_invitation import description, reached, talking

METHODS = {
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "UPDATE",
    "PRACK",
    "SUBSCRIBE",
    "NOTIFY",
    "MESSAGE",
    "OPTIONS",
    "REFER",
    "INFO",
}


@pytest.fixture
def peer(engine):
    with RawPeer() as peer:
        yield peer


def words(response: Any, header: str) -> set[str]:
    return {word.strip() for value in response.headers.get_all(header) for word in value.split(",")}


async def test_options_tell_what_we_can(engine, peer):
    peer.request("OPTIONS")
    response = await peer.response(200)
    assert words(response, "Allow") == METHODS
    assert words(response, "Accept") == {"application/sdp"}
    assert {"100rel", "timer"} <= words(response, "Supported")
    assert response.headers.get("Server") == engine.user_agent


@pytest.mark.parametrize("method", ["BYE", "INFO", "NOTIFY", "PRACK", "UPDATE"])
async def test_requests_that_need_a_dialog_and_have_none_are_told_so(engine, peer, method):
    peer.request(method)
    response = await peer.response(481)
    assert response.to.tag


@pytest.mark.parametrize("method", ["PUBLISH", "REFER", "FOO"])
async def test_other_requests_outside_dialogs_are_not_allowed(engine, peer, method):
    peer.request(method)
    assert words(await peer.response(405), "Allow") == METHODS


async def test_own_user_agent_header_is_kept(engine, peer):
    engine.user_agent = "another name"
    peer.request("OPTIONS")
    assert (await peer.response(200)).headers.get("Server") == "another name"
    Request("OPTIONS", FromHeader(SIPURI("a")), ToHeader(SIPURI("b")), SIPURI("b"), route(peer.port)).send()
    assert (await peer.expect("OPTIONS")).headers.get("User-Agent") == "another name"


async def test_message_that_is_handed_to_the_application_is_not_answered_by_the_core(engine, record):
    engine.add_incoming_request("message")
    sender, receiver, _ = parties(engine.udp_port)
    Message(sender, receiver, route(engine.udp_port), "text/plain", "hi").send()
    theirs = await sender_of(record, "SIPIncomingRequestGotRequest")
    assert not [n for n in record.all if n.name == "SIPEngineGotMessage"]
    theirs.answer(200)


@pytest.mark.parametrize(
    ("method", "headers", "code"),
    [
        ("OPTIONS", "", 200),
        ("NOTIFY", "Event: refer\nSubscription-State: active\n", 481),
        ("SUBSCRIBE", "Event: dialog\n", 489),
        ("INFO", "", 200),
        ("INFO", "Info-Package: foo\n", 469),
        ("REFER", "", 400),
        ("PRACK", "RAck: 1 1 INVITE\n", 481),
    ],
)
async def test_requests_inside_a_call(engine, peer, method, headers, code):
    callee = await call_from(peer)
    callee.send_response(200, sdp=description(41000))
    await peer.response(200)
    peer.request("ACK", cseq=peer.cseq)
    await reached(callee, "connected")
    peer.request(method, headers=headers)
    await peer.response(code)
    peer.request(method, headers=headers, cseq=1)
    await peer.response(500)
    assert callee.state == "connected"


async def test_message_inside_a_call_reaches_the_application(engine, record, peer):
    callee = await call_from(peer)
    callee.send_response(200, sdp=description(41000))
    await peer.response(200)
    peer.request("ACK", cseq=peer.cseq)
    peer.request("MESSAGE", SDP)
    await peer.response(200)
    got = await told(record, engine, "SIPEngineGotMessage")
    assert (got.content_type, got.content_subtype) == ("application", "sdp")


async def test_invite_with_a_body_that_is_no_description_is_refused(engine, peer):
    peer.request("INVITE", "v=nonsense\n")
    await peer.response(400)
    peer.remote_tag, peer.call_id = None, "another"
    peer.request("INVITE", SDP, "Content-Encoding: gzip\n")
    assert words(await peer.response(415), "Accept") == {"application/sdp"}


async def test_nothing_is_left_in_the_table_when_all_is_over(engine, record):
    router = stack().router
    caller, callee = await talking(engine)
    assert len(router.invitations) == 2
    engine.add_incoming_event("presence")
    sender, receiver, contact = parties(engine.udp_port)
    subscription = Subscription(sender, receiver, contact, "presence", route(engine.udp_port))
    subscription.subscribe()
    (await sender_of(record, "SIPIncomingSubscriptionGotSubscribe")).accept()
    await told(record, subscription, "SIPSubscriptionGotNotify")
    assert len(router.invitations) == 2
    caller.end(timeout=1)
    subscription.end()
    await asyncio.gather(reached(caller, "disconnected"), reached(callee, "disconnected"))
    await told(record, subscription, "SIPSubscriptionDidEnd")
    theirs = await sender_of(record, "SIPIncomingSubscriptionDidEnd")
    assert theirs.state == "terminated"
    assert (router._dialogs, router._guests, router._event_dialogs) == ({}, {}, 0)
