"""TLS of the application: without a usable certificate it runs without TLS, and accounts connect as themselves."""

from __future__ import annotations

from typing import Any

import pytest

from sipsimple.account import Account
from sipsimple.core import SIPURI, Engine, PJSIPTLSError, ToHeader
from sipsimple.session import Session
from sipsimple.util import Route
from tests.support.agent import ALICE, SETTINGS, Agent, eventually, running_agent
from tests.support.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def settings(certificate: str | None = None, ca_list: str | None = None, verify: bool = True) -> dict[str, Any]:
    tls = {"certificate": certificate, "verify_server": str(verify).lower()}
    account = {**SETTINGS["Accounts"][ALICE], "tls": tls}
    general = {
        **SETTINGS["SIPSimpleSettings"],
        "default_account": ALICE,
        "sip": {"transport_list": ["tls", "udp"]},
        "tls": {"ca_list": ca_list, "timeout": "5000"},
    }
    return {"SIPSimpleSettings": general, "Accounts": {ALICE: account}}


@pytest.mark.spec(70)
async def test_a_bad_certificate_file_leaves_the_application_without_tls(nothing_left, tmp_path):
    bad = tmp_path / "bad.pem"
    bad.write_text("this is no certificate")
    async with running_agent(settings(str(bad))) as agent:
        told = [n for n in agent.record.all if n.name.startswith("SIPApplication")]
        names = [n.name.removeprefix("SIPApplication") for n in told]
        assert names == ["WillStart", "FailedToStartTLS", "DidStart"]
        assert isinstance(told[1].data.error, PJSIPTLSError)
        assert told[1].data.timestamp
        assert Engine().tls_port is None
        assert Engine().udp_port


async def test_tls_comes_and_goes_with_the_settings(nothing_left, tmp_path, authority):
    async with running_agent(settings()) as agent:
        assert Engine().tls_port
        account = Account(ALICE)
        account.tls.certificate = authority.issue("example.org")
        account.save()
        await eventually(lambda: Engine().tls_cert_file == account.tls.certificate.normalized, "the certificate")
        await eventually(lambda: Engine().tls_port, "TLS")
        broken = tmp_path / "broken.pem"
        broken.write_text("")
        account.tls.certificate = str(broken)
        account.save()
        error = (await agent.record.until(agent.application, "SIPApplicationFailedToStartTLS")).error
        assert isinstance(error, PJSIPTLSError)
        assert Engine().tls_port is None


async def test_a_certificate_that_is_not_there_any_more_is_told(nothing_left, authority, tmp_path):
    async with running_agent(settings(authority.issue("example.org"), str(authority.file))) as agent:
        agent.account.tls.certificate = str(tmp_path / "gone.pem")
        agent.account.save()
        error = (await agent.record.until(agent.application, "SIPApplicationFailedToStartTLS")).error
        assert "gone.pem" in str(error)


def call(agent: Agent) -> Session:
    session = Session(agent.account)
    route = Route("127.0.0.1", Engine().tls_port, "tls")
    session.connect(ToHeader(SIPURI("127.0.0.1", "alice")), [route], [agent.stream()])
    return session


@pytest.mark.spec(99)
async def test_a_session_over_tls_with_a_certificate_of_the_domain(nothing_left, authority):
    async with running_agent(settings(authority.issue("example.org"), str(authority.file))) as agent:
        caller = call(agent)
        callee = await agent.incoming()
        callee.accept(callee.proposed_streams or [])
        await agent.record.until(caller, "DidStart")
        assert caller.transport == callee.transport == "tls"
        callee.end()
        await agent.record.until(caller, "DidEnd")
        await agent.record.until(callee, "DidEnd")


async def test_a_session_tells_why_the_certificate_was_refused(nothing_left, authority):
    async with running_agent(settings(authority.issue("example.com"), str(authority.file))) as agent:
        caller = call(agent)
        failed = await agent.record.until(caller, "DidFail")
        assert "the certificate for example.org or 127.0.0.1 was not accepted: it is for example.com" in (
            failed.failure_reason
        )
        # Without verification the same server is good enough.
        agent.account.tls.verify_server = False
        agent.account.save()
        await eventually(lambda: Engine().tls_port and not Engine().tls_verify_server, "the change")
        caller = call(agent)
        callee = await agent.incoming()
        callee.reject()
        await agent.record.until(caller, "DidFail")


async def test_a_session_too_large_for_udp_says_how_large(nothing_left):
    general = {**SETTINGS["SIPSimpleSettings"], "sip": {"transport_list": ["udp"]}}
    async with running_agent({**SETTINGS, "SIPSimpleSettings": general}) as agent:
        caller = Session(agent.account)
        callee = ToHeader(SIPURI("127.0.0.1", "x" * 1300))
        caller.connect(callee, [agent.route], [agent.stream()])
        failed = await agent.record.until(caller, "DidFail")
        assert "the limit is 1300: let TCP listen too" in failed.failure_reason
