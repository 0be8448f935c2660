"""Reliable provisional responses: their repetition, and the headers that number and acknowledge them."""

from __future__ import annotations

from typing import Any

import pytest

from sipsimple.sip.message import Headers, Request, Response
from sipsimple.sip.provisional import ReliableProvisional, has_option, rack_of, rseq_of


class Wire:
    def __init__(self) -> None:
        self.sent: list[float] = []
        self.now = 0.0
        self.released = False
        self.gave_up: float | None = None

    def send(self, message: Response) -> None:
        self.sent.append(self.now)

    def schedule(self, sleeper: Any) -> None: ...

    def release(self, sleeper: Any) -> None:
        self.released = True

    def on_prack_timeout(self, provisional: Any, now: float) -> None:
        self.gave_up = now


def run(machine: ReliableProvisional, wire: Wire, until: float) -> None:
    while (when := machine.next_wake()) is not None and when <= until:
        wire.now = when
        machine.wake(when)


def message(code: int = 183, **headers: str) -> Response:
    fields = Headers()
    for name, value in headers.items():
        fields.add(name, value)
    return Response(code, "x", fields)


def test_intervals_double_without_limit_and_it_gives_up_after_64_times_t1():
    wire = Wire()
    machine = ReliableProvisional(message(), wire, wire)
    machine.start(0.0)
    run(machine, wire, 100)
    assert wire.sent == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert (wire.gave_up, wire.released) == (32.0, True)


def test_stopped_one_is_silent_and_lets_go():
    wire = Wire()
    machine = ReliableProvisional(message(), wire, wire)
    machine.start(0.0)
    run(machine, wire, 1.0)
    machine.stop()
    machine.stop()
    assert (machine.next_wake(), wire.sent, wire.gave_up) == (None, [0.5], None)


def test_early_wake_does_nothing():
    wire = Wire()
    machine = ReliableProvisional(message(), wire, wire)
    machine.start(0.0)
    machine.wake(0.1)
    assert wire.sent == []


@pytest.mark.parametrize(
    ("code", "headers", "number"),
    [
        (183, {"Require": "timer, 100REL", "RSeq": "7"}, 7),
        (183, {"Require": "100rel"}, None),
        (183, {"RSeq": "7"}, None),
        (100, {"Require": "100rel", "RSeq": "7"}, None),
        (200, {"Require": "100rel", "RSeq": "7"}, None),
        (183, {"Require": "100rel", "RSeq": "seven"}, None),
        (183, {"Require": "100rel", "RSeq": "4294967296"}, None),
    ],
)
def test_number_of_a_reliable_response(code, headers, number):
    assert rseq_of(message(code, **headers)) == number


@pytest.mark.parametrize(
    ("value", "acknowledged"),
    [("7 1 INVITE", (7, 1, "INVITE")), ("7 1", None), ("x 1 INVITE", None), ("", None), (None, None)],
)
def test_what_a_prack_acknowledges(value, acknowledged):
    headers = Headers()
    if value is not None:
        headers.add("RAck", value)
    assert rack_of(Request("PRACK", "sip:a@b", headers)) == acknowledged


def test_option_is_found_in_any_line_whatever_its_case():
    response = message(Supported="a, 100Rel")
    response.headers.add("Supported", "timer")
    assert has_option(response, "Supported", "timer")
    assert has_option(response, "Supported", "100rel")
    assert not has_option(response, "Supported", "b")
