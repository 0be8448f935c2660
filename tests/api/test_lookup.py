"""DNS lookup as documented, against a DNS server on loopback."""

from __future__ import annotations

import asyncio
import inspect
import time
from datetime import datetime

import dns.exception
import dns.resolver
import pytest

from sipsimple.lookup import DNSLookup, DNSLookupError, Route
from sipsimple.lookup.dnslookup import _Shared
from sipsimple.loop import bind_loop, unbind_loop
from sipsimple.notification import Any, NotificationCenter
from sipsimple.sip.uri import SIPURI, FrozenSIPURI
from tests.dns_server import DNSServer

ZONE = {
    ("example.com", "NS"): ["ns.example.com."],
    ("example.com", "NS glue"): ["ns.example.com. 127.0.0.1"],
    ("example.com", "NAPTR"): [
        '10 10 "s" "SIPS+D2T" "" _sips._tcp.example.com.',
        '20 10 "s" "SIP+D2U" "" _sip._udp.example.com.',
    ],
    ("_sips._tcp.example.com", "SRV"): ["0 0 5061 one.example.com."],
    ("_sip._udp.example.com", "SRV"): ["20 0 5060 two.example.com.", "10 0 5062 one.example.com."],
    ("_stun._udp.example.com", "SRV"): ["1 10 3478 two.example.com.", "1 20 3479 one.example.com."],
    ("_msrps._tcp.example.com", "SRV"): ["0 0 2855 one.example.com."],
    ("one.example.com", "A"): ["192.0.2.1"],
    ("two.example.com", "A"): ["192.0.2.2"],
    ("example.com", "AAAA"): ["2001:db8::1"],
    ("_sip._udp.srv.example", "SRV"): ["0 0 5060 one.example.com."],
    ("plain.example", "A"): ["192.0.2.7"],
}


@pytest.fixture(autouse=True)
async def bound():
    _Shared.memory = None
    bind_loop(asyncio.get_running_loop())
    yield
    unbind_loop(asyncio.get_running_loop())


class Observer:
    def __init__(self, sender=Any):
        self.notifications = []
        NotificationCenter().add_observer(self, sender=sender)

    def handle_notification(self, notification):
        self.notifications.append(notification)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        NotificationCenter().purge_observer(self)

    @property
    def names(self):
        return [notification.name for notification in self.notifications]

    def traces(self):
        return [notification.data for notification in self.notifications if notification.name == "DNSLookupTrace"]


def lookup_at(server: DNSServer, *nameservers: str) -> DNSLookup:
    lookup = DNSLookup()
    lookup.resolver_factory = lambda: server.resolver(*nameservers)
    return lookup


@pytest.mark.spec(1, 2, 12)
async def test_lookup_service_finds_srv_targets_in_order():
    async with DNSServer(ZONE) as server:
        lookup, other = lookup_at(server), lookup_at(server)
        with Observer(lookup) as seen, Observer(other) as others:
            result = await lookup.lookup_service(SIPURI("example.com"), "stun")
    assert result == [("192.0.2.1", 3479), ("192.0.2.2", 3478)]
    (success,) = (n for n in seen.notifications if n.name != "DNSLookupTrace")
    assert success.name == "DNSLookupDidSucceed"
    assert success.data.result is result
    assert isinstance(success.data.timestamp, datetime)
    assert others.notifications == []


@pytest.mark.spec(3, 4)
@pytest.mark.parametrize("kind", [SIPURI, FrozenSIPURI])
async def test_lookup_service_uses_the_host_alone(kind):
    uri = kind.parse("sip:alice@example.com:5080;transport=tcp")
    async with DNSServer(ZONE) as server:
        assert await lookup_at(server).lookup_service(uri, "msrprelay") == [("192.0.2.1", 2855)]


@pytest.mark.spec(2)
async def test_lookup_service_without_srv_is_the_host_with_the_default_port():
    async with DNSServer(ZONE) as server:
        lookup = lookup_at(server)
        assert await lookup.lookup_service(SIPURI("plain.example"), "stun") == [("192.0.2.7", 3478)]
        assert await lookup.lookup_service(SIPURI("plain.example"), "msrprelay") == [("192.0.2.7", 2855)]


