"""The application of somebody who chats, in a process of its own; run by `test_chat_between_processes`.

`python -m tests.support.chat_agent TRANSPORT ADDRESS` takes every chat and answers each message in upper case.
TRANSPORT is that of MSRP. It ends with standard input.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from sipsimple.application import SIPApplication
from sipsimple.configuration.backend.memory import MemoryBackend
from sipsimple.core import Engine
from sipsimple.notification import NotificationCenter
from tests.support.msrp_agent import msrp_settings


class Answering:
    """Says what happens, and answers."""

    def handle_notification(self, notification: Any) -> None:
        data = notification.data
        if notification.name == "SIPSessionNewIncoming":
            notification.sender.accept(data.streams)
        elif notification.name == "ChatStreamGotMessage":
            notification.sender.send_message(data.message.body.upper())
        elif notification.name.startswith(("SIPSessionDid", "MediaStreamDid")):
            print(notification.name, getattr(data, "reason", ""), flush=True)


async def main(transport: str, address: str) -> None:
    NotificationCenter().add_observer(answering := Answering())
    async with SIPApplication.running(MemoryBackend(msrp_settings(transport, address))):
        print(f"ready at {Engine().udp_port}", flush=True)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        await reader.read()
    NotificationCenter().remove_observer(answering)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
