"""Every state and every input of the four machines: a row of the table, or nothing happens."""

import gc
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipsimple.sip.errors import SIPCoreInvalidStateError
from sipsimple.sip.transaction import InviteClient, InviteServer, NonInviteClient, NonInviteServer, State
from sipsimple.sip.transaction import client as client_module
from sipsimple.sip.transaction import server as server_module
from sipsimple.sip.transaction.base import Input
from tests.unit.sip.ladder import Journal, Wire, make_invite, make_request

RULES = {
    InviteClient: client_module.INVITE_RULES,
    NonInviteClient: client_module.NON_INVITE_RULES,
    InviteServer: server_module.INVITE_RULES,
    NonInviteServer: server_module.NON_INVITE_RULES,
}
STATES = {
    machine: {state for state, _ in rules} | {state for state, _ in rules.values()} for machine, rules in RULES.items()
}
REMOTE = {Input.PROVISIONAL, Input.SUCCESS, Input.FAILURE, Input.REQUEST, Input.ACK, Input.TRANSPORT_ERROR}
CODES = {
    Input.PROVISIONAL: 180,
    Input.SUCCESS: 200,
    Input.FAILURE: 486,
    Input.SEND_PROVISIONAL: 180,
    Input.SEND_SUCCESS: 200,
    Input.SEND_FAILURE: 486,
}
CLIENT_INPUTS = [Input.PROVISIONAL, Input.SUCCESS, Input.FAILURE, Input.START, Input.TRANSPORT_ERROR]
SERVER_INPUTS = [Input.REQUEST, Input.ACK, Input.START, Input.TRANSPORT_ERROR, Input.SEND_SUCCESS, Input.SEND_FAILURE]
INPUTS = {
    InviteClient: [*CLIENT_INPUTS, Input.CANCEL],
    NonInviteClient: CLIENT_INPUTS,
    InviteServer: [*SERVER_INPUTS, Input.SEND_PROVISIONAL],
    NonInviteServer: SERVER_INPUTS,
}
PAIRS = [(machine, state, event) for machine in RULES for state in State for event in INPUTS[machine]]


def make(machine, wire, user):
    method = "INVITE" if machine in (InviteClient, InviteServer) else "OPTIONS"
    return machine(make_request(method), wire, user)


def feed(transaction, event, now=0.0):
    """Bring one input to the transaction by its public door."""
    request = transaction.request
    match event:
        case Input.START:
            transaction.start(now)
        case Input.CANCEL:
            transaction.cancel(now)
        case Input.TRANSPORT_ERROR:
            transaction.transport_failed(OSError("unreachable"), now)
        case Input.REQUEST:
            transaction.receive(request, now)
        case Input.ACK:
            transaction.receive(make_request("ACK"), now)
        case Input.PROVISIONAL | Input.SUCCESS | Input.FAILURE:
            transaction.receive(request.make_response(CODES[event], to_tag="desk"), now)
        case _:
            transaction.respond(request.make_response(CODES[event], to_tag="desk"), now)


@pytest.mark.parametrize(("machine", "state", "event"), PAIRS, ids=lambda x: getattr(x, "__name__", None) or x.name)
def test_an_input_follows_its_row_or_changes_nothing(machine, state, event):
    wire, user = Wire(), Journal()
    transaction = make(machine, wire, user)
    transaction.state = state
    row = RULES[machine].get((state, event))
    if row is not None:
        feed(transaction, event)
        assert transaction.state is row[0]
        assert transaction.dropped == 0
    elif event in REMOTE:
        feed(transaction, event)
        assert transaction.state is state
        assert transaction.dropped == 1
        assert (wire.sent, user.told) == ([], [])
    else:
        with pytest.raises(SIPCoreInvalidStateError):
            feed(transaction, event)
        assert transaction.state is state
        assert (wire.sent, user.told) == ([], [])


