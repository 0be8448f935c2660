"""RFC 3263 decisions, shown without a network: a dictionary answers the questions."""

from __future__ import annotations

import pytest

from sipsimple.lookup.algorithm import (
    MAX_TARGETS,
    LookupRefused,
    Naptr,
    Srv,
    service_addresses,
    sip_routes,
)
from sipsimple.sip.uri import SIPURI

HOSTS = {("A", "sip1.example.com"): ["192.0.2.1"], ("A", "sip2.example.com"): ["192.0.2.2", "192.0.2.3"]}
SRVS = {
    ("SRV", "_sip._udp.example.com"): [Srv(20, 0, 5060, "sip2.example.com"), Srv(10, 0, 5062, "sip1.example.com")],
    ("SRV", "_sips._tcp.example.com"): [Srv(10, 0, 5061, "sip1.example.com")],
}


def find(steps, zone):
    """Run a lookup against the zone; gives (result, questions asked)."""
    asked = []
    answers = None
    while True:
        try:
            questions = steps.send(answers)
        except StopIteration as end:
            return end.value, asked
        asked += questions
        answers = [list(zone.get(question, [])) for question in questions]


def routes(uri, transports, zone=None):
    hops, asked = find(sip_routes(uri, transports), zone or {})
    return [tuple(hop) for hop in hops], [tuple(question) for question in asked]


@pytest.mark.parametrize(
    ("uri", "transports", "hop"),
    [
        (SIPURI("192.0.2.9"), ["tls", "udp"], ("192.0.2.9", 5060, "udp")),
        (SIPURI("192.0.2.9", port=5070), ["udp"], ("192.0.2.9", 5070, "udp")),
        (SIPURI("192.0.2.9", secure=True), ["udp", "tls"], ("192.0.2.9", 5061, "tls")),
        (SIPURI("192.0.2.9", parameters={"transport": "TCP"}), ["udp", "tcp"], ("192.0.2.9", 5060, "tcp")),
        (SIPURI("[2001:db8::9]"), ["udp"], ("2001:db8::9", 5060, "udp")),
    ],
)
def test_an_address_needs_no_question(uri, transports, hop):
    assert routes(uri, transports) == ([hop], [])


def test_a_port_makes_it_a_host():
    uri = SIPURI("sip2.example.com", port=5080)
    hops, asked = routes(uri, ["udp"], HOSTS | SRVS)
    assert hops == [("192.0.2.2", 5080, "udp"), ("192.0.2.3", 5080, "udp")]
    assert asked == [("A", "sip2.example.com")]


def test_a_transport_parameter_skips_naptr():
    uri = SIPURI("example.com", parameters={"transport": "udp"})
    hops, asked = routes(uri, ["tls", "udp"], HOSTS | SRVS)
    assert hops == [("192.0.2.1", 5062, "udp"), ("192.0.2.2", 5060, "udp"), ("192.0.2.3", 5060, "udp")]
    assert asked[0] == ("SRV", "_sip._udp.example.com")


def test_a_transport_parameter_without_srv_leads_to_the_host():
    uri = SIPURI("sip1.example.com", parameters={"transport": "tls"})
    assert routes(uri, ["tls", "udp"], HOSTS)[0] == [("192.0.2.1", 5061, "tls")]


def test_naptr_result_is_in_the_order_of_the_supported_transports():
    zone = HOSTS | {
        ("NAPTR", "example.com"): [
            Naptr(10, 50, "s", "SIP+D2U", "_a.example.net"),
            Naptr(20, 50, "S", "sips+d2t", "_b.example.net"),
            Naptr(5, 50, "s", "SIP+D2S", "_sctp.example.net"),
        ],
        ("SRV", "_a.example.net"): [Srv(0, 0, 5060, "sip1.example.com")],
        ("SRV", "_b.example.net"): [Srv(0, 0, 5061, "sip2.example.com")],
    }
    hops, asked = routes(SIPURI("example.com"), ["tls", "udp", "tcp"], zone)
    assert hops == [("192.0.2.2", 5061, "tls"), ("192.0.2.3", 5061, "tls"), ("192.0.2.1", 5060, "udp")]
    assert ("SRV", "_sctp.example.net") not in asked


def test_naptr_with_flag_a_leads_to_a_host():
    zone = HOSTS | {("NAPTR", "example.com"): [Naptr(1, 1, "a", "SIP+D2T", "sip1.example.com")]}
    assert routes(SIPURI("example.com"), ["tcp"], zone)[0] == [("192.0.2.1", 5060, "tcp")]


def test_naptr_inside_one_transport_is_by_order_then_preference():
    zone = {
        ("NAPTR", "example.com"): [
            Naptr(10, 20, "s", "SIP+D2U", "late"),
            Naptr(10, 10, "s", "SIP+D2U", "soon"),
            Naptr(5, 99, "s", "SIP+D2U", "first"),
        ],
        **{("SRV", name): [Srv(0, 0, 1, name)] for name in ("late", "soon", "first")},
        **{("A", name): [f"192.0.2.{n}"] for n, name in enumerate(("late", "soon", "first"))},
    }
    assert [hop[0] for hop in routes(SIPURI("example.com"), ["udp"], zone)[0]] == [
        "192.0.2.2",
        "192.0.2.1",
        "192.0.2.0",
    ]


