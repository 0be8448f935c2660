"""What stands in for a sound device that is not there, and when it is taken again."""

from __future__ import annotations

import pytest

from sipsimple.application.device_choice import SYSTEM_DEFAULT, DeviceChoice, expected_device


def chosen(choice: DeviceChoice, wanted: str | None, *present: str) -> str | None:
    return choice.choose({"output_device": wanted}, {"output_device": present})["output_device"]


@pytest.mark.parametrize("wanted", [None, SYSTEM_DEFAULT, "a"])
def test_what_is_there_is_taken(wanted: str | None):
    assert chosen(DeviceChoice(), wanted, "a", "b") == wanted


def test_a_device_that_is_back_is_taken_again_once():
    choice = DeviceChoice()
    assert chosen(choice, "a", "b") == SYSTEM_DEFAULT
    assert chosen(choice, SYSTEM_DEFAULT, "b", "c") == SYSTEM_DEFAULT
    assert chosen(choice, SYSTEM_DEFAULT, "b", "a") == "a"
    assert chosen(choice, SYSTEM_DEFAULT, "b", "a") == SYSTEM_DEFAULT


@pytest.mark.parametrize("other", [None, "b"])
def test_another_setting_lets_a_device_that_vanished_be_forgotten(other: str | None):
    choice = DeviceChoice()
    chosen(choice, "a", "b")
    assert chosen(choice, other, "b") == other
    assert chosen(choice, SYSTEM_DEFAULT, "b", "a") == SYSTEM_DEFAULT


def test_one_setting_does_not_take_what_another_lost():
    choice = DeviceChoice()
    choice.choose({"input_device": "a", "output_device": "a"}, {"input_device": [], "output_device": ["a"]})
    wanted = {"input_device": SYSTEM_DEFAULT, "output_device": SYSTEM_DEFAULT}
    assert choice.choose(wanted, {"input_device": ["a"], "output_device": ["a"]}) == {
        "input_device": "a",
        "output_device": SYSTEM_DEFAULT,
    }


def test_the_default_is_the_first_of_those_present():
    assert expected_device(SYSTEM_DEFAULT, ("b", "a")) == "b"
    assert expected_device(SYSTEM_DEFAULT, ()) is None
    assert expected_device("a", ()) == "a"
    assert expected_device(None, ("a",)) is None
