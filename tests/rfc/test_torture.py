"""The torture messages of RFC 4475, each against what the RFC says an element should make of it.

They are looked for in `conformance/rfc4475`, beside the project or in the directory `SIPSIMPLE_CONFORMANCE` names.
"""

import os
from pathlib import Path
from typing import Final

import pytest

from sipsimple.sip.errors import MalformedMessage
from sipsimple.sip.message import Response, parse_message
from sipsimple.sip.uri import FrozenForeignURI
from sipsimple.sip.validation import validate

PROJECT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = Path(os.environ.get("SIPSIMPLE_CONFORMANCE", PROJECT.parent / "shared" / "conformance")) / "rfc4475"

VALID: Final = {
    "wsinv": "3.1.1.1 a short tortuous INVITE",
    "intmeth": "3.1.1.2 wide range of valid characters",
    "esc01": "3.1.1.3 valid use of the % escaping mechanism",
    "escnull": "3.1.1.4 escaped nulls in URIs",
    "esc02": "3.1.1.5 use of % when it is not an escape",
    "lwsdisp": "3.1.1.6 no blank between display name and <",
    "longreq": "3.1.1.7 long values in header fields",
    "dblreq": "3.1.1.8 extra trailing octets in a datagram: they are cut",
    "semiuri": "3.1.1.9 semicolon-separated parameters in the user part",
    "transports": "3.1.1.10 varied and unknown transport types",
    "mpart01": "3.1.1.11 multipart MIME message",
    "unreason": "3.1.1.12 unusual reason phrase",
    "noreason": "3.1.1.13 empty reason phrase",
}

LENIENT: Final = {
    "lwsstart": "3.1.2.9 extra spaces in the request line: an element may ignore them",
    "trws": "3.1.2.10 spaces at the end of the request line: an element may ignore them",
    "baddate": "3.1.2.12 a date that is not GMT: an element may ignore a header that it does not use",
    "regescrt": "3.3.14 escaped headers in a contact URI: to be stored or refused by the registrar",
}

SEMANTIC: Final = {
    "badbranch": "3.2.1 a branch that is the cookie alone: matched as in RFC 2543",
    "unksm2": "3.3.4 unknown URI schemes in header fields",
    "bext01": "3.3.5 extensions that are required and unknown: 420",
    "invut": "3.3.6 a content type that is unknown: 415",
    "regaut01": "3.3.7 an unknown authorization scheme",
    "sdp01": "3.3.15 an Accept that names no SDP: 406",
    "zeromf": "3.3.11 Max-Forwards of zero: a user agent may answer",
    "cparam01": "3.3.12 parameters without brackets belong to the Contact",
    "cparam02": "3.3.13 parameters in brackets belong to the URI",
    "bcast": "3.3.10 a response with a broadcast address in a lower Via",
    "inv2543": "3.4.1 an INVITE as RFC 2543 has it",
}

REFUSED: Final = {
    "badinv01": (400, "3.1.2.1 extraneous separators"),
    "clerr": (400, "3.1.2.2 Content-Length larger than the message"),
    "ncl": (400, "3.1.2.3 negative Content-Length"),
    "scalar02": (400, "3.1.2.4 request scalars out of range"),
    "scalarlg": (400, "3.1.2.5 response scalars out of range: dropped"),
    "quotbal": (400, "3.1.2.6 unterminated quoted string"),
    "ltgtruri": (400, "3.1.2.7 brackets around the Request-URI"),
    "lwsruri": (400, "3.1.2.8 blank inside the Request-URI"),
    "escruri": (400, "3.1.2.11 escaped headers in the Request-URI"),
    "regbadct": (400, "3.1.2.13 a contact with a question mark and no brackets"),
    "badaspec": (400, "3.1.2.14 blanks inside the brackets of an address"),
    "baddn": (400, "3.1.2.15 a comma in a display name without quotes"),
    "badvers": (505, "3.1.2.16 unknown protocol version"),
    "mismatch01": (400, "3.1.2.17 start line and CSeq disagree"),
    "mismatch02": (400, "3.1.2.18 start line and CSeq disagree, unknown method"),
    "bigcode": (400, "3.1.2.19 overlarge response code: dropped"),
    "insuf": (400, "3.3.1 missing mandatory headers"),
    "unkscm": (416, "3.3.2 Request-URI of an unknown scheme"),
    "novelsc": (416, "3.3.3 Request-URI of a known but odd scheme"),
    "multi01": (400, "3.3.8 more than one of what may come once"),
    "mcl01": (400, "3.3.9 more than one Content-Length"),
}

