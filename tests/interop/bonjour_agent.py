"""An application with the account of the local network, which tells what it hears: `python -m ... ADDRESS NAME`.

It takes every call; a line `call NAME` calls the neighbour of that name, `quit` ends it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from typing import Any

from sipsimple.account import BonjourAccount
from sipsimple.application import SIPApplication
from sipsimple.configuration.backend.memory import MemoryBackend
from sipsimple.core import ToHeader
from sipsimple.notification import Notification, NotificationCenter
from sipsimple.session import Session
from sipsimple.streams import AudioStream
from sipsimple.util import Route


def tell(event: str, **data: Any) -> None:
    print(json.dumps({"event": event, **data}), flush=True)


class Ear:
    def handle_notification(self, notification: Notification) -> None:
        data = notification.data
        match notification.name:
            case "BonjourAccountDidAddNeighbour" | "BonjourAccountDidRemoveNeighbour":
                name = notification.name.removeprefix("BonjourAccountDid").removesuffix("Neighbour").lower()
                tell(name, name=data.record.display_name, uri=str(data.record.uri))
            case "BonjourAccountRegistrationDidSucceed":
                tell("announced", name=data.neighbour)
            case "SIPSessionNewIncoming":
                notification.sender.accept(data.streams)
            case "SIPSessionDidStart":
                tell("connected")
            case "SIPSessionDidFail":
                tell("failed", reason=data.failure_reason)


async def main(address: str, name: str) -> None:
    settings: dict[str, Any] = {
        "SIPSimpleSettings": {
            "local_ip": address,
            "audio": {"input_device": None, "output_device": None, "alert_device": None},
            "sip": {"transport_list": ["udp"]},
        },
        "Accounts": {"bonjour@local": {"display_name": name}},
    }
    loop, orders = asyncio.get_running_loop(), asyncio.Queue[str]()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(orders.put_nowait, line.strip())

    threading.Thread(target=read, daemon=True).start()
    ear = Ear()
    NotificationCenter().add_observer(ear)
    async with SIPApplication.running(MemoryBackend(settings)):
        while (order := await orders.get()) != "quit":
            account = BonjourAccount()
            wanted = order.removeprefix("call ")
            uri = next(one.uri for one in account.neighbours.values() if one.display_name == wanted)
            session = Session(account)
            session.connect(ToHeader(uri), [Route(uri.host, uri.port)], [AudioStream(account)])
    tell("ended")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
