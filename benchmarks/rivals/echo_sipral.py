"""Echo every call with `sipral`, frame by frame as its events bring them."""

import asyncio
import contextlib
import sys

from sipral import Stack
from sipral.enums import AudioMode, EventKind
from sipral.errors import SipralError


async def echo(media) -> None:
    while True:
        media.send_audio(await media.frames.get())


async def main() -> None:
    calls, tasks = {}, {}
    options = {"bind_host": "127.0.0.1", "bind_port": int(sys.argv[1]), "audio": AudioMode.APPLICATION}
    with Stack(loop=asyncio.get_running_loop(), invite_limit=(10_000, 1), **options) as stack:
        stack.add_account("sip:service@127.0.0.1", registrar_address="127.0.0.1:9")
        print("ready", flush=True)
        while True:
            event = await stack.events.get()
            with contextlib.suppress(SipralError):
                if event.kind == EventKind.INCOMING_CALL:
                    calls[event.call] = stack.answer_call(event, media_host="127.0.0.1", codecs="PCMU")
                elif event.kind == EventKind.MEDIA_STARTED and event.call in calls:
                    tasks[event.call] = asyncio.create_task(echo(calls[event.call].media))
                elif event.kind == EventKind.CALL_ENDED and event.call in calls:
                    if event.call in tasks:
                        tasks.pop(event.call).cancel()
                    calls.pop(event.call).close()


asyncio.run(main())