@pytest.mark.parametrize("machine", RULES, ids=lambda machine: machine.__name__)
def test_every_state_but_the_first_is_reached_and_every_state_but_the_last_is_left(machine):
    rules = RULES[machine]
    left = {state for (state, _), (after, _) in rules.items() if after is not state}
    reached = {after for (state, _), (after, _) in rules.items() if after is not state}
    assert left == STATES[machine] - {State.TERMINATED}
    assert reached == STATES[machine] - {State.INITIAL}


@pytest.mark.parametrize("machine", RULES, ids=lambda machine: machine.__name__)
@pytest.mark.parametrize("reliable", [False, True], ids=["udp", "tcp"])
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_whatever_happens_a_transaction_stays_sane(machine, reliable, data):
    wire, user = Wire(reliable=reliable), Journal()
    transaction = make(machine, wire, user)
    transaction.start(0.0)
    events = st.sampled_from([event for event in INPUTS[machine] if event is not Input.START])
    for event, pause in data.draw(st.lists(st.tuples(events, st.floats(0, 40)), max_size=15)):
        wire.run_until(wire.now + pause)
        before = (transaction.state, transaction.dropped, len(wire.sent))
        row = RULES[machine].get((transaction.state, event))
        try:
            feed(transaction, event, wire.now)
        except SIPCoreInvalidStateError:
            assert row is None
            assert event not in REMOTE
            assert before == (transaction.state, transaction.dropped, len(wire.sent))
        else:
            assert transaction.dropped == before[1] + (row is None)
        wake = transaction.next_wake()
        assert wake is None or wake > wire.now - 1 / 128
        over = transaction.state is State.TERMINATED
        assert wire.released == ([transaction] if over else [])
        assert transaction.state in STATES[machine]
        assert len(wire.queue) == (0 if wake is None else 1)
        assert user.told.count("timeout") <= 1
        if over:
            assert wake is None
    # Left alone, everything ends, but what waits for a person to answer.
    wire.run_until(wire.now + 100)
    assert transaction.state is State.TERMINATED or (
        transaction.state is State.PROCEEDING and machine in (InviteClient, InviteServer)
    )
    # Nothing is repeated without an end: 11 retransmissions, and one answer to each message that came.
    assert len(wire.sent) <= 30


@pytest.mark.parametrize("machine", RULES, ids=lambda machine: machine.__name__)
@pytest.mark.parametrize("end", ["answered", "timed out", "failed"])
def test_a_transaction_that_has_ended_is_freed_without_the_garbage_collector(machine, end):
    class Watched(machine):
        __slots__ = ("__weakref__",)

    class Call(Journal):
        """A user that knows its transaction, which knows its user."""

    gc.collect()
    gc.disable()
    try:
        wire, call = Wire(), Call()
        call.transaction = make(Watched, wire, call)
        transaction, user = weakref.ref(call.transaction), weakref.ref(call)
        call.transaction.start(0.0)
        if end == "answered":
            client = machine in (InviteClient, NonInviteClient)
            feed(call.transaction, Input.SUCCESS if client else Input.SEND_SUCCESS)
        elif end == "failed":
            feed(call.transaction, Input.TRANSPORT_ERROR)
        if machine is InviteServer and end != "answered":
            feed(call.transaction, Input.SEND_FAILURE)
        wire.run_until(100)
        assert call.transaction.state is State.TERMINATED
        wire.released.clear()
        wire.sent.clear()
        del call
        assert transaction() is None
        assert user() is None
    finally:
        gc.enable()


def test_a_row_with_an_action_that_does_not_exist_fails_at_once():
    with pytest.raises(AttributeError, match="_juggle"):
        type("Broken", (InviteClient,), {}, rules={(State.INITIAL, Input.START): (State.CALLING, "juggle")})


def test_a_transaction_shows_what_it_is():
    transaction = InviteClient(make_invite(), Wire(), Journal())
    assert repr(transaction) == "<InviteClient INVITE z9hG4bK74bf9 initial>"
