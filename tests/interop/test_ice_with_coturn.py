"""coturn as a STUN and TURN server: a call between two networks whose only way for media is a relay."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import Program, need

ALICE, BOB = "198.51.100.10", "203.0.113.10"
SERVER, OTHER_SIDE = "198.51.100.1", "203.0.113.1"
HERE, THERE, BETWEEN = (f"sip-{name}-{os.getpid()}" for name in ("alice", "bob", "mid"))
SIP_PORT, TURN_PORT = 5060, 3478
TONES = {"alice": 1000.0, "bob": 700.0}
LIMIT = 40.0


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def networks() -> Iterator[None]:
    """Two networks and a router between them that forwards SIP, but no media."""
    need("ip", "iproute2")
    if os.geteuid() != 0:
        pytest.skip("making network namespaces needs root")
    try:
        ip("netns", "add", BETWEEN)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
    try:
        for name, address, gateway, device in ((HERE, ALICE, SERVER, "to-a"), (THERE, BOB, OTHER_SIDE, "to-b")):
            ip("netns", "add", name)
            ip("link", "add", "sip0", "netns", name, "type", "veth", "peer", "name", device, "netns", BETWEEN)
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "sip0")
            ip("-n", BETWEEN, "addr", "add", f"{gateway}/24", "dev", device)
            ip("-n", BETWEEN, "link", "set", device, "up")
            for own in ("lo", "sip0"):
                ip("-n", name, "link", "set", own, "up")
            ip("-n", name, "route", "add", "default", "via", gateway)
            # What is for the router itself is found before this rule.
            ip("-n", BETWEEN, "rule", "add", "pref", "100", "iif", device, "ipproto", "udp", "dport", "10000-65534", "blackhole")  # fmt: skip  # noqa: E501
        ip("-n", BETWEEN, "link", "set", "lo", "up")
        ip("netns", "exec", BETWEEN, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        yield
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the networks cannot be made here: {error.stderr.strip()}")
    finally:
        for namespace in (HERE, THERE, BETWEEN):
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "del", namespace)


@pytest.fixture
async def coturn(networks: None, tmp_path: Path) -> AsyncIterator[Program]:
    """A relay that both networks reach."""
    command = [
        *("ip", "netns", "exec", BETWEEN, need("turnserver", "coturn"), "-n", "--no-cli", "--no-tls", "--no-dtls"),
        *("--listening-ip", SERVER, "--listening-ip", OTHER_SIDE, "--relay-ip", SERVER),
        *("--listening-port", str(TURN_PORT), "--lt-cred-mech", "--user", "alice:secret", "--realm", "example.org"),
        *("--log-file", "stdout", "--simple-log", "--pidfile", str(tmp_path / "turn.pid"), "--verbose"),
        *("--userdb", str(tmp_path / "turn.db")),
    ]
    async with Program(*command) as program:
        await program.line(rf"IPv4\. UDP listener opened on ?: {SERVER}:{TURN_PORT}", timeout=LIMIT)
        yield program


def agent(role: str, directory: Path, nat: dict[str, Any], peer: str = "") -> Program:
    """One of the two."""
    namespace, address = (HERE, ALICE) if role == "alice" else (THERE, BOB)
    home = directory / role
    home.mkdir()
    words = [role, address, str(SIP_PORT), str(TONES[role]), str(home), json.dumps(nat), *([peer] if peer else [])]
    command = ["ip", "netns", "exec", namespace, sys.executable, "-m", "tests.interop.ice_agent", *words]
    # As applications have it.
    return Program(*command, environment={"SIPSIMPLE_MEDIA_HOST": "process"})


async def told(program: Program) -> dict[str, Any]:
    found = await program.line(r'\{"event": "talked".*', timeout=LIMIT)
    result: dict[str, Any] = json.loads(found[0])
    return result


@pytest.mark.parametrize("relayed", ["alice", "bob"])
async def test_media_goes_through_a_relay_where_there_is_no_other_way(
    coturn: Program, tmp_path: Path, relayed: str
) -> None:
    server = SERVER if relayed == "alice" else OTHER_SIDE
    nat: dict[str, dict[str, Any]] = {name: {"use_ice": "true", "stun_server_list": []} for name in ("alice", "bob")}
    nat[relayed] |= {
        "stun_server_list": [f"{server}:{TURN_PORT}"],
        "turn_server": f"{server}:{TURN_PORT}",
        "turn_username": "alice",
        "turn_password": "secret",
    }
    async with agent("bob", tmp_path, nat["bob"]) as bob:
        await bob.line("ready", timeout=LIMIT)
        async with agent("alice", tmp_path, nat["alice"], f"{BOB}:{SIP_PORT}") as alice:
            news = {"alice": await told(alice), "bob": await told(bob)}
    other = "bob" if relayed == "alice" else "alice"
    assert news[relayed]["local"] == "relay"
    assert news[other]["remote"] == "relay"
    assert news[other]["place"].startswith(f"{SERVER}:")
    for name, mate in (("alice", "bob"), ("bob", "alice")):
        assert news[name]["ice"] is True
        assert news[name]["heard"] == pytest.approx(TONES[mate], abs=2)
        assert news[name]["lost"] == 0


def test_the_router_lets_signalling_pass_and_nothing_else(networks: None) -> None:
    way = ("-n", BETWEEN, "route", "get", BOB, "from", ALICE, "iif", "to-a", "ipproto", "udp", "dport")
    ip(*way, str(SIP_PORT))
    with pytest.raises(subprocess.CalledProcessError):
        ip(*way, "50000")
