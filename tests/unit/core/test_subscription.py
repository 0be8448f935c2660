"""SUBSCRIBE that we send, to a notifier written message by message."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from sipsimple.core import Header, SIPCoreError, Subscription
from sipsimple.core.stack import stack
from sipsimple.sip.message import Request
from tests.support.raw_peer import RawPeer
from tests.unit.core.kit import changes, names, parties, route, told

MWI = "message-summary"
SUMMARY = "Messages-Waiting: yes\n"


@pytest.fixture
def notifier(engine):
    with RawPeer() as peer:
        yield peer


def subscription(notifier: RawPeer, event: str = MWI, **more: Any) -> Subscription:
    sender, receiver, contact = parties(notifier.port)
    return Subscription(sender, receiver, contact, event, route(notifier.port), **more)


def notify(notifier: RawPeer, request: Request, state: str = "active", event: str = MWI, body: str = "") -> None:
    """Send a NOTIFY in the dialog that the SUBSCRIBE has begun."""
    notifier.call_id = request.call_id
    notifier.remote_tag = request.from_.tag
    headers = f"Event: {event}\n" + (f"Subscription-State: {state}\n" if state else "")
    notifier.request("NOTIFY", body, headers)


async def accepted(notifier: RawPeer, subject: Subscription, expires: int = 300, code: int = 200) -> Request:
    subject.subscribe()
    request = await notifier.expect("SUBSCRIBE")
    notifier.respond(request, code, headers=f"Expires: {expires}\n")
    return request


async def active(notifier: RawPeer, record: Any, **more: Any) -> tuple[Subscription, Request]:
    subject = subscription(notifier, **more)
    request = await accepted(notifier, subject)
    notify(notifier, request, body=SUMMARY)
    await notifier.response(200)
    await told(record, subject, "SIPSubscriptionGotNotify")
    return subject, request


async def test_states_and_notifications_of_a_subscription(engine, record, notifier):
    subject = subscription(notifier)
    assert subject.state == "NULL"
    request = await accepted(notifier, subject, code=202)
    assert request.headers.get("Event") == MWI
    assert request.headers.get("Accept") == "application/simple-message-summary"
    assert (request.expires, request.contacts[0].uri.user) == (300, "alice")
    await told(record, subject, "SIPSubscriptionDidStart")
    notify(notifier, request, "pending;expires=300")
    await notifier.response(200)
    notify(notifier, request, "active;expires=300", body=SUMMARY)
    await notifier.response(200)
    data = await told(record, subject, "SIPSubscriptionGotNotify", 2)
    assert (data.method, data.body) == ("NOTIFY", b"Messages-Waiting: yes\r\n")
    assert data.headers["Subscription-State"].state == "active"
    assert data.request_uri is not None
    subject.end()
    last = await notifier.expect("SUBSCRIBE")
    assert (last.expires, last.to.tag) == (0, notifier.tag)
    notifier.respond(last, 200)
    notify(notifier, request, "terminated;reason=timeout")
    await notifier.response(200)
    await told(record, subject, "SIPSubscriptionDidEnd")
    chain = ["NULL", "SENT", "ACCEPTED", "PENDING", "ACTIVE", "TERMINATED"]
    assert changes(record, subject) == list(pairwise(chain))
    started = ["SIPSubscriptionWillStart", "SIPSubscriptionChangedState", "SIPSubscriptionDidStart"]
    assert names(record, subject)[:3] == started
    subject.end()
    with pytest.raises(SIPCoreError):
        subject.subscribe()


async def test_notify_that_is_faster_than_the_answer_makes_the_dialog(engine, record, notifier):
    subject = subscription(notifier)
    subject.subscribe()
    request = await notifier.expect("SUBSCRIBE")
    notify(notifier, request, "active;expires=300", body=SUMMARY)
    await notifier.response(200)
    assert subject.state == "ACTIVE"
    notifier.respond(request, 200, headers="Expires: 300\n")
    subject.subscribe(content_type="text/plain", body="filter")
    refresh = await notifier.expect("SUBSCRIBE")
    assert (refresh.to.tag, refresh.body) == (notifier.tag, b"filter")
    assert refresh.cseq[0] == request.cseq[0] + 1
    assert names(record, subject).count("SIPSubscriptionDidStart") == 1


async def test_refresh_comes_before_the_end_and_repeats_headers(engine, record, notifier):
    subject = subscription(notifier)
    subject.subscribe([Header("X-Reason", "test")])
    request = await notifier.expect("SUBSCRIBE")
    notifier.respond(request, 200, headers="Expires: 2\n")
    refresh = await notifier.expect("SUBSCRIBE")
    assert (refresh.headers.get("X-Reason"), refresh.expires, refresh.to.tag) == ("test", 300, notifier.tag)
    notifier.respond(refresh, 481, "gone")
    data = await told(record, subject, "SIPSubscriptionDidFail")
    assert (data.code, data.reason) == (481, "gone")
    assert subject.state == "TERMINATED"


@pytest.mark.parametrize(("code", "headers"), [(503, "Retry-After: 1\n"), (500, ""), (423, "Min-Expires: 1\n")])
async def test_refresh_that_is_refused_for_now_is_tried_again(engine, record, notifier, code, headers):
    subject = subscription(notifier)
    request = await accepted(notifier, subject, 4)
    notify(notifier, request)
    await notifier.response(200)
    refresh = await notifier.expect("SUBSCRIBE")
    notifier.respond(refresh, code, headers=headers)
    again = await notifier.expect("SUBSCRIBE")
    assert again.cseq[0] == refresh.cseq[0] + 1
    notifier.respond(again, 200, headers="Expires: 300\n")
    notify(notifier, request)
    await told(record, subject, "SIPSubscriptionGotNotify", 2)
    assert subject.state == "ACTIVE"


async def test_refresh_that_is_never_answered_ends_it_when_its_time_is_up(engine, record, notifier):
    subject = subscription(notifier)
    subject.subscribe(timeout=0.05)
    request = await notifier.expect("SUBSCRIBE")
    notifier.respond(request, 200, headers="Expires: 2\n")
    notify(notifier, request)
    await notifier.response(200)
    await notifier.expect("SUBSCRIBE")
    assert subject.state == "ACTIVE"
    data = await told(record, subject, "SIPSubscriptionDidFail")
    assert data.code == 408
    assert stack().endpoint.now() >= subject._lasts_until


@pytest.mark.parametrize("code", [404, 405, 410, 416, 480, 485, 489, 501, 604])
async def test_refresh_that_is_refused_for_good_ends_it(engine, record, notifier, code):
    subject, _ = await active(notifier, record)
    subject.subscribe()
    notifier.respond(await notifier.expect("SUBSCRIBE"), code)
    assert (await told(record, subject, "SIPSubscriptionDidFail")).code == code


async def test_notifier_that_tells_nothing_fails_it(engine, record, notifier, monkeypatch):
    monkeypatch.setattr("sipsimple.core.subscription.FIRST_NOTIFY_TIMEOUT", 0.2)
    subject, _ = await active(notifier, record)
    silent = subscription(notifier)
    await accepted(notifier, silent)
    assert (await told(record, silent, "SIPSubscriptionDidFail")).code == 408
    assert (silent.state, subject.state) == ("TERMINATED", "ACTIVE")


async def test_notifier_may_shorten_the_time(engine, record, notifier):
    subject = subscription(notifier)
    request = await accepted(notifier, subject, 3600)
    notify(notifier, request, "active;expires=2")
    await notifier.response(200)
    refresh = await notifier.expect("SUBSCRIBE")
    assert refresh.cseq[0] == request.cseq[0] + 1


async def test_refusal_fails_it(engine, record, notifier):
    subject = subscription(notifier)
    subject.subscribe()
    notifier.respond(await notifier.expect("SUBSCRIBE"), 489, "Bad Event")
    data = await told(record, subject, "SIPSubscriptionDidFail")
    assert (data.code, data.reason) == (489, "Bad Event")
    assert changes(record, subject) == [("NULL", "SENT"), ("SENT", "TERMINATED")]


async def test_too_brief_a_time_is_asked_for_again_longer(engine, record, notifier):
    subject = subscription(notifier, refresh=60)
    subject.subscribe()
    notifier.respond(await notifier.expect("SUBSCRIBE"), 423, headers="Min-Expires: 900\n")
    again = await notifier.expect("SUBSCRIBE")
    assert again.expires == 900
    notifier.respond(again, 423, headers="Min-Expires: 900\n")
    assert (await told(record, subject, "SIPSubscriptionDidFail")).code == 423
    assert subject.refresh == 60


async def test_silence_ends_it_with_408(engine, record, notifier):
    subject = subscription(notifier)
    subject.subscribe(timeout=0.05)
    assert (await told(record, subject, "SIPSubscriptionDidFail")).code == 408


async def test_notifier_ends_it(engine, record, notifier):
    subject, request = await active(notifier, record)
    notify(notifier, request, "terminated;reason=deactivated;retry-after=5")
    await notifier.response(200)
    data = await told(record, subject, "SIPSubscriptionDidFail")
    assert (data.code, data.reason) == (0, "deactivated")
    notify(notifier, request, "active")
    await notifier.response(481)


async def test_notify_that_is_not_ours_is_refused(engine, record, notifier):
    subject, request = await active(notifier, record)
    notify(notifier, request, event="presence")
    await notifier.response(489)
    notify(notifier, request, state="")
    await notifier.response(400)
    notifier.cseq = 1
    notify(notifier, request)
    await notifier.response(500)
    tag, notifier.tag = notifier.tag, "fork"
    notify(notifier, request)
    await notifier.response(481)
    notifier.tag = tag
    notifier.request("INFO")
    await notifier.response(405)
    assert names(record, subject).count("SIPSubscriptionGotNotify") == 1
    assert subject.state == "ACTIVE"


async def test_end_does_not_wait_for_a_notifier_that_is_silent(engine, record, notifier):
    subject, _ = await active(notifier, record)
    subject.end(timeout=0.05)
    await told(record, subject, "SIPSubscriptionDidEnd")
    assert names(record, subject)[-3:] == [
        "SIPSubscriptionWillEnd",
        "SIPSubscriptionDidEnd",
        "SIPSubscriptionChangedState",
    ]


async def test_end_of_what_the_notifier_has_forgotten_is_the_end(engine, record, notifier):
    subject, _ = await active(notifier, record)
    subject.end()
    notifier.respond(await notifier.expect("SUBSCRIBE"), 481)
    await told(record, subject, "SIPSubscriptionDidEnd")


async def test_end_before_the_answer_ends_it_at_once(engine, record, notifier):
    subject = subscription(notifier)
    with pytest.raises(SIPCoreError):
        subject.end()
    subject.subscribe()
    request = await notifier.expect("SUBSCRIBE")
    subject.end()
    assert subject.state == "TERMINATED"
    notifier.respond(request, 200)
    notify(notifier, request)
    await notifier.response(481)


async def test_notifier_that_grants_no_time_fails_it(engine, record, notifier, monkeypatch):
    monkeypatch.setattr("sipsimple.core.subscription.FINAL_NOTIFY_TIMEOUT", 0.05)
    subject = subscription(notifier)
    await accepted(notifier, subject, 0)
    assert "no time" in (await told(record, subject, "SIPSubscriptionDidFail")).reason


async def test_arguments_are_checked(engine, record, notifier):
    with pytest.raises(ValueError, match="unknown"):
        subscription(notifier, "dialog")
    with pytest.raises(ValueError, match="refresh"):
        subscription(notifier, refresh=0)
    subject = subscription(notifier)
    with pytest.raises(ValueError, match="timeout"):
        subject.subscribe(timeout=0)
    with pytest.raises(ValueError, match="together"):
        subject.subscribe(body="x")
    with pytest.raises(ValueError, match="written by the stack"):
        subject.subscribe([Header("Expires", "5")])
    sender, receiver, contact = parties(notifier.port)
    nowhere = route(5060)
    nowhere.uri.host = "proxy.example.org"
    lost = Subscription(sender, receiver, contact, MWI, nowhere)
    lost.subscribe()
    data = await told(record, lost, "SIPSubscriptionDidFail")
    assert (data.code, "not an IP address" in data.reason) == (0, True)
