"""Registrations over connections: what a flow is marked by, how long it lives, and what servers may demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from sipsimple.core import (
    SIPURI,
    ContactHeader,
    Engine,
    FromHeader,
    Invitation,
    Registration,
    RouteHeader,
    SDPConnection,
    SDPMediaStream,
    SDPSession,
    SIPCoreError,
    ToHeader,
    outbound,
)
from sipsimple.core import Request as CoreRequest
from sipsimple.notification import NotificationCenter
from sipsimple.sip.message import Request, Response
from sipsimple.sip.transport import Destination, MessageTooLarge, pool, stream
from tests.unit.sip.endpoint_kit import Peer, until

LIMIT = 5.0
INSTANCE = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"


class Server(Peer):
    """A registrar that accepts everything, but for what `reply` says of a request."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self.reply: Callable[[Request], Response | None] = lambda request: None

    def on_request(self, transaction: Any, request: Request) -> None:
        self.requests.append(request)
        response = self.reply(request) or accepted(request)
        self.endpoint.respond(transaction, response)


def accepted(request: Request, **headers: str) -> Response:
    response = answer(request, 200, **headers)
    if request.expires:
        response.headers.add("Contact", f"{request.headers.get('Contact')};expires={request.expires}")
        response.headers.add("Contact", "<sip:alice@192.0.2.9>;expires=17")
    return response


def answer(request: Request, code: int, **headers: str) -> Response:
    response = request.make_response(code, to_tag="there")
    for name, value in headers.items():
        response.headers.add(name.replace("_", "-"), value)
    return response


@pytest.fixture
async def server(engine: Engine) -> AsyncIterator[Server]:
    server = Server()
    for transport in ("udp", "tcp"):
        await server.endpoint.listen(transport, "127.0.0.1", 0)  # type: ignore[arg-type]
    yield server
    await server.endpoint.close()


@pytest.fixture
def registration(engine: Engine) -> Registration:
    return Registration(FromHeader(SIPURI("example.org", "alice")), duration=600, instance_id=INSTANCE)


async def registered(registration: Registration, server: Server, transport: str = "tcp") -> Any:
    """The notification that ends a `register()`."""
    ends = ("SIPRegistrationDidSucceed", "SIPRegistrationDidFail")
    return await told(registration, *ends, during=lambda: registration.register(*where(server, transport)))


def where(server: Server, transport: str) -> tuple[ContactHeader, RouteHeader]:
    parameters = {} if transport == "udp" else {"transport": transport}
    address = server.endpoint.local_address(transport)  # type: ignore[arg-type]
    assert address is not None
    port = getattr(Engine(), f"{transport}_port")
    contact = ContactHeader(SIPURI("127.0.0.1", "alice", port=port, parameters=parameters))
    return contact, RouteHeader(SIPURI("127.0.0.1", port=address[1], parameters=parameters))


async def told(registration: Registration, *names: str, during: Callable[[], object] = lambda: None) -> Any:
    center = NotificationCenter()
    waiting = asyncio.create_task(
        center.wait(sender=registration, timeout=LIMIT, match=lambda notification: notification.name in names)
    )
    await asyncio.sleep(0)
    during()
    return await waiting


async def test_a_contact_on_a_connection_names_the_instance_and_the_flow(registration, server):
    notification = await registered(registration, server)
    assert notification.name == "SIPRegistrationDidSucceed"
    (request,) = server.requests
    assert request.headers.get("Contact").endswith(f';+sip.instance="<{INSTANCE}>";reg-id=1')
    assert request.headers.get("Supported") == "path, outbound"
    # The binding of another device is shown, and not taken for ours.
    assert len(notification.data.contact_header_list) == 2
    assert notification.data.expires_in == 600


async def test_over_udp_and_without_an_instance_there_is_no_flow_to_name(registration, server):
    await registered(registration, server, "udp")
    anonymous = Registration(FromHeader(SIPURI("example.org", "alice")))
    await registered(anonymous, server)
    for request in server.requests:
        assert "reg-id" not in request.headers.get("Contact")
        assert request.headers.get("Supported") == "path"


async def test_a_first_hop_without_outbound_gets_a_plain_contact_from_then_on(registration, server):
    server.reply = lambda request: answer(request, 439) if "reg-id" in request.headers.get("Contact") else None
    assert (await registered(registration, server)).name == "SIPRegistrationDidSucceed"
    await registered(registration, server)
    assert ["reg-id" in request.headers.get("Contact") for request in server.requests] == [True, False, False]


