"""The estimate of how good a call sounds."""

from __future__ import annotations

import pytest

from sipsimple.media.quality import BEST, assess, opinion, rating


def test_a_perfect_call_is_as_good_as_the_model_allows():
    assert rating("PCMU", 0, 0) == BEST
    assert opinion(BEST) == pytest.approx(4.41, abs=0.01)


@pytest.mark.parametrize(("r", "mos"), [(100, 4.5), (90, 4.34), (80, 4.03), (70, 3.60), (60, 3.10), (50, 2.58)])
def test_scores_are_those_of_the_table_of_the_recommendation(r, mos):
    assert opinion(r) == pytest.approx(mos, abs=0.01)


def test_the_score_stays_on_its_scale():
    assert opinion(0) == opinion(-5) == 1
    assert all(1 <= opinion(r) <= 4.5 for r in range(101))


def test_loss_delay_and_codecs_cost():
    assert rating("PCMU", 20, 0) > rating("PCMU", 20, 0.01) > rating("PCMU", 20, 0.1) > rating("PCMU", 20, 1)
    assert rating("PCMU", 100, 0) - rating("PCMU", 150, 0) == pytest.approx(1.2)
    assert rating("PCMU", 200, 0) - rating("PCMU", 250, 0) == pytest.approx(6.7)
    assert rating("PCMU", 0, 0) > rating("GSM", 0, 0)
    assert rating("unheard-of", 0, 0) < BEST
    # G.107 with Bpl = 25.1: 5 % of loss cost 95 * 5 / 30.1.
    assert BEST - rating("pcma", 0, 0.05) == pytest.approx(15.78, abs=0.01)


def values(**received):
    counted = {"packets": 100, "packets_lost": 0, "packets_discarded": 0, "packets_duplicate": 0, **received}
    return {"rtt": {"last": 100_000}, "rx": counted, "tx": {"packets": 100, "packets_lost": 50}}


def test_both_directions_are_assessed():
    known = values(packets=95, packets_lost=10, packets_discarded=5, packets_duplicate=5)
    assess("PCMU", known, 0.06, is_reported=True)
    assert known["codec"] == "PCMU"
    assert known["rx"]["buffer_delay"] == 60_000
    assert known["rx"]["concealed"] == 0.1
    assert known["rx"]["mos"] == round(opinion(rating("PCMU", 50 + 20 + 60, 0.1)), 2)
    assert 1 < known["tx"]["mos"] < known["rx"]["mos"]


def test_what_is_not_known_has_no_score():
    unknown = values(packets=0)
    assess("PCMU", unknown, 0.0, is_reported=False)
    assert unknown["rx"]["mos"] is unknown["tx"]["mos"] is None
    assert unknown["rx"]["concealed"] == 0
