"""Chats between two applications in two processes: the other one knows nothing of us, and can be killed."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sipsimple.streams import ChatStream
from sipsimple.util import Route
from tests.support.agent import Agent, running_agent
from tests.support.msrp_agent import msrp_settings
from tests.support.programs import Program

COUNT = 50
PLACES = [("tcp", "127.0.0.1"), ("tls", "127.0.0.1"), ("tcp", "::1"), ("tls", "::1")]


@asynccontextmanager
async def chatting(transport: str, address: str) -> AsyncIterator[tuple[Agent, Program, Any, ChatStream]]:
    """An agent that has called the other process, that process, the session and its stream."""
    async with running_agent(msrp_settings(transport, address)) as agent:
        command = [sys.executable, "-m", "tests.support.chat_agent", transport, address]
        async with Program(*command, typing=True) as other:
            port = int((await other.line(r"ready at (\d+)", timeout=30)).group(1))
            stream = ChatStream(agent.account)
            session = agent.call(stream, routes=[Route(address, port)])
            await agent.record.until(session, "DidStart")
            yield agent, other, session, stream


def bodies(agent: Agent, stream: ChatStream) -> list[str]:
    return [n.data.message.body for n in agent.record.all if n.sender is stream and n.name == "ChatStreamGotMessage"]


def ids(agent: Agent, stream: ChatStream, name: str) -> list[str]:
    return [n.data.message_id for n in agent.record.all if n.sender is stream and n.name == f"ChatStream{name}"]


@pytest.mark.parametrize("place", PLACES, ids=str)
async def test_messages_each_way(nothing_left, place):
    async with chatting(*place) as (agent, other, session, stream):
        sent = [stream.send_message(f"number {number}") for number in range(COUNT)]
        await agent.record.until(stream, "ChatStreamGotMessage", COUNT)
        await agent.record.until(stream, "ChatStreamDidDeliverMessage", COUNT)
        assert bodies(agent, stream) == [f"NUMBER {number}" for number in range(COUNT)]
        assert ids(agent, stream, "DidDeliverMessage") == sent
        session.end()
        await agent.record.until(stream, "MediaStreamDidEnd")
        await other.line("MediaStreamDidEnd")
        assert not any("Fail" in line for line in other.lines), other.output
        other.end_input()
        assert await other.ended(30) == 0, other.output


@pytest.mark.parametrize("place", PLACES[:3], ids=str)
async def test_a_party_that_is_killed_has_not_received_what_it_did_not_report(nothing_left, place):
    async with chatting(*place) as (agent, other, session, stream):
        reported = stream.send_message("before")
        await agent.record.until(stream, "ChatStreamDidDeliverMessage")
        other.send_signal(signal.SIGSTOP)
        lost = [stream.send_message(f"number {number}") for number in range(COUNT)]
        await agent.record.until(stream, "ChatStreamDidSendMessage", 1 + COUNT)
        other.send_signal(signal.SIGKILL)
        failed = await agent.record.until(stream, "MediaStreamDidFail")
        assert failed.context == "reading"
        await agent.record.until(stream, "MediaStreamDidEnd")
        assert ids(agent, stream, "DidDeliverMessage") == [reported]
        assert ids(agent, stream, "DidNotDeliverMessage") == lost
        names = agent.record.names(stream)
        assert names.index("ChatStreamDidNotDeliverMessage") < names.index("MediaStreamDidEnd")
        # There is nobody left to answer our BYE; who stops does not wait for that.
        assert session.state in ("terminating", "terminated")
