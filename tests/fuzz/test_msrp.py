"""Anything into the MSRP parser and the session machine.

The parser makes of bytes a chunk, need more, or MalformedChunk, and nothing else; the machine takes every chunk.
"""

import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipsimple.msrp.assembly import Assembler
from sipsimple.msrp.chunker import MAX_HEAD_SIZE, Chunker
from sipsimple.msrp.errors import MalformedChunk, MalformedURI, SessionClosed
from sipsimple.msrp.events import MessageFailed
from sipsimple.msrp.message import ByteRange, MSRPData, Status
from sipsimple.msrp.sender import Sender
from sipsimple.msrp.session import SessionMachine, State
from sipsimple.msrp.uri import MSRPURI, parse_path

PATHS = {"To-Path": "msrp://bob.example:8493/si438;tcp", "From-Path": "msrp://alice.example:7394/2s93;tcp"}
LINES = [
    b"MSRP d93kswow SEND\r\n",
    b"MSRP d93kswow 200 OK\r\n",
    b"MSRP d93kswow REPORT\r\n",
    b"To-Path: msrp://bob.example:8493/si438;tcp\r\n",
    b"From-Path: msrp://alice.example:7394/2s93;tcp\r\n",
    b"Message-ID: 12339sdqwer\r\n",
    b"Byte-Range: 1-16/16\r\n",
    b"Byte-Range: 1-*/*\r\n",
    b"Byte-Range: 9-1/0\r\n",
    b"Status: 000 200 OK\r\n",
    b"Content-Type: text/plain\r\n",
    b"\r\n",
    b"Hi, I'm Alice!",
    b"-------",
    b"-------d93kswow",
    b"-------d93kswow$\r\n",
    b"\r\n-------d93kswow+\r\n",
    b"-------d93kswow#\r\n",
    b"\r",
    b"\n",
    b"\x00",
    b"\xff",
]
streams = st.lists(st.sampled_from(LINES) | st.binary(max_size=8), max_size=30).map(b"".join)
bodies = st.lists(
    st.binary(max_size=40) | st.sampled_from([b"\r\n-------", b"d93kswow", b"\r\n-------d93kswow", b"$\r\n", b"\r\n"]),
    max_size=12,
).map(b"".join)


def cuts(data: bytes, seed: int) -> list[bytes]:
    """The data in pieces of random length."""
    dice = random.Random(seed)
    pieces = []
    while data:
        size = dice.randint(1, max(1, dice.choice([3, 30, len(data)])))
        pieces.append(data[:size])
        data = data[size:]
    return pieces


def understood(pieces: list[bytes]) -> tuple[list[tuple[object, ...]], bool]:
    """The chunks, with the segments of each put together, and whether the rest was malformed."""
    chunker = Chunker()
    chunks: list[tuple[object, ...]] = []
    body = b""
    try:
        for piece in pieces:
            for chunk in chunker.feed(piece):
                assert chunk.offset == len(body)
                body += chunk.data
                if chunk.ends_chunk:
                    chunks.append(
                        (chunk.transaction_id, chunk.method, chunk.code, chunk.headers, body, chunk.continuation)
                    )
                    body = b""
    except MalformedChunk:
        with pytest.raises(MalformedChunk):
            next(chunker.feed(b""))
        return chunks, True
    return chunks, False


@settings(max_examples=150, deadline=None)
@given(streams, st.integers(0, 2**32))
def test_any_stream_is_understood_alike_however_it_is_cut(data, seed):
    whole = understood([data])
    assert understood([data[index : index + 1] for index in range(len(data))]) == whole
    assert understood(cuts(data, seed)) == whole


def holds_end_line(body: bytes) -> bool:
    """Whether a chunk with this body would end before its end, which is the sender's to avoid."""
    return any(b"\r\n-------d93kswow" + flag + b"\r\n" in b"\r\n" + body + b"\r\n" for flag in (b"$", b"+", b"#"))


