"""DNS lookup with a real name server: RFC 3263 over zones of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sipsimple.core import SIPURI
from sipsimple.lookup import DNSLookup, DNSLookupError
from sipsimple.lookup.dnslookup import _Shared
from sipsimple.loop import bind_loop, unbind_loop
from sipsimple.notification import NotificationCenter
from tests.interop.nsd import NameServer

ZONES = {
    "full.example": """\
@ NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp
@ NAPTR 20 10 "S" "sip+d2t" "" _sip._tcp
@ NAPTR 20 20 "s" "SIP+D2U" "" _sip._udp
@ NAPTR 5 10 "s" "H323+D2T" "" _h323._tcp
_sips._tcp SRV 0 0 5061 one
_sip._tcp SRV 10 10 5060 two
_sip._tcp SRV 10 90 5070 one
_sip._udp SRV 20 0 5060 one
_sip._udp SRV 10 0 5080 two
_stun._udp SRV 2 0 3478 one
_stun._udp SRV 1 10 3479 two
_stun._udp SRV 1 20 3480 one
_msrps._tcp SRV 0 0 2855 one
one A 192.0.2.1
two A 192.0.2.2
two A 192.0.2.3
two AAAA 2001:db8::2
""",
    "srv.example": """\
_sip._udp SRV 0 0 5060 host
_sip._tcp SRV 0 0 5060 host
host A 192.0.2.10
""",
    "plain.example": "@ A 192.0.2.20\nwww A 192.0.2.21\n",
    "broken.example": """\
@ NAPTR 10 10 "u" "E2U+sip" "!^.*$!sip:info@broken.example!" .
@ NAPTR 10 10 "s" "SIP+D2U" "" _nothing._udp
_sip._udp SRV 0 0 5060 dangling
@ A 192.0.2.30
""",
    "empty.example": "",
}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NameServer]:
    _Shared.memory = None
    bind_loop(asyncio.get_running_loop())
    async with NameServer(tmp_path / "nsd", ZONES) as running:
        yield running
    unbind_loop(asyncio.get_running_loop())


def lookup_at(server: NameServer) -> DNSLookup:
    lookup = DNSLookup()
    lookup.resolver_factory = server.resolver
    return lookup


async def routes(server: NameServer, uri: SIPURI, *transports: str) -> list[tuple[str, int, str]]:
    found = await lookup_at(server).lookup_sip_proxy(uri, list(transports))
    return [(route.address, route.port, route.transport) for route in found]


@pytest.mark.spec(7, 9, 12)
async def test_naptr_srv_and_addresses_are_followed_in_the_order_of_the_transports(server: NameServer):
    found = await routes(server, SIPURI("full.example"), "udp", "tls", "tcp")
    assert found == [
        ("192.0.2.2", 5080, "udp"),
        ("192.0.2.3", 5080, "udp"),
        ("192.0.2.1", 5060, "udp"),
        ("192.0.2.1", 5061, "tls"),
        ("192.0.2.1", 5070, "tcp"),
        ("192.0.2.2", 5060, "tcp"),
        ("192.0.2.3", 5060, "tcp"),
    ]


@pytest.mark.spec(8)
@pytest.mark.parametrize(
    ("uri", "transports", "found"),
    [
        (SIPURI("full.example", secure=True), ("udp", "tcp", "tls"), [("192.0.2.1", 5061, "tls")]),
        (SIPURI("one.full.example", port=5099), ("udp", "tcp"), [("192.0.2.1", 5099, "udp")]),
        (SIPURI("srv.example", parameters={"transport": "tcp"}), ("udp", "tcp"), [("192.0.2.10", 5060, "tcp")]),
        (SIPURI("srv.example"), ("tcp", "udp"), [("192.0.2.10", 5060, "tcp"), ("192.0.2.10", 5060, "udp")]),
        (SIPURI("plain.example"), ("udp", "tcp"), [("192.0.2.20", 5060, "udp")]),
        (SIPURI("plain.example"), ("tcp",), [("192.0.2.20", 5060, "tcp")]),
    ],
)
async def test_what_the_uri_says_and_what_there_is_decide(server: NameServer, uri: Any, transports: Any, found: Any):
    assert await routes(server, uri, *transports) == found


async def test_broken_records_do_not_hide_the_host(server: NameServer):
    assert await routes(server, SIPURI("broken.example"), "udp") == [("192.0.2.30", 5060, "udp")]


@pytest.mark.spec(2, 3, 4)
@pytest.mark.parametrize(
    ("host", "service", "found"),
    [
        ("full.example", "stun", [("192.0.2.1", 3480), ("192.0.2.2", 3479), ("192.0.2.3", 3479), ("192.0.2.1", 3478)]),
        ("full.example", "msrprelay", [("192.0.2.1", 2855)]),
        ("plain.example", "stun", [("192.0.2.20", 3478)]),
        ("plain.example", "msrprelay", [("192.0.2.20", 2855)]),
    ],
)
async def test_services_are_found_by_srv_or_at_the_host(server: NameServer, host: str, service: str, found: Any):
    assert await lookup_at(server).lookup_service(SIPURI(host), service) == found


@pytest.mark.spec(13)
@pytest.mark.parametrize("host", ["empty.example", "nothing.plain.example"])
async def test_a_domain_without_anything_is_a_clear_failure(server: NameServer, host: str):
    with pytest.raises(DNSLookupError, match=f"No routes found for SIP URI sip:{host}"):
        await lookup_at(server).lookup_sip_proxy(SIPURI(host), ["udp"])


@pytest.mark.spec(14)
async def test_every_query_is_traced_with_answer_or_error(server: NameServer):
    traced = []

    class Observer:
        def handle_notification(self, notification: Any) -> None:
            traced.append(notification.data)

    observer = Observer()
    lookup = lookup_at(server)
    NotificationCenter().add_observer(observer, "DNSLookupTrace", lookup)
    await lookup.lookup_sip_proxy(SIPURI("full.example"), ["udp"])
    NotificationCenter().remove_observer(observer, "DNSLookupTrace", lookup)
    assert {"NS", "NAPTR", "SRV", "A"} <= {data.query_type for data in traced}
    for data in traced:
        assert (data.answer is None) != (data.error is None)
        assert data.context == "lookup_sip_proxy"
        assert data.uri.host == "full.example"


@pytest.mark.spec(5, 6, 10, 11)
async def test_a_server_that_was_stopped_is_waited_for_no_longer_than_asked(server: NameServer):
    await server.stop()
    loop = asyncio.get_running_loop()
    begin = loop.time()
    with pytest.raises(DNSLookupError):
        await lookup_at(server).lookup_sip_proxy(SIPURI("full.example"), ["udp"], timeout=0.3, lifetime=1.0)
    assert loop.time() - begin < 3
