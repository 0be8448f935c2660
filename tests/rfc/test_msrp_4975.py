"""The messages of RFC 4975, as it shows them, through the parser and the session machine."""

from typing import Final

import pytest

from sipsimple.msrp.assembly import Assembler
from sipsimple.msrp.chunker import Chunker
from sipsimple.msrp.events import Bound, DataReceived, MessageDelivered, MessageSent
from sipsimple.msrp.message import ByteRange, MSRPData, Status
from sipsimple.msrp.sender import Sender
from sipsimple.msrp.session import SessionMachine
from sipsimple.msrp.uri import MSRPURI

ALICE: Final = "msrp://atlanta.example.com:7654/jshA7weztas;tcp"
BOB: Final = "msrp://biloxi.example.com:12763/kjhd37s2s20w2a;tcp"
PATHS: Final = f"To-Path: {BOB}\nFrom-Path: {ALICE}\n"


def wire(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


def parse(text: str) -> list[MSRPData]:
    chunker = Chunker()
    chunks = list(chunker.feed(wire(text)))
    assert not chunker.in_chunk
    return chunks


def party(local: str, remote: str) -> tuple[SessionMachine, Sender]:
    """A session that has seen the remote's first SEND."""
    ids = iter(f"id{number:04d}" for number in range(1000))
    transactions = iter(f"tr{number:04d}" for number in range(1000))
    sender = Sender(lambda: next(transactions))
    machine = SessionMachine(
        [MSRPURI.parse(local)], [MSRPURI.parse(remote)], new_id=lambda: next(ids), assembler=Assembler()
    )
    machine.expect()
    machine.attach(sender)
    return machine, sender


def test_section_4_a_request_and_its_response():
    (send,) = parse(
        f"MSRP a786hjs2 SEND\n{PATHS}Message-ID: 87652491\nByte-Range: 1-25/25\nContent-Type: text/plain\n\n"
        "Hey Bob, are you there?\n-------a786hjs2$\n"
    )
    assert (send.method, send.transaction_id, send.continuation) == ("SEND", "a786hjs2", "$")
    assert (send.message_id, send.content_type, send.data) == ("87652491", "text/plain", b"Hey Bob, are you there?")
    assert send.to_path == (MSRPURI("biloxi.example.com", 12763, "kjhd37s2s20w2a"),)
    machine, sender = party(BOB, ALICE)
    machine.receive(send, 0.0)
    assert [type(event) for event in machine.events] == [Bound, DataReceived]
    assert sender.next(0.0) == [wire(f"MSRP a786hjs2 200 OK\nTo-Path: {ALICE}\nFrom-Path: {BOB}\n-------a786hjs2$\n")]


def test_section_4_a_message_in_two_chunks():
    first, second = parse(
        f"MSRP dkei38sd SEND\n{PATHS}Message-ID: 456s9wlk3\nByte-Range: 1-*/8\nContent-Type: text/plain\n\n"
        "abcd\n-------dkei38sd+\n"
        f"MSRP dkei38ia SEND\n{PATHS}Message-ID: 456s9wlk3\nByte-Range: 5-8/8\nContent-Type: text/plain\n\n"
        "EFGH\n-------dkei38ia$\n"
    )
    assert (first.byte_range, first.continuation) == (ByteRange(1, 4, 8), "+")
    assert (second.byte_range, second.continuation) == (ByteRange(5, 8, 8), "$")
    for order in ([first, second], [second, first]):
        machine, _ = party(BOB, ALICE)
        for chunk in order:
            machine.receive(chunk, 0.0)
        assert [event.chunk.data for event in machine.events if isinstance(event, DataReceived)] == [b"abcdEFGH"]


def test_section_7_1_2_a_success_report():
    machine, sender = party(ALICE, BOB)
    back = f"To-Path: {ALICE}\nFrom-Path: {BOB}\n"
    (empty,) = parse(f"MSRP bind0001 SEND\n{back}Message-ID: 1111\nByte-Range: 1-0/0\n-------bind0001$\n")
    machine.receive(empty, 0.0)
    sender.next(0.0)
    message = machine.send(b"x" * 39, "text/plain", message_id="12339sdqwer", success_report=True)
    sender.next(0.0)
    (report,) = parse(
        f"MSRP dkei38sd REPORT\n{back}Message-ID: 12339sdqwer\nByte-Range: 1-39/39\nStatus: 000 200 OK\n"
        "-------dkei38sd$\n"
    )
    assert (report.status, report.byte_range) == (Status(200, "OK"), ByteRange(1, 39, 39))
    machine.receive(report, 0.0)
    assert [event for event in machine.events if isinstance(event, MessageSent | MessageDelivered)] == [
        MessageSent(message),
        MessageDelivered(message, report, is_complete=True),
    ]


def test_section_7_1_a_request_as_we_write_it():
    machine, sender = party(ALICE, BOB)
    back = f"To-Path: {ALICE}\nFrom-Path: {BOB}\n"
    machine.receive(parse(f"MSRP bind0001 SEND\n{back}Message-ID: 1111\n-------bind0001$\n")[0], 0.0)
    sender.next(0.0)
    machine.send(b"Hi", "text/plain", message_id="456so39s", success_report=True, failure_report="no")
    assert b"".join(sender.next(0.0)) == wire(
        f"MSRP tr0000 SEND\n{PATHS}Message-ID: 456so39s\nSuccess-Report: yes\nFailure-Report: no\nByte-Range: 1-2/2\n"
        "Content-Type: text/plain\n\nHi\n-------tr0000$\n"
    )


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("msrp://host.example.com:8493/asfd34;tcp", "msrp://HOST.example.COM:8493/asfd34;TCP", True),
        ("msrp://host:1/x;tcp", "MSRP://host:1/x;tcp", True),
        ("msrp://alice@host:1/x;tcp", "msrp://bob@host:1/x;tcp", True),
        ("msrp://host:1/x;tcp;a=b", "msrp://host:1/x;tcp", True),
        ("msrp://[2001:DB8::1]:1/x;tcp", "msrp://[2001:db8:0:0::1]:1/x;tcp", True),
        ("msrp://host:1/x;tcp", "msrps://host:1/x;tcp", False),
        ("msrp://host:1/x;tcp", "msrp://host:1/X;tcp", False),
        ("msrp://host:1/x;tcp", "msrp://host:1;tcp", False),
        ("msrp://host:2855/x;tcp", "msrp://host/x;tcp", False),
        ("msrp://host:1/x;tcp", "msrp://host:1/x;sctp", False),
        ("msrp://host:1/x;tcp", "msrp://other:1/x;tcp", False),
    ],
)
def test_section_6_1_uris_are_compared(one, other, equal):
    first, second = MSRPURI.parse(one), MSRPURI.parse(other)
    assert (first == second) is equal
    assert not equal or hash(first) == hash(second)


def test_section_9_a_body_may_hold_what_looks_like_an_end_line():
    body = "-------a786hjs2\n-------a786hjs\n\n-------a786hjs2!\n"
    (chunk,) = parse(
        f"MSRP a786hjs2 SEND\n{PATHS}Message-ID: 1234\nContent-Type: text/plain\n\n{body}\n-------a786hjs2$\n"
    )
    assert chunk.data == wire(body)


def test_section_9_names_of_headers_are_read_in_any_case():
    (chunk,) = parse("MSRP a786hjs2 REPORT\nTO-PATH: msrp://a:1/b;tcp\nmessage-id: 1234\nX-Own: y\n-------a786hjs2$\n")
    assert chunk.headers == {"To-Path": "msrp://a:1/b;tcp", "Message-ID": "1234", "X-Own": "y"}


@pytest.mark.parametrize(("flag", "text"), [("$", "complete"), ("+", "more"), ("#", "aborted")])
def test_section_7_1_1_a_chunk_tells_what_comes_after_it(flag, text):
    (chunk,) = parse(
        f"MSRP d93kswow SEND\n{PATHS}Message-ID: 1234\nContent-Type: a/b\n\n{text}\n-------d93kswow{flag}\n"
    )
    assert chunk.continuation == flag
