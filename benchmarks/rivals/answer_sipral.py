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
    unlimited = (10_000, 1)
    options = {"bind_host": "127.0.0.1", "bind_port": port, "audio": AudioMode.APPLICATION}
    with Stack(loop=loop, invite_limit=unlimited, **options) as stack:
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
