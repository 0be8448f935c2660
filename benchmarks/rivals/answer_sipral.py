"""Answer every call with `sipral`, with its own media and no sound device."""

import asyncio
import contextlib
import sys

from sipral import Stack
from sipral.enums import AudioMode, EventKind
from sipral.errors import SipralError


async def main() -> None:
    loop = asyncio.get_running_loop()
    port = int(sys.argv[1])
    calls = {}
    # Its own limits are those of a telephone: a transaction counts for 32 seconds after its call, and 256 are allowed.
    unlimited = {"invite_limit": (10_000, 1), "max_dialogs": 10_000, "max_server_transactions": 1_000_000}
    options = {"bind_host": "127.0.0.1", "bind_port": port, "audio": AudioMode.APPLICATION}
    with Stack(loop=loop, **unlimited, **options) as stack:
        stack.add_account("sip:service@127.0.0.1", registrar_address="127.0.0.1:9")
        print("ready", flush=True)
        while True:
            event = await stack.events.get()
            # The caller may have gone before we came to it.
            with contextlib.suppress(SipralError):
                if event.kind == EventKind.INCOMING_CALL:
                    calls[event.call] = stack.answer_call(event, media_host="127.0.0.1")
                elif event.kind == EventKind.CALL_ENDED and event.call in calls:
                    calls.pop(event.call).close()


asyncio.run(main())
