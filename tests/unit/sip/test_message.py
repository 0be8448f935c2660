import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.sip.errors import MalformedMessage
from sipsimple.sip.frozen import frozendict
from sipsimple.sip.headers import FrozenHeader, FrozenViaHeader
from sipsimple.sip.message import (
    MAX_HEADER_LENGTH,
    MAX_HEADER_LINES,
    MAX_MESSAGE_SIZE,
    Headers,
    Request,
    Response,
    parse_message,
    reason_of,
)
from sipsimple.sip.uri import FrozenSIPURI
from sipsimple.sip.validation import validate

INVITE = b"""\
INVITE sip:bob@biloxi.example.com SIP/2.0\r
Via: SIP/2.0/TCP proxy.example.com;branch=z9hG4bK2, SIP/2.0/UDP pc33.example.com;branch=z9hG4bK1\r
Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK0\r
Record-Route: <sip:p2.example.com;lr>\r
Record-Route: <sip:p1.example.com;lr>\r
Max-Forwards: 70\r
To: Bob <sip:bob@biloxi.example.com>\r
From: "Alice" <sip:alice@atlanta.example.com>;tag=1928301774\r
Call-ID: a84b4c76e66710\r
CSeq: 314159 INVITE\r
Contact: <sip:alice@pc33.example.com>\r
Timestamp: 54\r
Content-Type: Application/SDP;charset="utf-8"\r
Content-Length: 5\r
\r
v=0\r
"""


def test_a_request_is_read():
    request = parse_message(INVITE)
    assert isinstance(request, Request)
    assert (request.method, request.raw_uri, request.version) == ("INVITE", "sip:bob@biloxi.example.com", "SIP/2.0")
    assert request.uri == FrozenSIPURI("biloxi.example.com", "bob")
    assert request.via.branch == "z9hG4bK2"
    assert [via.host for via in request.vias] == ["proxy.example.com", "pc33.example.com", "192.0.2.9"]
    assert [route.uri.host for route in request.record_routes] == ["p2.example.com", "p1.example.com"]
    assert request.routes == []
    assert (request.from_.tag, request.to.tag) == ("1928301774", None)
    assert (request.call_id, request.cseq) == ("a84b4c76e66710", (314159, "INVITE"))
    assert (request.max_forwards, request.expires, request.content_length) == (70, None, 5)
    assert request.content_type == ("application/sdp", {"charset": '"utf-8"'})
    assert request.contacts[0].uri.host == "pc33.example.com"
    assert request.body == b"v=0\r\n"
    assert repr(request) == "<Request INVITE sip:bob@biloxi.example.com>"


def test_what_nobody_touched_leaves_as_it_came():
    assert parse_message(INVITE).encode() == INVITE


def test_a_response_is_read():
    response = parse_message(b"SIP/2.0 183 Session  Progress\r\nl: 0\r\n\r\n")
    assert isinstance(response, Response)
    assert (response.code, response.reason) == (183, "Session  Progress")
    assert response.encode() == b"SIP/2.0 183 Session  Progress\r\nContent-Length: 0\r\n\r\n"
    assert repr(response) == "<Response 183 Session  Progress>"


def test_compact_and_oddly_spelt_names_become_the_usual_ones():
    request = parse_message(b"OPTIONS sip:h SIP/2.0\r\nI: x\r\nmAx-forWARDS  : 5\r\nk: a\r\nx-odd: y\r\n\r\n")
    assert [name for name, _ in request.headers] == ["Call-ID", "Max-Forwards", "Supported", "x-odd"]
    assert request.max_forwards == 5
    assert request.headers.get("X-ODD") == "y"


def test_folded_lines_are_joined_by_one_space():
    request = parse_message(b"OPTIONS sip:h SIP/2.0\r\nSubject: a\r\n   b\r\n\tc\r\nCall-ID:\r\n x\r\n\r\n")
    assert request.headers.get("s") == "a b c"
    assert request.call_id == "x"


