"""The machine of one session (RFC 4975 7), over its states, with a clock that jumps."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipsimple.msrp.assembly import Assembler
from sipsimple.msrp.errors import SessionClosed
from sipsimple.msrp.events import (
    BindFailed,
    Bound,
    DataReceived,
    MessageAccepted,
    MessageDelivered,
    MessageFailed,
    MessageSent,
    ReportReceived,
    RequestReceived,
    ResponseReceived,
)
from sipsimple.msrp.message import ByteRange, MSRPData
from sipsimple.msrp.outgoing import SuppliedBody
from sipsimple.msrp.session import State, media_type_matches

from .wire import ALICE, BOB, Wire

TEXT = "text/plain"


def send_to_bob(**changes: str | None) -> MSRPData:
    """A SEND as Alice would write it, with some headers changed; None removes one."""
    headers = {
        "To-Path": str(BOB),
        "From-Path": str(ALICE),
        "Message-ID": "m1",
        "Byte-Range": "1-5/5",
        "Content-Type": TEXT,
    }
    for name, value in changes.items():
        header = name.replace("_", "-")
        header = next((known for known in headers if known.lower() == header.lower()), header.title())
        if value is None:
            headers.pop(header)
        else:
            headers[header] = value
    return MSRPData("tr1234", method="SEND", headers=headers, data=b"hello" if "Content-Type" in headers else b"")


def answers(wire: Wire) -> list[str]:
    """What Bob has said to Alice."""
    wire.alice.chunks.clear()
    wire.settle()
    return wire.alice.seen


def give_bob(wire: Wire, chunk: MSRPData) -> list[str]:
    wire.bob.machine.receive(chunk, wire.now)
    return answers(wire)


# Binding


def test_both_parties_are_bound_by_an_empty_send_and_its_answer():
    wire = Wire(bound=False)
    wire.settle()
    assert wire.bob.seen == ["SEND"]
    assert wire.alice.seen == ["200"]
    assert (wire.alice.events, wire.bob.events) == ([Bound()], [Bound()])
    assert wire.alice.machine.state is wire.bob.machine.state is State.READY


def test_messages_queued_before_the_session_is_bound_follow_it():
    wire = Wire(bound=False)
    wire.alice.machine.send(b"early", TEXT)
    wire.bob.machine.send(b"bird", TEXT)
    wire.settle()
    assert [event.chunk.data for event in wire.bob.of(DataReceived)] == [b"early"]
    assert [event.chunk.data for event in wire.alice.of(DataReceived)] == [b"bird"]


def test_binding_fails_when_the_remote_refuses():
    wire = Wire(bound=False)
    wire.alice.sender.next(wire.now)
    (transaction_id,) = wire.alice.machine.ledger.binding.open_transactions
    held = wire.alice.machine.send(b"early", TEXT)
    wire.alice.machine.receive(MSRPData(transaction_id, code=481, comment="No such session"), wire.now)
    assert wire.alice.of(BindFailed) == [BindFailed(481, "No such session")]
    assert [event.message for event in wire.alice.of(MessageFailed)] == [held]
    assert wire.alice.machine.state is State.CLOSED


def test_binding_fails_when_nobody_answers():
    wire = Wire(bound=False)
    wire.alice.sender.next(wire.now)
    wire.pass_time(29.9)
    assert wire.alice.events == []
    wire.pass_time(0.2)
    assert wire.alice.events == [BindFailed(408, "Request Timeout")]


def test_a_session_binds_once():
    wire = Wire()
    with pytest.raises(RuntimeError):
        wire.alice.machine.bind(wire.alice.sender)
    with pytest.raises(RuntimeError):
        wire.bob.machine.expect()


# What comes in


def test_a_send_is_answered_and_delivered():
    wire = Wire()
    assert give_bob(wire, send_to_bob()) == ["200"]
    (event,) = wire.bob.of(DataReceived)
    assert event.chunk.data == b"hello"
    assert event.chunk.byte_range == ByteRange(1, 5, 5)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"to_path": None}, "400"),
        ({"from_path": None}, "400"),
        ({"from_path": "sip:alice@example.com"}, "400"),
        ({"message_id": None}, "400"),
        ({"byte_range": "5-3/1"}, "400"),
        ({"to_path": "msrp://bob.example:8493/other;tcp"}, "481"),
        ({"to_path": f"{BOB} msrp://next.example:1/x;tcp"}, "481"),
        ({"from_path": "msrp://mallory.example:1/x;tcp"}, "481"),
        ({"content_type": "image/png"}, "415"),
        ({"byte_range": "1-5/100000"}, "413"),
        ({"byte_range": "99996-*/*"}, "413"),
    ],
)
def test_a_wrong_send_is_refused(changes, code):
    wire = Wire(bob={"accept_types": ["text/*"], "max_message_size": 1000})
    assert give_bob(wire, send_to_bob(**changes)) == [code]
    assert wire.bob.of(DataReceived) == []


def test_a_from_path_through_relays_leads_to_the_same_session():
    wire = Wire()
    way = f"msrps://relay.example:2855/sess;tcp {ALICE}"
    assert give_bob(wire, send_to_bob(from_path=way)) == ["200"]


def test_a_body_without_content_type_is_not_acceptable():
    wire = Wire()
    chunk = send_to_bob(content_type=None)
    chunk.data = b"hello"
    assert give_bob(wire, chunk) == ["415"]


def test_what_wants_no_answer_gets_none():
    wire = Wire(bob={"accept_types": [TEXT]})
    assert give_bob(wire, send_to_bob(failure_report="no")) == []
    assert give_bob(wire, send_to_bob(failure_report="no", content_type="a/b")) == []
    assert give_bob(wire, send_to_bob(failure_report="partial")) == []
    assert give_bob(wire, send_to_bob(failure_report="partial", content_type="a/b")) == ["415"]


def test_keep_alive_is_answered_and_not_delivered():
    wire = Wire()
    wire.alice.machine.keep_alive()
    assert answers(wire) == ["200"]
    assert wire.bob.events == wire.alice.events == []


def test_an_unanswered_keep_alive_is_a_failure():
    wire = Wire()
    message = wire.alice.machine.keep_alive()
    wire.alice.sender.next(wire.now)
    wire.pass_time(31)
    assert wire.alice.events == [MessageFailed(message, 408, "Request Timeout", None)]


def test_unknown_methods_are_answered_501():
    wire = Wire()
    for method in ("NICKNAME", "AUTH"):
        assert give_bob(wire, MSRPData("tr01", method=method, headers=send_to_bob().headers)) == ["501"]


def test_a_method_that_the_user_knows_is_the_users_to_answer():
    wire = Wire(bob={"methods": ["NICKNAME"]})
    transaction_id = wire.alice.machine.request("NICKNAME", {"Use-Nickname": '"Al"'}, wire.now)
    wire.settle()
    (event,) = wire.bob.of(RequestReceived)
    wire.bob.machine.respond(event.chunk, 425)
    wire.settle()
    (answer,) = wire.alice.of(ResponseReceived)
    assert (answer.transaction_id, answer.code) == (transaction_id, 425)


def test_a_request_without_an_answer_times_out():
    wire = Wire()
    transaction_id = wire.alice.machine.request("NICKNAME", {}, wire.now)
    assert wire.alice.machine.next_wake() == wire.now + 30
    wire.pass_time(30)
    assert wire.alice.of(ResponseReceived) == [
        ResponseReceived(transaction_id, "NICKNAME", 408, "Request Timeout", None)
    ]


def test_the_user_screens_what_comes_in():
    wire = Wire(bob={"screen": lambda chunk: 403 if b"spam" in chunk.data else 200})
    good = wire.alice.machine.send(b"ham", TEXT)
    bad = wire.alice.machine.send(b"spam", TEXT)
    wire.settle()
    assert [event.chunk.data for event in wire.bob.of(DataReceived)] == [b"ham"]
    assert [event.message for event in wire.alice.of(MessageAccepted)] == [good]
    assert [(event.message, event.code) for event in wire.alice.of(MessageFailed)] == [(bad, 403)]


def test_a_refused_message_stops_and_is_not_delivered_further():
    wire = Wire()
    message = wire.alice.machine.send(bytes(1_000_000), TEXT, message_id="big")
    wire.step(wire.alice, wire.bob)
    wire.bob.read(len(wire.bob.inbox), wire.now)
    wire.bob.machine.refuse("big")
    wire.settle()
    (failure,) = wire.alice.of(MessageFailed)
    assert (failure.message, failure.code) == (message, 413)
    assert message.sent < 1_000_000
    assert wire.bob.chunks[-1].continuation == "#"


def test_a_session_that_has_ended_drops_what_comes():
    wire = Wire()
    wire.bob.machine.close()
    assert give_bob(wire, send_to_bob()) == []
    assert wire.bob.machine.unexpected == 1


# What becomes of messages


def test_a_message_is_sent_then_accepted():
    wire = Wire()
    message = wire.alice.machine.send(b"hello", TEXT)
    wire.settle()
    assert wire.alice.events == [MessageSent(message), MessageAccepted(message)]
    assert message.outcome == 200


def test_success_is_reported_end_to_end():
    wire = Wire()
    message = wire.alice.machine.send(b"hello", TEXT, success_report=True, failure_report="partial")
    wire.settle()
    assert wire.alice.seen == ["REPORT"]
    report = wire.alice.chunks[0]
    assert (report.message_id, report.byte_range, report.status) == (message.message_id, (1, 5, 5), (200, "OK", 0))
    assert wire.alice.events == [
        MessageSent(message),
        ReportReceived(report, message),
        MessageDelivered(message, report, is_complete=True),
    ]


def test_an_empty_message_is_delivered_and_reported():
    wire = Wire()
    wire.alice.machine.send(b"", TEXT, success_report=True)
    wire.settle()
    assert [event.chunk.data for event in wire.bob.of(DataReceived)] == [b""]
    assert [event.is_complete for event in wire.alice.of(MessageDelivered)] == [True]


@pytest.mark.parametrize(("failure_report", "kind"), [("yes", MessageFailed), ("partial", MessageAccepted)])
def test_silence_is_failure_only_for_those_who_want_every_answer(failure_report, kind):
    wire = Wire()
    wire.alice.machine.send(b"hello", TEXT, failure_report=failure_report)
    wire.alice.sender.next(wire.now)
    wire.pass_time(29)
    assert [type(event) for event in wire.alice.events] == [MessageSent]
    wire.pass_time(1)
    assert [type(event) for event in wire.alice.events] == [MessageSent, kind]


def test_without_failure_reports_a_message_is_done_when_it_is_written():
    wire = Wire()
    message = wire.alice.machine.send(b"hello", TEXT, failure_report="no")
    wire.alice.sender.next(wire.now)
    assert wire.alice.of(MessageAccepted) == [MessageAccepted(message)]
    assert wire.alice.machine.next_wake() is None


def test_a_failure_report_decides_once():
    wire = Wire()
    message = wire.alice.machine.send(b"hello", TEXT, success_report=True, failure_report="partial")
    wire.step(wire.alice, wire.bob)
    chunk = send_to_bob(message_id=message.message_id)
    wire.bob.machine.report(chunk, 403, ByteRange(1, 5, 5), "Not you")
    wire.bob.machine.report(chunk, 200, ByteRange(1, 5, 5))
    wire.step(wire.bob, wire.alice)
    wire.step(wire.bob, wire.alice)
    wire.alice.read(10_000, wire.now)
    (failure,) = wire.alice.of(MessageFailed)
    assert (failure.code, failure.reason) == (403, "Not you")
    assert wire.alice.of(MessageDelivered) == []


@pytest.mark.parametrize("header", ["Status", "Message-ID"])
def test_reports_that_make_no_sense_are_counted(header):
    wire = Wire()
    wire.alice.machine.send(b"hello", TEXT, success_report=True, message_id="m1")
    wire.alice.sender.next(wire.now)
    headers = {
        "To-Path": str(ALICE),
        "From-Path": str(BOB),
        "Message-ID": "m1",
        "Byte-Range": "1-5/5",
        "Status": "000 200 OK",
    }
    wire.alice.machine.receive(MSRPData("tr02", method="REPORT", headers=headers | {header: "nonsense"}), wire.now)
    assert wire.alice.machine.unexpected == 1
    assert wire.alice.of(MessageDelivered) == []


def test_when_the_connection_is_cut_every_message_without_a_report_fails_in_order():
    wire = Wire()
    done = wire.alice.machine.send(b"0", TEXT, success_report=True)
    wire.settle()
    lost = [wire.alice.machine.send(b"x", TEXT, success_report=True, failure_report="partial") for _ in range(5)]
    wire.alice.sender.next(wire.now)
    wire.alice.machine.close("connection lost")
    assert done.outcome == 200
    assert [(event.message, event.reason) for event in wire.alice.of(MessageFailed)] == [
        (message, "connection lost") for message in lost
    ]
    with pytest.raises(SessionClosed):
        wire.alice.machine.send(b"late", TEXT)


def test_the_user_gives_up_a_message_that_is_on_the_wire():
    wire = Wire()
    message = wire.alice.machine.send(bytes(500_000), TEXT)
    wire.step(wire.alice, wire.bob)
    wire.alice.machine.abort(message)
    wire.settle()
    assert wire.bob.chunks[-1].continuation == "#"
    assert [event.message for event in wire.alice.of(MessageFailed)] == [message]


def test_a_message_that_was_never_begun_leaves_no_trace():
    wire = Wire()
    wire.alice.machine.abort(wire.alice.machine.send(b"hello", TEXT))
    wire.settle()
    assert wire.bob.chunks == []


def test_a_body_that_breaks_off_fails_its_message():
    wire = Wire()
    body = SuppliedBody(1000)
    wire.alice.machine.send(body, TEXT)
    body.supply(b"x" * 100)
    wire.settle()
    body.finish()
    wire.settle()
    (failure,) = wire.alice.of(MessageFailed)
    assert failure.reason == "the body ended after 100 of 1000 bytes"
    assert wire.bob.chunks[-1].continuation == "#"


def test_message_ids_are_unique_while_they_are_in_use():
    wire = Wire()
    wire.alice.machine.send(b"1", TEXT, message_id="one")
    with pytest.raises(ValueError, match="one"):
        wire.alice.machine.send(b"2", TEXT, message_id="one")


@pytest.mark.parametrize("headers", [{"Subject": "a\r\nb"}, {"Bad\n": "x"}])
def test_headers_cannot_be_smuggled_in(headers):
    wire = Wire()
    with pytest.raises(ValueError, match="control character"):
        wire.alice.machine.send(b"1", TEXT, headers=headers)
    with pytest.raises(ValueError, match="partial"):
        wire.alice.machine.send(b"1", TEXT, failure_report="maybe")


# Long messages


def test_a_long_message_is_reported_as_it_comes_and_the_last_report_completes_it():
    wire = Wire()
    message = wire.alice.machine.send(bytes(300_000), TEXT, success_report=True, failure_report="partial")
    wire.settle()
    deliveries = wire.alice.of(MessageDelivered)
    assert len(deliveries) > 3
    assert [event.is_complete for event in deliveries] == [False] * (len(deliveries) - 1) + [True]
    assert deliveries[-1].chunk.byte_range.end == message.delivered == 300_000


def test_small_chunks_are_reported_together():
    wire = Wire(alice={"max_chunk_size": 1000})
    wire.alice.machine.send(bytes(200_500), TEXT, success_report=True, failure_report="partial")
    wire.settle()
    ranges = [event.chunk.byte_range for event in wire.alice.of(MessageDelivered)]
    assert ranges == [
        (1, 66_000, 200_500),
        (66_001, 132_000, 200_500),
        (132_001, 198_000, 200_500),
        (198_001, 200_500, 200_500),
    ]
    assert wire.alice.of(MessageDelivered)[-1].is_complete


def test_parts_that_do_not_follow_each_other_are_reported_apart():
    wire = Wire()
    for message_id, byte_range in (("m1", "1-5/99"), ("m1", "6-10/99"), ("m1", "21-25/99"), ("m2", "26-30/30")):
        chunk = send_to_bob(message_id=message_id, byte_range=byte_range, success_report="yes", failure_report="no")
        chunk.continuation = "$" if message_id == "m2" else "+"
        wire.bob.machine.receive(chunk, wire.now)
    wire.settle()
    assert [(chunk.message_id, str(chunk.byte_range)) for chunk in wire.alice.chunks] == [
        ("m1", "1-10/99"),
        ("m1", "21-25/99"),
        ("m2", "26-30/30"),
    ]


def test_a_short_message_interrupts_a_long_one():
    wire = Wire()
    wire.alice.machine.send(b"L" * 1_000_000, TEXT)
    wire.step(wire.alice, wire.bob)
    wire.alice.machine.send(b"short", TEXT)
    wire.settle()
    parts = [event.chunk for event in wire.bob.of(DataReceived)]
    position = next(index for index, part in enumerate(parts) if part.data == b"short")
    assert parts[position - 1].byte_range.end == 65_536
    assert [chunk.continuation for chunk in wire.bob.chunks if chunk.ends_chunk] == ["+", "$", "$"]
    assert b"".join(part.data for part in parts if part.data != b"short") == b"L" * 1_000_000


def test_the_user_may_report_success_itself():
    wire = Wire(bob={"report_success": False})
    wire.alice.machine.send(b"hello", TEXT, success_report=True)
    wire.settle()
    assert wire.alice.seen == ["200"]
    chunk = wire.bob.of(DataReceived)[0].chunk
    wire.bob.machine.report(chunk, 200, chunk.byte_range)
    wire.settle()
    assert wire.alice.of(MessageDelivered)[0].is_complete


message_lists = st.lists(
    st.tuples(st.sampled_from(["alice", "bob"]), st.binary(max_size=20) | st.integers(1, 400_000)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(message_lists, st.integers(0, 2**32))
def test_whatever_is_written_and_read_when_every_message_arrives_whole(messages, seed):
    dice = random.Random(seed)
    wire = Wire(alice={"assembler": Assembler()}, bob={"assembler": Assembler()})
    sent: dict[str, list[bytes]] = {"alice": [], "bob": []}
    for name, content in messages:
        data = dice.randbytes(content) if isinstance(content, int) else content
        party = getattr(wire, name)
        party.machine.send(data, TEXT, success_report=True, failure_report=dice.choice(["yes", "no", "partial"]))
        sent[name].append(data)
        if dice.random() < 0.5:
            wire.step(*((wire.alice, wire.bob) if name == "alice" else (wire.bob, wire.alice)))
    wire.shuffle(dice)
    for name, source, target in (("alice", wire.alice, wire.bob), ("bob", wire.bob, wire.alice)):
        got = [event.chunk.data for event in target.of(DataReceived)]
        assert sorted(got) == sorted(sent[name])
        assert [data for data in got if len(data) < 65_536] == [data for data in sent[name] if len(data) < 65_536]
        assert sum(event.is_complete for event in source.of(MessageDelivered)) == len(sent[name])
        assert source.of(MessageFailed) == []
        assert target.machine.unexpected == 0


@pytest.mark.parametrize(
    ("content_type", "accepted", "matches"),
    [
        ("text/plain", ["text/plain"], True),
        ("Text/Plain; charset=utf-8", ["text/plain"], True),
        ("text/html", ["TEXT/*"], True),
        ("text/html", ["*"], True),
        ("text/html", ["text/plain", "message/cpim"], False),
        ("text/html", [], False),
    ],
)
def test_media_types_match_in_any_case_and_by_wildcard(content_type, accepted, matches):
    assert media_type_matches(content_type, accepted) is matches
