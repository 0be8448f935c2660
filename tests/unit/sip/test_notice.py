from sipsimple.sip.headers import (
    FrozenContactHeader,
    FrozenFromHeader,
    FrozenHeader,
    FrozenViaHeader,
    FrozenWarningHeader,
)
from sipsimple.sip.message import Headers, Request, Response, parse_message
from sipsimple.sip.notice import message_attributes, notification_headers


def test_each_header_becomes_what_applications_expect():
    message = parse_message(
        b"SIP/2.0 200 OK\r\n"
        b"Via: SIP/2.0/UDP a, SIP/2.0/UDP b\r\nVia: SIP/2.0/UDP c\r\n"
        b"From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCSeq: 7 INVITE\r\nCall-ID: x\r\n"
        b"Contact: <sip:a@h>\r\nAllow: INVITE, ACK\r\nAllow: BYE\r\nSupported:\r\n"
        b'Warning: 399 me "one", 399 me "two"\r\nRetry-After: 5\r\nEvent: presence\r\n'
        b"Subscription-State: active\r\nMin-Expires: 60\r\nExpires: 3600\r\nMax-Forwards: 70\r\n"
        b"Content-Type: text/plain;charset=utf-8\r\nX-Thing: y\r\nX-Thing: z\r\n"
        b'WWW-Authenticate: Digest realm="x"\r\nContent-Length: 0\r\n\r\n'
    )
    headers = notification_headers(message)
    assert [via.host for via in headers["Via"]] == ["a", "b", "c"]
    assert isinstance(headers["Via"][0], FrozenViaHeader)
    assert isinstance(headers["From"], FrozenFromHeader)
    assert headers["CSeq"] == (7, "INVITE")
    assert headers["Call-ID"] == FrozenHeader("Call-ID", "x")
    assert isinstance(headers["Contact"][0], FrozenContactHeader)
    assert headers["Allow"] == ["INVITE", "ACK", "BYE"]
    assert headers["Supported"] == []
    assert headers["Warning"] == FrozenWarningHeader(399, "me", "one")
    assert headers["Retry-After"].seconds == 5
    assert headers["Event"].event == "presence"
    assert headers["Subscription-State"].state == "active"
    assert (headers["Min-Expires"], headers["Expires"], headers["Max-Forwards"]) == (60, 3600, 70)
    assert headers["Content-Type"] == ("text/plain", "charset=utf-8")
    assert headers["Content-Length"] == 0
    assert headers["X-Thing"] == FrozenHeader("X-Thing", "y")
    assert "WWW-Authenticate" not in headers


def test_a_header_that_cannot_be_read_is_left_out():
    headers = Headers([("Warning", "odd"), ("Contact", "odd"), ("Subject", "hi")])
    assert list(notification_headers(Response(200, "OK", headers))) == ["Subject"]


def test_attributes_of_a_request():
    attributes = message_attributes(Request("MESSAGE", "sip:h", Headers(), b"hi"))
    assert (attributes["method"], str(attributes["request_uri"]), attributes["body"]) == ("MESSAGE", "sip:h", b"hi")
    assert message_attributes(Request("MESSAGE", "tel:1", Headers()))["request_uri"] is None


def test_attributes_of_a_response():
    assert message_attributes(Response(486, "Busy Here", Headers())) == {
        "headers": {},
        "body": None,
        "code": 486,
        "reason": "Busy Here",
    }
