"""MESSAGE, REFER, SUBSCRIBE and NOTIFY through Kamailio, between agents of ours in processes of their own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sipsimple.core import (
    SIPURI,
    ContactHeader,
    Engine,
    FromHeader,
    Message,
    Referral,
    RouteHeader,
    Subscription,
    ToHeader,
)
from tests.interop.correspondent import DOMAIN, EVENT
from tests.interop.kamailio import Kamailio
from tests.interop.test_with_kamailio import customer
from tests.interop.user_agent import UserAgent
from tests.support.agent import eventually
from tests.support.programs import Program

TRANSPORTS = pytest.mark.parametrize("transport", ["udp", "tcp"])
CAROL, DAVE = f"sip:carol@{DOMAIN}", f"sip:dave@{DOMAIN}"


@asynccontextmanager
async def correspondent(directory: Path, kamailio: Kamailio, user: str, transport: str) -> AsyncIterator[Program]:
    """Another agent of ours, which is registered; see `tests.interop.correspondent`."""
    home = directory / user
    home.mkdir()
    command = (sys.executable, "-m", "tests.interop.correspondent", user, f"127.0.0.1:{kamailio.port}", transport)
    async with Program(*command, environment={"HOME": str(home)}) as program:
        await program.line("registered", timeout=15)
        yield program


@asynccontextmanager
async def registered(kamailio: Kamailio, transport: str) -> AsyncIterator[UserAgent]:
    async with customer(kamailio, transport) as alice:
        await alice.record.until(alice.account, "SIPAccountRegistrationDidSucceed")
        yield alice


def proxy(kamailio: Kamailio, transport: str) -> RouteHeader:
    """It as the next hop of a request."""
    parameters = {"lr": None} if transport == "udp" else {"transport": transport, "lr": None}
    return RouteHeader(SIPURI("127.0.0.1", port=kamailio.port, parameters=parameters))


def message_to(alice: UserAgent, kamailio: Kamailio, transport: str, text: str, password: str | None = None) -> Message:
    credentials = alice.account.credentials
    if password is not None:
        credentials.password = password
    to = ToHeader(SIPURI.parse(CAROL))
    return Message(
        FromHeader(alice.account.uri), to, proxy(kamailio, transport), "text/plain; charset=utf-8", text, credentials
    )


def assert_challenged_once(alice: UserAgent, method: str) -> None:
    """The first request was refused for want of credentials, the second one had them."""
    unauthenticated, authenticated = alice.trace.sent(method)[:2]
    assert not unauthenticated.headers("Proxy-Authorization")
    (credentials,) = authenticated.headers("Proxy-Authorization")
    assert 'username="alice"' in credentials
    assert unauthenticated.headers("Call-ID") == authenticated.headers("Call-ID")


# Messages


@TRANSPORTS
async def test_messages_go_both_ways(nothing_left: None, tmp_path: Path, kamailio: Kamailio, transport: str) -> None:
    async with correspondent(tmp_path, kamailio, "carol", transport) as carol, registered(kamailio, transport) as alice:
        message = message_to(alice, kamailio, transport, "héllo")
        response = await message.send()
        assert response.code == 200
        assert_challenged_once(alice, "MESSAGE")
        await carol.line("message alice: héllo")
        told = await alice.record.until(Engine(), "SIPEngineGotMessage")
        assert told.body.decode() == "you said: héllo"
        assert told.from_header.uri.user == "carol"
        assert (told.content_type, told.content_subtype) == ("text", "plain")
        await carol.line("reply 200")
        # Both were asked for their password, once.
        assert [len(kamailio.requests("MESSAGE", user)) for user in ("alice", "carol")] == [2, 2]


async def test_a_message_with_a_wrong_password_is_tried_once(nothing_left: None, kamailio: Kamailio) -> None:
    async with registered(kamailio, "udp") as alice:
        message = message_to(alice, kamailio, "udp", "hello", password="wrong")
        with pytest.raises(Exception, match="407"):
            await message.send()
        told = await alice.record.until(message, "SIPMessageDidFail")
        assert told.code == 407
        assert len(alice.trace.sent("MESSAGE")) == 2


async def test_a_message_to_somebody_who_is_not_there_fails(nothing_left: None, kamailio: Kamailio) -> None:
    async with registered(kamailio, "udp") as alice:
        message = message_to(alice, kamailio, "udp", "hello")
        with pytest.raises(Exception, match="404"):
            await message.send()
        assert (await alice.record.until(message, "SIPMessageDidFail")).code == 404


# REFER outside a call


@TRANSPORTS
async def test_a_referral_is_followed_through_the_proxy(
    nothing_left: None, tmp_path: Path, kamailio: Kamailio, transport: str
) -> None:
    async with correspondent(tmp_path, kamailio, "carol", transport) as carol, registered(kamailio, transport) as alice:
        account = alice.account
        referral = Referral(
            FromHeader(account.uri),
            ToHeader(SIPURI.parse(CAROL)),
            DAVE,
            ContactHeader(account.contact[transport]),
            proxy(kamailio, transport),
            account.credentials,
        )
        referral.send_refer()
        await carol.line(f"referred to {DAVE}")
        ended = await alice.record.until(referral, "SIPReferralDidEnd")
        assert (ended.code, ended.reason) == (200, "OK")
        told = [n.data.code for n in alice.record.all if n.name == "SIPReferralGotNotify"]
        assert told == [100, 180, 200]
        assert_challenged_once(alice, "REFER")
        await eventually(lambda: kamailio.loose_routed("NOTIFY") == 3, "three NOTIFY requests along the route")


# Subscriptions


@TRANSPORTS
async def test_a_subscription_is_refreshed_through_the_proxy(
    nothing_left: None, tmp_path: Path, kamailio: Kamailio, transport: str
) -> None:
    async with correspondent(tmp_path, kamailio, "carol", transport) as carol, registered(kamailio, transport) as alice:
        Engine().add_event(EVENT, ["text/plain"])
        account = alice.account
        subscription = Subscription(
            FromHeader(account.uri),
            ToHeader(SIPURI.parse(CAROL)),
            ContactHeader(account.contact[transport]),
            EVENT,
            proxy(kamailio, transport),
            account.credentials,
            refresh=2,
        )

        def told() -> list[bytes]:
            return [n.data.body for n in alice.record.all if n.name == "SIPSubscriptionGotNotify"]

        subscription.subscribe()
        # Each refresh is answered by a NOTIFY, and each change is told by another one.
        for number in range(1, 4):
            await eventually(lambda number=number: b"%d" % number in told(), f"{number}; there was {told()}")
        subscription.end()
        await alice.record.until(subscription, "SIPSubscriptionDidEnd")
        await carol.line("unsubscribed after 3")
        assert_challenged_once(alice, "SUBSCRIBE")
        _, _, *refreshing = alice.trace.sent("SUBSCRIBE")
        assert {request.headers("Route")[0].split(";")[0] for request in refreshing} == {
            f"<sip:127.0.0.1:{kamailio.port}"
        }
        assert len(refreshing) == 3
        await eventually(lambda: kamailio.loose_routed("SUBSCRIBE") == 3, "three SUBSCRIBE requests along the route")
        await eventually(lambda: kamailio.loose_routed("NOTIFY") == 6, "six NOTIFY requests along the route")


# Transfer


@TRANSPORTS
async def test_a_call_is_transferred_through_the_proxy(
    nothing_left: None, tmp_path: Path, kamailio: Kamailio, transport: str
) -> None:
    async with (
        correspondent(tmp_path, kamailio, "carol", transport) as carol,
        correspondent(tmp_path, kamailio, "dave", transport) as dave,
        registered(kamailio, transport) as alice,
    ):
        session = await alice.call(CAROL)
        async with asyncio.timeout(10):
            await session.transfer(DAVE)
        await carol.line(f"transferred by .*alice@{DOMAIN}")
        await carol.line("talking with dave")
        await dave.line("talking with carol$")
        await alice.record.until(session, "SIPSessionDidEnd")
        assert kamailio.loose_routed("REFER") == 1
        # The new call is one of the transferee, with her name and password.
        assert len(kamailio.requests("INVITE", "carol")) == 2


async def test_two_calls_are_put_together_through_the_proxy(
    nothing_left: None, tmp_path: Path, kamailio: Kamailio
) -> None:
    async with (
        correspondent(tmp_path, kamailio, "carol", "udp") as carol,
        correspondent(tmp_path, kamailio, "dave", "udp") as dave,
        registered(kamailio, "udp") as alice,
    ):
        first, second = await alice.call(CAROL), await alice.call(DAVE)
        async with asyncio.timeout(10):
            await first.transfer(DAVE, replaced_session=second)
        await dave.line("talking with carol in place of another")
        await dave.line("ended with alice")
        await carol.line("talking with dave")
        for session in (first, second):
            await alice.record.until(session, "SIPSessionDidEnd")
        told = alice.record.data(second, "DidEnd")
        assert told.originator == "remote"
