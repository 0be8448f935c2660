"""Registration with Kamailio, and calls through it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sipsimple.core import Engine
from sipsimple.session import SessionDidFail
from tests.interop.baresip import Baresip
from tests.interop.kamailio import Kamailio
from tests.interop.user_agent import UserAgent, user_agent
from tests.support.programs import Program
from tests.support.tones import hear, write_tone
from tests.support.trace import SIPTrace, Traced, observed

DOMAIN = "example.org"
TRANSPORTS = pytest.mark.parametrize("transport", ["udp", "tcp"])
FIRST_TONE, SECOND_TONE = 700.0, 1100.0


@asynccontextmanager
async def customer(
    kamailio: Kamailio, transport: str, *, password: str = Kamailio.password, interval: int = 600, register: bool = True
) -> AsyncIterator[UserAgent]:
    """A user agent whose account has Kamailio as its proxy."""
    account = {
        "password": password,
        "registration": {"enabled": str(register).lower()},
        "sip": {"outbound_proxy": kamailio.proxy(transport), "register_interval": str(interval)},
    }
    async with user_agent("alice", DOMAIN, account) as agent:
        yield agent


def assert_follows_the_route(request: Traced, kamailio: Kamailio, transport: str) -> None:
    """The request went to the proxy, with its Record-Route as Route and the peer's contact as its URI."""
    assert request.peer == ("127.0.0.1", kamailio.port)
    assert request.transport == transport
    (route,) = request.headers("Route")
    assert route.startswith(f"<sip:127.0.0.1:{kamailio.port};"), route
    assert ";lr" in route
    assert f":{kamailio.port}" not in request.start_line


# Registration


@TRANSPORTS
async def test_an_account_registers_and_leaves(nothing_left: None, kamailio: Kamailio, transport: str) -> None:
    trace = SIPTrace()
    with observed(trace, "SIPEngineSIPTrace"):
        async with customer(kamailio, transport) as alice:
            told = await alice.record.until(alice.account, "SIPAccountRegistrationDidSucceed")
            assert alice.account.registered
            assert (told.expires, told.registrar.port, told.registrar.transport) == (600, kamailio.port, transport)
            assert told.contact_header.uri.port == getattr(Engine(), f"{transport}_port")
            assert len(told.contact_header_list) == 1
        assert "SIPAccountRegistrationDidEnd" in alice.record.names(alice.account)
    challenged, honest, *farewell = trace.sent("REGISTER")
    assert not challenged.headers("Authorization")
    assert "qop=auth" in honest.headers("Authorization")[0]
    assert [request.headers("Expires") for request in farewell[-1:]] == [["0"]]
    assert {request.transport for request in trace.sent("REGISTER")} == {transport}
    await kamailio.program.line("saved alice .* expires=0")


async def test_a_registration_is_refreshed_before_it_ends(nothing_left: None, kamailio: Kamailio) -> None:
    async with customer(kamailio, "udp", interval=2) as alice:
        await alice.record.until(alice.account, "SIPAccountRegistrationDidSucceed")
        await alice.record.until(alice.account, "SIPAccountRegistrationDidSucceed", count=3)
        names = alice.record.names(alice.account)
        assert names.count("SIPAccountRegistrationWillRefresh") >= 2
        assert "SIPAccountRegistrationDidFail" not in names
        assert "SIPAccountRegistrationDidEnd" not in names
        sent = alice.trace.sent("REGISTER")
        assert len({request.headers("Call-ID")[0] for request in sent}) == 1
        sequence = [int(request.headers("CSeq")[0].split()[0]) for request in sent]
        assert sequence == sorted(set(sequence))


@TRANSPORTS
async def test_a_wrong_password_is_told_after_one_try(nothing_left: None, kamailio: Kamailio, transport: str) -> None:
    async with customer(kamailio, transport, password="wrong") as alice:
        told = await alice.record.until(alice.account, "SIPAccountRegistrationDidFail")
        assert told.error == "Authentication failed"
        assert told.timeout >= 60
        assert not alice.account.registered
        unauthenticated, authenticated = alice.trace.sent("REGISTER")
        assert not unauthenticated.headers("Authorization")
        assert authenticated.headers("Authorization")
        answer = await alice.record.until(alice.account, "SIPAccountRegistrationGotAnswer")
        assert answer.code == 401
    assert len(kamailio.requests("REGISTER")) == 2


async def test_the_right_password_mends_a_registration(nothing_left: None, kamailio: Kamailio) -> None:
    async with customer(kamailio, "udp", password="wrong") as alice:
        await alice.record.until(alice.account, "SIPAccountRegistrationDidFail")
        alice.account.password = kamailio.password
        alice.account.save()
        await alice.record.until(alice.account, "SIPAccountRegistrationDidSucceed")


# Calls


@asynccontextmanager
async def registered_baresip(directory: Path, kamailio: Kamailio, transport: str) -> AsyncIterator[Baresip]:
    """Bob at the same provider."""
    account = (
        f'"Bob" <sip:bob@{DOMAIN};transport={transport}>;auth_pass={kamailio.password};regint=60;'
        f'outbound="sip:127.0.0.1:{kamailio.port};transport={transport}"'
    )
    async with Baresip(directory, account=account, frequency=SECOND_TONE, transport=transport) as bob:
        await bob.registered()
        yield bob


