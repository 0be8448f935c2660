"""Where fuzzing begins: well-formed inputs of each kind."""

from __future__ import annotations

from typing import Final

INVITE: Final = (
    b"INVITE sip:bob@example.com;transport=tcp SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bKnashds8;rport, SIP/2.0/TCP p.example.com;branch=z9hG4bK2\r\n"
    b"Max-Forwards: 70\r\n"
    b'From: "Alice \\"A\\" Liddell" <sip:alice:secret@example.com;lr?Subject=x%20y>;tag=1928301774\r\n'
    b"To: sip:bob@example.com;tag=x\r\n"
    b"Call-ID: a84b4c76e66710@pc33.example.com\r\n"
    b"CSeq: 314159 INVITE\r\n"
    b"Contact: <sip:alice@pc33.example.com>;q=0.7;expires=3600, *\r\n"
    b"Route: <sip:p1.example.com;lr>,<sip:p2.example.com>\r\n"
    b"Subject: folded\r\n line\r\n"
    b"l: 4\r\n\r\nbody"
)
RESPONSE: Final = (
    b"SIP/2.0 200 OK\r\nv: SIP/2.0/UDP a;branch=z9hG4bK1;received=192.0.2.3\r\nf: <sip:a@b>;tag=1\r\n"
    b"t: <sip:a@b>;tag=2\r\ni: 1\r\nCSeq: 1 INVITE\r\nm: <sip:a@b>\r\nContent-Length: 0\r\n\r\n"
)
SDP: Final = (
    b"v=0\r\no=- 3467525278 3467525278 IN IP4 192.168.1.6\r\ns=x\r\nc=IN IP4 80.101.96.20\r\nt=0 0\r\n"
    b"m=audio 55328 RTP/AVP 9 0 8 101\r\na=rtpmap:9 G722/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
    b"a=fmtp:101 0-15\r\na=sendrecv\r\nm=message 2855 TCP/TLS/MSRP *\r\na=path:msrps://192.0.2.1:2855/x;tcp\r\n"
)
CHALLENGE: Final = (
    b'Digest realm="example.com", nonce="f84f1cec41e6cbe5aea9c8e88d359", qop="auth,auth-int", algorithm=SHA-256, '
    b'opaque="", stale=FALSE, uri="sip:a@b", username="bob", response="42ce3cef44b22f50c6a6071bc8", nc=00000001, '
    b'cnonce="0a4f113b"'
)
URI: Final = b"sips:alice%40x:pass@[2001:db8::5]:5061;transport=tls;lr?Subject=a%20b&Priority=urgent"
ADDRESS: Final = b'"Bob \\"the\\" Builder" <sip:bob@example.com:5080;transport=udp>;tag=1;expires=60'
VIA: Final = b"SIP/2.0/TLS 192.0.2.4:5061;branch=z9hG4bKabc;received=192.0.2.9;rport=1234;ttl=1;maddr=224.2.0.1"
CPIM: Final = (
    b'From: "A \\"B\\"" <im:piglet@100akerwood.com>\r\nTo: Donkey <sip:eeyore@example.com>\r\ncc: <sip:c@d>\r\n'
    b"DateTime: 2000-12-13T13:40:00-08:00\r\nSubject: the \\u0041 weather\r\nSubject:;lang=fr beau temps\r\n"
    b"NS: MyFeatures <mid:MessageFeatures@id.foo.com>\r\nRequire: MyFeatures.Vital\r\nMyFeatures.Vital: yes\r\n\r\n"
    b"Content-Type: text/plain;\r\n charset=latin1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nHi =E4\r\n"
)
COMPOSING: Final = (
    b'<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE x><isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing">'
    b"<state>active</state><lastactive>2003-01-27T10:43:00Z</lastactive><contenttype>text</contenttype>"
    b"<refresh>90</refresh></isComposing>"
)

SEEDS: Final[dict[str, list[bytes]]] = {
    "message": [INVITE, RESPONSE],
    "stream": [INVITE + RESPONSE + b"\r\n\r\n" + INVITE, RESPONSE * 3],
    "description": [SDP],
    "uri": [URI, b"sip:a"],
    "header": [ADDRESS, VIA, b"sip:a@b;tag=1"],
    "challenge": [CHALLENGE, b"Basic realm=x, Digest realm=y"],
    "cpim": [CPIM],
    "composing": [COMPOSING, COMPOSING.replace(b"<!DOCTYPE x>", b"").replace(b"lastactive", b"x")],
}
