"""Digits in a call: the keys that one side presses are told to the other, once each."""

from __future__ import annotations

from datetime import datetime

import pytest

from sipsimple.core import SIPCoreError
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
