"""A user agent whose media finds its way by ICE, in a process of its own; run by `test_ice_with_coturn`.

`python -m tests.interop.ice_agent ROLE ADDRESS PORT FREQUENCY DIRECTORY SETTINGS [PEER]` calls the agent at `PEER`, or
waits for a call; both play a tone, and tell, a JSON line each, how the media went and which tone they heard. SETTINGS
are those of the account's `nat_traversal`, in JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from sipsimple.core import SIPURI
from sipsimple.session import Session
from sipsimple.util import Route
from tests.interop.user_agent import UserAgent, user_agent
from tests.support.agent import eventually
from tests.support.tones import hear, write_tone

HEARD_PACKETS = 100


def tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)


async def converse(agent: UserAgent, session: Session, directory: Path, frequency: float) -> None:
    (stream,) = session.streams
    tone = write_tone(directory / "ours.wav", frequency)
    async with agent.conversing(session, tone, directory / "heard.wav"):
        await eventually(lambda: stream.statistics["rx"]["packets"] > HEARD_PACKETS, "packets", limit=20)
    tell(
        event="talked",
        ice=stream.ice_active,
        local=stream.local_rtp_candidate_type,
        remote=stream.remote_rtp_candidate_type,
        place=f"{stream.remote_rtp_address}:{stream.remote_rtp_port}",
        heard=hear(directory / "heard.wav").frequency,
        lost=stream.statistics["rx"]["packets_lost"],
    )


async def main(role: str, address: str, port: str, frequency: str, directory: str, nat: str, peer: str = "") -> None:
    # With all codecs, the offer would be too long for UDP.
    account = {"nat_traversal": json.loads(nat), "rtp": {"audio_codec_list": ["PCMU"]}}
    general = {"local_ip": address, "sip": {"transport_list": ["udp"], "udp_port": port}}
    async with user_agent(role, address, account, general) as agent:
        tell(event="ready")
        if peer:
            host, _, number = peer.partition(":")
            route = Route(host, int(number), "udp")
            session = await agent.connect(SIPURI(host=host, user="bob", port=int(number)), [route], timeout=25)
        else:
            session = await agent.answer(timeout=25)
        await converse(agent, session, Path(directory), float(frequency))
        if peer:
            # The other one has said all it had to when it ends the call.
            await agent.record.until(session, "SIPSessionDidEnd")
        else:
            await asyncio.sleep(0.5)
            await session.end()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
