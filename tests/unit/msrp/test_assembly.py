"""Messages put together from parts in any order, within bounds."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.msrp.assembly import STALE_AFTER, Assembler, TooMuch
from sipsimple.msrp.message import MSRPData


def part(message_id: str, start: int, data: bytes, flag: str = "+", total: int | str = "*") -> MSRPData:
    headers = {"Message-ID": message_id, "Byte-Range": f"{start}-*/{total}", "Content-Type": "a/b"}
    return MSRPData("abcd", method="SEND", headers=headers, data=data, continuation=flag)


@given(st.binary(min_size=1, max_size=200), st.lists(st.integers(1, 199), max_size=8), st.integers(0, 2**32))
def test_parts_in_any_order_and_more_than_once_make_the_message(content, cuts, seed):
    dice = random.Random(seed)
    borders = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    stretches = list(pairwise(borders))
    parts = [part("m", a + 1, content[a:b], "$" if b == len(content) else "+") for a, b in stretches]
    again = [entry for entry in parts if entry.continuation == "+" and dice.random() < 0.5]
    parts += again
    dice.shuffle(parts)
    assembler = Assembler()
    whole = []
    for entry in parts:
        if (message := assembler.add(entry, "m", 0.0)) is not None:
            whole.append(message)
            break
    assert [message.data for message in whole] == [content]
    assert whole[0].byte_range[:2] == (1, len(content))
    assert len(assembler) == 0


def test_messages_are_put_together_side_by_side():
    assembler = Assembler()
    assert assembler.add(part("a", 1, b"aa"), "a", 0.0) is None
    assert assembler.add(part("b", 1, b"bb"), "b", 0.0) is None
    assert assembler.add(part("a", 3, b"AA", "$"), "a", 0.0).data == b"aaAA"
    assert assembler.add(part("b", 3, b"BB", "$"), "b", 0.0).data == b"bbBB"


def test_a_message_that_the_sender_has_given_up_is_forgotten():
    assembler = Assembler()
    assembler.add(part("a", 1, b"aa"), "a", 0.0)
    assert assembler.add(part("a", 3, b"", "#"), "a", 0.0) is None
    assert len(assembler) == 0


@pytest.mark.parametrize("chunk", [part("a", 100, b"xx"), part("a", 1, b"x", "+", 101), part("a", 1, bytes(101), "$")])
def test_a_message_that_is_too_large_is_refused(chunk):
    assembler = Assembler(max_size=100)
    assembler.add(part("a", 1, b"x"), "a", 0.0)
    with pytest.raises(TooMuch):
        assembler.add(chunk, "a", 0.0)
    assert len(assembler) == 0


def test_all_messages_together_are_bounded():
    assembler = Assembler(max_size=100)
    for name in ("a", "b"):
        assembler.add(part(name, 1, bytes(90)), name, 0.0)
    with pytest.raises(TooMuch):
        assembler.add(part("c", 1, bytes(30)), "c", 0.0)
    assembler.add(part("a", 91, b"", "$"), "a", 0.0)
    assembler.add(part("c", 1, bytes(30)), "c", 0.0)


def test_messages_that_do_not_go_on_make_room():
    assembler = Assembler(max_open=2)
    assembler.add(part("a", 1, b"x"), "a", 0.0)
    assembler.add(part("b", 1, b"x"), "b", 1.0)
    with pytest.raises(TooMuch):
        assembler.add(part("c", 1, b"x"), "c", 2.0)
    assembler.add(part("c", 1, b"x"), "c", STALE_AFTER)
    assert assembler.add(part("b", 2, b"y", "$"), "b", STALE_AFTER).data == b"xy"


def test_parts_that_leave_too_many_gaps_are_refused():
    assembler = Assembler()
    with pytest.raises(TooMuch):
        for start in range(1, 2000, 2):
            assembler.add(part("a", start, b"x"), "a", 0.0)
    assert len(assembler) == 0
