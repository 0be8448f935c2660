"""Server transactions at the times of RFC 3261 17.2, RFC 6026 and RFC 4320."""

import pytest

from sipsimple.sip.errors import SIPCoreInvalidStateError
from sipsimple.sip.transaction import InviteServer, NonInviteServer, State
from tests.unit.sip.ladder import Journal, Wire, make_invite, make_request

REFUSAL_SCHEDULE = [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]


class Call:
    """One server transaction, its user, and the client that repeats itself."""

    def __init__(self, server=InviteServer, **options):
        self.wire = Wire(reliable=options.pop("reliable", False))
        self.user = Journal()
        self.request = make_invite() if server is InviteServer else make_request("BYE", to_tag="desk")
        self.transaction = server(self.request, self.wire, self.user, **options)
        self.transaction.start(self.wire.now)

    def respond(self, code, at=None):
        self._run(at)
        self.transaction.respond(self.request.make_response(code, to_tag="desk"), self.wire.now)

    def repeat(self, at=None):
        self._run(at)
        self.transaction.receive(self.request, self.wire.now)

    def ack(self, at=None):
        self._run(at)
        self.transaction.receive(make_request("ACK", to_tag="desk"), self.wire.now)

    def _run(self, at):
        if at is not None:
            self.wire.run_until(at)

    @property
    def state(self):
        return self.transaction.state


def test_a_100_goes_out_when_the_user_thinks_for_200_ms():
    call = Call()
    call.wire.run_until(0.19)
    assert call.wire.take() == []
    call.wire.run_until(100)
    ((when, trying),) = call.wire.sent
    assert 0.2 <= when < 0.21
    assert trying.code == 100
    assert trying.to.tag is None


def test_a_user_that_answers_in_time_needs_no_100():
    call = Call()
    call.respond(180, at=0.1)
    call.wire.run_until(100)
    assert call.wire.take() == [(0.1, 180)]


@pytest.mark.parametrize(("delay", "sent"), [(0, [(0, 100)]), (None, [])])
def test_the_100_may_go_at_once_or_never(delay, sent):
    call = Call(trying_delay=delay)
    call.wire.run_until(100)
    assert call.wire.take() == sent


def test_a_repeated_invite_gets_the_last_provisional_response():
    call = Call(trying_delay=None)
    call.repeat()
    assert call.wire.take() == []
    call.respond(180, at=0.4)
    call.respond(183, at=0.45)
    call.repeat(at=0.5)
    assert call.wire.take() == [(0.4, 180), (0.45, 183), (0.5, 183)]


def test_timer_g_repeats_a_refusal_and_timer_h_gives_up_after_32_seconds():
    call = Call()
    call.respond(486)
    call.wire.run_until(31.99)
    assert call.user.told == []
    call.wire.run_until(100)
    assert call.wire.times() == REFUSAL_SCHEDULE
    assert call.user.told == ["timeout"]
    assert call.wire.released == [call.transaction]


def test_over_a_reliable_transport_a_refusal_goes_once_and_its_ack_is_awaited_all_the_same():
    call = Call(reliable=True)
    call.respond(486)
    call.wire.run_until(31.99)
    assert call.user.told == []
    call.wire.run_until(32)
    assert call.wire.times() == [0]
    assert call.user.told == ["timeout"]


def test_the_ack_ends_the_repetition_and_more_of_them_are_absorbed_for_t4():
    call = Call()
    call.respond(486)
    call.repeat(at=0.3)
    call.ack(at=0.6)
    call.ack(at=1.0)
    assert call.state is State.CONFIRMED
    call.repeat(at=1.5)
    call.wire.run_until(5.5)
    assert call.wire.released == []
    call.wire.run_until(6.1)
    assert call.wire.released == [call.transaction]
    assert call.wire.take() == [(0, 486), (0.3, 486), (0.5, 486)]
    assert call.user.told == ["ACK"]
    assert call.transaction.dropped == 1


def test_over_a_reliable_transport_timer_i_is_zero():
    call = Call(reliable=True)
    call.respond(486)
    call.ack()
    assert call.wire.released == [call.transaction]


