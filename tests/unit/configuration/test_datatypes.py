from __future__ import annotations

import pickle

import pytest

from sipsimple.configuration import datatypes as types
from sipsimple.configuration.datatypes import List, PortRange, SIPAddress
from sipsimple.configuration.storage import from_stored, to_stored


@pytest.mark.parametrize(
    ("type", "value", "result"),
    [
        (types.ContentType, "*", "*"),
        (types.ContentType, "text/plain", "text/plain"),
        (types.ContentType, "text/*", "text/*"),
        (types.CountryCode, "40", "40"),
        (types.CountryCode, 40, "40"),
        (types.NonNegativeInteger, "0", 0),
        (types.Port, "65535", 65535),
        (types.Port, 0, 0),
        (types.SampleRate, "44100", 44100),
        (types.Hostname, "192.0.2.1", "192.0.2.1"),
        (types.Hostname, "sip-1.my_host.example.com", "sip-1.my_host.example.com"),
        (types.Hostname, "localhost", "localhost"),
        (types.Hostname, "5", "5"),
        (types.Hostname, "2001:db8::1", "2001:db8::1"),
        (types.Hostname, "[2001:db8::1]", "2001:db8::1"),
        (types.SIPAddress, "alice@example.com", "alice@example.com"),
        (types.SIPAddress, "a@b@example.com", "a%40b@example.com"),
        (types.SIPAddress, "alice@[::1]", "alice@::1"),
        (types.AudioInputDevice, "My Mic", "My Mic"),
        (types.AudioOutputDevice, "system_default", "system_default"),
        (types.MSRPTransport, "tcp", "tcp"),
        (types.SIPTransport, "udp", "udp"),
        (types.SRTPEncryption, "mandatory", "mandatory"),
        (types.TLSProtocol, "TLSv1", "TLSv1"),
        (types.TLSProtocol, "SSLv2", "SSLv2"),
        (types.TLSProtocol, "SSL3", "SSLv3"),
        (types.TLSProtocol, "SSLv3", "SSLv3"),
        (types.TLSProtocol, "SSL23", "SSLv23"),
        (types.TLSProtocol, "SSLv23", "SSLv23"),
        (types.Path, "/a/../b//c/", "/b/c"),
        (types.XCAPRoot, "https://xcap.example.com/root/", "https://xcap.example.com/root/"),
        (types.XCAPRoot, "http://192.0.2.1:8080/", "http://192.0.2.1:8080/"),
        (types.AudioCodec, "iLBC", "iLBC"),
    ],
)
def test_accepted_values(type, value, result):
    made = type(value)
    assert made == result
    assert isinstance(made, type)
    assert from_stored(type, to_stored(made)) == made
    assert pickle.loads(pickle.dumps(made)) == made


@pytest.mark.parametrize(
    ("type", "values"),
    [
        (types.ContentType, ["", "text", "text/", "/plain", "*/*", "a/b/c"]),
        (types.CountryCode, ["", "0", "040", "4a", "40\n", "+40"]),
        (types.NonNegativeInteger, [-1, "-1", "x", ""]),
        (types.Port, [-1, 65536, "x"]),
        (types.SampleRate, ["fast"]),
        (
            types.Hostname,
            ["", ".", "a..b", "a.", ".a", "-a", "a-", "a b", "1.2.3.4x.", "1.2.3.999", "1.2.3", "1.2.3.4\n"],
        ),
        (
            types.Hostname,
            ["a" * 64, ".".join(["abcdefg"] * 40), "::g", "[::1", "[1.2.3.4]", "h:1", "\u00e9.com"],
        ),
        (types.SIPAddress, ["", "alice", "@example.com", "alice@", "a b@example.com", "alice@exa mple", "a\x00b@c.d"]),
        (types.MSRPTransport, ["udp", "TLS", ""]),
        (types.SIPTransport, ["sctp", "UDP", None]),
        (types.SRTPEncryption, ["yes", ""]),
        (types.TLSProtocol, ["TLS", "tlsv1", None]),
        (types.AudioCodec, ["pcmu", "G729"]),
        (
            types.XCAPRoot,
            ["", "ftp://example.com/", "https://", "http://exa mple/", "http://example.com:0/", "http://[::1/"],
        ),
        (
            types.XCAPRoot,
            ["http://example.com/?q", "http://example.com/#f", "http://example.com/;p", "http://example.com:x/"],
        ),
    ],
)
def test_refused_values(type, values):
    for value in values:
        with pytest.raises(ValueError):
            type(value)