@settings(max_examples=150, deadline=None)
@given(st.lists(bodies.filter(lambda body: not holds_end_line(body)), max_size=4), st.integers(0, 2**32))
def test_any_body_arrives_as_it_was_sent(contents, seed):
    flags = ["$", "+", "#", "$"]
    headers = {**PATHS, "Message-ID": "1234", "Content-Type": "application/octet-stream"}
    data = b"".join(
        MSRPData("d93kswow", method="SEND", headers=headers, data=content, continuation=flag).encode()
        for content, flag in zip(contents, flags, strict=False)
    )
    chunks, is_malformed = understood(cuts(data, seed))
    assert not is_malformed
    assert [(chunk[4], chunk[5]) for chunk in chunks] == list(zip(contents, flags, strict=False))


@settings(max_examples=100, deadline=None)
@given(st.integers(10_000, 200_000), st.integers(0, 2**32))
def test_a_large_body_comes_in_segments_that_join(size, seed):
    content = random.Random(seed).randbytes(size)
    headers = {**PATHS, "Message-ID": "1234", "Byte-Range": f"101-*/{size + 100}", "Content-Type": "a/b"}
    data = MSRPData("d93kswow", method="SEND", headers=headers, data=content).encode()
    chunker = Chunker()
    segments = [segment for piece in cuts(data, seed) for segment in chunker.feed(piece)]
    assert b"".join(segment.data for segment in segments) == content
    position = 101
    for segment in segments:
        assert segment.byte_range == ByteRange(position, position + len(segment.data) - 1, size + 100)
        position += len(segment.data)
    assert [segment.ends_chunk for segment in segments] == [False] * (len(segments) - 1) + [True]
    assert not chunker.in_chunk


@settings(max_examples=150, deadline=None)
@given(
    st.text(max_size=60)
    | st.from_regex(r"msrps?://[a-z\[\]:0-9.@]{1,12}(/[a-z]{1,4})?;tcp(;[a-z=]{1,5})?", fullmatch=True)
)
def test_a_text_is_a_uri_or_malformed(text):
    try:
        uri = MSRPURI.parse(text)
    except MalformedURI:
        return
    assert MSRPURI.parse(str(uri)) == uri
    assert str(MSRPURI.parse(str(uri))) == str(uri)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30) | st.from_regex(r"[0-9]{1,3} ?-?[0-9*]{1,3} ?/?[0-9A-Z*]{0,20}", fullmatch=True))
def test_values_are_read_or_malformed(text):
    for kind in (ByteRange, Status):
        try:
            value = kind.parse(text)
        except MalformedChunk:
            continue
        assert kind.parse(str(value)) == value
    with contextlib.suppress(MalformedURI):
        parse_path(text)


@pytest.mark.parametrize(
    "data",
    [
        b"MSRP " + b"a" * MAX_HEAD_SIZE,
        b"MSRP d93kswow SEND\r\nX: " + b"a" * MAX_HEAD_SIZE,
        b"MSRP d93kswow SEND\r\n" + b"X: y\r\n" * 65 + b"\r\n",
        b"MSRP d93kswow REPORT\r\nX: y\r\n\r\n" + bytes(16 * 1024 + 100),
        b"MSRP d93kswow REPORT\r\nX: y\r\n\r\n" + bytes(16 * 1024 + 1) + b"\r\n-------d93kswow$\r\n",
        b"GET / HTTP/1.1",
        b"\x16\x03\x01",
    ],
)
def test_what_grows_beyond_its_limit_is_malformed(data):
    assert understood([data]) == ([], True)
    assert understood(cuts(data, 1)) == ([], True)


def test_a_chunk_that_grows_beyond_its_limit_is_malformed():
    chunker = Chunker(max_chunk_size=50_000)
    data = MSRPData("d93kswow", method="SEND", headers={**PATHS, "Content-Type": "a/b"}, data=bytes(50_001)).encode()
    with pytest.raises(MalformedChunk):
        list(chunker.feed(data))


