"""The messages of RFC 4976, with one relay and with two."""

from typing import Final

from sipsimple.msrp.chunker import Chunker
from sipsimple.msrp.message import MSRPData
from sipsimple.msrp.relay import RelayAuthorization, RelayState
from sipsimple.msrp.sender import Sender
from sipsimple.msrp.session import SessionMachine
from sipsimple.msrp.uri import MSRPURI, parse_path

ALICE: Final = "msrps://alice.example.com:9892/98cjs;tcp"
BOB: Final = "msrps://bob.example.com:8145/foo;tcp"
INTRA: Final = "msrps://alice@intra.example.com;tcp"
PLACE: Final = "msrps://intra.example.com:9000/jui787s2f;tcp"
OUTER: Final = "msrps://extra.example.com:9000/mywdEe1233;tcp"
NONCE: Final = "dcd98b7102dd2f0e8b11d0f600bfb0c093"


def wire(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


def parse(text: str) -> MSRPData:
    (chunk,) = Chunker().feed(wire(text))
    return chunk


def authorization(relay_path: str = INTRA) -> RelayAuthorization:
    ids = iter(["49fh", "cnonce01", "49fi"])
    return RelayAuthorization(parse_path(relay_path), MSRPURI.parse(ALICE), "Alice", "secret", new_id=lambda: next(ids))


def test_section_4_a_client_gets_its_place():
    client = authorization()
    assert client.ask().encode() == wire(f"MSRP 49fh AUTH\nTo-Path: {INTRA}\nFrom-Path: {ALICE}\n-------49fh$\n")
    challenge = parse(
        f"MSRP 49fh 401 Unauthorized\nTo-Path: {ALICE}\nFrom-Path: {INTRA}\n"
        f'WWW-Authenticate: Digest realm="intra.example.com", qop="auth", nonce="{NONCE}"\n-------49fh$\n'
    )
    again = client.receive(challenge, 0.0)
    assert again.transaction_id == "49fi"
    answer = again.headers["Authorization"]
    for part in ('username="Alice"', 'realm="intra.example.com"', f'nonce="{NONCE}"', "qop=auth", "nc=00000001"):
        assert part in answer
    accepted = parse(
        f"MSRP 49fi 200 OK\nTo-Path: {ALICE}\nFrom-Path: {INTRA}\nUse-Path: {PLACE}\nExpires: 900\n-------49fi$\n"
    )
    assert client.receive(accepted, 0.0) is None
    assert client.state is RelayState.AUTHORIZED
    assert client.use_path == parse_path(PLACE)
    assert client.expires_at == 900.0


def test_section_4_a_second_relay_is_asked_through_the_first():
    client = authorization(f"{PLACE} msrps://extra.example.com;tcp")
    request = client.ask()
    assert request.headers["To-Path"] == f"{PLACE} msrps://extra.example.com;tcp"
    challenge = parse(
        f"MSRP 49fh 401 Unauthorized\nTo-Path: {ALICE}\nFrom-Path: {INTRA}\n"
        f'WWW-Authenticate: Digest realm="extra.example.com", qop="auth", nonce="{NONCE}"\n-------49fh$\n'
    )
    # The digest is for the relay that asks, the last of the path.
    assert 'uri="msrps://extra.example.com;tcp"' in client.receive(challenge, 0.0).headers["Authorization"]


def session(local_path: str) -> tuple[SessionMachine, Sender]:
    transactions = iter(["6aef", "6aeg"])
    sender = Sender(lambda: next(transactions))
    machine = SessionMachine(parse_path(local_path), parse_path(BOB), new_id=lambda: "87652")
    machine.bind(sender)
    return machine, sender


def test_section_5_what_we_send_goes_through_our_relays_from_the_nearest_outwards():
    _, sender = session(f"{OUTER} {PLACE} {ALICE}")
    (chunk,) = Chunker().feed(b"".join(sender.next(0.0)))
    assert chunk.headers["To-Path"] == f"{PLACE} {OUTER} {BOB}"
    assert chunk.headers["From-Path"] == ALICE


def test_section_5_what_comes_through_relays_is_answered_to_the_nearest_and_reported_all_the_way():
    machine, sender = session(f"{PLACE} {ALICE}")
    sender.next(0.0)
    machine.receive(parse(f"MSRP 6aef 200 OK\nTo-Path: {ALICE}\nFrom-Path: {PLACE}\n-------6aef$\n"), 0.0)
    way = f"{PLACE} {OUTER} {BOB}"
    message = parse(
        f"MSRP xght6 SEND\nTo-Path: {ALICE}\nFrom-Path: {way}\nSuccess-Report: yes\nByte-Range: 1-*/*\n"
        "Message-ID: 87652\nContent-Type: text/plain\n\nHi Alice\n-------xght6$\n"
    )
    machine.receive(message, 0.0)
    (response,) = Chunker().feed(b"".join(sender.next(0.0)))
    assert (response.code, response.headers["To-Path"], response.headers["From-Path"]) == (200, PLACE, ALICE)
    (report,) = Chunker().feed(b"".join(sender.next(0.0)))
    assert (report.method, report.headers["To-Path"], report.headers["From-Path"]) == ("REPORT", way, ALICE)
    assert str(report.byte_range) == "1-8/8"
