"""Answer every call with `opensip`."""

import asyncio
import sys

from opensip import Account, UserAgent


async def main() -> None:
    agent = UserAgent(local_addr=("127.0.0.1", int(sys.argv[1])))

    @agent.on_incoming_call
    async def answer(call):
        await call.answer()
        await call.wait_ended()

    # Only registering adds an account, and there is no registrar here.
    agent._accounts.append(Account(username="service", domain="127.0.0.1", password="", server=("127.0.0.1", 9)))
    await agent.start()
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
