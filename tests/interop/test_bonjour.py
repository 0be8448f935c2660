"""Neighbours find each other by multicast DNS, call each other, and notice who leaves; in network namespaces."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import pytest

from tests.interop.test_network_namespaces import HERE, OLD, SERVER, THERE, two_hosts
from tests.support.programs import Program

LIMIT = 30.0
__all__ = ["two_hosts"]


def host(namespace: str, address: str, name: str) -> Program:
    agent = (sys.executable, "-m", "tests.interop.bonjour_agent", address, name)
    return Program("ip", "netns", "exec", namespace, *agent, typing=True)


@pytest.fixture
async def neighbours(two_hosts: None) -> AsyncIterator[tuple[Program, Program]]:
    async with host(HERE, OLD, "Alice") as alice, host(THERE, SERVER, "Bob ☎") as bob:
        yield alice, bob


async def test_neighbours_find_and_call_each_other_and_say_goodbye(neighbours):
    alice, bob = neighbours
    for one, other in ((alice, r"Bob \\u260e"), (bob, "Alice")):
        await one.line('"announced"', timeout=LIMIT)
        await one.line(f'"add", "name": "{other}"', timeout=LIMIT)
    await alice.type("call Bob ☎")
    await alice.line('"connected"', timeout=LIMIT)
    await bob.line('"connected"', timeout=LIMIT)
    await bob.type("quit")
    await alice.line(r'"remove", "name": "Bob', timeout=LIMIT)
    assert await bob.ended(LIMIT) == 0
    await alice.type("quit")
    assert await alice.ended(LIMIT) == 0
