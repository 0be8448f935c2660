"""Encrypted calls to and from baresip: keys in the descriptions, and keys made by DTLS in both roles."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sipsimple.session import Session
from tests.interop.baresip import MODULES, Baresip
from tests.interop.test_with_baresip import OURS, THEIRS, assert_heard, converse
from tests.interop.user_agent import UserAgent, user_agent
from tests.support.agent import eventually

SDES80, SDES32 = "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"


def wants(encryption: str, keying: str = "sdes") -> dict[str, Any]:
    return {
        "rtp": {"srtp_encryption": encryption, "srtp_keying": keying, "use_srtp_without_tls": "true"},
    }


def baresip(directory: Path, encryption: str, module: str, more: Sequence[str] = ()) -> Baresip:
    """A baresip whose account demands this encryption."""
    if not (MODULES / f"{module}.so").exists():
        pytest.skip(f"this baresip has no module {module}")
    bob = Baresip(directory, frequency=THEIRS, account=f"<sip:bob@127.0.0.1>;regint=0;mediaenc={encryption}")
    config = directory / "config"
    config.write_text(config.read_text() + "\n".join([f"module {module}.so", *more, ""]))
    return bob


async def secret(agent: UserAgent, session: Session, keying: str) -> str:
    """Wait until the call is encrypted; the cipher."""
    (stream,) = session.streams
    await eventually(lambda: stream.srtp_active, "encryption")
    assert stream.srtp_keying == keying
    return str(stream.srtp_cipher)


def assert_clean(session: Session) -> None:
    statistics = session.streams[0].statistics
    # baresip opens its way through address translators by one RTCP packet, which is in the clear.
    assert statistics["srtp"]["unauthentic"] <= 1
    assert statistics["srtp"]["replayed"] == 0
    assert statistics["rx"]["packets_lost"] == 0


@pytest.mark.parametrize(
    ("caller", "theirs", "ours"),
    [
        ("alice", "srtp-mand", "mandatory"),
        ("alice", "srtp", "optional"),
        ("alice", "srtp", "mandatory"),
        ("bob", "srtp-mand", "mandatory"),
        ("bob", "srtp-mand", "optional"),
        ("bob", "srtp", "optional"),
    ],
)
async def test_keys_in_descriptions(nothing_left: None, tmp_path: Path, caller: str, theirs: str, ours: str) -> None:
    async with baresip(tmp_path / "bob", theirs, "srtp") as bob, user_agent(account=wants(ours)) as alice:
        if caller == "alice":
            session = await alice.call(bob.uri)
        else:
            answering = asyncio.create_task(alice.answer())
            await bob.dial(alice.uri)
            session = await answering
        assert (await secret(alice, session, "sdes")).startswith("AES_CM_128_HMAC_SHA1_")
        heard = await converse(alice, session, bob, tmp_path)
        assert_clean(session)
        await session.end()
        await bob.event("CALL_CLOSED")
        assert_heard(heard, THEIRS)
        assert_heard(bob.heard(), OURS)


# baresip takes DTLS only where it is demanded.
@pytest.mark.parametrize(("caller", "encryption"), [("alice", "mandatory"), ("bob", "mandatory"), ("bob", "optional")])
async def test_keys_made_by_dtls(nothing_left: None, tmp_path: Path, caller: str, encryption: str) -> None:
    account = wants(encryption, "dtls")
    async with baresip(tmp_path / "bob", "dtls_srtp", "dtls_srtp") as bob, user_agent(account=account) as alice:
        if caller == "alice":
            session = await alice.call(bob.uri)
        else:
            answering = asyncio.create_task(alice.answer())
            await bob.dial(alice.uri)
            session = await answering
        await secret(alice, session, "dtls")
        heard = await converse(alice, session, bob, tmp_path)
        assert_clean(session)
        await session.end()
        await bob.event("CALL_CLOSED")
        assert_heard(heard, THEIRS)
        assert_heard(bob.heard(), OURS)


@pytest.mark.parametrize(
    ("encryption", "module", "keying"), [("srtp-mand", "srtp", "sdes"), ("dtls_srtp", "dtls_srtp", "dtls")]
)
async def test_a_held_call_stays_encrypted(
    nothing_left: None, tmp_path: Path, encryption: str, module: str, keying: str
) -> None:
    account = wants("mandatory", keying)
    async with baresip(tmp_path / "bob", encryption, module) as bob, user_agent(account=account) as alice:
        session = await alice.call(bob.uri)
        await secret(alice, session, keying)
        await bob.has_heard(0.1)
        session.hold()
        await alice.record.until(session, "SIPSessionDidChangeHoldState")
        session.unhold()
        await alice.record.until(session, "SIPSessionDidChangeHoldState", count=2)
        await bob.command("hold")
        await alice.record.until(session, "SIPSessionDidChangeHoldState", count=3)
        await bob.command("resume")
        await alice.record.until(session, "SIPSessionDidChangeHoldState", count=4)
        stream = session.streams[0]
        assert stream.srtp_active
        heard = stream.statistics["rx"]["packets"]
        await eventually(lambda: stream.statistics["rx"]["packets"] > heard + 25, "packets after the hold")
        assert_clean(session)
        await session.end()
        await bob.event("CALL_CLOSED")


async def test_who_does_not_encrypt_is_refused(nothing_left: None, tmp_path: Path) -> None:
    async with Baresip(tmp_path / "bob") as bob, user_agent(account=wants("mandatory")) as alice:
        with pytest.raises(Exception, match="488") as caught:
            await alice.call(bob.uri)
        assert (caught.value.code, caught.value.originator) == (488, "remote")
        await bob.dial(alice.uri)
        closed = await bob.event("CALL_CLOSED", count=2)
        assert "488" in closed["param"]