async def test_an_interval_too_brief_is_made_longer_once_and_for_all(registration, server):
    server.reply = lambda request: answer(request, 423, Min_Expires="1800") if request.expires < 1800 else None
    notification = await registered(registration, server)
    assert notification.data.expires_in == 1800
    await registered(registration, server)
    assert [request.expires for request in server.requests] == [600, 1800, 1800]
    assert [request.cseq[0] - server.requests[0].cseq[0] for request in server.requests] == [0, 1, 2]


@pytest.mark.parametrize("headers", [{"Min_Expires": "9999999"}, {"Min_Expires": "5"}, {}])
async def test_a_server_that_is_never_content_is_left_alone(registration, server, headers):
    server.reply = lambda request: answer(request, 423, **headers)
    notification = await registered(registration, server)
    assert (notification.name, notification.data.code) == ("SIPRegistrationDidFail", 423)
    assert len(server.requests) == (2 if headers.get("Min_Expires") == "9999999" else 1)


async def test_what_the_server_wants_to_be_left_alone_for_is_handed_on(registration, server):
    server.reply = lambda request: answer(request, 503, Retry_After="120 (nap)")
    assert (await registered(registration, server)).data.retry_after == 120
    server.reply = lambda request: answer(request, 403)
    assert (await registered(registration, server)).data.retry_after is None


async def test_the_service_route_and_the_public_address_are_remembered(registration, server):
    def reply(request: Request) -> Response:
        response = accepted(request, Service_Route="<sip:p1.example.org;lr>, <sip:p2.example.org;lr>")
        via = request.headers.get("Via")
        response.headers.set("Via", f"{via.partition(';')[0]};branch={request.via.branch};received=192.0.2.1;rport=99")
        return response

    server.reply = reply
    notification = await registered(registration, server)
    assert [str(route.uri) for route in registration.service_route] == [
        "sip:p1.example.org;lr",
        "sip:p2.example.org;lr",
    ]
    assert notification.data.service_route == registration.service_route
    assert notification.data.public_address == registration.public_address == ("192.0.2.1", 99)
    server.reply = lambda request: accepted(request, Service_Route="<<<")
    await registered(registration, server)
    assert registration.service_route == []
    assert registration.public_address[0] == "127.0.0.1"


async def test_a_lost_connection_is_told_once(registration, server, record):
    await registered(registration, server)
    lost = await told(
        registration,
        "SIPRegistrationDidLoseFlow",
        during=lambda: asyncio.ensure_future(server.endpoint.close_transport("tcp")),
    )
    assert "the connection is closed" in lost.data.reason
    assert registration.is_registered
    await asyncio.sleep(0)
    assert [n.name for n in record.of(registration)].count("SIPRegistrationDidLoseFlow") == 1


async def test_after_unregistering_nobody_misses_the_connection(registration, server, record):
    await registered(registration, server)
    await told(registration, "SIPRegistrationDidEnd", during=lambda: registration.end(timeout=LIMIT))
    assert server.requests[-1].headers.get("Contact").endswith("reg-id=1")
    await server.endpoint.close_transport("tcp")
    engine = Engine()
    destination = Destination("tcp", *where_from(server))
    await until(lambda: not engine.endpoint.has_connection(destination))
    assert "SIPRegistrationDidLoseFlow" not in [n.name for n in record.of(registration)]


def where_from(server: Server) -> tuple[str, int]:
    uri = server.requests[-1].routes[0].uri
    return uri.host, uri.port


async def test_a_flow_is_kept_open(registration, server, monkeypatch):
    monkeypatch.setattr(outbound, "KEEP_ALIVE_STREAM", (0.01, 0.02))
    await registered(registration, server)
    await until(lambda: server.endpoint.statistics.keep_alives >= 3)


async def test_the_flow_timer_of_the_server_counts(registration, server, monkeypatch):
    monkeypatch.setattr(outbound, "MIN_FLOW_TIMER", 0.01)
    server.reply = lambda request: accepted(request, Flow_Timer="0")
    await registered(registration, server)
    await until(lambda: server.endpoint.statistics.keep_alives >= 3)


