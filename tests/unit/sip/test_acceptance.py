"""The 2xx is repeated until its ACK (RFC 3261 13.3.1.4)."""

import sys

import pytest

from sipsimple.sip.acceptance import Acceptance
from tests.unit.sip.ladder import Journal, Wire, make_invite, make_request


@pytest.fixture(params=[False, True], ids=["udp", "tcp"])
def wire(request):
    return Wire(reliable=request.param)


@pytest.fixture
def user():
    return Journal()


@pytest.fixture
def acceptance(wire, user):
    acceptance = Acceptance(make_invite(cseq=7).make_response(200, to_tag="desk"), wire, user)
    acceptance.start(0.0)
    return acceptance


def ack(cseq=7):
    return make_request("ACK", branch="z9hG4bKother", to_tag="desk", cseq=cseq)


def test_without_ack_it_is_repeated_over_every_transport_until_64_t1(acceptance, wire, user):
    wire.run_until(31.9)
    assert user.told == []
    wire.run_until(100)
    assert wire.times() == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert user.told == ["ack timeout"]
    assert wire.released == [acceptance]
    assert not acceptance.waiting


def test_the_ack_ends_it_and_is_told_once(acceptance, wire, user):
    wire.run_until(0.6)
    acceptance.receive(ack(), 0.6)
    acceptance.receive(ack(), 0.7)
    wire.run_until(100)
    assert wire.times() == [0.5]
    assert user.told == ["ACK"]
    assert acceptance.dropped == 1


def test_the_ack_of_another_invite_of_the_dialog_does_not_count(acceptance, wire, user):
    acceptance.receive(ack(cseq=6), 0.1)
    assert user.told == []
    assert acceptance.waiting
    assert acceptance.dropped == 1


def test_stopping_is_silent_and_may_be_done_twice(acceptance, wire, user):
    acceptance.stop()
    acceptance.stop()
    acceptance.wake(50.0)
    acceptance.start(50.0)
    wire.run_until(100)
    assert wire.times() == []
    assert user.told == []
    assert wire.released == [acceptance]
    assert acceptance.next_wake() is None


def test_a_late_wake_up_repeats_it_once(acceptance, wire):
    acceptance.wake(20.0)
    assert len(wire.sent) == 1
    assert acceptance.next_wake() == 21.0


def test_a_user_that_stops_it_from_inside_send_is_obeyed(user):
    class Hangup(Wire):
        def send(self, message):
            super().send(message)
            acceptance.stop()

    wire = Hangup()
    acceptance = Acceptance(make_invite().make_response(200, to_tag="desk"), wire, user)
    acceptance.start(0.0)
    wire.run_until(100)
    assert wire.times() == [0.5]


def test_nothing_holds_it_when_it_is_over(acceptance, wire, user):
    before = sys.getrefcount(user)
    acceptance.receive(ack(), 0.1)
    assert sys.getrefcount(user) == before - 1
