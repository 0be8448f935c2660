"""Two parties chatting through whole sessions."""

from __future__ import annotations

from typing import Any

import pytest

from sipsimple.core import Engine
from sipsimple.streams import ChatStream
from sipsimple.streams.applications.chat import CPIMMessage
from sipsimple.util import Route
from tests.support.agent import eventually, running_agent
from tests.support.msrp_agent import msrp_settings

LOOPBACK = "127.0.0.1"


def of(agent: Any, stream: Any, name: str) -> list[Any]:
    """The data of all notifications of this name."""
    return [n.data for n in agent.record.all if n.sender is stream and n.name == name]


async def chatting(agent: Any, address: str = LOOPBACK, stream: Any = None) -> tuple[Any, Any, Any, Any]:
    stream = stream or ChatStream(agent.account)
    caller = agent.call(stream, routes=[Route(address, Engine().udp_port)])
    callee = await agent.incoming()
    (other,) = callee.proposed_streams
    callee.accept([other])
    await agent.record.until(caller, "DidStart")
    await agent.record.until(callee, "DidStart")
    return caller, callee, stream, other


@pytest.mark.parametrize("address", [LOOPBACK, "::1"])
@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_a_message_each_way(nothing_left, transport, address):
    async with running_agent(msrp_settings(transport, address)) as agent:
        caller, callee, alice, bob = await chatting(agent, address)
        sent = alice.send_message("Grüße, Bob")
        answered = bob.send_message("Hello Alice")
        for stream, other, message_id, text in (
            (alice, bob, sent, "Grüße, Bob"),
            (bob, alice, answered, "Hello Alice"),
        ):
            report = await agent.record.until(stream, "ChatStreamDidDeliverMessage")
            assert (report.message_id, report.code, report.reason) == (message_id, 200, "OK")
            assert report.chunk.message_id == message_id
            (written,) = of(agent, stream, "ChatStreamDidSendMessage")
            assert written.message.message_id == message_id
            (got,) = of(agent, other, "ChatStreamGotMessage")
            assert isinstance(got.message, CPIMMessage)
            assert (got.message.body, got.message.content_type) == (text, "text/plain")
        caller.end()
        await agent.record.until(bob, "MediaStreamDidEnd")
        await agent.record.until(alice, "MediaStreamDidEnd")


async def test_a_thousand_messages_each_way_arrive_in_order(nothing_left):
    async with running_agent(msrp_settings()) as agent:
        caller, callee, alice, bob = await chatting(agent)
        texts = [f"message {number}" for number in range(1000)]
        ids = {stream: [stream.send_message(text) for text in texts] for stream in (alice, bob)}
        for stream, other in ((alice, bob), (bob, alice)):
            await eventually(
                lambda stream=stream: len(of(agent, stream, "ChatStreamDidDeliverMessage")) == 1000, "1000 reports"
            )
            assert [data.message_id for data in of(agent, stream, "ChatStreamDidDeliverMessage")] == ids[stream]
            assert [data.message.body for data in of(agent, other, "ChatStreamGotMessage")] == texts
            assert of(agent, stream, "ChatStreamDidNotDeliverMessage") == []
        caller.end()
        await agent.record.until(bob, "MediaStreamDidEnd")
        await agent.record.until(alice, "MediaStreamDidEnd")
