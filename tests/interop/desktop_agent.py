"""The application of somebody who shows his desktop; run by `test_desktop_sharing`.

`python -m tests.interop.desktop_agent PORT TRANSPORT [TARGET]` shares what the VNC server at this port shows: with who
calls, or with the target, which it calls. TRANSPORT is that of MSRP. It ends with standard input.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from sipsimple.account import Account
from sipsimple.application import SIPApplication
from sipsimple.configuration.backend.memory import MemoryBackend
from sipsimple.core import SIPURI, Engine, ToHeader
from sipsimple.notification import NotificationCenter
from sipsimple.session import Session
from sipsimple.streams import DesktopSharingStream, ExternalVNCServerHandler
from sipsimple.util import Route
from tests.support.agent import ALICE
from tests.support.msrp_agent import msrp_settings


class Told:
    """Says what happens to the session, and answers the one that comes."""

    def __init__(self, server: tuple[str, int]) -> None:
        self.server = server

    def handle_notification(self, notification: Any) -> None:
        if notification.name == "SIPSessionNewIncoming":
            (stream,) = notification.data.streams
            stream.handler = ExternalVNCServerHandler(self.server)
            notification.sender.accept([stream])
        elif notification.name.startswith(("SIPSessionDid", "MediaStreamDid")):
            print(notification.name, getattr(notification.data, "reason", ""), flush=True)


async def main(port: int, transport: str, target: str | None) -> None:
    server = ("127.0.0.1", port)
    NotificationCenter().add_observer(told := Told(server))
    async with SIPApplication.running(MemoryBackend(msrp_settings(transport))):
        print(f"ready at sip:alice@127.0.0.1:{Engine().udp_port}", flush=True)
        if target is not None:
            account, uri = Account(ALICE), SIPURI.parse(target)
            stream = DesktopSharingStream(account, ExternalVNCServerHandler(server))
            Session(account).connect(ToHeader(uri), [Route("127.0.0.1", uri.port)], [stream])
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        await reader.read()
    NotificationCenter().remove_observer(told)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None))
