"""INVITE dialogs, the engine calling itself over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sipsimple.core import (
    SIPURI,
    ContactHeader,
    Engine,
    FromHeader,
    Invitation,
    RouteHeader,
    SDPConnection,
    SDPMediaStream,
    SDPNegotiationError,
    SDPSession,
    SIPCoreError,
    SIPCoreInvalidStateError,
    ToHeader,
)
from sipsimple.notification import NotificationCenter

LIMIT = 5.0


def description(port: int = 40000, codec: str = "0") -> SDPSession:
    media = SDPMediaStream("audio", port, "RTP/AVP", formats=[codec])
    return SDPSession("127.0.0.1", connection=SDPConnection("127.0.0.1"), media=[media])


def place_call(engine: Engine, transport: str = "udp", **more: Any) -> Invitation:
    port = getattr(engine, f"{transport}_port")
    parameters = {} if transport == "udp" else {"transport": transport}
    invitation = Invitation()
    invitation.send_invite(
        FromHeader(SIPURI("example.org", "alice")),
        ToHeader(SIPURI("127.0.0.1", "bob")),
        RouteHeader(SIPURI("127.0.0.1", port=port, parameters=parameters)),
        ContactHeader(SIPURI("127.0.0.1", "alice", port=port, parameters=parameters)),
        description(),
        **more,
    )
    return invitation


async def reached(invitation: Invitation, state: str) -> Any:
    """The data of the change to `state`, once it has come."""
    if invitation.state == state:
        return None
    notification = await NotificationCenter().wait(
        "SIPInvitationChangedState", invitation, LIMIT, lambda n: n.data.state == state
    )
    return notification.data


async def called() -> Invitation:
    notification = await NotificationCenter().wait(
        "SIPInvitationChangedState", timeout=LIMIT, match=lambda n: n.data.state == "incoming"
    )
    return notification.sender


async def ringing(engine: Engine, **more: Any) -> tuple[Invitation, Invitation]:
    waiting = asyncio.ensure_future(called())
    await asyncio.sleep(0)
    caller = place_call(engine, **more)
    return caller, await waiting


async def talking(engine: Engine, **more: Any) -> tuple[Invitation, Invitation]:
    caller, callee = await ringing(engine, **more)
    callee.send_response(200, sdp=description(41000))
    await asyncio.gather(reached(caller, "connected"), reached(callee, "connected"))
    return caller, callee


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_whole_call_and_the_states_of_both_sides(engine, record, transport):
    caller, callee = await ringing(engine, transport=transport)
    callee.send_response(100)
    callee.send_response(180)
    await reached(caller, "early")
    callee.send_response(200, sdp=description(41000))
    await asyncio.gather(reached(caller, "connected"), reached(callee, "connected"))
    caller.end(timeout=1)
    await asyncio.gather(reached(caller, "disconnected"), reached(callee, "disconnected"))
    assert record.states(caller) == ["outgoing", "early", "connecting", "connected", "disconnecting", "disconnected"]
    assert record.states(callee) == ["incoming", "early", "connecting", "connected", "disconnected"]
    assert caller.transport == callee.transport == transport
    assert record.of(callee)[-1].data.method == "BYE"
    assert record.of(callee)[-1].data.originator == "remote"
    assert (record.of(caller)[-1].data.code, record.of(caller)[-1].data.originator) == (200, "local")


async def test_an_answered_call_tells_connecting_then_the_descriptions_then_connected(engine, record):
    caller, callee = await talking(engine)
    told = [n.name if "SDP" in n.name else n.data.state for n in record.of(caller)]
    assert told == ["outgoing", "connecting", "SIPInvitationGotSDPUpdate", "connected"]
    update = record.of(caller)[2].data
    assert update.succeeded
    assert update.remote_sdp.media[0].port == 41000
    assert caller.sdp.active_local.media[0].port == 40000
    assert callee.sdp.active_remote.media[0].port == 40000
    assert caller.sdp.proposed_local is None


async def test_both_sides_know_who_they_are(engine):
    caller, callee = await talking(engine)
    assert caller.local_identity.uri.user == callee.remote_identity.uri.user == "alice"
    assert caller.remote_identity.tag == callee.local_identity.tag is not None
    assert caller.call_id == callee.call_id
    assert caller.remote_user_agent == callee.remote_user_agent == engine.user_agent


async def test_the_called_side_hangs_up(engine, record):
    caller, callee = await talking(engine)
    callee.end(timeout=1)
    await asyncio.gather(reached(caller, "disconnected"), reached(callee, "disconnected"))
    assert record.of(caller)[-1].data.disconnect_reason == "user request"


async def test_crossing_byes_both_end(engine):
    caller, callee = await talking(engine)
    caller.end(timeout=1)
    callee.end(timeout=1)
    await asyncio.gather(reached(caller, "disconnected"), reached(callee, "disconnected"))


async def test_a_refusal_reaches_the_caller_and_is_acknowledged(engine, record):
    caller, callee = await ringing(engine)
    callee.send_response(486, "Not Now")
    await asyncio.gather(reached(caller, "disconnected"), reached(callee, "disconnected"))
    told = record.of(caller)[-1].data
    assert (told.code, told.reason, told.originator) == (486, "Not Now", "remote")
    assert record.states(callee) == ["incoming", "disconnecting", "disconnected"]


async def test_a_cancel_ends_both_sides_with_487(engine, record):
    caller, callee = await ringing(engine)
    callee.send_response(180)
    await reached(caller, "early")
    caller.end(timeout=1)
    await asyncio.gather(reached(caller, "disconnected"), reached(callee, "disconnected"))
    assert record.of(caller)[-1].data.code == 487
    assert record.of(callee)[-1].data.method == "CANCEL"
    assert record.of(callee)[-1].data.originator == "remote"


async def test_a_2xx_that_crosses_the_cancel_is_acknowledged_and_released(engine, record):
    caller, callee = await ringing(engine)
    callee.send_response(180)
    await reached(caller, "early")
    callee.send_response(200, sdp=description(41000))
    caller.end(timeout=2)
    await asyncio.gather(reached(caller, "disconnected"), reached(callee, "disconnected"))
    assert record.states(callee)[-2:] == ["connected", "disconnected"]
    assert record.of(callee)[-1].data.method == "BYE"


async def test_the_answer_must_fit_the_offer_and_the_call_still_waits_when_it_does_not(engine):
    _, callee = await ringing(engine)
    two = description(41000)
    two.media = [*two.media, *two.media]
    with pytest.raises(SDPNegotiationError):
        callee.send_response(200, sdp=two)
    assert callee.state == "incoming"
    callee.send_response(488)


async def test_methods_are_refused_in_the_wrong_state(engine):
    unused = Invitation()
    with pytest.raises(SIPCoreError):
        unused.end()
    with pytest.raises(SIPCoreInvalidStateError):
        unused.send_response(200, sdp=description())
    caller, callee = await talking(engine)
    with pytest.raises(SIPCoreInvalidStateError):
        place_again(caller)
    with pytest.raises(SIPCoreInvalidStateError):
        callee.send_response(180)


def place_again(invitation: Invitation) -> None:
    uri = SIPURI("127.0.0.1", "x")
    invitation.send_invite(FromHeader(uri), ToHeader(uri), RouteHeader(uri), ContactHeader(uri), description())


async def test_nobody_answers_within_the_timeout(engine, record):
    caller, _ = await ringing(engine, timeout=0.1)
    await reached(caller, "disconnected")
    assert (record.of(caller)[-1].data.code, record.of(caller)[-1].data.originator) == (408, "local")


async def test_a_request_of_no_dialog_is_answered_481_and_a_strange_method_405(engine, record):
    from sipsimple.core import Request

    for method, code in (("BYE", 481), ("UPDATE", 481), ("PRACK", 481), ("NOTIFY", 481), ("PUBLISH", 405)):
        route = RouteHeader(SIPURI("127.0.0.1", port=engine.udp_port))
        uri = SIPURI("127.0.0.1", "bob")
        request = Request(method, FromHeader(uri), ToHeader(uri), uri, route)
        request.send(timeout=LIMIT)
        answer = await NotificationCenter().wait(sender=request, timeout=LIMIT)
        assert answer.data.code == code, method
        assert ("Allow" in answer.data.headers) == (code == 405)
