"""Answer every call with `aiovoip`, which has no media: the description is a fixed text."""

import asyncio
import sys

from aiovoip import Application, BaseDialplan

SDP = """v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=audio 40000 RTP/AVP 0
a=rtpmap:0 PCMU/8000
""".replace("\n", "\r\n")


async def invited(request, message):
    dialog = await request.prepare(status_code=100)
    await dialog.reply(message, status_code=200, payload=SDP, headers={"Content-Type": "application/sdp"})
    async for following in dialog:
        if following.method == "BYE":
            await dialog.reply(following, status_code=200)
            break


class Dialplan(BaseDialplan):
    async def resolve(self, *args, **kwargs):
        await super().resolve(*args, **kwargs)
        return invited if kwargs["method"] == "INVITE" else None


async def main() -> None:
    application = Application(loop=asyncio.get_running_loop(), dialplan=Dialplan())
    await application.run(local_addr=("127.0.0.1", int(sys.argv[1])))
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