def test_a_refusal_says_what_would_do():
    with pytest.raises(ValueError, match="'sctp' is no SIPTransport: it has to be one of udp, tcp, tls"):
        types.SIPTransport("sctp")


def test_the_parts_of_a_sip_address():
    address = SIPAddress("alice@example.com")
    assert (address.username, address.domain) == ("alice", "example.com")
    assert SIPAddress(address) == address


def test_a_path_keeps_its_tilde_and_expands_it_on_request(monkeypatch):
    monkeypatch.setenv("HOME", "/home/alice")
    path = types.Path("~/x/../y")
    assert path == "~/y"
    assert path.normalized == "/home/alice/y"


def test_a_list_behaves_like_a_list():
    values = types.SIPTransportList(["tls", "udp"])
    assert list(values) == values.values == ["tls", "udp"]
    assert all(isinstance(value, types.SIPTransport) for value in values)
    assert len(values) == 2
    assert "tls" in values
    assert "tcp" not in values
    assert (values[0], values[-1], values[:1]) == ("tls", "udp", ["tls"])
    assert (values.index("udp"), values.count("udp")) == (1, 1)
    assert list(reversed(values)) == ["udp", "tls"]
    assert values + ["tcp"] == ["tls", "udp", "tcp"]  # noqa: RUF005
    assert ["tcp"] + values == ["tcp", "tls", "udp"]  # noqa: RUF005
    assert isinstance(["tcp"] + values, types.SIPTransportList)  # noqa: RUF005
    assert values * 2 == 2 * values == ["tls", "udp", "tls", "udp"]
    assert values == ["tls", "udp"]
    assert values == List(["tls", "udp"])
    assert values != ["udp", "tls"]
    assert values != "tls"
    assert hash(values) == hash(List(["tls", "udp"]))
    assert repr(values) == "SIPTransportList(['tls', 'udp'])"
    assert str(values) == "tls, udp"
    with pytest.raises(TypeError):
        values + 5
    with pytest.raises(TypeError):
        5 + values
    with pytest.raises(ValueError):
        values + ["sctp"]  # noqa: RUF005


def test_a_list_converts_to_text_by_default():
    assert List([1, "a"]) == ["1", "a"]
    assert List() == []


@pytest.mark.parametrize(
    ("type", "values", "stored"),
    [
        (types.List, [], []),
        (types.ContentTypeList, ["text/plain", "*"], ["text/plain", "*"]),
        (types.AudioCodecList, ["opus", "speex", "G722", "PCMU", "PCMA", "iLBC", "GSM"], None),
        (types.DomainList, ["example.com", "x-1.example"], None),
        (types.SIPTransportList, ["udp"], ["udp"]),
        (types.STUNServerAddressList, ["192.0.2.1", "stun:1"], ["192.0.2.1:3478", "stun:1"]),
    ],
)
def test_lists_are_stored_as_lists_of_text(type, values, stored):
    made = type(values)
    assert to_stored(made) == (stored or values)
    assert from_stored(type, to_stored(made)) == made


def test_a_stored_text_is_a_list_of_one():
    assert from_stored(types.AudioCodecList, "PCMU") == ["PCMU"]


@pytest.mark.parametrize(
    ("type", "values"),
    [
        (types.AudioCodecList, ["pcmu"]),
        (types.DomainList, ["-x"]),
        (types.STUNServerAddressList, ["a:b"]),
        (types.STUNServerAddressList, [""]),
    ],
)
def test_lists_refuse_what_their_type_refuses(type, values):
    with pytest.raises(ValueError):
        type(values)


