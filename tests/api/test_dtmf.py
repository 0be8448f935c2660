"""Digits in a call: the keys that one side presses are told to the other, once each."""

from __future__ import annotations

from datetime import datetime

import pytest

from sipsimple.core import SIPCoreError
from sipsimple.core.digits import digit_body
from sipsimple.core.invitation.info import MAX_WAITING
from sipsimple.notification import NotificationCenter
from sipsimple.streams import AudioStream
from tests.support.agent import eventually, running_agent


@pytest.mark.spec(156, 157, 177)
@pytest.mark.parametrize("host", ["thread", "process"])
async def test_digits_of_a_call_are_told_to_the_other_side(nothing_left, monkeypatch, host):
    monkeypatch.setenv("SIPSIMPLE_MEDIA_HOST", host)
    async with running_agent() as agent:
        caller, callee = await agent.talking(AudioStream(agent.account))
        (ours,), (theirs,) = caller.streams, callee.streams

        def told(stream):
            found = [n.data for n in agent.record.all if (n.sender, n.name) == (stream, "AudioStreamGotDTMF")]
            return "".join(data.digit for data in found) if found else ""

        for digit in "15#D":
            ours.send_dtmf(digit)
        theirs.send_dtmf("0")
        with pytest.raises(SIPCoreError):
            ours.send_dtmf("E")
        await eventually(lambda: told(theirs) == "15#D" and told(ours) == "0", "the digits")
        times = [n.data.timestamp for n in agent.record.all if n.name == "AudioStreamGotDTMF"]
        assert all(isinstance(moment, datetime) for moment in times)
        await caller.end()
        with pytest.raises(RuntimeError):
            ours.send_dtmf("1")


def digits_told(agent, stream):
    return "".join(n.data.digit for n in agent.record.all if (n.sender, n.name) == (stream, "AudioStreamGotDTMF"))


@pytest.mark.parametrize("way", ["events", "info", "inband"])
async def test_digits_go_by_the_way_that_the_account_wants(nothing_left, way):
    async with running_agent() as agent:
        agent.account.rtp.dtmf_delivery = way
        caller, callee = await agent.talking(AudioStream(agent.account))
        (ours,), (theirs,) = caller.streams, callee.streams
        for digit in "1155#A":
            ours.send_dtmf(digit)
        theirs.send_dtmf("*")
        with pytest.raises(SIPCoreError):
            ours.send_dtmf("x")
        await eventually(lambda: digits_told(agent, theirs) == "1155#A" and digits_told(agent, ours) == "*", "digits")
        infos = [n for n in agent.record.all if n.name == "SIPInvitationGotInfo"]
        assert len(infos) == (7 if way == "info" else 0)
        await caller.end()
        await agent.record.until(callee, "DidEnd")


async def test_a_press_that_comes_by_two_ways_is_told_once(nothing_left):
    async with running_agent() as agent:
        caller, callee = await agent.talking(AudioStream(agent.account))
        (ours,), (theirs,) = caller.streams, callee.streams
        for digit in "4477":
            for way in ("info", "events"):
                agent.account.rtp.dtmf_delivery = way
                ours.send_dtmf(digit)
        ours.send_dtmf("#")
        await eventually(lambda: digits_told(agent, theirs).endswith("#"), "the last digit")
        assert digits_told(agent, theirs) == "4477#"
        await caller.end()
        await agent.record.until(callee, "DidEnd")


async def test_other_contents_of_info_are_refused_and_disturb_nothing(nothing_left):
    async with running_agent() as agent:
        caller, callee = await agent.talking(AudioStream(agent.account))
        (theirs,) = callee.streams
        assert caller.remote_allows("INFO")
        assert not caller.remote_allows("PUBLISH")
        for content_type, body in (
            ("text/plain", b"5"),
            ("application/dtmf-relay", b"Signal=hookflash"),
            ("application/dtmf", b"7"),
            ("application/dtmf-relay", b"Duration=100\nsignal = 10\n"),
        ):
            caller.send_info(content_type, body)
        await eventually(lambda: digits_told(agent, theirs) == "7*", "the digits")
        (failure,) = [n.data for n in agent.record.all if n.name == "SIPInvitationInfoDidFail"]
        assert failure.code == 415
        with pytest.raises(SIPCoreError, match="send fewer"):
            for _ in range(MAX_WAITING + 2):
                caller.send_info("application/dtmf", b"1")
        await caller.end()
        await agent.record.until(callee, "DidEnd")
        with pytest.raises(SIPCoreError, match="connected"):
            caller.send_info("application/dtmf", b"1")


class Hasty:
    """Presses keys as soon as there is a dialog, together with the ACK."""

    def handle_notification(self, notification):
        invitation, data = notification.sender, notification.data
        if data.state == "connected" and data.prev_state != "connected" and invitation.direction == "outgoing":
            for digit in "15#":
                invitation.send_info(*digit_body(digit))


async def test_digits_that_come_with_the_ack_are_told_when_the_stream_has_begun(nothing_left):
    hasty = Hasty()
    async with running_agent() as agent:
        NotificationCenter().add_observer(hasty, name="SIPInvitationChangedState")
        try:
            caller, callee = await agent.talking(AudioStream(agent.account))
            (theirs,) = callee.streams
            await eventually(lambda: digits_told(agent, theirs) == "15#", "the digits")
        finally:
            NotificationCenter().remove_observer(hasty, name="SIPInvitationChangedState")
        names = agent.record.names(theirs)
        assert names.index("MediaStreamDidStart") < names.index("AudioStreamGotDTMF")
        await caller.end()
        await agent.record.until(callee, "DidEnd")