async def failure(lookup: DNSLookup, start) -> str:
    """The error text of a lookup that fails with exactly one DNSLookupDidFail, in result and notification alike."""
    with Observer(lookup) as seen, pytest.raises(DNSLookupError) as caught:
        await start(lookup)
    (failed,) = (n for n in seen.notifications if n.name != "DNSLookupTrace")
    assert failed.name == "DNSLookupDidFail"
    assert failed.data.error == str(caught.value)
    assert isinstance(failed.data.timestamp, datetime)
    return failed.data.error


@pytest.mark.spec(4, 13)
async def test_lookup_service_failures():
    async with DNSServer(ZONE) as server:
        lookup = lookup_at(server)
        assert (
            await failure(lookup, lambda x: x.lookup_service(SIPURI("example.com"), "turn")) == "Unknown service: turn"
        )
        text = await failure(lookup, lambda x: x.lookup_service(SIPURI("nowhere.example"), "stun"))
        assert text == "No stun servers found for domain nowhere.example"
        server.silent = {"NS", "SRV", "A"}
        text = await failure(lookup, lambda x: x.lookup_service(SIPURI("quiet.example"), "msrprelay", 0.05))
        assert text == "Timeout in lookup for msrprelay servers for domain quiet.example"


@pytest.mark.spec(7, 9)
async def test_lookup_sip_proxy_by_naptr_in_the_order_of_the_supported_transports():
    async with DNSServer(ZONE) as server:
        result = await lookup_at(server).lookup_sip_proxy(SIPURI("example.com"), ["UDP", "tls"])
        assert result == [
            Route("192.0.2.1", 5062, "udp"),
            Route("192.0.2.2", 5060, "udp"),
            Route("192.0.2.1", 5061, "tls"),
        ]
        assert await lookup_at(server).lookup_sip_proxy(SIPURI("srv.example"), ["tls", "udp"]) == [Route("192.0.2.1")]
        assert await lookup_at(server).lookup_sip_proxy(SIPURI("plain.example"), ["tls", "udp"]) == [Route("192.0.2.7")]


@pytest.mark.spec(8)
async def test_what_the_uri_says_shortens_the_lookup():
    async with DNSServer(ZONE) as server:
        lookup = lookup_at(server)
        assert await lookup.lookup_sip_proxy(SIPURI("192.0.2.9"), ["udp"]) == [Route("192.0.2.9")]
        assert not server.asked
        assert await lookup.lookup_sip_proxy(SIPURI("one.example.com", port=5099), ["udp"]) == [
            Route("192.0.2.1", 5099)
        ]
        assert {kind for _, kind in server.asked} == {"NS", "A"}
        uri = SIPURI("example.com", parameters={"transport": "udp"})
        assert [route.port for route in await lookup.lookup_sip_proxy(uri, ["tls", "udp"])] == [5062, 5060]
        secure = SIPURI("example.com", secure=True)
        assert [str(r.transport) for r in await lookup.lookup_sip_proxy(secure, ["udp", "tls"])] == ["tls"]


@pytest.mark.spec(9, 13)
async def test_lookup_sip_proxy_failures():
    async with DNSServer(ZONE) as server:
        lookup = lookup_at(server)
        uri = SIPURI("example.com")
        assert await failure(lookup, lambda x: x.lookup_sip_proxy(uri, [])) == "No transports are supported"
        assert await failure(lookup, lambda x: x.lookup_sip_proxy(uri, ["sctp"])) == "Unknown transports: sctp"
        uri = SIPURI("example.com", parameters={"transport": "tcp"})
        text = await failure(lookup, lambda x: x.lookup_sip_proxy(uri, ["udp"]))
        assert text == "Transport tcp dictated by URI is not supported"
        uri = SIPURI("nowhere.example", user="bob")
        text = await failure(lookup, lambda x: x.lookup_sip_proxy(uri, ["udp"]))
        assert text == "No routes found for SIP URI sip:bob@nowhere.example"
        text = await failure(lookup, lambda x: x.lookup_sip_proxy(SIPURI("a..b"), ["udp"]))
        assert text.startswith("'a..b' is no host name")
        server.silent = {"NS", "NAPTR", "SRV", "A"}
        text = await failure(lookup, lambda x: x.lookup_sip_proxy(SIPURI("quiet.example"), ["udp"], timeout=0.05))
        assert text == "Timeout in lookup for routes for SIP URI sip:quiet.example"