def test_a_list_of_truth_values():
    class Flags(List):
        type = bool

    assert to_stored(Flags([True, False])) == ["true", "false"]
    assert from_stored(Flags, ["no", "yes"]) == [False, True]
    with pytest.raises(ValueError, match="not a list"):
        from_stored(Flags, [["no"]])


def test_port_ranges():
    ports = PortRange("50000", 50400)
    assert (ports.start, ports.end) == (50000, 50400)
    assert str(ports) == "50000-50400"
    assert repr(ports) == "PortRange(start=50000, end=50400)"
    assert ports == from_stored(PortRange, to_stored(ports))
    assert hash(ports) == hash(PortRange(50000, 50400))
    assert ports != PortRange(50000, 50401)
    assert ports != "50000-50400"


@pytest.mark.parametrize("ports", [(0, 5), (5, 0), (6, 5), (1, 65536), ("x", 5)])
def test_refused_port_ranges(ports):
    with pytest.raises(ValueError):
        PortRange(*ports)


@pytest.mark.parametrize("stored", ["5", "5-", "6-5", None, ["5", "6"]])
def test_refused_stored_port_ranges(stored):
    with pytest.raises(ValueError):
        from_stored(PortRange, stored)


@pytest.mark.parametrize(
    ("type", "description", "stored"),
    [
        (types.EndpointAddress, "example.com:5", "example.com:5"),
        (types.STUNServerAddress, "192.0.2.1", "192.0.2.1:3478"),
        (types.STUNServerAddress, "[2001:db8::1]:4", "[2001:db8::1]:4"),
        (types.MSRPRelayAddress, "relay", "relay:0;transport=tls"),
        (types.MSRPRelayAddress, "relay:2855;transport=tcp", "relay:2855;transport=tcp"),
        (types.SIPProxyAddress, "proxy", "proxy:5060;transport=udp"),
        (types.SIPProxyAddress, "proxy;transport=tls", "proxy:5060;transport=tls"),
        (types.SIPProxyAddress, "[::1]:5;transport=tcp", "[::1]:5;transport=tcp"),
    ],
)
def test_addresses_from_descriptions(type, description, stored):
    address = type.from_description(description)
    assert str(address) == to_stored(address) == stored
    assert from_stored(type, stored) == address
    assert hash(from_stored(type, stored)) == hash(address)
    assert type.from_description("") is None


@pytest.mark.parametrize(
    ("type", "descriptions"),
    [
        (types.EndpointAddress, ["example.com", "example.com:0", ":5", "a:b", "a:5:6", "a:65536", "a:5;transport=tls"]),
        (types.STUNServerAddress, ["a:0", "2001:db8::1"]),
        (types.MSRPRelayAddress, ["a;transport=udp", "a;transport=", "a;x", ";transport=tls"]),
        (types.SIPProxyAddress, ["a:0", "a:5;transport=sctp", "a :5"]),
    ],
)
def test_refused_descriptions(type, descriptions):
    for description in descriptions:
        with pytest.raises(ValueError):
            type.from_description(description)


def test_an_address_is_needed_where_one_is_stored():
    for stored in ("", None, ["a:5"]):
        with pytest.raises(ValueError, match="address is needed"):
            from_stored(types.STUNServerAddress, stored)


def test_addresses_are_compared_by_their_parts():
    proxy = types.SIPProxyAddress("proxy")
    assert (proxy.host, proxy.port, proxy.transport) == ("proxy", 5060, "udp")
    assert proxy == types.SIPProxyAddress("proxy", 5060, "udp")
    assert proxy != types.SIPProxyAddress("proxy", 5060, "tcp")
    assert types.STUNServerAddress("a") != types.STUNServerAddress("a", 1)
    assert types.STUNServerAddress("a") != "a:3478"
    assert repr(proxy) == "SIPProxyAddress('proxy', 5060, 'udp')"
    assert repr(types.STUNServerAddress("a")) == "STUNServerAddress('a', 3478)"
    assert types.MSRPRelayAddress("a", 0).port == 0
    with pytest.raises(ValueError):
        types.SIPProxyAddress("proxy", 0)
