"""PUBLISH: made, refreshed, changed, removed and lost (RFC 3903)."""

from __future__ import annotations

from typing import Any

import pytest

from sipsimple.core import SIPURI, FromHeader, Publication, PublicationError, SIPCoreError
from tests.support.raw_peer import RawPeer
from tests.unit.core.kit import names, route, told

PIDF = "application/pidf+xml"


@pytest.fixture
def server(engine):
    with RawPeer() as peer:
        yield peer


def publication(server: RawPeer, **more: Any) -> Publication:
    return Publication(FromHeader(SIPURI("example.org", "alice"), "Alice"), "presence", PIDF, **more)


async def answered(server: RawPeer, tag: str = "one", expires: int = 300, code: int = 200) -> Any:
    request = await server.expect("PUBLISH")
    server.respond(request, code, "x", headers=f"SIP-ETag: {tag}\nExpires: {expires}\n" if code == 200 else "")
    return request


async def published(server: RawPeer, record: Any, **more: Any) -> Publication:
    subject = publication(server, **more)
    subject.publish("<presence/>", route(server.port))
    await answered(server)
    await told(record, subject, "SIPPublicationDidSucceed")
    return subject


async def test_first_publish_carries_event_body_and_lifetime(engine, record, server):
    subject = publication(server, duration=600)
    subject.publish("<presence/>", route(server.port))
    request = await answered(server, expires=500)
    assert request.raw_uri == "sip:alice@example.org"
    assert (request.headers.get("Event"), request.expires) == ("presence", 600)
    assert (request.content_type[0], request.body) == (PIDF, b"<presence/>")
    assert "SIP-If-Match" not in request.headers
    data = await told(record, subject, "SIPPublicationDidSucceed")
    assert (data.code, data.expires_in, data.route_header.uri.port) == (200, 500, server.port)
    assert subject.is_published
    assert 498 <= subject.expires_in <= 500


async def test_refresh_names_what_it_means_and_has_no_body(engine, record, server):
    subject = await published(server, record)
    subject.publish(None, route(server.port))
    refresh = await answered(server, "two")
    assert (refresh.headers.get("SIP-If-Match"), refresh.body, refresh.content_type) == ("one", b"", None)
    await told(record, subject, "SIPPublicationDidSucceed", 2)
    subject.publish("<new/>", route(server.port))
    change = await answered(server, "three")
    assert (change.headers.get("SIP-If-Match"), change.body) == ("two", b"<new/>")
    assert change.call_id == refresh.call_id
    assert change.cseq[0] == refresh.cseq[0] + 1


async def test_removal_is_told_before_and_after(engine, record, server):
    subject = await published(server, record)
    subject.end()
    removal = await answered(server, "two", 0)
    assert (removal.expires, removal.headers.get("SIP-If-Match")) == (0, "one")
    assert (await told(record, subject, "SIPPublicationDidEnd")).expired is False
    assert not subject.is_published
    assert names(record, subject)[-2:] == ["SIPPublicationWillEnd", "SIPPublicationDidEnd"]
    with pytest.raises(PublicationError):
        subject.end()


async def test_removal_that_is_refused_did_not_end_it(engine, record, server):
    subject = await published(server, record)
    subject.end()
    await answered(server, code=500)
    data = await told(record, subject, "SIPPublicationDidNotEnd")
    assert (data.code, data.reason) == (500, "x")
    assert subject.is_published


async def test_lost_entity_tag_needs_the_body_again(engine, record, server):
    subject = publication(server)
    with pytest.raises(ValueError, match="body"):
        subject.publish(None, route(server.port))
    with pytest.raises(PublicationError):
        subject.end()
    subject = await published(server, record)
    subject.publish(None, route(server.port))
    await answered(server, code=412)
    data = await told(record, subject, "SIPPublicationDidFail")
    assert (data.code, data.route_header.uri.port) == (412, server.port)
    with pytest.raises(PublicationError):
        subject.publish(None, route(server.port))
    subject.publish("<again/>", route(server.port))
    assert "SIP-If-Match" not in (await answered(server, "nine")).headers


async def test_lifetime_ends_with_a_warning_when_nobody_refreshes(engine, record, server):
    subject = publication(server)
    subject.publish("<presence/>", route(server.port))
    await answered(server, expires=2)
    assert (await told(record, subject, "SIPPublicationWillExpire")).expires == 1
    assert (await told(record, subject, "SIPPublicationDidEnd")).expired is True
    assert (subject.is_published, subject.expires_in) == (False, 0)


async def test_newer_publish_replaces_the_one_under_way(engine, record, server):
    subject = publication(server)
    subject.publish("<old/>", route(server.port))
    old = await server.expect("PUBLISH")
    subject.publish("<new/>", route(server.port))
    new = await server.expect("PUBLISH")
    while new.body != b"<new/>":
        new = await server.expect("PUBLISH")
    server.respond(old, 200, headers="SIP-ETag: old\nExpires: 300\n")
    server.respond(new, 200, headers="SIP-ETag: new\nExpires: 300\n")
    await told(record, subject, "SIPPublicationDidSucceed")
    assert names(record, subject) == ["SIPPublicationDidSucceed"]


async def test_errors_of_the_caller_are_raised(engine, server):
    with pytest.raises(ValueError, match="duration"):
        publication(server, duration=0)
    subject = publication(server)
    with pytest.raises(ValueError, match="timeout"):
        subject.publish("<x/>", route(server.port), timeout=-1)
    nowhere = route(5060)
    nowhere.uri.host = "proxy.example.org"
    with pytest.raises(SIPCoreError, match="not an IP address"):
        subject.publish("<x/>", nowhere)


async def test_silence_fails_with_408(engine, record, server):
    subject = publication(server)
    subject.publish("<presence/>", route(server.port), timeout=0.05)
    assert (await told(record, subject, "SIPPublicationDidFail")).code == 408
