"""Encrypted calls through the whole application: what the settings of two accounts make together."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sipsimple.account import Account
from sipsimple.cli.trace import sip_text
from sipsimple.core import SIPURI, Engine, ToHeader
from sipsimple.notification import NotificationCenter
from sipsimple.session import Session
from sipsimple.streams import AudioStream
from sipsimple.util import Route
from tests.support.agent import ALICE, SETTINGS, Agent, eventually, running_agent
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.trace import SIPTrace, observed

BOB = "bob@example.org"
POLICIES = {
    "disabled": {"srtp_encryption": "disabled"},
    "optional": {"srtp_encryption": "optional"},
    "mandatory": {"srtp_encryption": "mandatory"},
    "optional dtls": {"srtp_encryption": "optional", "srtp_keying": "dtls"},
    "mandatory dtls": {"srtp_encryption": "mandatory", "srtp_keying": "dtls"},
}
CIPHER = {"sdes": "AES_CM_128_HMAC_SHA1_80", "dtls": "AEAD_AES_256_GCM"}


def settings(**general: Any) -> dict[str, Any]:
    account = {"enabled": "true", "registration": {"enabled": "false"}, "rtp": {"use_srtp_without_tls": "true"}}
    everything = {**SETTINGS["SIPSimpleSettings"], "default_account": ALICE, **general}
    return {"SIPSimpleSettings": everything, "Accounts": {ALICE: account, BOB: account}}


@pytest.fixture
async def both(nothing_left: None) -> AsyncIterator[Agent]:
    """A running application with the accounts of Alice and Bob."""
    async with running_agent(settings()) as agent:
        yield agent


def want(account: str, policy: str, **more: Any) -> None:
    rtp = Account(account).rtp
    for name, value in {"srtp_keying": "sdes", **POLICIES[policy], **more}.items():
        setattr(rtp, name, value)


def call(agent: Agent, transport: str = "udp") -> tuple[Session, AudioStream]:
    """Alice calls Bob."""
    session, stream = Session(agent.account), AudioStream(agent.account)
    port = getattr(Engine(), f"{transport}_port")
    session.connect(ToHeader(SIPURI("127.0.0.1", "bob")), [Route("127.0.0.1", port, transport)], [stream])
    return session, stream


async def talking(agent: Agent, transport: str = "udp") -> tuple[Session, Session]:
    """A call of Alice's that Bob has accepted, in which both hear something."""
    caller, _ = call(agent, transport)
    callee = await agent.incoming()
    assert str(callee.account.id) == BOB
    callee.accept(callee.proposed_streams or [])
    for session in (caller, callee):
        await agent.record.until(session, "DidStart")
    return caller, callee


def encrypted(session: Session) -> tuple[bool, str | None, str | None]:
    (stream,) = session.streams
    return stream.srtp_active, stream.srtp_keying, stream.srtp_cipher


async def heard(*sessions: Session, more: int = 5) -> None:
    """Wait until each side has understood some packets."""
    for session in sessions:
        (stream,) = session.streams
        before = stream.statistics["rx"]["packets"]
        await eventually(lambda s=stream, b=before: s.statistics["rx"]["packets"] >= b + more, "packets")


async def end(agent: Agent, *sessions: Session) -> None:
    sessions[0].end()
    for session in sessions:
        await agent.record.until(session, "DidEnd")


def outcome(caller: str, callee: str) -> str | None:
    """What two policies make together: a method, None for plain RTP, or `refused`."""
    if "disabled" in (caller, callee):
        return "refused" if "mandatory" in f"{caller} {callee}" else None
    return "dtls" if "dtls" in caller else "sdes"


@pytest.mark.parametrize("callee", POLICIES)
async def test_every_pair_of_policies(both: Agent, callee: str) -> None:
    for caller in POLICIES:
        want(ALICE, caller)
        want(BOB, callee)
        expected = outcome(caller, callee)
        if expected == "refused":
            session, _ = call(both)
            failed = await both.record.until(session, "DidFail")
            assert (failed.originator, failed.code) == ("remote", 488), caller
            continue
        one, two = await talking(both)
        for session in (one, two):
            wanted = (expected is not None, expected, CIPHER.get(expected or ""))
            await eventually(lambda s=session, w=wanted: encrypted(s) == w, f"{caller} and {callee}: {wanted}")
        await heard(one, two)
        for session in (one, two):
            statistics = session.streams[0].statistics
            assert ("srtp" in statistics) is (expected is not None)
            if expected is not None:
                assert statistics["srtp"]["unauthentic"] == statistics["srtp"]["replayed"] == 0
        await end(both, one, two)


