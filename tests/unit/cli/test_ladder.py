"""The ladder knows its parties by their REGISTER, and shows what passed in text and as a picture."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from sipsimple.cli.demo.ladder import MAX_ARROWS, MEDIA, SERVER, Arrow, Ladder, TextLadder
from sipsimple.cli.demo.pictures import ladder_svg

ALICE, BOB, PROXY, STRANGER = ("127.0.0.1", 6001), ("127.0.0.1", 6002), ("127.0.0.1", 5060), ("127.0.0.1", 7000)


def request(method: str, user: str, *extra: str) -> bytes:
    lines = [
        f"{method} sip:demo.example SIP/2.0",
        "Via: SIP/2.0/UDP 127.0.0.1:6001;branch=z9hG4bK1",
        f"From: <sip:{user}@demo.example>;tag=1",
        "To: <sip:bob@demo.example>",
        "Call-ID: 1",
        f"CSeq: 1 {method}",
        *extra,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def response(line: str) -> bytes:
    return request("X", "alice").replace(b"X sip:demo.example SIP/2.0", b"SIP/2.0 " + line.encode())


@pytest.fixture
def ladder() -> Ladder:
    ladder = Ladder(("alice", SERVER, "bob"), clock=lambda: 12.5)
    for user, address in (("alice", ALICE), ("bob", BOB)):
        ladder.trace(True, "UDP", address, PROXY, request("REGISTER", user))
    return ladder


def test_messages_go_between_the_parties_that_registered(ladder):
    ladder.trace(True, "UDP", ALICE, PROXY, request("INVITE", "alice"))
    ladder.trace(False, "UDP", PROXY, BOB, request("INVITE", "alice"))
    ladder.trace(True, "UDP", BOB, PROXY, response("180 Ringing"))
    assert [(arrow.source, arrow.target, arrow.label) for arrow in ladder.arrows[2:]] == [
        ("alice", SERVER, "INVITE"),
        (SERVER, "bob", "INVITE"),
        ("bob", SERVER, "180 Ringing"),
    ]


@pytest.mark.parametrize(
    ("data", "label", "kind"),
    [
        (request("REGISTER", "alice", "Authorization: Digest x"), "REGISTER (digest)", "request"),
        (request("REGISTER", "alice", "Expires: 0"), "REGISTER (expires 0)", "request"),
        (request("BYE", "alice", "Proxy-Authorization: Digest x"), "BYE", "request"),
        (response("100 Trying"), "100 Trying", "provisional"),
        (response("200 OK"), "200 OK", "success"),
        (response("407 Proxy Authentication Required"), "407 Proxy Authentication Required", "challenge"),
        (response("486 Busy Here"), "486 Busy Here", "failure"),
    ],
)
def test_arrows_say_what_they_are(ladder, data, label, kind):
    ladder.trace(True, "UDP", ALICE, PROXY, data)
    assert (ladder.arrows[-1].label, ladder.arrows[-1].kind) == (label, kind)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe", b"GARBAGE\r\n\r\n", request("REGISTER", "mallory"), request("INVITE", "bob")]
)
def test_strangers_and_garbage_are_left_out(ladder, data):
    ladder.trace(True, "UDP", STRANGER, PROXY, data)
    ladder.trace(True, "UDP", STRANGER, PROXY, request("REGISTER", SERVER))
    assert len(ladder.arrows) == 2


def test_the_number_of_arrows_is_bounded(ladder):
    for _ in range(MAX_ARROWS + 10):
        ladder.trace(True, "UDP", ALICE, PROXY, request("INVITE", "alice"))
    assert len(ladder.arrows) == MAX_ARROWS


def test_lines_of_text_point_the_right_way():
    text = TextLadder(("alice", SERVER, "bob"))
    rightwards = text.line(Arrow(0, "alice", SERVER, "INVITE", "request"), 1.5)
    leftwards = text.line(Arrow(0, "bob", SERVER, "200 OK", "success"), 2)
    media = text.line(Arrow(0, "alice", "bob", "audio", MEDIA), 3)
    assert "► " not in leftwards
    assert rightwards.index("INVITE") < rightwards.index("►") < rightwards.rindex("│")
    assert leftwards.index("◄") < leftwards.index("200 OK")
    assert "═" in media
    assert {len(text.line(Arrow(0, "alice", "bob", "x" * n, MEDIA), 0)) for n in range(200)} == {len(media)}
    assert all(name in text.head() for name in ("alice", SERVER, "bob"))


def test_control_characters_do_not_reach_the_terminal():
    line = TextLadder(("alice", SERVER, "bob")).line(Arrow(0, "alice", SERVER, "\x1b[2J\u202eevil", "failure"), 0)
    assert "\x1b" not in line
    assert "\u202e" not in line


def test_the_picture_is_well_formed_and_escapes_what_came_over_the_wire(ladder):
    ladder.trace(True, "UDP", ALICE, PROXY, response('500 </text><script>alert("1")</script>&'))
    ladder.add(Arrow(13, "alice", "bob", "<b>audio</b>", MEDIA))
    svg = ladder_svg(ladder, 12.0)
    tree = ET.fromstring(svg)
    assert not [element for element in tree.iter() if element.tag.endswith("script")]
    texts = [element.text for element in tree.iter() if element.tag == "text"]
    assert '500 </text><script>alert("1")</script>&' in texts
    assert {"registering", "talking"} <= set(texts)
    links = [element.get("href") for element in tree.iter() if element.tag == "a"]
    assert links == ["#m0", "#m1", "#m2"]
