"""NSD as authoritative name server of zones that a test writes."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import dns.resolver

from tests.support.ports import free_port, port_is_bound
from tests.support.programs import Program, need, until

CONFIG = """\
server:
    ip-address: 127.0.0.1@{port}
    do-ip6: no
    username: ""
    chroot: ""
    zonesdir: "{directory}"
    database: ""
    pidfile: "{directory}/nsd.pid"
    xfrdfile: "{directory}/xfrd.state"
    zonelistfile: "{directory}/zone.list"
    server-count: 1
    verbosity: 1
remote-control:
    control-enable: no
"""
HEAD = """\
$ORIGIN {zone}.
$TTL 300
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 127.0.0.1
"""


class NameServer(Program):
    """Serves `zones`: a name and the text of its records, without SOA and NS."""

    def __init__(self, directory: Path, zones: dict[str, str]) -> None:
        directory.mkdir()
        self.port = free_port()
        config = directory / "nsd.conf"
        text = CONFIG.format(port=self.port, directory=directory)
        for zone, records in zones.items():
            (directory / zone).write_text(HEAD.format(zone=zone) + records)
            text += f'zone:\n    name: "{zone}"\n    zonefile: "{zone}"\n'
        config.write_text(text)
        super().__init__(need("nsd", "nsd"), "-d", "-c", config)

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        await until(lambda: all(port_is_bound(kind, self.port) for kind in ("udp", "tcp")), "NSD listens")
        return self

    def resolver(self) -> dns.resolver.Resolver:
        """One that asks this server alone."""
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = ["127.0.0.1"]
        resolver.port = self.port
        return resolver