@pytest.mark.spec(160)
async def test_over_tls_the_default_encrypts(nothing_left: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    tls = {"ca_list": str(authority.file), "timeout": "5000"}
    everything = settings(sip={"transport_list": ["tls", "udp"]}, tls=tls)
    for account in everything["Accounts"]:
        everything["Accounts"][account] = {
            "enabled": "true",
            "registration": {"enabled": "false"},
            "tls": {"certificate": authority.issue("127.0.0.1", "example.org"), "verify_server": "false"},
        }
    async with running_agent(everything) as agent:
        for transport, active in (("tls", True), ("udp", False)):
            one, two = await talking(agent, transport)
            assert (one.transport, two.transport) == (transport, transport)
            assert one.streams[0].srtp_active is two.streams[0].srtp_active is active
            await heard(one, two)
            await end(agent, one, two)
            assert one.streams is None or not one.streams[0].srtp_active


async def test_what_begins_to_be_encrypted_is_told(both: Agent) -> None:
    for policy, method in (("optional", "sdes"), ("optional dtls", "dtls")):
        want(ALICE, policy)
        want(BOB, policy)
        one, two = await talking(both)
        for session in (one, two):
            told = await both.record.until(session.streams[0], "AudioStreamDidEnableEncryption")
            assert (told.keying, told.cipher) == (method, CIPHER[method])
            names = both.record.names(session.streams[0])
            assert names.index("MediaStreamDidStart") < names.index("AudioStreamDidEnableEncryption")
        await end(both, one, two)


async def test_keys_do_not_go_where_others_can_read_them(both: Agent) -> None:
    for account in (ALICE, BOB):
        want(account, "optional", use_srtp_without_tls=False)
    trace = SIPTrace()
    with observed(trace, "SIPEngineSIPTrace"):
        one, two = await talking(both)
        assert encrypted(one) == encrypted(two) == (False, None, None)
        await end(both, one, two)
    want(ALICE, "mandatory")
    session, _ = call(both)
    failed = await both.record.until(session, "DidFail")
    assert "use TLS" in failed.failure_reason
    assert failed.originator == "local"
    # Made by DTLS they never stand in a description.
    want(ALICE, "mandatory dtls")
    one, two = await talking(both)
    await eventually(lambda: encrypted(one)[1] == encrypted(two)[1] == "dtls" and one.streams[0].srtp_active, "DTLS")
    await end(both, one, two)


async def test_the_next_route_must_not_tell_what_the_last_one_hid(both: Agent) -> None:
    want(ALICE, "mandatory", use_srtp_without_tls=False)
    session, stream = Session(both.account), AudioStream(both.account)
    routes = [Route("127.0.0.1", free_port(), "tls"), Route("127.0.0.1", Engine().udp_port, "udp")]
    session.connect(ToHeader(SIPURI("127.0.0.1", "bob")), routes, [stream])
    failed = await both.record.until(session, "DidFail")
    assert (failed.originator, failed.code) == ("local", 0)
    assert "use TLS" in failed.failure_reason
    assert not [n for n in both.record.all if n.name == "SIPSessionNewIncoming"]


async def test_a_stream_that_is_added_with_open_keys_is_refused(both: Agent) -> None:
    for account in (ALICE, BOB):
        want(account, "optional")
    one, two = await talking(both)
    want(ALICE, "mandatory")
    want(BOB, "mandatory", use_srtp_without_tls=False)
    one.add_stream(AudioStream(both.account))
    asked = await both.record.until(two, "SIPSessionGotProposal")
    two.accept_proposal(asked.streams)
    refused = await both.record.until(one, "SIPSessionGotRejectProposal")
    assert refused.code == 488
    await end(both, one, two)


async def test_keys_that_came_in_the_open_are_refused(both: Agent) -> None:
    want(ALICE, "mandatory")
    want(BOB, "mandatory", use_srtp_without_tls=False)
    caller, _ = call(both)
    callee = await both.incoming()
    callee.accept(callee.proposed_streams or [])
    failed = await both.record.until(caller, "DidFail")
    assert (failed.originator, failed.code) == ("remote", 488)
    failed = await both.record.until(callee, "DidFail")
    assert "keys that may be used" in failed.failure_reason


@pytest.mark.parametrize("policy", ["mandatory", "mandatory dtls"])
async def test_hold_and_other_changes_leave_the_keys(both: Agent, policy: str) -> None:
    want(ALICE, policy)
    want(BOB, policy)
    one, two = await talking(both)
    for session in (one, two):
        await eventually(lambda s=session: s.streams[0].srtp_active, "encryption")
    await heard(one, two)
    security = [session.streams[0]._transport.security for session in (one, two)]
    changes = {one: 0, two: 0}
    for holder, _ in ((one, two), (two, one)):
        for change in (holder.hold, holder.unhold):
            change()
            for session in (one, two):
                changes[session] += 1
                await both.record.until(session, "SIPSessionDidChangeHoldState", count=changes[session])
            assert all(session.streams[0].srtp_active for session in (one, two))
        await heard(one, two)
    assert [session.streams[0]._transport.security for session in (one, two)] == security
    for session in (one, two):
        counted = session.streams[0].statistics
        assert (counted["srtp"]["unauthentic"], counted["srtp"]["replayed"]) == (0, 0)
        names = both.record.names(session.streams[0])
        assert names.count("AudioStreamDidEnableEncryption") == 1
        assert "AudioStreamDidDisableEncryption" not in names
    await end(both, one, two)


async def test_a_change_of_key_is_not_heard(both: Agent) -> None:
    want(ALICE, "mandatory")
    want(BOB, "mandatory")
    one, two = await talking(both)
    await heard(one, two)
    one.streams[0]._transport.keying._keys.clear()  # the next offer has others
    before = two.streams[0]._transport.security
    one.hold()
    await both.record.until(two, "SIPSessionDidChangeHoldState")
    one.unhold()
    await both.record.until(two, "SIPSessionDidChangeHoldState", count=2)
    await both.record.until(one, "SIPSessionDidChangeHoldState", count=2)
    after = two.streams[0]._transport.security
    assert (after.send, after.receive != before.receive) == (before.send, True)
    await heard(one, two)
    for session in (one, two):
        assert session.streams[0].statistics["srtp"]["unauthentic"] == 0
        assert session.streams[0].statistics["rx"]["packets_lost"] == 0
    await end(both, one, two)


async def test_a_wrong_key_is_silence_and_is_counted(both: Agent) -> None:
    want(ALICE, "mandatory")
    want(BOB, "mandatory")
    one, two = await talking(both)
    await heard(one, two)
    transport, audio = two.streams[0]._transport, two.streams[0]._audio
    security = transport.security
    audio._use(type(audio._config)(**{**vars(audio._config), "security": type(security)(*_swapped(security))}))
    await eventually(lambda: one.streams[0].statistics["srtp"]["unauthentic"] > 5, "packets that are refused")
    silent = one.streams[0].statistics["rx"]["packets"]
    await eventually(lambda: one.streams[0].statistics["srtp"]["unauthentic"] > 20, "more of them")
    assert one.streams[0].statistics["rx"]["packets"] == silent
    await end(both, one, two)


def _swapped(security: Any) -> tuple[str, bytes, bytes]:
    return security.suite, security.receive, security.send


async def test_a_certificate_that_was_not_told_ends_the_call(both: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    from sipsimple.core.media import keying
    from sipsimple.sip.sdp.fingerprint import Fingerprint

    pem, _ = keying._identity()
    monkeypatch.setattr(keying, "_identity", lambda: (pem, Fingerprint.of(b"another")))
    want(ALICE, "mandatory dtls")
    want(BOB, "mandatory dtls")
    one, two = await talking(both)
    for session in (one, two):
        ended = await eventually(
            lambda s=session: [n for n in both.record.all if n.sender is s and n.name == "SIPSessionDidEnd"], "the end"
        )
        assert ended
    reasons = [n.data.reason for n in both.record.all if n.name == "MediaStreamDidFail"]
    assert any("certificate" in reason for reason in reasons)


async def test_keys_are_in_no_log_and_in_no_printed_trace(both: Agent, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    want(ALICE, "mandatory")
    want(BOB, "mandatory")
    seen: list[Any] = []

    class Observer:
        def handle_notification(self, notification: Any) -> None:
            seen.append(notification.data)

    observer = Observer()
    NotificationCenter().add_observer(observer, name="SIPEngineSIPTrace")
    try:
        Engine().trace_sip = True
        one, two = await talking(both)
        await end(both, one, two)
    finally:
        Engine().trace_sip = False
        NotificationCenter().remove_observer(observer, name="SIPEngineSIPTrace")
    raw = "\n".join(data.data for data in seen)
    secrets = set(re.findall(r"inline:(\S+)", raw))
    assert len(secrets) >= 3
    shown = "\n".join(sip_text(data) for data in seen) + caplog.text
    assert not [secret for secret in secrets if secret in shown]


async def test_calls_at_once_have_keys_of_their_own(both: Agent) -> None:
    want(ALICE, "mandatory")
    want(BOB, "mandatory")
    pairs = [await talking(both) for _ in range(3)]
    keys = {session.streams[0]._transport.security.send for pair in pairs for session in pair}
    assert len(keys) == 6
    await asyncio.gather(*(heard(*pair) for pair in pairs))
    for pair in pairs:
        await end(both, *pair)
