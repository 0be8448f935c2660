"""The peers among themselves: what the other tests build on works without our part."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.baresip import Baresip
from tests.interop.kamailio import Kamailio
from tests.interop.sipp import SIPp


async def test_sipp_calls_sipp(tmp_path: Path) -> None:
    async with SIPp(tmp_path, "uas", calls=20) as server:
        await server.ready()
        async with SIPp(tmp_path, "uac", f"127.0.0.1:{server.port}", calls=20, rate=50) as client:
            outcome = await client.outcome()
        assert (outcome.status, outcome.successful, outcome.failed) == (0, 20, 0), client.errors()
        assert (await server.outcome()).successful == 20


async def test_baresip_hears_the_tone_of_baresip(tmp_path: Path) -> None:
    async with (
        Baresip(tmp_path / "one", frequency=700) as one,
        Baresip(tmp_path / "other", frequency=1100, codecs=["pcma"]) as other,
    ):
        await one.dial(other.uri)
        await one.has_heard(1.5)
        await other.has_heard(1.5)
        await one.hang_up()
        await other.event("CALL_CLOSED")
        await one.event("CALL_CLOSED")
    assert other.codecs_used() == ("PCMA", "PCMA")
    heard = other.heard()
    assert heard.frequency == pytest.approx(700, abs=2)
    assert heard.level == pytest.approx(-12, abs=0.5)
    assert one.heard().frequency == pytest.approx(1100, abs=2)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_baresip_registers_with_kamailio_and_is_called(
    tmp_path: Path, kamailio: Kamailio, transport: str
) -> None:
    def account(user: str) -> str:
        domain = f"127.0.0.1:{kamailio.port}"
        return f'"{user}" <sip:{user}@{domain};transport={transport}>;auth_pass={kamailio.password};regint=60'

    async with (
        Baresip(tmp_path / "alice", account=account("alice"), frequency=700) as alice,
        Baresip(tmp_path / "bob", account=account("bob"), frequency=1100) as bob,
    ):
        await alice.registered()
        await bob.registered()
        await alice.dial(f"sip:bob@127.0.0.1:{kamailio.port};transport={transport}")
        await bob.event("CALL_RTPESTAB")
        await alice.hang_up()
        await bob.event("CALL_CLOSED")
        await kamailio.program.line("loose BYE")
    assert kamailio.loose_routed("ACK") == 1


async def test_a_wrong_password_is_refused_by_kamailio(tmp_path: Path, kamailio: Kamailio) -> None:
    account = f"<sip:alice@127.0.0.1:{kamailio.port}>;auth_pass=wrong;regint=60"
    async with Baresip(tmp_path / "alice", account=account) as alice:
        await alice.program.line(r"reg: .* 401 Unauthorized")
