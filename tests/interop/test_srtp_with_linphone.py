"""Encrypted calls to and from linphone, which answers DTLS from another address than its description tells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.interop.linphone import Linphone
from tests.interop.test_linphone import assert_heard
from tests.interop.user_agent import UserAgent, user_agent
from tests.support.agent import eventually
from tests.support.certificates import Authority


@asynccontextmanager
async def parties(directory: Path, keying: str, suites: str | None = None) -> AsyncIterator[tuple[UserAgent, Linphone]]:
    """Alice, and a linphone that demands this encryption."""
    rtp = {"srtp_encryption": "mandatory", "srtp_keying": keying, "use_srtp_without_tls": "true"}
    linda = Linphone(directory / "linda", Authority(directory))
    config = directory / "linda" / "linphonerc"
    encryption = {"sdes": "srtp", "dtls": "dtls"}[keying]
    lines = f"[sip]\nmedia_encryption={encryption}\nmedia_encryption_mandatory=1\n"
    if suites is not None:
        lines += f"srtp_crypto_suites={suites}\n"
    config.write_text(config.read_text().replace("[sip]\n", lines))
    async with user_agent(account={"rtp": rtp}) as alice, linda:
        yield alice, linda


CASES = pytest.mark.parametrize(
    ("keying", "suite"),
    [
        ("sdes", "AES_CM_128_HMAC_SHA1_80"),
        ("sdes", "AES_CM_128_HMAC_SHA1_32"),
        ("dtls", None),
    ],
)


@CASES
async def test_linphone_calls(nothing_left: None, tmp_path: Path, keying: str, suite: str | None) -> None:
    async with parties(tmp_path, keying, suite) as (alice, linda):
        answering = asyncio.create_task(alice.answer())
        await linda.call(alice.uri)
        session = await answering
        (stream,) = session.streams
        await eventually(lambda: stream.srtp_active, "encryption")
        assert stream.srtp_keying == keying
        assert suite in (None, stream.srtp_cipher)
        await linda.state("StreamsRunning")
        await assert_heard(alice, linda, session, tmp_path)
        await linda.command("terminate")
        await alice.record.until(session, "SIPSessionDidEnd")


@CASES
async def test_linphone_is_called(nothing_left: None, tmp_path: Path, keying: str, suite: str | None) -> None:
    async with parties(tmp_path, keying, suite) as (alice, linda):
        session = await alice.call(linda.uri)
        (stream,) = session.streams
        await eventually(lambda: stream.srtp_active, "encryption")
        assert stream.srtp_keying == keying
        await linda.state("StreamsRunning")
        await assert_heard(alice, linda, session, tmp_path)
        await session.end()
