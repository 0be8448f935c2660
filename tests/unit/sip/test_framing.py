from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.sip.errors import MalformedMessage
from sipsimple.sip.framing import MAX_HEAD_SIZE, KeepAlive, StreamParser
from sipsimple.sip.message import MAX_MESSAGE_SIZE

FIRST = b"OPTIONS sip:a@h SIP/2.0\r\nCall-ID: 1\r\nContent-Length: 9\r\n\r\n\r\n\r\nbody\r"
SECOND = b"SIP/2.0 200 OK\r\nCall-ID: 2\r\nContent-Length: 0\r\n\r\n"
STREAM = b"\r\n\r\n" + FIRST + b"\r\n" + SECOND + SECOND + b"\r\n\r\n\r\n\r\n" + FIRST


def shown(items):
    return [item if isinstance(item, KeepAlive) else item.encode() for item in items]


WHOLE = [
    *(KeepAlive.PONG, KeepAlive.PING, FIRST, KeepAlive.PONG, SECOND, SECOND),
    *(KeepAlive.PONG, KeepAlive.PING, KeepAlive.PONG, KeepAlive.PING, FIRST),
]


def test_a_stream_in_one_piece():
    parser = StreamParser()
    assert shown(parser.feed(STREAM)) == WHOLE
    assert parser.buffered == 0
    assert not parser.incomplete


@given(st.sets(st.integers(0, len(STREAM))))
def test_cuts_make_no_difference(cuts):
    parser = StreamParser()
    edges = [0, *sorted(cuts), len(STREAM)]
    items = [item for start, end in pairwise(edges) for item in parser.feed(STREAM[start:end])]
    assert shown(items) == WHOLE


def test_a_message_is_incomplete_until_its_body_is_there():
    parser = StreamParser()
    assert parser.feed(FIRST[:-9]) == []
    assert parser.incomplete
    assert parser.buffered == 0
    assert shown(parser.feed(FIRST[-9:])) == [FIRST]
    assert not parser.incomplete


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"OPTIONS sip:a@h SIP/2.0\r\nCall-ID: 1\r\n\r\n", 400),
        (b"OPTIONS sip:a@h SIP/2.0\r\nl: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"OPTIONS sip:a@h SIP/2.0\r\nl: -1\r\n\r\n", 400),
        (f"OPTIONS sip:a@h SIP/2.0\r\nl: {MAX_MESSAGE_SIZE}\r\n\r\n".encode(), 513),
        (b"x" * (MAX_HEAD_SIZE + 5), 513),
        (b"A: b\r\n" * (MAX_HEAD_SIZE // 6 + 1) + b"\r\n", 513),
        (b"garbage\r\n\r\n", 400),
        (b"\nOPTIONS", 400),
        (b"\rO", 400),
    ],
)
def test_a_stream_that_cannot_be_followed_is_given_up(data, status):
    parser = StreamParser()
    for _ in range(2):
        with pytest.raises(MalformedMessage) as caught:
            parser.feed(data)
        assert caught.value.status == status
    assert parser.buffered == 0


def test_what_came_before_the_mistake_is_handed_out():
    parser = StreamParser()
    assert shown(parser.feed(SECOND + b"garbage\r\n\r\n" + SECOND)) == [SECOND]
    with pytest.raises(MalformedMessage):
        parser.feed(b"")


def test_memory_is_bounded():
    parser = StreamParser()
    with pytest.raises(MalformedMessage):
        for _ in range(MAX_HEAD_SIZE):
            parser.feed(b"abcdefgh")
            assert parser.buffered <= MAX_HEAD_SIZE + 12


@given(st.lists(st.binary(max_size=40) | st.sampled_from([FIRST, SECOND, b"\r\n", b"\r\n\r\n"]), max_size=6))
def test_any_bytes_are_messages_or_refused(pieces):
    parser = StreamParser()
    try:
        for piece in pieces:
            parser.feed(piece)
    except MalformedMessage:
        return
