"""Digits by RFC 4733: packets of a press, and presses out of packets whatever the network did to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.media.dtmf import (
    CYCLE_FRAMES,
    DIGIT_SECONDS,
    DIGITS,
    END_PACKETS,
    MAX_QUEUED_DIGITS,
    DigitReceiver,
    DigitSender,
    MalformedEvent,
    TelephoneEvent,
)
from sipsimple.media.errors import StreamError

RATES = st.sampled_from([8000, 16000, 32000, 48000])
EVENTS = st.builds(TelephoneEvent, st.integers(0, 255), st.booleans(), st.integers(0, 65535), st.integers(0, 63))


def packets(digits: str, rate: int, first: int = 0) -> list[tuple[int, TelephoneEvent]]:
    """Timestamp and payload of all packets that the digits are sent in."""
    sender = DigitSender(rate)
    for digit in digits:
        sender.press(digit)
    sent = []
    frame = 0
    while sender.busy:
        event = sender.next_frame()
        if event is not None:
            timestamp = first + (frame - event.age) * rate // 50
            sent.append((timestamp % (1 << 32), TelephoneEvent.parse(event.payload)))
        frame += 1
    return sent


@pytest.mark.parametrize(("rate", "duration"), [(8000, 1600), (16000, 3200), (48000, 9600)])
def test_a_press_lasts_200_ms_and_says_its_end_three_times(rate, duration):
    sent = [event for _, event in packets("5", rate)]
    assert [event.duration for event in sent] == [duration * min(n, 10) // 10 for n in range(1, 13)]
    assert [event.end for event in sent] == [False] * 9 + [True] * END_PACKETS
    assert {(event.code, event.volume) for event in sent} == {(5, 10)}


def test_only_the_first_packet_is_marked_and_all_have_the_timestamp_of_the_first():
    sender = DigitSender(8000)
    sender.press("#")
    events = [sender.next_frame() for _ in range(CYCLE_FRAMES)]
    assert [event.marker for event in events[:-1]] == [True] + [False] * 11
    assert [event.age for event in events[:-1]] == list(range(12))
    assert events[-1] is None
    assert not sender.busy
    assert sender.next_frame() is None


def test_presses_follow_each_other_with_audio_between_them():
    timestamps = [timestamp for timestamp, _ in packets("12", 8000)]
    assert timestamps == [0] * 12 + [CYCLE_FRAMES * 160] * 12
    assert pytest.approx(0.26) == DIGIT_SECONDS


def test_queue_is_bounded():
    sender = DigitSender(8000)
    for _ in range(MAX_QUEUED_DIGITS):
        sender.press("1")
    with pytest.raises(StreamError, match="32 digits wait"):
        sender.press("1")
    for _ in range(CYCLE_FRAMES):
        sender.next_frame()
    sender.press("1")


@pytest.mark.parametrize("digit", ["", "12", "E", "a", " "])
def test_what_is_no_digit_is_refused(digit):
    with pytest.raises(StreamError, match="no DTMF digit"):
        DigitSender(8000).press(digit)


@given(EVENTS)
def test_payload_is_read_as_it_was_written(event):
    assert TelephoneEvent.parse(bytes(event)) == event
    assert TelephoneEvent.parse(bytes(event) + b"more") == event


@given(st.binary(max_size=8))
def test_any_bytes_are_an_event_or_malformed(data):
    try:
        event = TelephoneEvent.parse(data)
    except MalformedEvent:
        assert len(data) < 4
    else:
        assert event.digit is None or event.digit in DIGITS


@given(st.text(DIGITS, min_size=1, max_size=6), RATES, st.integers(0, (1 << 32) - 1), st.data())
def test_each_press_is_told_once_whatever_is_lost_doubled_or_swapped(digits, rate, first, data):
    presses: dict[int, list[TelephoneEvent]] = {}
    for timestamp, event in packets(digits, rate, first):
        presses.setdefault(timestamp, []).append(event)
    receiver = DigitReceiver(rate)
    told = []
    for timestamp, events in presses.items():
        # At least one packet of each press comes through; which ones, how often, in which order is the network's.
        arriving = data.draw(st.lists(st.sampled_from(events), min_size=1, max_size=20))
        told += [digit for event in arriving if (digit := receiver.receive(timestamp, event)) is not None]
    assert "".join(told) == digits


def test_packets_of_a_press_that_come_after_the_next_one_are_not_told_again():
    one, two = packets("12", 8000)[0], packets("12", 8000)[-1]
    receiver = DigitReceiver(8000)
    assert [receiver.receive(*packet) for packet in (one, two, one, two)] == ["1", "2", None, None]


def test_a_key_held_for_long_is_one_press():
    receiver = DigitReceiver(8000)
    segments = [(segment * 0xFFFF, TelephoneEvent(7, False, 0xFFFF)) for segment in range(4)]
    assert [receiver.receive(*segment) for segment in segments] == ["7", None, None, None]
    assert receiver.receive(4 * 0xFFFF, TelephoneEvent(7, True, 800)) is None
    assert receiver.receive(4 * 0xFFFF + 1600, TelephoneEvent(7, False, 160)) == "7"


def test_a_press_after_an_end_is_another_one_even_where_a_segment_would_begin():
    receiver = DigitReceiver(8000)
    assert receiver.receive(0, TelephoneEvent(7, True, 1600)) == "7"
    assert receiver.receive(0xFFFF, TelephoneEvent(7, False, 160)) == "7"


def test_another_source_and_timestamps_far_back_are_a_new_beginning():
    receiver = DigitReceiver(8000)
    event = TelephoneEvent(1, False, 160)
    assert receiver.receive(100_000, event) == "1"
    assert receiver.receive(50_000, event) == "1"
    assert receiver.receive(49_000, event) is None
    receiver.restart()
    assert receiver.receive(49_000, event) == "1"


def test_events_that_are_no_keys_are_not_told():
    assert DigitReceiver(8000).receive(0, TelephoneEvent(16, False, 160)) is None