@TRANSPORTS
async def test_a_call_through_the_proxy_follows_its_route(
    nothing_left: None, tmp_path: Path, kamailio: Kamailio, transport: str
) -> None:
    async with (
        registered_baresip(tmp_path / "bob", kamailio, transport) as bob,
        customer(kamailio, transport, register=False) as alice,
    ):
        session = await alice.call(f"sip:bob@{DOMAIN}")
        tone = write_tone(tmp_path / "tone.wav", FIRST_TONE)
        async with alice.conversing(session, tone, tmp_path / "heard.wav"):
            await bob.has_heard(1)
        await session.end()
        await bob.event("CALL_CLOSED")
        assert bob.heard().frequency == pytest.approx(FIRST_TONE, abs=2)
        assert hear(tmp_path / "heard.wav").frequency == pytest.approx(SECOND_TONE, abs=2)
        challenged, invite = alice.trace.sent("INVITE")
        assert not challenged.headers("Proxy-Authorization")
        assert invite.headers("Proxy-Authorization")
        refused_ack, ack = alice.trace.sent("ACK")
        assert refused_ack.headers("Via") == challenged.headers("Via")
        assert_follows_the_route(ack, kamailio, transport)
        (bye,) = alice.trace.sent("BYE")
        assert_follows_the_route(bye, kamailio, transport)
    assert (kamailio.loose_routed("ACK"), kamailio.loose_routed("BYE")) == (1, 1)


@TRANSPORTS
async def test_a_call_from_the_proxy_is_ended_along_its_route(
    nothing_left: None, tmp_path: Path, kamailio: Kamailio, transport: str
) -> None:
    async with (
        registered_baresip(tmp_path / "bob", kamailio, transport) as bob,
        customer(kamailio, transport) as alice,
    ):
        await alice.record.until(alice.account, "SIPAccountRegistrationDidSucceed")
        answering = asyncio.create_task(alice.answer())
        await bob.dial(f"sip:alice@{DOMAIN}")
        session = await answering
        assert session.remote_identity.uri.user == "bob"
        assert session.transport == transport
        await bob.event("CALL_ESTABLISHED")
        await session.end()
        await bob.event("CALL_CLOSED")
        (bye,) = alice.trace.sent("BYE")
        assert_follows_the_route(bye, kamailio, transport)


async def test_two_of_ours_call_each_other_through_the_proxy(
    nothing_left: None, tmp_path: Path, kamailio: Kamailio
) -> None:
    tone = write_tone(tmp_path / "tone.wav", SECOND_TONE, seconds=1.5)
    recording = tmp_path / "carol.wav"
    async with customer(kamailio, "udp") as alice:
        await alice.record.until(alice.account, "SIPAccountRegistrationDidSucceed")
        answering = asyncio.create_task(alice.answer(timeout=20))
        async with command(tmp_path, kamailio, "carol", "--play", tone, "--record", recording) as carol:
            session = await answering
            assert session.remote_identity.uri.user == "carol"
            ours = write_tone(tmp_path / "ours.wav", FIRST_TONE)
            async with alice.conversing(session, ours, tmp_path / "alice.wav"):
                assert await carol.ended(20) == 0, carol.output
            await alice.record.until(session, "SIPSessionDidEnd")
    assert hear(tmp_path / "alice.wav").frequency == pytest.approx(SECOND_TONE, abs=2)
    assert hear(recording).frequency == pytest.approx(FIRST_TONE, abs=2)
    assert (kamailio.loose_routed("ACK"), kamailio.loose_routed("BYE")) == (1, 1)


def command(home: Path, kamailio: Kamailio, user: str, *options: Any) -> Program:
    """`sipsimple call` in a process of its own, calling Alice with an account of the same provider."""
    config = home / "carol.config"
    config.write_text(f"Accounts:\n  {user}@{DOMAIN}:\n    enabled = True\n    password = {kamailio.password}\n")
    return Program(
        *(sys.executable, "-m", "sipsimple.cli"),
        *("call", f"sip:alice@{DOMAIN}", "--account", f"{user}@{DOMAIN}", "--proxy", kamailio.proxy("udp")),
        *options,
        environment={"SIPSIMPLE_CONFIG": str(config), "HOME": str(home), "COLUMNS": "200"},
    )


async def test_a_user_whom_the_proxy_does_not_know_is_told(nothing_left: None, kamailio: Kamailio) -> None:
    async with customer(kamailio, "udp", register=False) as alice:
        with pytest.raises(SessionDidFail) as caught:
            await alice.call(f"sip:nobody@{DOMAIN}")
        assert (caught.value.code, caught.value.originator) == (404, "remote")


async def test_a_call_with_a_wrong_password_fails_after_one_try(nothing_left: None, kamailio: Kamailio) -> None:
    async with customer(kamailio, "udp", register=False, password="wrong") as alice:
        with pytest.raises(SessionDidFail) as caught:
            await alice.call(f"sip:bob@{DOMAIN}")
        assert (caught.value.code, caught.value.originator) == (407, "remote")
        assert len(alice.trace.sent("INVITE")) == 2
