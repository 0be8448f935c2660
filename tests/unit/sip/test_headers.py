import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.sip.errors import MalformedMessage
from sipsimple.sip.frozen import frozendict
from sipsimple.sip.headers import (
    ContactHeader,
    EventHeader,
    FromHeader,
    FrozenContactHeader,
    FrozenEventHeader,
    FrozenFromHeader,
    FrozenHeader,
    FrozenRecordRouteHeader,
    FrozenRetryAfterHeader,
    FrozenRouteHeader,
    FrozenSubscriptionStateHeader,
    FrozenToHeader,
    FrozenViaHeader,
    FrozenWarningHeader,
    Header,
    RecordRouteHeader,
    RetryAfterHeader,
    RouteHeader,
    SubscriptionStateHeader,
    ToHeader,
    ViaHeader,
    WarningHeader,
)
from sipsimple.sip.uri import SIPURI, FrozenForeignURI, FrozenSIPURI

from .strategies import headers

URI = FrozenSIPURI("example.com", "alice")
PARSERS = [
    FrozenContactHeader,
    FrozenFromHeader,
    FrozenRouteHeader,
    FrozenViaHeader,
    FrozenEventHeader,
    FrozenSubscriptionStateHeader,
    FrozenRetryAfterHeader,
    FrozenWarningHeader,
]


@given(headers)
def test_reading_undoes_writing(header):
    assert type(header).parse(header.body) == header
    mutable = header.normal_type.new(header)
    assert mutable == header
    assert mutable.body == header.body
    assert header.normal_type.parse(header.body) == header


@given(st.text(max_size=40) | st.text('"<>;,=\\ sip:a@[]1()/*', max_size=30), st.sampled_from(PARSERS))
def test_any_text_is_a_header_or_refused(text, parser):
    try:
        header = parser.parse(text)
    except MalformedMessage:
        return
    assert parser.parse(header.body) == header


def test_a_plain_header():
    header = Header("X-Thing", "a")
    assert (header.name, header.body, str(header)) == ("X-Thing", "a", "X-Thing: a")
    header.body = "b"
    assert header == FrozenHeader("X-Thing", "b")
    assert hash(FrozenHeader("a", "b")) == hash(FrozenHeader("a", "b"))
    with pytest.raises(TypeError):
        header.body = None


@pytest.mark.parametrize(
    ("body", "display_name", "uri", "parameters"),
    [
        ("<sip:alice@example.com>", None, URI, {}),
        ('"A. \\"B\\" \\\\C" <sip:alice@example.com>;tag=1', 'A. "B" \\C', URI, {"tag": "1"}),
        ("Alice Smith <sip:alice@example.com>", "Alice Smith", URI, {}),
        ("caller<sip:alice@example.com>;tag=323", "caller", URI, {"tag": "323"}),
        ("sip:alice@example.com;tag=1;x", None, URI, {"tag": "1", "x": None}),
        ('"" <sip:alice@example.com>', "", URI, {}),
        ("Zoë (home) <sip:alice@example.com>", "Zoë (home)", URI, {}),
        ('<sip:alice@example.com> ; a = "x;y, z" ;b', None, URI, {"a": '"x;y, z"', "b": None}),
    ],
)
def test_addresses(body, display_name, uri, parameters):
    header = FrozenFromHeader.parse(body)
    assert (header.display_name, header.uri, header.parameters) == (display_name, uri, parameters)


def test_parameters_in_brackets_belong_to_the_uri():
    header = FrozenContactHeader.parse("<sip:alice@example.com;transport=tcp>;expires=5")
    assert header.uri.parameters == {"transport": "tcp"}
    assert header.parameters == {"expires": "5"}


@pytest.mark.parametrize(
    "body",
    [
        "",
        "Alice",
        '"Alice <sip:a@b>',
        '"Alice" sip:a@b',
        "Bell, Alexander <sip:a@b>",
        "<sip:a@b",
        "<sip:a@b> x",
        "<sip:a@b>;",
        "<sip:a@b>;;",
        "<sip:a@b>;=1",
        '<sip:a@b>;x="',
        "<sip:a@b>;x=a b",
        "sip:a@b?Route=x",
        "sip:a@b;",
        "<>",
        "*",
    ],
)
def test_bad_addresses_are_refused(body):
    with pytest.raises(MalformedMessage):
        FrozenFromHeader.parse(body)


def test_a_valueless_parameter_prints_without_equals():
    assert str(RouteHeader(SIPURI("p"), parameters={"x": None})) == "Route: <sip:p>;x"


def test_a_parameter_value_that_would_break_the_header_is_quoted():
    contact = ContactHeader(SIPURI("h"), parameters={"a": 'x;y" z'})
    assert contact.body == '<sip:h>;a="x;y\\" z"'
    assert list(FrozenContactHeader.parse(contact.body).parameters) == ["a"]


def test_the_wildcard_contact():
    wildcard = FrozenContactHeader.parse(" * ")
    assert wildcard.uri is None
    assert str(wildcard) == "Contact: *"
    with pytest.raises(ValueError):
        ContactHeader(None, "Alice")
    with pytest.raises(ValueError):
        ContactHeader(None, None, {"q": "1"})
    contact = ContactHeader(None)
    for name, value in (("display_name", "x"), ("parameters", {"a": "b"}), ("q", 0.5), ("expires", 5)):
        with pytest.raises(ValueError):
            setattr(contact, name, value)
    contact.uri = SIPURI("h")
    contact.expires = 5
    with pytest.raises(ValueError):
        contact.uri = None


