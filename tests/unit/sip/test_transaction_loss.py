"""Two user agents, their transactions and acceptance, over a wire that loses what a list of booleans says."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sipsimple.sip.acceptance import Acceptance
from sipsimple.sip.dialog import Dialog
from sipsimple.sip.message import Request, parse_message
from sipsimple.sip.timers import TimerQueue
from sipsimple.sip.transaction import (
    InviteClient,
    InviteServer,
    NonInviteClient,
    NonInviteServer,
    State,
    cancelled_key,
    client_key,
    server_key,
)
from tests.unit.sip.ladder import make_invite, make_request

LATENCY = 0.02
TOLERATED = 5
"""With so few packets lost, the first retransmission that gets through comes after 15.5 s: in time for everything."""


class Network:
    """Carries encoded messages; the n-th packet is lost when the n-th boolean says so, none after the last."""

    def __init__(self, losses):
        self.queue = TimerQueue()
        self.now = 0.0
        self.losses = iter(losses)
        self.packets = 0

    def carry(self, message, receive):
        self.packets += 1
        if not next(self.losses, False):
            self.queue.call_at(self.now + LATENCY, lambda data: receive(parse_message(data)), message.encode())

    def run_until(self, end):
        while (when := self.queue.next_wake()) is not None and when <= end:
            self.now = max(self.now, when)
            self.queue.run(self.now)
        self.now = end


class Agent:
    """Half an endpoint: the table of transactions and the wire of all of them."""

    reliable = False

    def __init__(self, network):
        self.network = network
        self.peer = None
        self.table = {}
        self.told = []

    @property
    def now(self):
        return self.network.now

    def send(self, message):
        self.network.carry(message, self.peer.receive)

    def schedule(self, sleeper):
        self.network.queue.arm(sleeper)

    def release(self, sleeper):
        self.network.queue.disarm(sleeper)
        if getattr(sleeper, "key", None) is not None:
            del self.table[sleeper.key]

    def begin(self, transaction):
        self.table[transaction.key] = transaction
        transaction.start(self.now)
        return transaction

    def on_timeout(self, transaction, now):
        self.told.append(f"{transaction.request.method} timeout")

    def on_ack_timeout(self, acceptance, now):
        self.told.append("ack timeout")


class Caller(Agent):
    def __init__(self, network):
        super().__init__(network)
        self.dialog = None
        self.acks = {}

    def start_cancel(self, transaction, cancel, now):
        self.begin(NonInviteClient(cancel, self, self))

    def receive(self, response):
        if (transaction := self.table.get(client_key(response))) is not None:
            transaction.receive(response, self.now)

    def on_response(self, transaction, response, now):
        method = transaction.request.method
        if response.code >= 200 and (method, response.code) not in self.told:
            self.told.append((method, response.code))
        if method == "INVITE" and 200 <= response.code < 300:
            self.dialog = Dialog.from_response(transaction.request, response)
            ack = self.dialog.make_ack(transaction.request)
            ack.headers.insert(0, "Via", "SIP/2.0/UDP client.atlanta.example.com;branch=z9hG4bKack")
            self.send(ack)


class Answerer(Agent):
    """Rings at once, and answers with `code` after `delay` seconds unless it was cancelled."""

    def __init__(self, network, code, delay):
        super().__init__(network)
        self.code = code
        self.delay = delay
        self.rang = 0
        self.acceptance = None

    def receive(self, request):
        transaction = self.table.get(server_key(request))
        if transaction is not None:
            transaction.receive(request, self.now)
        elif request.method == "ACK":
            if self.acceptance is not None:
                self.acceptance.receive(request, self.now)
        elif request.method == "INVITE":
            self.ring(request)
        else:
            transaction = self.begin(NonInviteServer(request, self, self))
            invite = self.table.get(cancelled_key(request)) if request.method == "CANCEL" else None
            transaction.respond(
                request.make_response(481 if request.method == "CANCEL" and invite is None else 200), self.now
            )
            if invite is not None and invite.state is State.PROCEEDING:
                self.answer(invite, 487)

    def ring(self, request):
        self.rang += 1
        transaction = self.begin(InviteServer(request, self, self))
        transaction.respond(request.make_response(180, to_tag="desk"), self.now)
        self.network.queue.call_at(self.now + self.delay, self.answer, transaction, self.code)

    def answer(self, transaction, code):
        if transaction.state is not State.PROCEEDING:
            return
        response = transaction.request.make_response(code, to_tag="desk")
        response.headers.add("Contact", "<sip:bob@192.0.2.4>")
        transaction.respond(response, self.now)
        self.told.append(code)
        if code < 300:
            self.acceptance = Acceptance(response, self, self)
            self.acceptance.start(self.now)

    def on_ack(self, acceptance, ack, now):
        self.told.append("ACK")


def connect(losses, code=200, delay=1.0):
    network = Network(losses)
    caller, answerer = Caller(network), Answerer(network, code, delay)
    caller.peer, answerer.peer = answerer, caller
    return network, caller, answerer


def few_losses(limit=TOLERATED):
    return st.lists(st.booleans(), max_size=24).filter(lambda losses: sum(losses) <= limit)


@settings(deadline=None)
@given(losses=few_losses(), delay=st.sampled_from([0.0, 0.3, 1.0, 8.0]))
@example(losses=[], delay=1.0)
@example(losses=[True] * TOLERATED, delay=0.0)
def test_an_answered_call_is_up_on_both_sides_whatever_is_lost(losses, delay):
    network, caller, answerer = connect(losses, 200, delay)
    caller.begin(InviteClient(make_invite(), caller, caller))
    network.run_until(200)
    assert caller.told == [("INVITE", 200)]
    assert answerer.told == [200, "ACK"]
    assert answerer.rang == 1
    assert not caller.table
    assert not answerer.table


@settings(deadline=None)
@given(losses=few_losses(), delay=st.sampled_from([0.0, 0.3, 1.0, 8.0]))
def test_a_refused_call_is_refused_on_both_sides_whatever_is_lost(losses, delay):
    network, caller, answerer = connect(losses, 486, delay)
    caller.begin(InviteClient(make_invite(), caller, caller))
    network.run_until(200)
    assert caller.told == [("INVITE", 486)]
    assert answerer.told == [486, "ACK"]
    assert answerer.rang == 1
    assert not caller.table
    assert not answerer.table


@settings(deadline=None)
@given(losses=few_losses())
def test_another_request_is_done_once_and_answered_whatever_is_lost(losses):
    network, caller, answerer = connect(losses)
    caller.begin(NonInviteClient(make_request("OPTIONS"), caller, caller))
    network.run_until(200)
    assert caller.told == [("OPTIONS", 200)]
    assert not caller.table
    assert not answerer.table


@settings(deadline=None)
@given(losses=few_losses(4), cancel_at=st.floats(0, 6), answer_after=st.floats(0, 6))
def test_a_cancel_that_crosses_the_answer_leaves_both_sides_agreed(losses, cancel_at, answer_after):
    network, caller, answerer = connect(losses, 200, answer_after)
    invite = caller.begin(InviteClient(make_invite(), caller, caller))

    def cancel():
        if invite.state in (State.CALLING, State.PROCEEDING):
            invite.cancel(network.now)

    network.queue.call_at(cancel_at, cancel)
    network.run_until(300)
    outcome = next(code for method, code in (x for x in caller.told if isinstance(x, tuple)) if method == "INVITE")
    assert (outcome, answerer.told) in [(200, [200, "ACK"]), (487, [487, "ACK"])]
    assert not caller.table
    assert not answerer.table


@settings(deadline=None)
@given(losses=st.lists(st.booleans(), max_size=200), code=st.sampled_from([200, 486]))
def test_however_much_is_lost_both_sides_come_to_an_end_and_never_to_opposite_ones(losses, code):
    network, caller, answerer = connect(losses, code)
    caller.begin(InviteClient(make_invite(), caller, caller))
    network.run_until(300)
    assert set(caller.told) <= {("INVITE", code), "INVITE timeout"}
    assert set(answerer.told) <= {code, "ACK", "ack timeout", "INVITE timeout"}
    if "ACK" in answerer.told:
        assert caller.told == [("INVITE", code)]
    assert len(network.queue) == 0
    assert not answerer.table
    # An answer that never came leaves the caller ringing: how long is its user's affair.
    assert all(transaction.state is State.PROCEEDING for transaction in caller.table.values())


@pytest.mark.parametrize("lost", [1, 100])
def test_nothing_is_sent_for_ever(lost):
    network, caller, _ = connect([True] * lost)
    caller.begin(InviteClient(make_invite(), caller, caller))
    network.run_until(1000)
    assert network.packets < 15


def test_the_messages_of_a_call_without_loss():
    network, caller, answerer = connect([])
    sent = []
    carry = network.carry
    network.carry = lambda message, receive: (sent.append(message), carry(message, receive))
    caller.begin(InviteClient(make_invite(), caller, caller))
    network.run_until(200)
    assert [m.method if isinstance(m, Request) else m.code for m in sent] == ["INVITE", 180, 200, "ACK"]
    assert answerer.told == [200, "ACK"]
