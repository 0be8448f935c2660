"""Client transactions at the times of RFC 3261 17.1."""

import pytest

from sipsimple.sip.errors import SIPCoreInvalidStateError
from sipsimple.sip.timers import Timing
from sipsimple.sip.transaction import InviteClient, NonInviteClient, State
from tests.unit.sip.ladder import BRANCH, Journal, Wire, make_invite, make_request

INVITE_SCHEDULE = [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
NON_INVITE_SCHEDULE = [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]


class Call:
    """One client transaction, and the answers that the far end gives."""

    def __init__(self, client=InviteClient, request=None, **options):
        self.wire = Wire(reliable=options.pop("reliable", False))
        self.user = Journal()
        self.request = request or (make_invite() if client is InviteClient else make_request("OPTIONS"))
        self.transaction = client(self.request, self.wire, self.user, **options)
        self.transaction.start(self.wire.now)

    def answer(self, code, at=None, to_tag="desk"):
        if at is not None:
            self.wire.run_until(at)
        self.transaction.receive(self.request.make_response(code, to_tag=to_tag), self.wire.now)

    @property
    def state(self):
        return self.transaction.state


@pytest.fixture(params=[False, True], ids=["udp", "tcp"])
def reliable(request):
    return request.param


def test_timer_a_doubles_and_timer_b_gives_up_after_32_seconds():
    call = Call()
    call.wire.run_until(31.99)
    assert call.user.told == []
    call.wire.run_until(100)
    assert call.wire.times() == INVITE_SCHEDULE
    assert call.user.told == ["timeout"]
    assert call.wire.released == [call.transaction]
    assert call.state is State.TERMINATED


def test_timer_e_doubles_up_to_t2_and_timer_f_gives_up_after_32_seconds():
    call = Call(NonInviteClient)
    call.wire.run_until(31.99)
    assert call.user.told == []
    call.wire.run_until(100)
    assert call.wire.times() == NON_INVITE_SCHEDULE
    assert call.user.told == ["timeout"]


def test_a_reliable_transport_retransmits_nothing_and_times_out_the_same():
    for client in (InviteClient, NonInviteClient):
        call = Call(client, reliable=True)
        call.wire.run_until(31.99)
        assert call.user.told == []
        call.wire.run_until(100)
        assert call.wire.times() == [0]
        assert call.user.told == ["timeout"]


def test_the_timer_values_may_be_changed():
    call = Call(timing=Timing(t1=1.0))
    call.wire.run_until(100)
    assert call.wire.times() == [0, 1, 3, 7, 15, 31, 63]
    assert call.user.told == ["timeout"]


def test_a_late_wake_up_sends_once_and_catches_up():
    call = Call()
    call.transaction.wake(20.0)
    call.transaction.wake(20.0)
    assert len(call.wire.sent) == 2
    assert call.transaction.next_wake() == 21.0


def test_a_provisional_response_ends_the_retransmission_of_an_invite_for_good():
    call = Call()
    call.answer(180, at=0.7)
    call.wire.run_until(1000)
    assert call.wire.times() == [0, 0.5]
    assert call.user.told == [180]
    assert call.state is State.PROCEEDING
    assert call.transaction.next_wake() is None


def test_every_provisional_response_is_told():
    call = Call()
    for code in (100, 180, 183, 180):
        call.answer(code)
    assert call.user.told == [100, 180, 183, 180]


def test_a_provisional_response_slows_other_requests_down_to_t2():
    call = Call(NonInviteClient)
    call.answer(100, at=0.7)
    call.wire.run_until(100)
    assert call.wire.times() == [0, 0.5, 1.5, 5.5, 9.5, 13.5, 17.5, 21.5, 25.5, 29.5]
    assert call.user.told == [100, "timeout"]


@pytest.mark.parametrize("code", [300, 401, 486, 503, 603])
def test_a_refusal_is_acknowledged_each_time_it_comes_and_told_once(code):
    call = Call()
    call.answer(180, at=0.1)
    call.wire.take()
    call.answer(code, at=1.0)
    call.answer(code, at=1.5)
    call.answer(code, at=32.9)
    assert call.wire.take() == [(1.0, "ACK"), (1.5, "ACK"), (32.9, "ACK")]
    assert call.user.told == [180, code]
    assert call.wire.released == []
    call.wire.run_until(33.0)
    assert call.wire.released == [call.transaction]


def test_over_a_reliable_transport_a_refusal_ends_the_transaction_at_once():
    call = Call(reliable=True)
    call.answer(486)
    assert [name for _, name in call.wire.take()] == ["INVITE", "ACK"]
    assert call.user.told == [486]
    assert call.wire.released == [call.transaction]


def test_the_ack_of_a_refusal_belongs_to_the_transaction_of_the_invite():
    route = "Route: <sip:p1.example.com;lr>, <sip:p2.example.com;lr>"
    call = Call(request=make_invite(cseq=63, extra=[route, "Route: <sip:p3.example.com;lr>"]))
    call.answer(486, to_tag="a6c85cf")
    ack = call.wire.sent[-1][1]
    assert ack.start_line == "ACK sip:bob@biloxi.example.com SIP/2.0"
    assert [via.branch for via in ack.vias] == [BRANCH]
    assert ack.cseq == (63, "ACK")
    assert ack.to.tag == "a6c85cf"
    assert ack.headers.get("From") == call.request.headers.get("From")
    assert ack.call_id == call.request.call_id
    assert [route.uri.host for route in ack.routes] == ["p1.example.com", "p2.example.com", "p3.example.com"]
    assert ack.body == b""


def test_a_2xx_is_not_acknowledged_here_and_each_fork_is_told_for_32_seconds(reliable):
    call = Call(reliable=reliable)
    call.answer(200, at=0.1, to_tag="desk")
    call.answer(200, at=5.0, to_tag="mobile")
    call.answer(200, at=32.0, to_tag="mobile")
    assert call.user.told == [200, 200, 200]
    assert call.wire.take() == [(0, "INVITE")]
    call.wire.run_until(32.1)
    assert call.wire.released == [] or call.state is State.TERMINATED
    call.wire.run_until(32.2)
    assert call.wire.released == [call.transaction]


@pytest.mark.parametrize("code", [200, 404])
def test_a_final_response_to_another_request_is_told_once_and_absorbed_for_t4(code):
    call = Call(NonInviteClient)
    call.answer(code, at=1.0)
    call.answer(code, at=5.9)
    assert call.user.told == [code]
    assert call.transaction.dropped == 0
    assert call.wire.released == []
    call.wire.run_until(6.0)
    assert call.wire.released == [call.transaction]
    assert call.wire.times() == [0, 0.5]


def test_over_a_reliable_transport_timer_k_is_zero():
    call = Call(NonInviteClient, reliable=True)
    call.answer(200)
    assert call.wire.released == [call.transaction]


@pytest.mark.parametrize("client", [InviteClient, NonInviteClient])
def test_a_transport_error_ends_the_transaction(client):
    call = Call(client)
    call.transaction.transport_failed(OSError("unreachable"), 0.0)
    assert call.user.told == ["unreachable"]
    assert call.wire.released == [call.transaction]


@pytest.mark.parametrize("client", [InviteClient, NonInviteClient])
def test_a_transport_error_from_inside_send_ends_the_transaction_once(client):
    class Broken(Wire):
        def send(self, message):
            super().send(message)
            transaction.transport_failed(OSError("unreachable"), self.now)

    wire, user = Broken(), Journal()
    transaction = client(make_request("INVITE" if client is InviteClient else "BYE"), wire, user)
    transaction.start(0.0)
    assert user.told == ["unreachable"]
    assert wire.released == [transaction]
    assert transaction.next_wake() is None
    assert len(wire.queue) == 0


def test_a_cancel_waits_for_a_provisional_response():
    call = Call()
    call.transaction.cancel(0.1)
    call.wire.run_until(0.6)
    assert call.wire.cancels == []
    assert call.wire.times() == [0, 0.5]
    call.answer(100, at=0.7)
    assert [when for when, _ in call.wire.cancels] == [0.7]
    call.answer(487, at=0.9)
    assert call.user.told == [100, 487]


def test_a_cancel_is_sent_at_once_after_a_provisional_response_and_only_once():
    call = Call(request=make_invite(cseq=7, extra=["Route: <sip:p1.example.com;lr>", "Require: 100rel"]))
    call.answer(180)
    call.transaction.cancel(0.0)
    call.transaction.cancel(0.0)
    call.answer(180)
    ((_, cancel),) = call.wire.cancels
    assert cancel.start_line == "CANCEL sip:bob@biloxi.example.com SIP/2.0"
    assert [via.branch for via in cancel.vias] == [BRANCH]
    assert cancel.cseq == (7, "CANCEL")
    assert cancel.to.tag is None
    assert [route.uri.host for route in cancel.routes] == ["p1.example.com"]
    assert "Require" not in cancel.headers


def test_32_seconds_after_a_cancel_nobody_is_waited_for_any_more():
    call = Call()
    call.answer(180, at=10.0)
    call.transaction.cancel(10.0)
    call.wire.run_until(41.9)
    assert call.user.told == [180]
    call.wire.run_until(42.0)
    assert call.user.told == [180, "timeout"]


def test_a_2xx_may_be_faster_than_the_cancel():
    call = Call()
    call.answer(180)
    call.transaction.cancel(0.0)
    call.answer(200, at=0.1)
    call.wire.run_until(32.0)
    assert call.user.told == [180, 200]
    assert call.wire.released == []


@pytest.mark.parametrize("code", [200, 486])
def test_after_a_final_response_there_is_nothing_to_cancel(code):
    call = Call()
    call.answer(code)
    state = call.state
    with pytest.raises(SIPCoreInvalidStateError, match="cancelling is not possible while the transaction is"):
        call.transaction.cancel(0.1)
    assert call.state is state


def test_a_transaction_starts_once():
    call = Call()
    with pytest.raises(SIPCoreInvalidStateError):
        call.transaction.start(0.0)
    assert call.wire.times() == [0]


def test_what_comes_after_the_end_is_counted():
    call = Call()
    call.wire.run_until(32)
    call.answer(200)
    call.transaction.transport_failed(OSError("late"), 40.0)
    call.transaction.wake(99.0)
    assert call.user.told == ["timeout"]
    assert call.transaction.dropped == 2
