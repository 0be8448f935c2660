"""linphone as a peer: its daemon without sound and video, obeying commands over a Unix socket.

It verifies certificates by names only, not by addresses; calls over TLS go to `localhost`.
The socket is in /tmp whatever directory is asked for, so its name is one that nobody else uses.
"""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Final, Self

import pytest

from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.programs import POLL_INTERVAL, Program, need, until

CONFIG: Final = """\
[sip]
sip_port={port}
sip_tcp_port={port}
sip_tls_port={tls_port}
root_ca={authority}
verify_server_certs=1
verify_server_cn=1
contact=sip:{user}@127.0.0.1

[rtp]
audio_rtp_port={rtp_port}

[video]
enabled=0
"""


class Linphone:
    """A running linphone, which answers by itself and trusts certificates of `authority`."""

    def __init__(self, directory: Path, authority: Authority, user: str = "linda") -> None:
        self.port, self.tls_port = free_port(), free_port()
        self.uri = f"sip:{user}@127.0.0.1:{self.port}"
        # Its home holds a database, for which it makes no directory.
        (directory / ".local/share/linphone").mkdir(parents=True)
        config = directory / "linphonerc"
        config.write_text(
            CONFIG.format(
                port=self.port, tls_port=self.tls_port, rtp_port=free_port(), authority=authority.file, user=user
            )
        )
        self._socket = Path("/tmp", f"linphone-{secrets.token_hex(6)}")
        self.program = Program(
            need("linphone-daemon", "linphone-cli"),
            *("--config", config, "--auto-answer", "--disable-stats-events", "--pipe", self._socket.name),
            *("--log", directory / "log"),
            environment={"HOME": str(directory)},
        )

    async def __aenter__(self) -> Self:
        await self.program.__aenter__()
        try:
            await until(self._socket.exists, "the socket of linphone")
            self._answers, self._commands = await asyncio.open_unix_connection(self._socket)
            await self.command("ipv6", "disable")
        except BaseException:
            await self.program.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._commands.close()
        await self._commands.wait_closed()
        await self.program.stop()
        self._socket.unlink(missing_ok=True)

    async def command(self, *words: str) -> str:
        """Have a command obeyed; returns what it answers, fails the test on a refusal."""
        command = " ".join(words)
        self._commands.write(f"{command}\n".encode())
        async with asyncio.timeout(5):
            # An answer is written at once and has no mark at its end.
            answer = (await self._answers.read(65536)).decode()
        if not answer.startswith("Status: Ok"):
            pytest.fail(f"linphone refused {command}: {answer}\n{self.program.output}")
        return answer

    async def call(self, uri: str) -> None:
        await self.command("call", uri)

    async def state(self, name: str) -> None:
        """Wait until its one call is in this state, such as `Paused`: nothing tells of it."""
        async with asyncio.timeout(10):
            while f"State: LinphoneCall{name}\n" not in await self.command("call-status", "1"):  # noqa: ASYNC110
                await asyncio.sleep(POLL_INTERVAL)
