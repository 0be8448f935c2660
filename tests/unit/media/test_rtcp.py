"""RTCP: parsing is the inverse of writing, no bytes crash it, and intervals follow RFC 3550 A.7."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.media.rtcp import (
    Bye,
    MalformedRTCP,
    Report,
    ReportPacket,
    SenderInfo,
    SourceDescription,
    compound,
    interval,
    middle,
    ntp_time,
    parse_compound,
)

words = st.integers(0, 0xFFFFFFFF)
reports = st.builds(
    Report, words, st.integers(0, 255), st.integers(-(1 << 23), (1 << 23) - 1), words, words, words, words
)
senders = st.builds(SenderInfo, st.integers(0, (1 << 64) - 1), words, words, words)
report_packets = st.builds(ReportPacket, words, st.lists(reports, max_size=31).map(tuple), st.none() | senders)
texts = st.text(st.characters(codec="ascii"), max_size=60)
packets = (
    report_packets
    | st.builds(SourceDescription, words, texts)
    | st.builds(Bye, st.lists(words, max_size=31).map(tuple), texts)
)


@given(st.lists(packets, min_size=1, max_size=4))
def test_parsing_is_the_inverse_of_writing(written):
    data = compound(written)
    assert len(data) % 4 == 0
    assert parse_compound(data) == written


@given(st.binary(max_size=120))
def test_random_bytes_are_refused_or_understood(data):
    with contextlib.suppress(MalformedRTCP):
        parse_compound(data)


@given(st.lists(packets, min_size=1, max_size=3), st.data())
def test_damaged_packets_are_refused_or_understood(written, data):
    wire = bytearray(compound(written))
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(MalformedRTCP):
        parse_compound(bytes(wire[: data.draw(st.integers(0, len(wire)))]))


def test_unknown_packets_are_passed_over():
    feedback = bytes.fromhex("81cd0002") + bytes(8)
    bye = Bye((7,))
    assert parse_compound(feedback + bytes(bye)) == [bye]


def test_padding_of_the_last_packet_is_taken_off():
    plain = bytearray(bytes(ReportPacket(5)))
    padded = bytes([plain[0] | 0x20, plain[1], 0, 2]) + plain[4:] + bytes([0, 0, 0, 4])
    assert parse_compound(padded) == [ReportPacket(5)]


@pytest.mark.parametrize(
    "data", [b"", b"\x80", bytes.fromhex("40c90001") + bytes(4), bytes.fromhex("80c90002") + bytes(4)]
)
def test_malformed_compounds_are_refused(data):
    with pytest.raises(MalformedRTCP):
        parse_compound(data)


def test_two_parties_report_every_five_seconds_on_average_and_sooner_at_first():
    chances = [(n + 0.5) / 100 for n in range(100)]
    usual = [interval(chance, initial=False, we_sent=True) for chance in chances]
    assert sum(usual) / 100 == pytest.approx(5 / 1.21828)
    assert max(usual) / min(usual) == pytest.approx(3, rel=0.05)
    assert interval(0.5, initial=True, we_sent=True) == pytest.approx(2.5 / 1.21828)


def test_a_crowd_shares_the_bandwidth():
    # 1000 receivers, 75 % of 5 % of 8000 octets/s for their reports of 100 octets (RFC 3550 6.2).
    crowd = interval(0.5, initial=False, we_sent=False, members=1001, senders=1)
    assert crowd == pytest.approx(1000 * 100 / (8000 * 0.05 * 0.75) / 1.21828)


def test_ntp_time_counts_from_1900():
    assert ntp_time(0) == 2208988800 << 32
    assert middle(ntp_time(0.5)) == (2208988800 & 0xFFFF) << 16 | 0x8000
