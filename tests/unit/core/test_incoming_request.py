"""Requests that the application has asked to answer itself."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from sipsimple.core import SIPURI, FromHeader, Header, Request, SIPCoreInvalidStateError, ToHeader
from tests.support.raw_peer import RawPeer
from tests.unit.core.kit import names, route, sender_of, told


@pytest.fixture
def peer(engine):
    with RawPeer() as peer:
        yield peer


def request(port: int, method: str = "PUBLISH", **more: Any) -> Request:
    uri = SIPURI("127.0.0.1", "bob")
    return Request(method, FromHeader(uri), ToHeader(uri), uri, route(port), **more)


async def test_request_is_shown_and_answered_with_headers(engine, record):
    engine.add_incoming_request("publish")
    assert engine.incoming_requests == {"PUBLISH"}
    ours = request(engine.udp_port, extra_headers=[Header("Event", "presence")], content_type="text/plain", body="hi")
    ours.send()
    theirs = await sender_of(record, "SIPIncomingRequestGotRequest")
    got = await told(record, theirs, "SIPIncomingRequestGotRequest")
    assert (got.method, got.body, got.headers["Event"].event) == ("PUBLISH", b"hi", "presence")
    assert got.request_uri.user == "bob"
    assert theirs.state == "incoming"
    theirs.answer(200, "Stored", [Header("SIP-ETag", "abc")])
    assert theirs.state == "answered"
    sent = await told(record, theirs, "SIPIncomingRequestSentResponse")
    assert (sent.code, sent.reason, sent.headers["SIP-ETag"].body) == (200, "Stored", "abc")
    data = await told(record, ours, "SIPRequestDidSucceed")
    assert (data.code, data.reason, data.headers["Server"].body) == (200, "Stored", engine.user_agent)
    assert data.headers["To"].tag


async def test_request_is_answered_once_with_a_final_code(engine, record, peer):
    engine.add_incoming_request("INFO")
    peer.request("INFO")
    theirs = await sender_of(record, "SIPIncomingRequestGotRequest")
    for code in (100, 183, 408, 700):
        with pytest.raises(ValueError, match="200 to 699"):
            theirs.answer(code)
    theirs.answer(480)
    with pytest.raises(SIPCoreInvalidStateError):
        theirs.answer(200)
    assert (await peer.response(480)).to.tag


async def test_dropped_request_is_answered_500(engine, peer):
    # Nobody records notifications here, so nobody keeps what arrives.
    engine.add_incoming_request("OPTIONS")
    peer.request("OPTIONS")
    gc.collect()
    await peer.response(500)


async def test_answer_after_the_sender_has_given_up_is_no_error(engine, record, peer):
    engine.add_incoming_request("INFO")
    peer.request("INFO")
    theirs = await sender_of(record, "SIPIncomingRequestGotRequest")
    (transaction,) = engine.endpoint.tables.servers.values()
    transaction.wake(engine.endpoint.now() + 60)
    theirs.answer(200)
    assert names(record, theirs) == ["SIPIncomingRequestGotRequest"]


async def test_method_that_is_not_handed_on_any_more_is_refused(engine, record, peer):
    engine.add_incoming_request("PING")
    engine.remove_incoming_request("PING")
    peer.request("PING")
    assert "REFER" in (await peer.response(405)).headers.get("Allow")
    for method in ("ACK", "BYE", "INVITE", "SUBSCRIBE"):
        with pytest.raises(ValueError, match=method):
            engine.add_incoming_request(method)
