"""What happens when this host gets another address."""

from __future__ import annotations

from sipsimple.account import contact
from sipsimple.core import Engine
from sipsimple.notification import NotificationCenter, TimestampedNotificationData
from sipsimple.streams import AudioStream
from tests.support.agent import SETTINGS, eventually, running_agent

EVERYWHERE = {**SETTINGS, "SIPSimpleSettings": {**SETTINGS["SIPSimpleSettings"], "local_ip": None}}


async def test_a_running_session_tells_the_other_party_where_we_are_now(nothing_left: None, monkeypatch):
    async with running_agent(EVERYWHERE) as agent:
        caller, callee = await agent.talking(AudioStream(agent.account))
        old = agent.account.contact.domain
        # Any address of this host will do for the new one.
        for module in ("sipsimple.core.media.rtp", "sipsimple.core.engine"):
            monkeypatch.setattr(f"{module}.default_address", lambda: "127.0.0.1")
        monkeypatch.setattr(contact, "default_address", lambda: "127.0.0.1")
        data = TimestampedNotificationData(old_ip_address=old, new_ip_address="127.0.0.1")
        NotificationCenter().post_notification("SystemIPAddressDidChange", agent.application, data)
        # Both sides are here, so their proposals cross, and are made again one after the other.
        for session in (caller, callee):
            await agent.record.until(session.streams[0], "AudioStreamDidChangeRTPParameters")
        assert agent.account.contact.domain == "127.0.0.1"
        assert Engine().ip_address == "127.0.0.1"
        for session in (caller, callee):
            sdp = session._invitation.sdp
            await eventually(lambda sdp=sdp: sdp.active_local.connection.address == "127.0.0.1", "our new address")
            assert sdp.active_remote.connection.address == "127.0.0.1"
            assert sdp.active_local.address == old
            await eventually(lambda session=session: session.state == "connected", "calm again")