def test_contact_views():
    contact = ContactHeader(SIPURI("h"))
    assert (contact.q, contact.expires) == (None, None)
    contact.q = 0.5
    contact.expires = 60
    assert contact.parameters == {"q": "0.5", "expires": "60"}
    assert FrozenContactHeader.new(contact).q == 0.5
    assert FrozenContactHeader.new(contact).expires == 60
    contact.q = contact.expires = None
    assert contact.parameters == {}
    contact.q = 0
    assert contact.parameters["q"] == "0"
    contact.q = 1
    assert contact.parameters["q"] == "1"
    with pytest.raises(ValueError):
        contact.q = 1.5
    contact.parameters = {"q": "high", "expires": "soon"}
    assert (contact.q, contact.expires) == (None, None)


def test_identities_need_a_uri():
    for header in (FromHeader, ToHeader, RouteHeader, RecordRouteHeader):
        with pytest.raises(TypeError):
            header(None)
        with pytest.raises(TypeError):
            header("sip:alice@example.com")


def test_tags():
    header = FromHeader(SIPURI("h"))
    assert header.tag is None
    header.tag = "abc"
    assert str(header) == "From: <sip:h>;tag=abc"
    assert FrozenFromHeader.new(header).tag == "abc"
    header.tag = None
    assert header.parameters == {}


def test_headers_of_another_name_differ_but_convert():
    to = FrozenToHeader(URI, "Alice")
    assert to != FrozenFromHeader(URI, "Alice")
    assert FromHeader.new(to) == FrozenFromHeader(URI, "Alice")
    assert FrozenRouteHeader(URI) != FrozenRecordRouteHeader(URI)


def test_a_mutable_header_takes_a_frozen_uri():
    header = FromHeader(URI)
    header.uri.host = "example.org"
    assert URI.host == "example.com"


def test_a_foreign_uri_in_a_header():
    header = FrozenFromHeader.parse("<tel:+31201234567>;tag=1")
    assert type(header.uri) is FrozenForeignURI
    assert header.body == "<tel:+31201234567>;tag=1"


def test_via():
    via = FrozenViaHeader.parse("SIP/2.0/UDP host.example.com;branch=z9hG4bK1;rport;received=192.0.2.1;ttl=5")
    assert (via.transport, via.host, via.port, via.branch) == ("UDP", "host.example.com", 5060, "z9hG4bK1")
    assert (via.rport, via.received, via.ttl, via.maddr, via.compression) == (None, "192.0.2.1", 5, None, None)
    assert "rport" in via.parameters
    assert FrozenViaHeader.parse("SIP/2.0/TLS h").port == 5061
    assert FrozenViaHeader.parse("sip / 2.0 / TCP [::1] : 5070 ; branch = x") == ViaHeader(
        "TCP", "::1", 5070, {"branch": "x"}
    )


def test_via_views():
    via = ViaHeader("UDP", "192.0.2.1")
    via.rport = 5062
    via.compression = "sigcomp"
    assert via.body == "SIP/2.0/UDP 192.0.2.1:5060;rport=5062;comp=sigcomp"
    with pytest.raises(ValueError):
        via.port = 70000
    with pytest.raises(TypeError):
        via.port = None


@pytest.mark.parametrize(
    "body",
    ["", "SIP/2.0/UDP", "SIP/3.0/UDP h", "SIP/2.0/ h", "UDP h", "SIP/2.0/UDP h:0", "SIP/2.0/UDP h;", "SIP/2.0/U@ h"],
)
def test_bad_vias_are_refused(body):
    with pytest.raises(MalformedMessage):
        FrozenViaHeader.parse(body)


def test_retry_after():
    header = FrozenRetryAfterHeader.parse("120 (I'm in a \\(long\\) meeting (really)) ;duration=3600")
    assert (header.seconds, header.comment, header.duration) == (120, "I'm in a (long) meeting (really)", 3600)
    assert RetryAfterHeader(5, parameters={"duration": "60"}).body == "5;duration=60"
    assert RetryAfterHeader(5, "busy").body == "5 (busy)"
    for bad in ("", "x", "5 (", "5 (a) b", "-1", "99999999999"):
        with pytest.raises(MalformedMessage):
            FrozenRetryAfterHeader.parse(bad)


def test_warning():
    header = FrozenWarningHeader.parse('370 devnull "Choose \\"a\\" bigger pipe"')
    assert header == WarningHeader(370, "devnull", 'Choose "a" bigger pipe')
    for code in (99, 1000):
        with pytest.raises(ValueError):
            WarningHeader(code, "agent", "text")
    for bad in ("", "370", "370 agent", "370 agent text", "1812 overture x", '99 agent "x"'):
        with pytest.raises(MalformedMessage):
            FrozenWarningHeader.parse(bad)


def test_event_parameters_are_a_copy():
    header = EventHeader("presence", {"id": "7"})
    header.parameters["x"] = "y"
    assert header.body == "presence;id=7"
    header.id = None
    header.parameters = {"flag": None}
    assert header.body == "presence;flag"
    assert FrozenEventHeader.new(header).parameters == frozendict(flag=None)


def test_subscription_state():
    header = SubscriptionStateHeader("active")
    assert header.name == "Subscription-State"
    assert (header.reason, header.expires, header.retry_after) == (None, None, None)
    header.expires = 60
    header.retry_after = 5
    header.reason = "probation"
    assert str(header) == "Subscription-State: active;expires=60;retry-after=5;reason=probation"
    header.parameters["x"] = "y"
    assert "x" not in header.parameters
    assert FrozenSubscriptionStateHeader.parse(header.body).retry_after == 5
