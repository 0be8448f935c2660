"""Ports of 127.0.0.1 for programs that cannot choose one themselves and tell."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Final

ATTEMPTS: Final = 100
# Below the range that the kernel hands out by itself, so that no socket of the test takes one meanwhile.
_next = iter(range(20000 + (hash(Path.cwd()) % 500) * 20, 32000, 4))


def free_port() -> int:
    """A port that is free for UDP and TCP, and whose successor (often taken for TLS or RTCP) is too.

    Each call gives another one.
    """
    for _ in range(ATTEMPTS):
        port = next(_next)
        try:
            with ExitStack() as probes:
                for number in (port, port + 1):
                    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                        probe = probes.enter_context(socket.socket(socket.AF_INET, kind))
                        probe.bind(("127.0.0.1", number))
            return port
        except OSError:
            continue
    raise RuntimeError("no free ports between 20000 and 32000")


def port_is_bound(transport: str, port: int) -> bool:
    """Whether some program has this port of IPv4; `transport` is "udp" or "tcp"."""
    entries = Path(f"/proc/net/{transport}").read_text().splitlines()[1:]
    return any(int(entry.split()[1].partition(":")[2], 16) == port for entry in entries)
