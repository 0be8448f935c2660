"""Sessions of an application that lives on an IPv6 address."""

from __future__ import annotations

from typing import Any

import pytest

from sipsimple.core import Engine
from sipsimple.util import Route
from tests.support.agent import ALICE, SETTINGS, running_agent

GENERAL = {**SETTINGS["SIPSimpleSettings"], "local_ip": "::1", "sip": {"transport_list": ["udp", "tcp", "tls"]}}
ACCOUNT = {**SETTINGS["Accounts"][ALICE], "tls": {"verify_server": "false"}}
ON_IPV6: dict[str, Any] = {"SIPSimpleSettings": GENERAL, "Accounts": {ALICE: ACCOUNT}}


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_a_session_over_ipv6(nothing_left, transport):
    async with running_agent(ON_IPV6) as agent:
        assert agent.account.contact[transport].host == "::1"
        route = Route("::1", getattr(Engine(), f"{transport}_port"), transport)
        caller = agent.call(routes=[route])
        callee = await agent.incoming()
        callee.accept(callee.proposed_streams or [])
        await agent.record.until(caller, "DidStart")
        await agent.record.until(callee, "DidStart")
        assert caller.transport == callee.transport == transport
        described = callee._invitation.sdp.active_remote
        assert (described.connection.address_type, described.connection.address) == ("IP6", "::1")
        callee.end()
        await agent.record.until(caller, "DidEnd")
        await agent.record.until(callee, "DidEnd")