LOCAL, REMOTE = MSRPURI("bob.example", 8493, "si438"), MSRPURI("alice.example", 7394, "2s93")
header_values = {
    "To-Path": st.sampled_from([str(LOCAL), str(REMOTE), f"{LOCAL} {REMOTE}", "x"]),
    "From-Path": st.sampled_from([str(REMOTE), str(LOCAL), f"{LOCAL} {REMOTE}", "x y"]),
    "Message-ID": st.sampled_from(["m1", "m2", "id00000", "id00001", "id00002"]),
    "Byte-Range": st.sampled_from(["1-5/5", "1-*/*", "1-0/0", "3-4/9", "6-*/10", "9-1/3", f"1-*/{2**62}", "x"]),
    "Status": st.sampled_from(["000 200 OK", "000 413", "001 200", "x"]),
    "Success-Report": st.sampled_from(["yes", "no", "x"]),
    "Failure-Report": st.sampled_from(["yes", "no", "partial", "x"]),
    "Content-Type": st.sampled_from(["text/plain", "a/b", "x"]),
}
headers = st.fixed_dictionaries(
    {name: header_values[name] for name in ("To-Path", "From-Path")},
    optional={name: values for name, values in header_values.items() if not name.endswith("-Path")},
)
chunks = st.builds(
    MSRPData,
    st.sampled_from(["tr00000", "tr00001", "tr00002", "tr00003", "strange"]),
    method=st.sampled_from(["SEND", "SEND", "REPORT", "AUTH", "NICKNAME"]),
    headers=headers,
    data=st.binary(max_size=10),
    continuation=st.sampled_from("$+#"),
    ends_chunk=st.booleans(),
    offset=st.sampled_from([0, 0, 4]),
) | st.builds(
    MSRPData,
    st.sampled_from(["tr00000", "tr00001", "tr00002", "tr00003", "strange"]),
    code=st.sampled_from([200, 200, 400, 413, 481, 999]),
    headers=headers,
)
acts = st.lists(
    chunks | st.sampled_from(["send", "report", "write", "abort", "ask", "keep alive", "refuse", "late", "close"]),
    max_size=25,
)


@settings(max_examples=300, deadline=None)
@given(st.booleans(), st.booleans(), acts)
def test_whatever_happens_to_a_session_each_message_ends_once(is_active, assembles, happenings):
    ids, transactions = (iter(f"{name}{number:05d}" for number in range(1000)) for name in ("id", "tr"))
    sender = Sender(lambda: next(transactions))
    machine = SessionMachine(
        [LOCAL],
        [REMOTE],
        new_id=lambda: next(ids),
        accept_types=["text/*"],
        max_message_size=100,
        assembler=Assembler() if assembles else None,
        methods=["NICKNAME"],
    )
    if is_active:
        machine.bind(sender)
    else:
        machine.expect()
        machine.attach(sender)
    now, sent = 0.0, []
    for happening in happenings:
        # What the user does at the wrong time is refused by these two and changes nothing.
        with contextlib.suppress(SessionClosed, RuntimeError):
            match happening:
                case "send" | "report":
                    sent.append(machine.send(b"hello", "text/plain", success_report=happening == "report"))
                case "write":
                    sender.next(now)
                case "abort" if sent:
                    machine.abort(sent[-1])
                case "ask":
                    machine.request("NICKNAME", {}, now)
                case "keep alive":
                    machine.keep_alive()
                case "refuse":
                    machine.refuse("m1")
                case "late":
                    now += 31
                    machine.wake(now)
                case "close":
                    machine.close()
                case MSRPData():
                    machine.receive(happening, now)
        assert (machine.next_wake() or now) >= now
    machine.close()
    assert machine.state is State.CLOSED
    for message in sent:
        failures = [event for event in machine.events if isinstance(event, MessageFailed) and event.message is message]
        assert len(failures) == (message.outcome != 200)
        assert message.outcome
