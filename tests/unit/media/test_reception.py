"""Sequence numbers, loss and jitter by RFC 3550 appendix A."""

from __future__ import annotations

import numpy as np
import pytest

from sipsimple.media.reception import MAX_DROPOUT, Reception

ROW = 1


class Source:
    """Feeds the packets of one sender, 20 ms apart, into row 1."""

    def __init__(self, first: int = 100, ssrc: int = 7):
        self.reception = Reception(3)
        self.reception.open(ROW, 8000)
        self.first = first
        self.ssrc = ssrc

    def send(self, *numbers: int, late: float = 0.0) -> list[bool]:
        accepted = []
        for number in numbers:
            verdict = self.reception.arrive(
                np.array([ROW]),
                np.array([(self.first + number) % 65536]),
                np.array([number * 160 % (1 << 32)]),
                np.array([self.ssrc]),
                np.array([160]),
                np.array([True]),
                number * 0.02 + late,
            )
            accepted.append(bool(verdict.accepted[0]))
        return accepted

    def count(self, name: str) -> int:
        return int(getattr(self.reception, name)[ROW])


@pytest.mark.parametrize("first", [0, 100, 65530])
def test_clean_stream_has_no_loss_and_no_jitter(first):
    source = Source(first)
    assert all(source.send(*range(300)))
    report = source.reception.report(ROW)
    assert (report.fraction_lost, report.cumulative_lost, report.jitter) == (0, 0, 0)
    assert report.highest_sequence == first + 299
    assert source.reception.lost(ROW) == 0


def test_highest_sequence_counts_the_turns():
    source = Source(65000)
    source.send(*range(0, 140_000, 1000))
    assert source.reception.report(ROW).highest_sequence == 65000 + 139_000


def test_loss_is_reported_per_interval_and_in_total():
    source = Source()
    source.send(*(n for n in range(101) if n % 4 != 1))
    first = source.reception.report(ROW)
    assert first.cumulative_lost == 25
    assert first.fraction_lost == 25 * 256 // 101
    source.send(*range(101, 201))
    second = source.reception.report(ROW)
    assert (second.cumulative_lost, second.fraction_lost) == (25, 0)
    assert source.count("random_loss") == 1
    assert source.count("burst_loss") == 0
    assert source.reception.loss_period.read(ROW)["avg"] == 20_000


def test_burst_is_told_from_single_losses():
    source = Source()
    source.send(0, 1, 5)
    assert source.count("burst_loss") == 1
    assert source.count("random_loss") == 0
    assert source.reception.loss_period.read(ROW)["max"] == 60_000


def test_reordering_and_duplicates_are_counted_and_not_lost():
    source = Source()
    assert source.send(0, 1, 3, 2, 2, 3, 4) == [True, True, True, True, False, False, True]
    assert source.count("reordered") == 1
    assert source.count("duplicates") == 2
    assert source.reception.lost(ROW) == 0


def test_packet_before_the_first_is_welcome():
    source = Source(0)
    assert source.send(0, -1, 1) == [True, True, True]


def test_stray_sequence_is_refused_and_a_second_one_is_a_restart():
    source = Source()
    source.send(*range(10))
    far = MAX_DROPOUT + 500
    assert source.send(far) == [False]
    assert source.send(10) == [True]
    assert source.send(far + 10, far + 11, far + 12) == [False, True, True]
    assert source.reception.report(ROW).cumulative_lost == 0


def test_new_ssrc_begins_again_and_keeps_the_totals():
    source = Source()
    source.send(0, 1, 4)
    source.ssrc = 8
    source.first = 40000
    source.send(5, 6)
    report = source.reception.report(ROW)
    assert (report.ssrc, report.cumulative_lost) == (8, 0)
    assert source.reception.lost(ROW) == 2
    assert source.count("packets") == 5


def test_jitter_follows_the_formula():
    source = Source()
    expected = 0.0
    for number in range(200):
        source.send(number, late=0.01 if number % 2 else 0.0)
        if number:
            expected += (80 - expected) / 16
    assert source.reception.report(ROW).jitter == int(expected)
    assert source.reception.jitter.read(ROW)["last"] == pytest.approx(10_000, rel=0.01)


def test_nothing_heard_is_nothing_to_report():
    assert Source().reception.report(ROW) is None
