"""By which way digits go, and that each is told once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sipsimple.streams.digits import SAME_PRESS, Presses, delivery, press


class Ear:
    def __init__(self):
        self.now = 0.0
        self.presses = Presses(lambda: self.now)

    def hears(self, *digits, way, apart=0.26):
        told = ""
        for digit in digits:
            told += digit if self.presses.is_new(digit, way) else "-"
            self.now += apart
        return told


def test_a_press_by_two_ways_is_one():
    ear = Ear()
    assert [ear.hears("5", way=way) for way in ("events", "info", "events", "info", "inband")] == list("5-5--")


def test_the_same_key_again_by_one_way_is_another_press():
    assert Ear().hears(*"5555555555", way="events") == "5555555555"


def test_another_way_that_lags_behind_is_matched_in_order():
    ear = Ear()
    assert ear.hears(*"112", way="events", apart=0.1) == "112"
    assert ear.hears(*"112", way="inband", apart=0.1) == "---"


def test_a_press_a_long_time_later_is_another_one():
    ear = Ear()
    ear.hears("5", way="events")
    ear.now += SAME_PRESS
    assert ear.hears("5", way="info") == "5"


@pytest.mark.parametrize(
    ("wanted", "has_events", "allows", "way"),
    [
        ("auto", True, True, "events"),
        ("auto", False, True, "info"),
        ("auto", False, False, "inband"),
        ("events", False, True, "events"),
        ("info", True, False, "info"),
        ("inband", True, True, "inband"),
    ],
)
def test_the_way_of_a_digit(wanted, has_events, allows, way):
    sent = []
    audio = SimpleNamespace(
        has_telephone_event=has_events,
        check_digit=lambda digit: None,
        send_dtmf=lambda digit, inband: sent.append("inband" if inband else "events"),
    )
    session = SimpleNamespace(
        remote_allows=lambda method: method == "INFO" and allows, send_info=lambda *content: sent.append("info")
    )
    press("5", audio, session, wanted)
    assert sent == [way]


def test_an_account_without_the_setting_takes_what_there_is():
    assert delivery(SimpleNamespace(rtp=SimpleNamespace())) == "auto"