@pytest.mark.parametrize("reliable", [False, True])
def test_a_2xx_goes_once_and_the_invite_is_absorbed_for_32_seconds(reliable):
    call = Call(reliable=reliable)
    call.respond(200)
    call.repeat(at=0.5)
    call.wire.run_until(31.9)
    assert call.wire.take() == [(0, 200)]
    assert call.transaction.dropped == 0
    assert call.wire.released == []
    call.wire.run_until(32)
    assert call.wire.released == [call.transaction]
    assert call.user.told == []


def test_in_accepted_the_user_may_repeat_its_2xx_and_hears_of_an_ack():
    call = Call()
    call.respond(200)
    call.respond(200, at=0.5)
    call.ack(at=0.6)
    assert call.wire.take() == [(0, 200), (0.5, 200)]
    assert call.user.told == ["ACK"]


@pytest.mark.parametrize(("first", "then"), [(200, 486), (200, 180), (486, 200), (486, 180), (486, 603)])
def test_a_final_response_is_final(first, then):
    call = Call()
    call.respond(first)
    state = call.state
    with pytest.raises(SIPCoreInvalidStateError):
        call.respond(then)
    assert call.state is state
    assert call.wire.take() == [(0, first)]
    call.repeat()
    assert call.wire.take() == ([] if first == 200 else [(0, 486)])


@pytest.mark.parametrize("code", [180, 200, 486])
def test_an_invite_that_cannot_be_answered_is_still_absorbed(code):
    call = Call()
    call.respond(code)
    state = call.state
    call.transaction.transport_failed(OSError("unreachable"), 0.0)
    assert call.user.told == ["unreachable"]
    assert call.state is state
    assert call.wire.released == []


def test_the_ack_of_nothing_is_dropped_and_counted():
    call = Call()
    call.ack()
    assert call.state is State.PROCEEDING
    assert call.transaction.dropped == 1


def test_another_request_is_answered_once_and_its_repetitions_get_the_same_for_32_seconds():
    call = Call(NonInviteServer)
    call.repeat(at=0.5)
    assert call.wire.take() == []
    call.respond(200, at=1.0)
    call.repeat(at=1.5)
    call.repeat(at=32.9)
    assert call.wire.take() == [(1.0, 200), (1.5, 200), (32.9, 200)]
    assert call.wire.released == []
    call.wire.run_until(33.0)
    assert call.wire.released == [call.transaction]


def test_over_a_reliable_transport_timer_j_is_zero():
    call = Call(NonInviteServer, reliable=True)
    call.respond(200)
    assert call.wire.take() == [(0, 200)]
    assert call.wire.released == [call.transaction]


def test_a_slow_user_makes_a_100_when_timer_e_of_the_peer_has_grown_to_t2():
    call = Call(NonInviteServer)
    call.repeat(at=1.5)
    call.wire.run_until(3.49)
    assert call.wire.take() == []
    call.wire.run_until(3.5)
    call.repeat(at=7.5)
    call.respond(200, at=8.0)
    assert call.wire.take() == [(3.5, 100), (7.5, 100), (8.0, 200)]


def test_a_late_answer_is_never_sent():
    call = Call(NonInviteServer)
    call.wire.run_until(32.0)
    assert call.user.told == ["timeout"]
    assert call.wire.released == [call.transaction]
    call.wire.take()
    with pytest.raises(SIPCoreInvalidStateError):
        call.respond(200)
    assert call.wire.take() == []


@pytest.mark.parametrize("code", [100, 180, 183, 408])
def test_some_responses_never_answer_a_request_other_than_invite(code):
    call = Call(NonInviteServer)
    with pytest.raises(ValueError, match=str(code)):
        call.respond(code)
    assert call.state is State.TRYING
    assert call.wire.take() == []


def test_an_answer_that_cannot_be_sent_ends_the_transaction():
    call = Call(NonInviteServer)
    call.respond(200)
    call.transaction.transport_failed(OSError("unreachable"), 0.0)
    assert call.user.told == ["unreachable"]
    assert call.wire.released == [call.transaction]
