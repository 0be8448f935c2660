"""The torture messages of RFC 4475, sent over UDP and TCP to a user agent that runs and is in a call.

What each of them is answered with is written down here; `None` is silence. The users they are for are not known, so a
good INVITE is answered 404 after everything else about it was found right.
"""

from __future__ import annotations

import asyncio
import re
from typing import Final

import pytest

from sipsimple.core import Engine
from tests.rfc.test_torture import FOLDER
from tests.support.agent import Agent, eventually, running_agent
from tests.support.raw_peer import RawPeer
from tests.support.trace import SIPTrace, observed

OUTCOMES: Final[dict[str, int | None]] = {
    # Well-formed.
    "wsinv": 481,  # inside a dialog that we do not have
    "intmeth": 405,
    "esc01": 404,
    "escnull": 405,
    "esc02": 405,  # RE%47IST%45R is not REGISTER
    "lwsdisp": 200,
    "longreq": 404,
    "dblreq": 405,
    "semiuri": 200,
    "transports": 200,
    "mpart01": 200,  # a MESSAGE
    "unreason": None,  # a response to nothing that we have sent
    "noreason": None,
    # Not well-formed.
    "badinv01": 400,
    "clerr": 400,
    "ncl": 400,
    "scalar02": 400,
    "scalarlg": None,
    "quotbal": 400,
    "ltgtruri": 400,
    "lwsruri": 400,
    "lwsstart": 404,
    "trws": 200,
    "escruri": 400,
    "baddate": 404,
    "regbadct": 400,
    "badaspec": 400,
    "baddn": 400,
    "badvers": 505,
    "mismatch01": 400,
    "mismatch02": 400,
    "bigcode": None,
    # Transactions and applications.
    "badbranch": 200,
    "insuf": 400,
    "unkscm": 416,
    "novelsc": 416,
    "unksm2": 405,
    "bext01": 420,
    "invut": 415,
    "regaut01": 405,
    "multi01": 400,
    "mcl01": 400,
    "bcast": None,
    "zeromf": 200,
    "cparam01": 405,
    "cparam02": 405,
    "regescrt": 405,
    "sdp01": 406,
    "inv2543": 400,  # nobody could send anything to one who names no Contact
}

NO_MESSAGE_ON_A_STREAM: Final = {
    "clerr": "the rest of its body is waited for",
    "baddn": "its headers do not end",
}
"""Others whose end cannot be found are answered with 400 before the stream is closed."""

if not FOLDER.is_dir():
    pytestmark = pytest.mark.skip(
        reason="SIPSIMPLE_CONFORMANCE names no directory with rfc4475/*.dat, the torture messages"
    )


def read(name: str, transport: str) -> bytes:
    """The message, with a branch of its own: several of them share one, and would be repetitions of each other."""
    own = f"branch=z9hG4bK{name}{transport}".encode()
    return re.sub(rb"branch=z9hG4bK(?=\w)", own, (FOLDER / f"{name}.dat").read_bytes(), count=1)


async def send(data: bytes, transport: str, raw: RawPeer) -> asyncio.StreamWriter | None:
    if transport == "udp":
        raw.socket.sendto(data, raw.target)
        return None
    _, writer = await asyncio.open_connection("127.0.0.1", Engine().tcp_port)
    writer.write(data)
    await writer.drain()
    return writer


async def alive(raw: RawPeer) -> None:
    """What was sent before has been handled when this is answered."""
    for _ in range(3):
        raw.call_id, raw.remote_tag = f"{raw.call_id}.", None
        raw.request("OPTIONS")
        await raw.response(200)


def answers(trace: SIPTrace, data: bytes) -> list[int]:
    """What we have answered to a message, each code once."""
    call_id = re.search(rb"^(?:call-id|i)[ \t]*:[ \t\r\n]*(\S+)", data, re.IGNORECASE | re.MULTILINE)
    branch = re.search(rb"branch=(z9hG4bK\w+)", data)
    codes = []
    for message in trace.messages:
        mark = call_id or branch
        if not message.received and message.method is None and mark and mark[1].decode() in message.text:
            codes.append(int(message.start_line.split()[1]))
    return list(dict.fromkeys(codes))


async def outcome(name: str, transport: str, raw: RawPeer) -> list[int]:
    """The final answers to a message."""
    data = read(name, transport)
    expected = None if transport == "tcp" and name in NO_MESSAGE_ON_A_STREAM else OUTCOMES[name]
    trace = SIPTrace()
    with observed(trace, "SIPEngineSIPTrace"):
        writer = await send(data, transport, raw)
        await alive(raw)
        if expected is not None:
            await eventually(lambda: answers(trace, data), f"an answer to {name}")
        await alive(raw)
    if writer is not None:
        writer.close()
        await writer.wait_closed()
    return [code for code in answers(trace, data) if code >= 200]


def test_every_message_has_its_outcome() -> None:
    assert sorted(OUTCOMES) == sorted(path.stem for path in FOLDER.glob("*.dat"))


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_each_is_answered_as_it_deserves_and_a_call_goes_on(nothing_left: None, transport: str) -> None:
    async with running_agent() as agent:
        caller, callee = await agent.talking()
        found = {}
        with RawPeer() as raw:
            for name in OUTCOMES:
                found[name] = await outcome(name, transport, raw)
        silent = NO_MESSAGE_ON_A_STREAM if transport == "tcp" else {}
        assert found == {name: [] if code is None or name in silent else [code] for name, code in OUTCOMES.items()}
        await unharmed(agent, caller, callee)


async def unharmed(agent: Agent, caller: object, callee: object) -> None:
    """The call is as it was, and does what it is told."""
    assert [name for name in agent.record.names(caller) if name.endswith(("DidEnd", "DidFail"))] == []
    caller.hold()  # type: ignore[attr-defined]
    await agent.record.until(callee, "DidChangeHoldState")
    await caller.end()  # type: ignore[attr-defined]
    assert len([n for n in agent.record.all if n.name == "SIPSessionNewIncoming"]) == 1