if not FOLDER.is_dir():
    # Not `skipif`: of `skip`, the summary makes fewer lines.
    pytestmark = pytest.mark.skip(
        reason="SIPSIMPLE_CONFORMANCE names no directory with rfc4475/*.dat, the torture messages"
    )


def read(name: str):
    return parse_message((FOLDER / f"{name}.dat").read_bytes())


def test_every_message_has_its_verdict():
    judged = sorted([*VALID, *LENIENT, *SEMANTIC, *REFUSED])
    assert judged == sorted(path.stem for path in FOLDER.glob("*.dat"))
    assert len(judged) == 49


@pytest.mark.parametrize("name", [*VALID, *LENIENT, *SEMANTIC])
def test_a_message_that_is_understood(name):
    message = read(name)
    validate(message)
    again = parse_message(message.encode())
    validate(again)
    assert again.headers.get_all("Via") == message.headers.get_all("Via")
    assert again.body == message.body


@pytest.mark.parametrize("name", REFUSED)
def test_a_message_that_is_refused(name):
    with pytest.raises(MalformedMessage) as caught:
        validate(read(name))
    assert caught.value.status == REFUSED[name][0]


@pytest.mark.parametrize("name", [name for name in REFUSED if name != "bigcode"])
def test_a_refusal_can_be_written(name):
    message = read(name)
    if not isinstance(message, Response):
        assert message.make_response(REFUSED[name][0], to_tag="t").encode().startswith(b"SIP/2.0 ")


def test_wsinv():
    message = read("wsinv")
    assert message.to.tag == "1918181833n"
    assert message.from_.display_name == 'J Rosenberg \\"'
    assert message.from_.tag == "98asjd8"
    assert message.max_forwards == 68
    assert message.cseq == (9, "INVITE")
    assert [via.branch for via in message.vias] == ["390skdjuw", "z9hG4bK9ikj8", "z9hG4bK30239"]
    assert [via.transport for via in message.vias] == ["UDP", "TCP", "UDP"]
    assert message.headers.get("Subject") == ""
    assert message.headers.get("newfangledheader") == "newfangled value continued newfangled value"
    assert message.headers.get("UnknownHeaderWithUnusualValue") == ";;,,;;,;"
    assert message.routes[0].uri.parameters == {"lr": None, "unknownwith": "value", "unknown-no-value": None}
    assert message.contacts[0].display_name == 'Quoted string ""'
    assert message.contacts[0].q == 0.33
    assert message.contacts[0].parameters["newparam"] == "newvalue"
    assert len(message.body) == message.content_length == 150


def test_intmeth():
    message = read("intmeth")
    assert message.method == message.cseq[1] == "!interesting-Method0123456789_*+`.%indeed'~"
    assert message.uri.user == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert message.uri.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert message.uri.host == "example.com"
    assert message.to.display_name == "BEL:\x07 NUL:\x00 DEL:\x7f"
    assert message.from_.tag == "_token~1'+`*%!-."


def test_escapes():
    assert read("esc01").uri.user == "sips:user@example.com"
    assert [contact.uri.user for contact in read("escnull").contacts] == ["\x00", "\x00\x00"]
    assert read("esc02").method == "RE%47IST%45R"


def test_trailing_octets_are_cut():
    assert read("dblreq").body == b""


def test_parameters_belong_to_whom_the_brackets_say():
    outside, inside = read("cparam01").contacts[0], read("cparam02").contacts[0]
    assert (outside.parameters, outside.uri.parameters) == ({"unknownparam": None}, {})
    assert (inside.parameters, inside.uri.parameters) == ({}, {"unknownparam": None})


def test_semicolons_in_a_user_name():
    uri = read("semiuri").uri
    assert (uri.user, uri.parameters) == ("user;par=u@example.net", {})


def test_unknown_schemes_are_carried():
    message = read("unksm2")
    assert isinstance(message.to.uri, FrozenForeignURI)
    assert str(message.contacts[0].uri) == "name:John_Smith"


def test_reasons():
    assert read("noreason").reason == ""
    assert read("unreason").reason.startswith("= 2**3 * 5**2 но сто девяносто девять")