@pytest.mark.parametrize("able", [True, False])
async def test_only_who_knows_keep_alives_is_lost_when_silent(engine, registration, monkeypatch, able):
    """RFC 5626 4.4.1: a pong may be demanded of those that have agreed to outbound."""
    monkeypatch.setattr(outbound, "KEEP_ALIVE_STREAM", (0.01, 0.02))
    monkeypatch.setattr(stream, "PONG_TIMEOUT", 0.05)
    monkeypatch.setattr(pool, "SWEEP_INTERVAL", 0.02)
    pings = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from sipsimple.sip.message import parse_message

        request = parse_message(await reader.readuntil(b"\r\n\r\n"))
        assert isinstance(request, Request)
        writer.write(accepted(request, **({"Require": "outbound"} if able else {})).encode())
        if able:
            await reader.read()
        else:
            # More than enough to be taken for lost, were an answer demanded.
            await reader.readexactly(20 * 4)
            pings.set()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        way = RouteHeader(SIPURI("127.0.0.1", port=port, parameters={"transport": "tcp"}))
        contact = ContactHeader(SIPURI("127.0.0.1", "alice", port=engine.tcp_port, parameters={"transport": "tcp"}))
        await told(registration, "SIPRegistrationDidSucceed", during=lambda: registration.register(contact, way))
        lost = await told(registration, "SIPRegistrationDidLoseFlow")
        assert pings.is_set() is not able
        assert ("silent for too long" in lost.data.reason) is able
        registration._forget_binding()


async def test_a_nat_is_kept_open_over_udp(registration, server, monkeypatch):
    monkeypatch.setattr(outbound, "KEEP_ALIVE_DATAGRAM", (0.01, 0.02))
    await registered(registration, server, "udp")
    assert registration._flow._alarm is None  # no NAT, no need

    def translated(request: Request) -> Response:
        response = accepted(request)
        response.headers.set("Via", request.headers.get("Via").replace("received=127.0.0.1", "received=192.0.2.1"))
        return response

    server.reply = translated
    await registered(registration, server, "udp")
    await until(lambda: server.endpoint.statistics.keep_alives >= 2)


@pytest.mark.parametrize("agreed", [True, False])
async def test_calls_by_a_flow_ask_the_proxy_to_stay_on_it(registration, server, agreed):
    """RFC 5626 4.3: `ob` in the Contact, when the registrar has agreed to outbound."""
    server.reply = lambda request: accepted(request, **({"Require": "outbound"} if agreed else {}))
    await registered(registration, server)
    server.reply = lambda request: answer(request, 486) if request.method == "INVITE" else None
    for transport in ("tcp", "udp"):
        await refused_call(server, transport)
    by_flow, elsewhere = [request for request in server.requests if request.method == "INVITE"]
    assert (";ob>" in by_flow.headers.get("Contact")) is agreed
    assert ("outbound" in by_flow.headers.get("Supported")) is agreed
    assert ";ob" not in elsewhere.headers.get("Contact")


async def refused_call(server: Server, transport: str, user: str = "bob") -> Any:
    """The data of the end of a call."""
    contact, route = where(server, transport)
    invitation = Invitation()
    media = SDPMediaStream("audio", 40000, "RTP/AVP", formats=["0"])
    description = SDPSession("127.0.0.1", connection=SDPConnection("127.0.0.1"), media=[media])
    waiting = asyncio.create_task(
        NotificationCenter().wait(
            "SIPInvitationChangedState", invitation, LIMIT, lambda n: n.data.state == "disconnected"
        )
    )
    await asyncio.sleep(0)
    alice, callee = SIPURI("example.org", "alice"), SIPURI("example.org", user)
    invitation.send_invite(FromHeader(alice), ToHeader(callee), route, contact, description)
    return (await waiting).data


async def test_what_is_too_large_for_udp_fails_with_its_size(server):
    engine = Engine()
    await engine.set_tcp_port(None)
    told = await refused_call(server, "udp", user="x" * 1300)
    assert "the limit is 1300: let TCP listen too" in told.disconnect_reason
    _, route = where(server, "udp")
    uri = SIPURI("example.org", "alice")
    text = b"x" * 1300
    request = CoreRequest("MESSAGE", FromHeader(uri), ToHeader(uri), uri, route, content_type="text/plain", body=text)
    with pytest.raises(SIPCoreError) as caught:
        await request.send(timeout=LIMIT)
    error = caught.value.__cause__
    assert isinstance(error, MessageTooLarge)
    assert error.limit == 1300 < error.size
    assert str(error) in str(caught.value)
    assert server.requests == []