@pytest.mark.spec(5, 6, 10, 11)
async def test_a_silent_server_costs_no_more_than_the_lifetime():
    for method in (DNSLookup.lookup_service, DNSLookup.lookup_sip_proxy):
        defaults = {name: p.default for name, p in inspect.signature(method).parameters.items()}
        assert (defaults["timeout"], defaults["lifetime"]) == (3.0, 15.0)
    async with DNSServer({}, silent={"NS", "NAPTR", "SRV", "A"}) as server:
        lookup = lookup_at(server)
        started = time.monotonic()
        await failure(lookup, lambda x: x.lookup_sip_proxy(SIPURI("example.com"), ["udp"], timeout=3.0, lifetime=0.2))
        await failure(lookup, lambda x: x.lookup_service(SIPURI("example.com"), "stun", timeout=3.0, lifetime=0.2))
        assert 0.4 <= time.monotonic() - started < 5


@pytest.mark.spec(5, 10)
async def test_a_silent_server_is_followed_by_the_next_one():
    async with (
        DNSServer({}, silent={"NS", "SRV", "A"}, address="127.0.0.2") as silent,
        DNSServer(ZONE, port=silent.port) as server,
    ):
        lookup = lookup_at(server, "127.0.0.2", "127.0.0.1")
        assert await lookup.lookup_service(SIPURI("plain.example"), "stun", timeout=0.05) == [("192.0.2.7", 3478)]


@pytest.mark.spec(14)
async def test_each_query_is_traced():
    uri = SIPURI("example.com")
    async with DNSServer(ZONE) as server:
        lookup = lookup_at(server)
        with Observer(lookup) as seen:
            await lookup.lookup_sip_proxy(uri, ["udp"])
        assert seen.names[-1] == "DNSLookupDidSucceed"
        traces = seen.traces()
        assert sum(server.asked.values()) == len(traces)
        assert {trace.query_type for trace in traces} == {"NS", "NAPTR", "SRV", "A"}
        for trace in traces:
            assert (trace.answer is None) != (trace.error is None)
            assert trace.context == "lookup_sip_proxy"
            assert trace.uri is uri
            assert isinstance(trace.timestamp, datetime)
            assert not hasattr(trace, "service")
        (naptr,) = (trace for trace in traces if trace.query_type == "NAPTR")
        assert naptr.answer.ttl == 300
        assert {record.service for record in naptr.answer} == {b"SIPS+D2T", b"SIP+D2U"}
        errors = {type(trace.error) for trace in traces if trace.error is not None}
        assert errors == {dns.resolver.NXDOMAIN, dns.resolver.NoAnswer}
        with Observer(lookup) as seen:
            await lookup.lookup_service(uri, "stun")
        assert {trace.service for trace in seen.traces()} == {"stun"}
        assert {trace.context for trace in seen.traces()} == {"lookup_service"}


async def test_a_second_lookup_is_answered_from_the_cache_and_traced_all_the_same():
    async with DNSServer(ZONE) as server:
        first = await lookup_at(server).lookup_service(SIPURI("example.com"), "stun")
        asked = server.asked.total()
        lookup = lookup_at(server)
        with Observer(lookup) as seen:
            assert await lookup.lookup_service(SIPURI("example.com"), "stun") == first
        assert server.asked.total() == asked
        assert [trace.query_type for trace in seen.traces()] == ["SRV", "A", "A"]


async def test_an_answer_is_not_kept_for_longer_than_an_hour():
    async with DNSServer(ZONE, ttl=90000) as server:
        await lookup_at(server).lookup_service(SIPURI("example.com"), "stun")
    kept = [node.value.expiration for node in _Shared.memory.answers.data.values()]
    assert max(kept) <= time.time() + 3600


async def test_the_authoritative_server_is_asked_first():
    local_zone = {
        ("example.com", "NS"): ["ns.example.net."],
        ("ns.example.net", "A"): ["127.0.0.2"],
        ("_stun._udp.example.com", "SRV"): ["0 0 1 wrong.example.com."],
    }
    async with DNSServer(local_zone) as local, DNSServer(ZONE, address="127.0.0.2", port=local.port) as authoritative:
        result = await lookup_at(local).lookup_service(SIPURI("example.com"), "stun")
    assert result == [("192.0.2.1", 3479), ("192.0.2.2", 3478)]
    assert ("_stun._udp.example.com", "SRV") in authoritative.asked
    assert {kind for _, kind in local.asked} == {"NS", "A"}