def test_srv_order_is_priority_then_falling_weight():
    records = [Srv(1, 1, 1, "c"), Srv(1, 9, 2, "b"), Srv(0, 0, 3, "a")]
    zone = {("SRV", "_sip._udp.example.com"): records, **{("A", host): [f"192.0.2.{ord(host)}"] for host in "abc"}}
    assert [hop[1] for hop in routes(SIPURI("example.com"), ["udp"], zone)[0]] == [3, 2, 1]


def test_without_naptr_srv_of_each_supported_transport():
    hops, _ = routes(SIPURI("example.com"), ["tls", "udp"], HOSTS | SRVS)
    assert [hop[2] for hop in hops] == ["tls", "udp", "udp", "udp"]


@pytest.mark.parametrize(
    ("transports", "secure", "hop"),
    [
        (["tls", "tcp", "udp"], False, ("192.0.2.1", 5060, "udp")),
        (["tls", "tcp"], False, ("192.0.2.1", 5061, "tls")),
        (["udp", "tls"], True, ("192.0.2.1", 5061, "tls")),
    ],
)
def test_without_srv_the_host_itself_by_a_supported_transport(transports, secure, hop):
    assert routes(SIPURI("sip1.example.com", secure=secure), transports, HOSTS)[0] == [hop]


def test_a_dead_naptr_target_falls_back_to_srv():
    zone = HOSTS | SRVS | {("NAPTR", "example.com"): [Naptr(1, 1, "s", "SIP+D2U", "_gone.example.com")]}
    assert routes(SIPURI("example.com"), ["tls"], zone)[0] == [("192.0.2.1", 5061, "tls")]


def test_sips_asks_for_tls_only():
    _, asked = routes(SIPURI("example.com", secure=True), ["udp", "tls"], HOSTS | SRVS)
    assert [name for kind, name in asked if kind == "SRV"] == ["_sips._tcp.example.com"]


@pytest.mark.parametrize(
    ("uri", "transports", "text"),
    [
        (SIPURI("example.com"), [], "No transports are supported"),
        (SIPURI("example.com"), ["udp", "sctp", "ws"], "Unknown transports: sctp, ws"),
        (
            SIPURI("192.0.2.1", parameters={"transport": "tcp"}),
            ["udp"],
            "Transport tcp dictated by URI is not supported",
        ),
        (
            SIPURI("example.com", parameters={"transport": "tcp"}),
            ["udp"],
            "Transport tcp dictated by URI is not supported",
        ),
        (SIPURI("example.com", port=5060, secure=True), ["udp"], "Transport tls dictated by URI is not supported"),
        (SIPURI("example.com", secure=True), ["tcp", "udp"], "Transport tls dictated by URI is not supported"),
        (
            SIPURI("example.com", secure=True, parameters={"transport": "tcp"}),
            ["tcp", "tls"],
            "Transport tcp dictated by URI conflicts with its sips scheme, which needs tls",
        ),
    ],
)
def test_conflicts_are_refused(uri, transports, text):
    with pytest.raises(LookupRefused) as caught:
        routes(uri, transports, HOSTS | SRVS)
    assert str(caught.value) == text


def test_a_service_that_is_decidedly_absent_is_no_target():
    zone = {("SRV", "_sip._udp.example.com"): [Srv(0, 0, 0, ".")]}
    hops, asked = routes(SIPURI("example.com"), ["udp"], zone)
    assert hops == []
    assert ("A", ".") not in asked


def test_a_large_zone_does_not_make_us_ask_without_end():
    records = [Srv(0, 0, 5060, f"h{n}.example.com") for n in range(1000)]
    _, asked = routes(SIPURI("example.com"), ["udp"], {("SRV", "_sip._udp.example.com"): records})
    assert sum(kind == "A" for kind, _ in asked) <= MAX_TARGETS + 1


@pytest.mark.parametrize(
    ("service", "name", "port"),
    [("stun", "_stun._udp.example.com", 3478), ("msrprelay", "_msrps._tcp.example.com", 2855)],
)
def test_service_by_srv_else_at_the_host(service, name, port):
    zone = HOSTS | {("SRV", name): [Srv(2, 0, 99, "sip1.example.com"), Srv(1, 0, 98, "sip2.example.com")]}
    assert find(service_addresses("example.com", service), zone)[0] == [
        ("192.0.2.2", 98),
        ("192.0.2.3", 98),
        ("192.0.2.1", 99),
    ]
    assert find(service_addresses("sip1.example.com", service), HOSTS)[0] == [("192.0.2.1", port)]
    assert find(service_addresses("192.0.2.7", service), {}) == ([("192.0.2.7", port)], [])


def test_unknown_service_is_refused():
    with pytest.raises(LookupRefused, match="Unknown service: turn"):
        find(service_addresses("example.com", "turn"), {})
