"""MESSAGE, sent and received outside a dialog."""

from __future__ import annotations

from typing import Any

import pytest

from sipsimple.core import Engine, Header, Message, SIPCoreError
from tests.support.raw_peer import RawPeer
from tests.unit.core.kit import ALICE, names, parties, route, sender_of, told


def message(port: int, body: bytes | str = "good morning", **more: Any) -> Message:
    sender, receiver, _ = parties(port)
    return Message(sender, receiver, route(port), "text/plain", body, **more)


async def test_message_arrives_with_its_type_and_its_body_as_bytes(engine, record):
    sent = message(engine.udp_port, "grüß dich")
    assert (sent.is_sent, sent.in_progress, sent.body) == (False, False, "grüß dich".encode())
    await sent.send()
    data = await told(record, sent, "SIPMessageDidSucceed")
    assert (data.code, data.reason) == (200, "OK")
    assert data.timestamp is not None
    assert (sent.is_sent, sent.in_progress) == (True, False)
    got = await told(record, engine, "SIPEngineGotMessage")
    assert (got.content_type, got.content_subtype, got.body) == ("text", "plain", "grüß dich".encode())
    assert (got.from_header.uri.user, got.to_header.uri.user, got.request_uri.user) == ("alice", "bob", "bob")


async def test_message_is_sent_once(engine):
    sent = message(engine.udp_port)
    result = sent.send()
    with pytest.raises(RuntimeError, match="once"):
        sent.send()
    await result


async def test_refusal_is_told_and_raised(engine, record):
    engine.add_incoming_request("MESSAGE")
    sent = message(engine.udp_port)
    result = sent.send()
    (await sender_of(record, "SIPIncomingRequestGotRequest")).answer(403)
    assert (await told(record, sent, "SIPMessageDidFail")).code == 403
    with pytest.raises(SIPCoreError, match="403"):
        await result


async def test_nobody_answers_and_the_sender_gives_up(engine, record):
    with RawPeer() as peer:
        sent = message(peer.port)
        sent.send()
        await peer.expect("MESSAGE")
        assert sent.in_progress
        sent.end()
        assert (await told(record, sent, "SIPMessageDidFail")).code == 408
        sent.end()
        hasty = message(peer.port)
        hasty.send(timeout=0.05)
        assert (await told(record, hasty, "SIPMessageDidFail")).code == 408
        assert names(record, hasty) == ["SIPMessageDidFail"]


async def test_what_cannot_be_sent_is_raised_and_leaves_it_unsent(engine):
    sender, receiver, _ = parties(1)
    nowhere = route(5060)
    nowhere.uri.host = "proxy.example.org"
    sent = Message(sender, receiver, nowhere, "text/plain", b"x")
    with pytest.raises(SIPCoreError, match="not an IP address"):
        sent.send()
    assert not sent.is_sent
    with pytest.raises(ValueError, match="timeout"):
        message(1).send(timeout=0)


async def test_extra_headers_and_attributes(engine, record):
    with RawPeer() as peer:
        sent = message(peer.port, b"\x00\x01", credentials=ALICE, extra_headers=[Header("Subject", "bytes")])
        assert sent.from_header.tag is not None
        assert (sent.content_type, sent.credentials.username) == ("text/plain", "alice")
        assert sent.to_header.uri.port == sent.route_header.uri.port == peer.port
        sent.send()
        request = await peer.expect("MESSAGE")
        assert (request.body, request.headers.get("Subject")) == (b"\x00\x01", "bytes")
        assert "Contact" not in request.headers
        peer.respond(request, 202, "Accepted")
        assert (await told(record, sent, "SIPMessageDidSucceed")).code == 202


async def test_message_larger_than_a_datagram_goes_by_tcp(engine, record):
    sent = message(engine.udp_port, b"x" * 3000)
    engine_port = engine.tcp_port
    sent = Message(sent.from_header, sent.to_header, route(engine_port), "text/plain", b"x" * 3000)
    sent.send()
    await told(record, sent, "SIPMessageDidSucceed")
    assert len((await told(record, Engine(), "SIPEngineGotMessage")).body) == 3000
