"""Whose turn it is to write: pieces, interruption, fairness, and bodies that come late."""

import pytest

from sipsimple.msrp.chunker import Chunker
from sipsimple.msrp.outgoing import BLOCK_SIZE, BytesBody, OutgoingMessage, SuppliedBody
from sipsimple.msrp.sender import PIECE_SIZE, Sender

from .wire import counter


class Owner:
    """Takes note of the chunks."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[str] = []

    def chunk_started(self, message, transaction_id):
        self.started.append(transaction_id)

    def chunk_ended(self, message, transaction_id, now):
        self.ended.append(transaction_id)


class Bench:
    """A sender and what came out of it."""

    def __init__(self, new_id=None) -> None:
        self.owner = Owner()
        self.sender = Sender(new_id or counter("trans"))
        self.output = b""

    def put(self, message_id: str, body, content_type: str | None = "a/b") -> OutgoingMessage:
        headers = {"To-Path": "x", "From-Path": "y", "Message-ID": message_id}
        if content_type is not None:
            headers["Content-Type"] = content_type
        message = OutgoingMessage(self.owner, headers, BytesBody(body) if isinstance(body, bytes) else body)
        self.sender.put(message)
        return message

    def step(self) -> int:
        output = b"".join(self.sender.next(0.0))
        self.output += output
        return len(output)

    def drain(self) -> None:
        while self.step():
            pass

    @property
    def chunks(self) -> list[tuple[str, str, int, str]]:
        """Of each chunk the message, the range as announced, the real size, and the flag."""
        return [
            (chunk.message_id, chunk.headers["Byte-Range"], len(chunk.data), chunk.continuation)
            for chunk in Chunker(segment_size=2**30).feed(self.output)
        ]


def test_a_short_message_is_one_chunk_with_a_known_range():
    bench = Bench()
    message = bench.put("m1", b"hello")
    bench.drain()
    assert bench.chunks == [("m1", "1-5/5", 5, "$")]
    assert (message.is_sent, message.sent, bench.sender.is_idle) == (True, 5, True)
    assert bench.owner.started == bench.owner.ended == ["trans000001"]


def test_a_long_message_alone_is_one_chunk_of_open_end():
    bench = Bench()
    bench.put("m1", bytes(10 * PIECE_SIZE))
    bench.drain()
    assert bench.chunks == [("m1", f"1-*/{10 * PIECE_SIZE}", 10 * PIECE_SIZE, "$")]


@pytest.mark.parametrize("limit", [1000, PIECE_SIZE, PIECE_SIZE + 1000])
def test_chunks_are_as_large_as_they_may_be(limit):
    bench = Bench()
    size = 2 * limit + 10
    bench.put("m1", bytes(size)).max_chunk_size = limit
    bench.drain()
    assert [(length, flag) for _, _, length, flag in bench.chunks] == [(limit, "+"), (limit, "+"), (10, "$")]
    known = f"1-{limit}/{size}" if limit <= PIECE_SIZE else f"1-*/{size}"
    assert bench.chunks[0][1] == known


def test_two_long_messages_take_turns():
    bench = Bench()
    size = 2 * PIECE_SIZE
    bench.put("m1", bytes(size))
    bench.put("m2", bytes(size))
    bench.drain()
    assert bench.chunks == [
        ("m1", f"1-*/{size}", PIECE_SIZE, "+"),
        ("m2", f"1-*/{size}", PIECE_SIZE, "+"),
        ("m1", f"{PIECE_SIZE + 1}-{size}/{size}", PIECE_SIZE, "$"),
        ("m2", f"{PIECE_SIZE + 1}-{size}/{size}", PIECE_SIZE, "$"),
    ]


def test_answers_go_before_messages_and_interrupt_them():
    bench = Bench()
    bench.put("m1", bytes(3 * PIECE_SIZE))
    bench.step()
    bench.sender.put_chunk(b"MSRP answ 200 OK\r\n-------answ$\r\n")
    bench.drain()
    chunks = [chunk for chunk in Chunker().feed(bench.output) if chunk.ends_chunk]
    assert [(chunk.transaction_id, chunk.continuation) for chunk in chunks] == [
        ("trans000001", "+"),
        ("answ", "$"),
        ("trans000002", "$"),
    ]


def test_a_body_that_is_not_there_yet_holds_up_nobody():
    bench = Bench()
    late = SuppliedBody(10)
    bench.put("late", late)
    bench.put("m2", b"hello")
    bench.drain()
    assert bench.chunks == [("m2", "1-5/5", 5, "$")]
    late.supply(b"01234")
    bench.drain()
    bench.put("m3", b"hello")
    late.supply(b"56789")
    bench.drain()
    assert [(name, flag) for name, _, _, flag in bench.chunks][1:] == [("late", "+"), ("m3", "$"), ("late", "$")]


def test_a_body_of_unknown_size_ends_when_its_supplier_says_so():
    bench = Bench()
    body = SuppliedBody()
    message = bench.put("m1", body)
    body.supply(b"0123")
    bench.drain()
    body.supply(b"")
    bench.drain()
    assert bench.chunks == [("m1", "1-*/*", 4, "$")]
    assert message.size == 4


def test_a_supplier_is_asked_for_no_more_than_fits():
    body = SuppliedBody(3 * BLOCK_SIZE + 7)
    sizes = []
    while wanted := body.wants:
        sizes.append(wanted)
        body.supply(bytes(wanted))
    assert sizes == [BLOCK_SIZE] * 2
    while body.take(BLOCK_SIZE):
        if wanted := body.wants:
            sizes.append(wanted)
            body.supply(bytes(wanted))
    assert sizes == [BLOCK_SIZE] * 3 + [7]
    assert body.is_at_end()


def test_what_was_supplied_before_a_failure_is_still_sent():
    bench = Bench()
    body = SuppliedBody(10)
    bench.put("m1", body)
    body.supply(b"0123")
    body.fail("the disk is gone")
    bench.drain()
    assert bench.chunks == [("m1", "1-*/10", 4, "#")]


def test_more_than_was_announced_is_the_suppliers_mistake():
    with pytest.raises(ValueError, match="6 bytes supplied for a body of 5"):
        SuppliedBody(5).supply(b"123456")


def test_an_empty_file_is_an_empty_chunk():
    bench = Bench()
    bench.put("m1", SuppliedBody(0))
    bench.drain()
    assert bench.chunks == [("m1", "1-0/0", 0, "$")]


def test_a_message_that_is_given_up_while_it_waits_its_turn_is_ended_for_the_remote():
    bench = Bench()
    message = bench.put("m1", bytes(3 * PIECE_SIZE))
    bench.step()
    bench.put("m2", b"hello")
    bench.step()
    bench.sender.abort(message)
    bench.drain()
    total = 3 * PIECE_SIZE
    assert bench.chunks[-1] == ("m1", f"{PIECE_SIZE + 1}-{PIECE_SIZE}/{total}", 0, "#")
    assert bench.sender.is_idle


def test_a_transaction_id_that_the_body_holds_is_not_taken():
    bench = Bench(iter(["evil1", "good1"]).__next__)
    bench.put("m1", b"-------evil1$\r\n")
    bench.drain()
    assert [chunk.transaction_id for chunk in Chunker().feed(bench.output)] == ["good1"]


@pytest.mark.parametrize("shift", range(13))
def test_a_body_that_guesses_the_transaction_id_later_is_cut_in_two(shift):
    ids = iter(["guess1", "other1", "other2"])
    bench = Bench(lambda: next(ids))
    body = bytes(PIECE_SIZE - shift - 2) + b"\r\n-------guess1$\r\n" + bytes(100_000)
    bench.put("m1", body)
    bench.drain()
    chunks = list(Chunker(segment_size=2**30).feed(bench.output))
    assert b"".join(chunk.data for chunk in chunks) == body
    assert len(chunks) == 2
    position = 1
    for chunk in chunks:
        assert chunk.byte_range.start == position
        position += len(chunk.data)


def test_ids_that_are_always_the_same_are_no_ids():
    bench = Bench(lambda: "same1")
    bench.put("m1", b"same1")
    with pytest.raises(RuntimeError):
        bench.step()
