import pytest

from sipsimple.sip.errors import MalformedMessage
from sipsimple.sip.fields import MAX_LIST_ELEMENTS
from sipsimple.sip.message import Headers, Request, Response, parse_message
from sipsimple.sip.validation import validate

HEADERS = [
    ("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"),
    ("From", "<sip:a@h>;tag=1"),
    ("To", "<sip:b@h>"),
    ("Call-ID", "x"),
    ("CSeq", "1 OPTIONS"),
]


def request(*extra: tuple[str, str], without: str = "", uri: str = "sip:b@h", body: bytes = b"") -> Request:
    kept = [(name, value) for name, value in HEADERS if name != without]
    return Request("OPTIONS", uri, Headers([*kept, *extra]), body)


def status_of(message) -> int | None:
    try:
        validate(message)
    except MalformedMessage as error:
        return error.status
    return None


def test_the_least_that_is_good_enough():
    assert status_of(request()) is None
    assert status_of(Response(200, "OK", Headers(HEADERS))) is None


@pytest.mark.parametrize("name", ["Via", "From", "To", "Call-ID", "CSeq"])
def test_a_mandatory_header_is_missed(name):
    assert status_of(request(without=name)) == 400


@pytest.mark.parametrize("name", ["From", "To", "Call-ID", "CSeq"])
def test_a_single_header_may_not_come_twice(name):
    value = dict(HEADERS)[name]
    assert status_of(request((name, value))) == 400


def test_lists_may_come_in_several_lines():
    assert status_of(request(("Via", "SIP/2.0/UDP h"), ("Contact", "<sip:a@h>"), ("Contact", "<sip:c@h>"))) is None


@pytest.mark.parametrize(
    "header",
    [
        ("Contact", "<sip:a@h>, *"),
        ("Contact", "x"),
        ("Route", "<sip:"),
        ("Record-Route", ";"),
        ("Max-Forwards", "256"),
        ("Max-Forwards", "-1"),
        ("Expires", "soon"),
        ("Content-Type", "text"),
        ("Content-Type", "te xt/plain"),
        ("Content-Length", "1"),
        ("Content-Length", "-1"),
        ("Content-Length", "٣"),
        ("Via", "SIP/2.0/UDP h,,"),
    ],
)
def test_a_broken_header_is_refused(header):
    assert status_of(request(header)) == 400


@pytest.mark.parametrize("value", ["", "1", "OPTIONS 1", "1 OPTIONS x", "2147483648 OPTIONS", "1 INVITE", "1 OP(TIONS"])
def test_a_broken_cseq_is_refused(value):
    assert status_of(request(("CSeq", value), without="CSeq")) == 400


@pytest.mark.parametrize("value", ["", "a b", "x" * 1025])
def test_a_broken_call_id_is_refused(value):
    assert status_of(request(("Call-ID", value), without="Call-ID")) == 400


def test_the_request_uri():
    assert status_of(request(uri="tel:+31")) == 416
    assert status_of(request(uri="<sip:b@h>")) == 400
    assert status_of(request(uri="sip:b@h?Route=x")) == 400
    assert status_of(request(uri="sip:" + "b" * 5000)) == 414


def test_the_number_of_list_elements_is_bounded():
    routes = ",".join(["<sip:p;lr>"] * (MAX_LIST_ELEMENTS + 1))
    assert status_of(request(("Route", routes))) == 513


def test_another_version_is_told_apart():
    assert status_of(parse_message(b"OPTIONS sip:h SIP/7.0\r\n\r\n")) == 505


def test_an_overlarge_expiry_is_the_largest():
    message = request(("Expires", "1000000000000000000000"))
    assert status_of(message) is None
    assert message.expires == 2**32 - 1
    assert request(("Expires", "4294967296")).expires == 2**32 - 1
    assert request(("Expires", "0000000000003600")).expires == 3600


def test_body_and_content_length_agree():
    assert status_of(request(("Content-Length", "2"), body=b"ab")) is None
    assert status_of(request(("Content-Length", "3"), body=b"ab")) == 400