def test_a_body_longer_than_announced_is_cut():
    assert parse_message(b"OPTIONS sip:h SIP/2.0\r\nl: 2\r\n\r\nabc").body == b"ab"
    assert parse_message(b"OPTIONS sip:h SIP/2.0\r\n\r\nabc").body == b"abc"


def test_line_ends_in_front_are_skipped():
    assert parse_message(b"\r\n\r\nOPTIONS sip:h SIP/2.0\r\nl: 0\r\n\r\n").method == "OPTIONS"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 400),
        (b"\r\n\r\n", 400),
        (b"INVITE", 400),
        (b"INVITE sip:h\r\n\r\n", 400),
        (b"INVITE sip:h HTTP/1.1\r\n\r\n", 400),
        (b"INVITE sip:h SIP/two\r\n\r\n", 400),
        (b"IN(VITE sip:h SIP/2.0\r\n\r\n", 400),
        (b"SIP/2.0 99 Low\r\n\r\n", 400),
        (b"SIP/2.0 700 High\r\n\r\n", 400),
        (b"SIP/2.0 2000 Long\r\n\r\n", 400),
        (b"SIP/x 200 OK\r\n\r\n", 400),
        (b"OPTIONS sip:h SIP/2.0\r\nno colon\r\n\r\n", 400),
        (b"OPTIONS sip:h SIP/2.0\r\nTo\r\n\r\n", 400),
        (b"OPTIONS sip:h SIP/2.0\r\nb@d: x\r\n\r\n", 400),
        (b"OPTIONS sip:h SIP/2.0\nTo: x\n\n", 400),
        (b"OPTIONS sip:h SIP/2.0\r\nTo: x\rFrom: y\r\n\r\n", 400),
        (b"OPTIONS sip:h SIP/2.0\r\nSubject: " + b"x" * (MAX_HEADER_LENGTH + 1) + b"\r\n\r\n", 513),
        (b"OPTIONS sip:h SIP/2.0\r\n" + b"x" * (MAX_HEADER_LENGTH + 1) + b"\r\n\r\n", 513),
        (b"OPTIONS sip:" + b"h" * MAX_HEADER_LENGTH + b" SIP/2.0\r\n\r\n", 414),
        (b"OPTIONS sip:h SIP/2.0\r\n" + b"a: b\r\n" * (MAX_HEADER_LINES + 1) + b"\r\n", 513),
        (b"x" * (MAX_MESSAGE_SIZE + 1), 513),
    ],
)
def test_what_is_no_message_is_refused(data, status):
    with pytest.raises(MalformedMessage) as caught:
        parse_message(data)
    assert caught.value.status == status


def test_parsed_headers_follow_the_raw_ones():
    request = parse_message(INVITE)
    assert request.to.tag is None
    request.headers.set("To", "<sip:bob@biloxi.example.com>;tag=7")
    assert request.to.tag == "7"


def test_the_top_via_is_replaced_alone():
    request = parse_message(INVITE)
    via = FrozenViaHeader("TCP", "proxy.example.com", 5060, frozendict(received="192.0.2.4"))
    request.replace_top_via(via)
    assert request.via == via
    assert [via.host for via in request.vias] == ["proxy.example.com", "pc33.example.com", "192.0.2.9"]
    with pytest.raises(MalformedMessage):
        Request("OPTIONS", "sip:h", Headers()).replace_top_via(via)


def test_headers_are_edited_in_order():
    headers = Headers([("v", "1"), ("X-a", "2"), ("Via", "3")])
    assert headers.get_all("VIA") == ["1", "3"]
    headers.insert(0, "Route", "<sip:p>")
    headers.set("via", "4")
    headers.set("Subject", "5")
    headers.add_header(FrozenHeader("x-A", "6"))
    assert list(headers) == [("Route", "<sip:p>"), ("Via", "4"), ("X-a", "2"), ("Subject", "5"), ("x-A", "6")]
    assert headers.get_all("X-A") == ["2", "6"]
    headers.remove("x-a")
    headers.remove("x-a")
    assert "X-A" not in headers
    assert "r" not in headers
    assert "s" in headers
    assert len(headers) == 3
    other = headers.copy()
    assert other == headers
    other.remove("Route")
    assert other != headers
    assert headers != 5
    assert repr(other) == "Headers([('Via', '4'), ('Subject', '5')])"


