"""A user agent that tells, a JSON line each, what happens to its call; run by `test_network_namespaces`.

`python -m tests.interop.roaming_agent TARGET` calls the target, which echoes, until standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from sipsimple.account import AccountManager
from sipsimple.application import SIPApplication
from sipsimple.application import life as application_life
from sipsimple.application.address import watch_address
from sipsimple.configuration.backend.memory import MemoryBackend
from sipsimple.core import SIPURI, ToHeader
from sipsimple.lookup import DNSLookup
from sipsimple.notification import NotificationCenter
from sipsimple.session import Session
from sipsimple.streams import AudioStream

TOLD = (
    "SIPSessionDidStart",
    "SIPSessionDidEnd",
    "SIPSessionDidFail",
    "SIPSessionDidProcessTransaction",
    "SystemIPAddressDidChange",
)


def tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)


class Teller:
    def handle_notification(self, notification: Any) -> None:
        data = {
            name: value
            for name, value in vars(notification.data).items()
            if isinstance(value, str | int) and name != "timestamp"
        }
        tell(event=notification.name, **data)


async def end_of_input() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


async def main(target: str) -> None:
    # Looking more often than a user would need keeps the test short.
    application_life.watch_address = lambda sender: watch_address(sender, 0.2)  # type: ignore[assignment]
    teller = Teller()
    for name in TOLD:
        NotificationCenter().add_observer(teller, name)
    async with SIPApplication.running(MemoryBackend()):
        account: Any = AccountManager().default_account
        uri = SIPURI.parse(target)
        stream = AudioStream(account)
        session = Session(account)
        await session.connect(ToHeader(uri), await DNSLookup().lookup_sip_proxy(uri, ["udp"]), [stream])
        ended = asyncio.ensure_future(end_of_input())
        while not ended.done():
            received = (stream.statistics or {}).get("rx", {}).get("packets", 0)
            tell(event="audio", received=received, contact=account.contact.domain)
            await asyncio.wait([ended], timeout=0.2)
        await session.end()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