@pytest.mark.parametrize("broken", [{"silent": {"SRV", "A"}}, {"refused": {"SRV", "A"}}])
async def test_a_useless_authoritative_server_is_followed_by_the_local_one(broken):
    zone = ZONE | {("example.com", "NS glue"): ["ns.example.com. 127.0.0.2"]}
    async with DNSServer(zone) as local, DNSServer({}, address="127.0.0.2", port=local.port, **broken):
        lookup = lookup_at(local)
        assert await lookup.lookup_service(SIPURI("example.com"), "msrprelay", timeout=0.1) == [("192.0.2.1", 2855)]


async def test_name_servers_that_do_not_answer_ns_queries_are_used_all_the_same():
    async with DNSServer(ZONE, silent={"NS"}) as server:
        lookup = lookup_at(server)
        with Observer(lookup) as seen:
            assert await lookup.lookup_service(SIPURI("plain.example"), "stun", timeout=0.1) == [("192.0.2.7", 3478)]
    ns = [trace for trace in seen.traces() if trace.query_type == "NS"]
    assert [type(trace.error) for trace in ns] == [dns.exception.Timeout]


async def test_a_lost_datagram_is_sent_again():
    async with DNSServer(ZONE, lost=1) as server:
        assert await lookup_at(server).lookup_service(SIPURI("plain.example"), "stun", timeout=0.4) == [
            ("192.0.2.7", 3478)
        ]


async def test_a_truncated_answer_is_asked_for_by_tcp():
    async with DNSServer(ZONE, truncated={"SRV"}) as server:
        assert len(await lookup_at(server).lookup_service(SIPURI("example.com"), "stun")) == 2


async def test_an_alias_that_the_authoritative_server_does_not_follow_is_left_to_the_local_one():
    local_zone = {
        ("example.com", "NS"): ["ns.example.com."],
        ("ns.example.com", "A"): ["127.0.0.2"],
        ("alias.example.com", "A"): ["192.0.2.5"],
    }
    uri = SIPURI("alias.example.com", port=5060)
    zone = {("alias.example.com", "CNAME"): ["elsewhere.example.net."]}
    async with DNSServer(local_zone) as local, DNSServer(zone, address="127.0.0.2", port=local.port):
        assert await lookup_at(local).lookup_sip_proxy(uri, ["udp"]) == [Route("192.0.2.5")]


@pytest.mark.parametrize("answer", [dns.resolver.NoResolverConfiguration(), OSError("no such file"), None])
async def test_a_host_without_name_server_says_so(answer):
    def factory():
        if answer is not None:
            raise answer
        return dns.resolver.Resolver(configure=False)

    lookup = DNSLookup()
    lookup.resolver_factory = factory
    text = await failure(lookup, lambda x: x.lookup_sip_proxy(SIPURI("example.com"), ["udp"]))
    assert text.startswith("No name server is configured on this host")
    assert await lookup.lookup_sip_proxy(SIPURI("192.0.2.1"), ["udp"]) == [Route("192.0.2.1")]


async def test_a_lookup_that_is_cancelled_says_so():
    async with DNSServer({}, silent={"NS"}) as server:
        lookup = lookup_at(server)
        result = lookup.lookup_sip_proxy(SIPURI("example.com"), ["udp"])
        await asyncio.sleep(0)
        await lookup._tasks.close()
        with pytest.raises(DNSLookupError, match="cancelled"):
            await result
        with pytest.raises(DNSLookupError, match="cancelled"):
            result.wait(0)


async def test_another_thread_waits_for_the_result():
    def look_up():
        return DNSLookup().lookup_sip_proxy(SIPURI("192.0.2.1"), ["udp"]).wait(5)

    assert await asyncio.to_thread(look_up) == [Route("192.0.2.1")]


async def test_a_route_knows_the_domain_that_was_looked_up():
    async with DNSServer(ZONE) as server:
        (route,) = await lookup_at(server).lookup_sip_proxy(SIPURI("plain.example", secure=True), ["tls"])
        assert (route.address, route.domain) == ("192.0.2.7", "plain.example")
        (literal,) = await lookup_at(server).lookup_sip_proxy(SIPURI("192.0.2.7"), ["udp"])
        assert literal.domain is None
