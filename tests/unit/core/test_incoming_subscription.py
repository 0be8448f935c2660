"""SUBSCRIBE that comes in: from ourselves, and from a subscriber written message by message."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from sipsimple.core import IncomingSubscription, SIPCoreInvalidStateError, Subscription
from tests.support.raw_peer import RawPeer
from tests.unit.core.kit import changes, names, parties, route, sender_of, told, until

PIDF = "application/pidf+xml"
PREFIX = "SIPIncomingSubscription"


@pytest.fixture
def subscriber(engine):
    engine.add_incoming_event("presence")
    with RawPeer() as peer:
        yield peer


async def pair(engine: Any, record: Any) -> tuple[Subscription, IncomingSubscription]:
    """Both ends of a subscription to ourselves, the incoming one not answered yet."""
    engine.add_incoming_event("presence")
    sender, receiver, contact = parties(engine.udp_port)
    ours = Subscription(sender, receiver, contact, "presence", route(engine.udp_port))
    ours.subscribe()
    return ours, await sender_of(record, f"{PREFIX}GotSubscribe")


async def test_both_ends_of_a_subscription_to_ourselves(engine, record):
    ours, theirs = await pair(engine, record)
    assert (theirs.state, theirs.event, theirs.content, theirs.content_type) == ("incoming", "presence", None, None)
    theirs.accept_pending()
    await until(lambda: ours.state == "PENDING", "pending")
    theirs.accept(PIDF, "<presence/>")
    await until(lambda: ours.state == "ACTIVE", "active")
    assert (await told(record, ours, "SIPSubscriptionGotNotify", 2)).body == b"<presence/>"
    theirs.push_content(PIDF, b"<away/>")
    assert (await told(record, ours, "SIPSubscriptionGotNotify", 3)).body == b"<away/>"
    assert (theirs.content_type, theirs.content) == (PIDF, b"<away/>")
    theirs.end("deactivated")
    assert (await told(record, ours, "SIPSubscriptionDidFail")).reason == "deactivated"
    await told(record, theirs, f"{PREFIX}DidEnd")
    assert changes(record, theirs) == [("incoming", "pending"), ("pending", "active"), ("active", "terminated")]
    assert names(record, theirs)[:4] == [
        f"{PREFIX}GotSubscribe",
        f"{PREFIX}AnsweredSubscribe",
        f"{PREFIX}ChangedState",
        f"{PREFIX}SentNotify",
    ]
    assert names(record, theirs)[-2:] == [f"{PREFIX}NotifyDidSucceed", f"{PREFIX}DidEnd"]
    answered = await told(record, theirs, f"{PREFIX}AnsweredSubscribe")
    assert (answered.code, answered.headers["Expires"]) == (202, 300)


async def test_our_own_end_of_a_subscription_unsubscribes(engine, record):
    ours, theirs = await pair(engine, record)
    theirs.accept()
    await told(record, ours, "SIPSubscriptionGotNotify")
    ours.subscribe()
    await told(record, theirs, f"{PREFIX}GotRefreshingSubscribe")
    await told(record, ours, "SIPSubscriptionGotNotify", 2)
    ours.end()
    await told(record, theirs, f"{PREFIX}GotUnsubscribe")
    await told(record, theirs, f"{PREFIX}DidEnd")
    await told(record, ours, "SIPSubscriptionDidEnd")
    assert theirs.state == "terminated"


async def test_rejection_reaches_the_subscriber(engine, record):
    ours, theirs = await pair(engine, record)
    with pytest.raises(ValueError, match="300"):
        theirs.reject(200)
    theirs.reject(403)
    assert (await told(record, ours, "SIPSubscriptionDidFail")).code == 403
    assert names(record, theirs)[-3:] == [f"{PREFIX}AnsweredSubscribe", f"{PREFIX}ChangedState", f"{PREFIX}DidEnd"]


async def test_methods_are_refused_in_the_wrong_state(engine, record):
    _, theirs = await pair(engine, record)
    with pytest.raises(SIPCoreInvalidStateError):
        theirs.push_content(PIDF, "<x/>")
    with pytest.raises(SIPCoreInvalidStateError):
        theirs.end()
    with pytest.raises(ValueError, match="together"):
        theirs.accept(PIDF)
    theirs.accept()
    for refused in (theirs.accept, theirs.accept_pending, lambda: theirs.reject(403)):
        with pytest.raises(SIPCoreInvalidStateError):
            refused()
    theirs.end()
    theirs.end()
    with pytest.raises(SIPCoreInvalidStateError):
        theirs.push_content(PIDF, "<x/>")


async def subscribed(subscriber: RawPeer, record: Any, expires: str = "Expires: 60\n") -> IncomingSubscription:
    subscriber.request("SUBSCRIBE", headers=f"Event: presence;id=7\n{expires}")
    theirs = await sender_of(record, f"{PREFIX}GotSubscribe")
    theirs.accept()
    return theirs


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ("", 489),
        ("Event: dialog\n", 489),
        ("Event: message-summary\n", 489),
        ("Event: presence\nExpires: 0\n", 423),
        ("Event: ;;\n", 400),
    ],
)
async def test_what_cannot_be_subscribed_to_is_refused_unseen(engine, record, subscriber, headers, code):
    subscriber.request("SUBSCRIBE", headers=headers)
    await subscriber.response(code)
    assert not [n for n in record.all if n.name.startswith(PREFIX)]


@pytest.mark.parametrize(("asked", "granted"), [("Expires: 60\n", 60), ("Expires: 100000\n", 3600), ("", 3600)])
async def test_lifetime_is_what_was_asked_up_to_an_hour(engine, record, subscriber, asked, granted):
    await subscribed(subscriber, record, asked)
    response = await subscriber.response(200)
    assert (response.expires, response.contacts[0].uri.port) == (granted, engine.udp_port)
    notify = await subscriber.expect("NOTIFY")
    assert notify.headers.get("Event") == "presence;id=7"
    assert notify.headers.get("Subscription-State") == f"active;expires={granted}"
    assert notify.raw_uri == f"sip:raw@127.0.0.1:{subscriber.port}"


async def test_lifetime_that_nobody_prolongs_ends(engine, record, subscriber):
    theirs = await subscribed(subscriber, record, "Expires: 1\n")
    subscriber.respond(await subscriber.expect("NOTIFY"), 200)
    last = await subscriber.expect("NOTIFY")
    assert last.headers.get("Subscription-State") == "terminated;reason=timeout"
    subscriber.respond(last, 200)
    await told(record, theirs, f"{PREFIX}DidEnd")


async def test_notifications_wait_for_each_other(engine, record, subscriber):
    theirs = await subscribed(subscriber, record)
    first = await subscriber.expect("NOTIFY")
    for number in range(3):
        theirs.push_content(PIDF, f"<p>{number}</p>")
    assert names(record, theirs).count(f"{PREFIX}SentNotify") == 1
    bodies = []
    pending = first
    for _ in range(3):
        subscriber.respond(pending, 200)
        pending = await subscriber.expect("NOTIFY")
        while pending.cseq[0] <= first.cseq[0] + len(bodies):
            pending = await subscriber.expect("NOTIFY")
        bodies.append(pending.body)
    assert bodies == [b"<p>0</p>", b"<p>1</p>", b"<p>2</p>"]


async def test_too_many_waiting_notifications_are_told_to_the_application(engine, record, subscriber, monkeypatch):
    monkeypatch.setattr("sipsimple.core.notifier.MAX_WAITING_NOTIFIES", 2)
    theirs = await subscribed(subscriber, record)
    for number in range(3):
        theirs.push_content(PIDF, f"<p>{number}</p>")
    assert (await told(record, theirs, f"{PREFIX}NotifyDidFail")).code == 0
    assert theirs.state == "active"


@pytest.mark.parametrize(("code", "survives"), [(481, False), (489, False), (500, True)])
async def test_refused_notification_ends_it_when_the_subscriber_is_gone(engine, record, subscriber, code, survives):
    theirs = await subscribed(subscriber, record)
    subscriber.respond(await subscriber.expect("NOTIFY"), code)
    data = await told(record, theirs, f"{PREFIX}NotifyDidFail")
    assert data.code == code
    assert theirs.state == ("active" if survives else "terminated")


async def test_request_of_the_dialog_that_does_not_fit_is_refused(engine, record, subscriber):
    theirs = await subscribed(subscriber, record)
    await subscriber.response(200)
    subscriber.request("SUBSCRIBE", headers="Event: presence\n")
    await subscriber.response(489)
    subscriber.request("BYE")
    await subscriber.response(405)
    subscriber.request("SUBSCRIBE", headers="Event: presence;id=7\n", cseq=1)
    await subscriber.response(500)
    theirs.end()
    subscriber.request("SUBSCRIBE", headers="Event: presence;id=7\n")
    await subscriber.response(481)


async def test_dropped_subscription_is_declined(engine, subscriber):
    # Nobody records notifications here, so nobody keeps what arrives.
    subscriber.request("SUBSCRIBE", headers="Event: presence\n")
    gc.collect()
    await subscriber.response(603)


async def test_more_subscriptions_than_the_limit_are_put_off(engine, record, subscriber, monkeypatch):
    monkeypatch.setattr("sipsimple.core.router.MAX_EVENT_DIALOGS", 1)
    await subscribed(subscriber, record)
    await subscriber.response(200)
    subscriber.remote_tag, subscriber.call_id = None, "another"
    subscriber.request("SUBSCRIBE", headers="Event: presence\n")
    assert (await subscriber.response(503)).headers.get("Retry-After") == "10"


async def test_answer_after_the_subscriber_has_given_up_ends_it(engine, record, subscriber):
    subscriber.request("SUBSCRIBE", headers="Event: presence\n")
    theirs = await sender_of(record, f"{PREFIX}GotSubscribe")
    (transaction,) = engine.endpoint.tables.servers.values()
    transaction.wake(engine.endpoint.now() + 60)
    theirs.accept()
    assert theirs.state == "terminated"
    assert names(record, theirs)[-1] == f"{PREFIX}DidEnd"


async def test_subscriber_that_cannot_be_reached_loses_its_subscription(engine, record, subscriber):
    theirs = await subscribed(subscriber, record)
    subscriber.respond(await subscriber.expect("NOTIFY"), 200)
    await told(record, theirs, f"{PREFIX}NotifyDidSucceed")
    await engine.set_udp_port(None)
    theirs.push_content(PIDF, "<p/>")
    data = await told(record, theirs, f"{PREFIX}NotifyDidFail")
    assert (data.code, theirs.state) == (503, "terminated")