@pytest.mark.parametrize("value", ["a\r\nEvil: b", "a\nb", "a\r"])
def test_a_header_value_cannot_smuggle_in_another_header(value):
    headers = Headers()
    for put in (headers.add, headers.set, lambda name, text: headers.insert(0, name, text)):
        with pytest.raises(ValueError):
            put("Subject", value)
    assert len(headers) == 0


def test_a_response_copies_what_it_must():
    response = parse_message(INVITE).make_response(180, to_tag="t")
    assert (response.code, response.reason) == (180, "Ringing")
    assert [name for name, _ in response.headers] == [
        *("Via", "Via", "From", "To", "Call-ID", "CSeq", "Record-Route", "Record-Route"),
    ]
    assert response.to.tag == "t"
    assert response.headers.get("To") == "Bob <sip:bob@biloxi.example.com>;tag=t"


def test_a_100_has_a_timestamp_and_no_tag():
    response = parse_message(INVITE).make_response(100, to_tag="t")
    assert response.to.tag is None
    assert response.headers.get("Timestamp") == "54"
    assert "Record-Route" not in response.headers


def test_a_tag_that_is_there_stays():
    request = parse_message(INVITE)
    request.headers.set("To", "<sip:b@h>;tag=1")
    assert request.make_response(200, "Fine", to_tag="2").to.tag == "1"
    assert request.make_response(486).headers.get("Record-Route") is None


def test_a_malformed_request_can_be_refused():
    request = Request("INVITE", "sip:h", Headers([("To", '"Bob <sip:b@h>'), ("Via", "?")]))
    response = request.make_response(400, to_tag="t")
    assert response.headers.get("To") == '"Bob <sip:b@h>;tag=t'
    assert Request("INVITE", "sip:h", Headers()).make_response(400, to_tag="t").headers.get("To") is None


def test_reasons_of_unknown_codes_are_those_of_their_class():
    assert reason_of(480) == "Temporarily Unavailable"
    assert reason_of(499) == "Bad Request"
    assert reason_of(699) == "Unknown"


def test_the_request_uri_is_kept_as_it_came():
    request = Request("OPTIONS", "tel:+31", Headers())
    with pytest.raises(MalformedMessage) as caught:
        _ = request.uri
    assert caught.value.status == 416
    request.uri = FrozenSIPURI("h")
    assert request.raw_uri == "sip:h"
    assert Request("OPTIONS", FrozenSIPURI("h"), Headers()).encode().startswith(b"OPTIONS sip:h SIP/2.0\r\n")


PIECES = st.sampled_from(
    [*INVITE.splitlines(keepends=True), b"\r\n", b" ", b"\t", b"\xff", b"\x00", b":", b",", b'"', b"<"]
)


def touch_all(message):
    validate(message)
    for name in ("via", "vias", "from_", "to", "contacts", "call_id", "cseq", "routes", "record_routes"):
        getattr(message, name)
    for name in ("max_forwards", "expires", "content_type", "content_length", "start_line"):
        getattr(message, name)


@given(st.binary(max_size=200) | st.lists(PIECES, max_size=25).map(b"".join))
def test_any_bytes_are_a_message_or_refused(data):
    try:
        message = parse_message(data)
        again = parse_message(message.encode())
        assert again.headers.get_all("To") == message.headers.get_all("To")
        assert again.start_line.rstrip() == message.start_line.rstrip()
        touch_all(message)
    except MalformedMessage:
        return


@given(st.data())
def test_a_damaged_message_is_valid_or_refused(data):
    start = data.draw(st.integers(0, len(INVITE)))
    end = data.draw(st.integers(start, min(start + 30, len(INVITE))))
    damaged = INVITE[:start] + data.draw(st.binary(max_size=8)) + INVITE[end:]
    try:
        touch_all(parse_message(damaged))
    except MalformedMessage:
        return
