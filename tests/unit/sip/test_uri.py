import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.sip.errors import MalformedURI, SIPCoreError
from sipsimple.sip.uri import SIPURI, ForeignURI, FrozenForeignURI, FrozenSIPURI, parse_any_uri

from .strategies import uris


def test_a_full_uri_is_taken_apart():
    uri = SIPURI.parse("sips:alice:pw@example.com:5061;transport=tcp;lr;x=1?Subject=hi%20there&Priority=urgent")
    assert uri == SIPURI(
        "example.com",
        "alice",
        "pw",
        5061,
        True,
        {"transport": "tcp", "lr": None, "x": "1"},
        {"Subject": "hi there", "Priority": "urgent"},
    )
    assert str(uri).endswith(";transport=tcp;lr;x=1?Subject=hi%20there&Priority=urgent")


def test_defaults():
    uri = SIPURI("example.com")
    assert (uri.user, uri.password, uri.port, uri.secure, uri.parameters, uri.headers) == (None,) * 3 + (False, {}, {})
    assert str(uri) == "sip:example.com"


@pytest.mark.parametrize("frozen", [SIPURI, FrozenSIPURI])
def test_an_ipv6_host_has_brackets_on_the_wire_alone(frozen):
    uri = frozen.parse("sip:bob@[2001:db8::9:1]:5070")
    assert uri.host == "2001:db8::9:1"
    assert str(uri) == "sip:bob@[2001:db8::9:1]:5070"
    assert frozen("[::1]").host == "::1"


def test_what_the_grammar_forbids_is_escaped():
    uri = SIPURI("example.net", "sips:user@example.com", "a:b", parameters={"a=b": "c;d"}, headers={"x&y": "1 2"})
    assert str(uri) == "sip:sips%3Auser%40example.com:a%3Ab@example.net;a%3Db=c%3Bd?x%26y=1%202"
    assert SIPURI.parse(str(uri)) == uri


def test_octets_that_are_not_utf8_survive():
    assert str(SIPURI.parse("sip:%00%FF@example.com")) == "sip:%00%FF@example.com"


def test_octets_that_are_one_letter_are_so_however_they_are_escaped():
    half_escaped = b"sip:%C3\xa9t%c3\xa9@a".decode("utf-8", "surrogateescape")
    uri = FrozenSIPURI.parse(half_escaped)
    assert uri.user == "\u00e9t\u00e9"
    assert FrozenSIPURI.parse(str(uri)) == uri


def test_known_parameters_are_found_in_any_case():
    uri = SIPURI.parse("sip:h;Transport=TCP;LR;Foo=1")
    assert uri.parameters == {"transport": "TCP", "lr": None, "Foo": "1"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip:",
        "sip",
        "alice@example.com",
        "<sip:example.com>",
        "sip:@example.com",
        "sip:a@b@example.com",
        "sip:example.com:0",
        "sip:example.com:65536",
        "sip:example.com:x",
        "sip:exa mple.com",
        "sip:example.com;",
        "sip:example.com?",
        "sip:[::1",
        "sip:[fe80]",
        "sip:[::1]5060",
        "sip:a%4@example.com",
        "sip:a\x00@example.com",
        "sip:ex%61mple.com",
        "sip:" + "a" * 5000 + "@example.com",
    ],
)
def test_what_is_no_uri_is_refused(text):
    with pytest.raises(SIPCoreError):
        SIPURI.parse(text)


def test_another_scheme_is_told_apart():
    with pytest.raises(MalformedURI) as caught:
        FrozenSIPURI.parse("tel:+31201234567")
    assert caught.value.status == 416


def test_ports():
    assert SIPURI("h", port="65535").port == 65535
    uri = SIPURI("h")
    for bad in (0, 65536, -1, "x"):
        with pytest.raises(ValueError):
            uri.port = bad


def test_wrong_types_are_refused():
    for arguments in ((None,), ("h", 5), ("h", None, 5), ("h", None, None, None, False, 5)):
        with pytest.raises(TypeError):
            SIPURI(*arguments)
    uri = SIPURI("h")
    with pytest.raises(TypeError):
        uri.host = None
    with pytest.raises(TypeError):
        uri.parameters = None
    with pytest.raises(TypeError):
        SIPURI.parse(b"sip:h")


def test_parameters_are_the_dictionary_that_was_given():
    parameters = {"transport": "tcp"}
    uri = SIPURI("h", parameters=parameters)
    parameters["lr"] = None
    assert str(uri) == "sip:h;transport=tcp;lr"


def test_a_foreign_uri_goes_through_as_it_came():
    uri = parse_any_uri("tel:+1-201-555-0123;phone-context=example.com")
    assert type(uri) is FrozenForeignURI
    assert (uri.scheme, uri.user, uri.host) == ("tel", "+1-201-555-0123", "")
    assert str(uri) == "tel:+1-201-555-0123;phone-context=example.com"
    mutable = ForeignURI.new(uri)
    assert mutable == uri
    assert repr(mutable) == "ForeignURI('tel:+1-201-555-0123;phone-context=example.com')"
    assert hash(uri) == hash(FrozenForeignURI(str(uri)))
    with pytest.raises(MalformedURI):
        parse_any_uri("tel:")


@given(uris())
def test_reading_undoes_writing(uri):
    text = str(uri)
    assert FrozenSIPURI.parse(text) == uri
    assert SIPURI.parse(text) == uri
    assert text.isascii()


@given(st.text(max_size=40) | st.text("sip:@[]0:;=?&%a", max_size=30).map("sip:".__add__))
def test_any_text_is_a_uri_or_refused(text):
    try:
        uri = parse_any_uri(text)
    except MalformedURI:
        return
    assert parse_any_uri(str(uri)) == uri
