"""A host that moves to another address in the middle of a call, in network namespaces of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.support.programs import Program, need

OLD, NEW, SERVER = "198.51.100.10", "198.51.100.20", "198.51.100.1"
HERE, THERE = f"sip-here-{os.getpid()}", f"sip-there-{os.getpid()}"
LIMIT = 30.0


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def two_hosts() -> Iterator[None]:
    """Two namespaces that a cable connects; `HERE` has its default route over it."""
    need("ip", "iproute2")
    if os.geteuid() != 0:
        pytest.skip("making network namespaces needs root")
    try:
        ip("netns", "add", HERE)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
    try:
        ip("netns", "add", THERE)
        ip("link", "add", "sip0", "netns", HERE, "type", "veth", "peer", "name", "sip0", "netns", THERE)
        for namespace, address in ((HERE, OLD), (THERE, SERVER)):
            ip("-n", namespace, "addr", "add", f"{address}/24", "dev", "sip0")
            for device in ("lo", "sip0"):
                ip("-n", namespace, "link", "set", device, "up")
        ip("-n", HERE, "route", "add", "default", "via", SERVER)
        yield
    finally:
        for namespace in (HERE, THERE):
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "del", namespace)


@pytest.fixture
async def echo(two_hosts: None) -> AsyncIterator[str]:
    """The URI of an echo on the other host."""
    command = ["ip", "netns", "exec", THERE, sys.executable, "-m", "sipsimple.cli", "answer"]
    async with Program(*command, "--bind", SERVER, "--udp-port", "0", "--no-tcp", "--mode", "echo") as program:
        ready = await program.line(r"ready udp:(\S+)", timeout=LIMIT)
        yield f"sip:echo@{ready[1]}"


class Roamer:
    """The agent on the host that moves, and what it told."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.told: list[dict[str, Any]] = []

    async def until(self, event: str, **what: Any) -> dict[str, Any]:
        """The next thing told that is like this."""
        assert self.process.stdout is not None
        async with asyncio.timeout(LIMIT):
            while line := await self.process.stdout.readline():
                told = json.loads(line)
                self.told.append(told)
                if told["event"] == event and all(told.get(name) == value for name, value in what.items()):
                    return told
        raise AssertionError(f"{event} {what} was not told, only {self.told[-10:]}")


@contextlib.asynccontextmanager
async def roaming(target: str) -> AsyncIterator[Roamer]:
    process = await asyncio.create_subprocess_exec(
        "ip", "netns", "exec", HERE, sys.executable, "-m", "tests.interop.roaming_agent", target,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Roamer(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def test_a_call_follows_its_host_to_another_address(echo: str):
    async with roaming(echo) as roamer:
        await roamer.until("SIPSessionDidStart")
        before = (await roamer.until("audio"))["contact"]
        assert before == OLD
        ip("-n", HERE, "addr", "del", f"{OLD}/24", "dev", "sip0")
        ip("-n", HERE, "addr", "add", f"{NEW}/24", "dev", "sip0")
        ip("-n", HERE, "route", "replace", "default", "via", SERVER, "src", NEW)
        changed = await roamer.until("SystemIPAddressDidChange")
        assert (changed["old_ip_address"], changed["new_ip_address"]) == (OLD, NEW)
        renegotiated = await roamer.until("SIPSessionDidProcessTransaction", method="INVITE", originator="local")
        assert renegotiated["code"] == 200
        start = (await roamer.until("audio", contact=NEW))["received"]
        while (await roamer.until("audio"))["received"] < start + 50:
            continue
        assert roamer.process.stdin is not None
        roamer.process.stdin.close()
        await roamer.until("SIPSessionDidEnd", originator="local")
        assert await roamer.process.wait() == 0
