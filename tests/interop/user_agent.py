"""Our side: a user agent in the test's own process, and `sipsimple answer` in one of its own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from sipsimple.account import Account
from sipsimple.application import SIPApplication
from sipsimple.audio import AudioBridge, WavePlayer, WaveRecorder
from sipsimple.configuration.backend.memory import MemoryBackend
from sipsimple.core import SIPURI, Engine, ToHeader
from sipsimple.lookup import DNSLookup
from sipsimple.notification import NotificationCenter
from sipsimple.session import Session
from sipsimple.streams import AudioStream
from sipsimple.util import Route
from tests.support.agent import Record
from tests.support.programs import Program
from tests.support.trace import SIPTrace, observed


class UserAgent:
    """The running application with one account."""

    def __init__(self, application: SIPApplication, account: Account, record: Record, trace: SIPTrace) -> None:
        self.application = application
        self.account = account
        self.record = record
        self.trace = trace

    @property
    def uri(self) -> str:
        """Where it can be called without a proxy, by UDP."""
        return f"sip:{self.account.id.username}@127.0.0.1:{Engine().udp_port}"

    async def call(self, uri: str, codecs: list[str] | None = None, timeout: float = 10.0) -> Session:
        """Call somebody by the way that the DNS lookup finds; the established session."""
        target = SIPURI.parse(uri)
        proxy = self.account.sip.outbound_proxy
        hop = (
            target
            if proxy is None
            else SIPURI(host=proxy.host, port=proxy.port, parameters={"transport": proxy.transport})
        )
        routes = await DNSLookup().lookup_sip_proxy(hop, ["udp", "tcp", "tls"])
        if codecs is not None:
            self.account.rtp.audio_codec_list = codecs
        return await self.connect(target, routes, timeout)

    async def connect(self, target: SIPURI, routes: list[Route], timeout: float = 10.0) -> Session:
        session = Session(self.account)
        async with asyncio.timeout(timeout):
            await session.connect(ToHeader(target), routes, [AudioStream(self.account)])
        return session

    async def answer(self, timeout: float = 10.0) -> Session:
        """Take the next call; the established session."""
        async with asyncio.timeout(timeout):
            notification = await NotificationCenter().wait("SIPSessionNewIncoming")
            session: Session = notification.sender
            await session.accept(session.proposed_streams or [])
        return session

    @asynccontextmanager
    async def conversing(self, session: Session, play: Path, record: Path) -> AsyncIterator[Self]:
        """Play one file to the other party and record what comes from there."""
        stream = session.streams[0]
        player = WavePlayer(stream.mixer, str(play), loop_count=0)
        recorder = WaveRecorder(stream.mixer, str(record))
        ear = AudioBridge(stream.mixer)
        stream.bridge.add(player)
        await player.start()
        await recorder.start_soon()
        ear.add(stream)
        ear.add(recorder)
        try:
            yield self
        finally:
            player.stop()
            await recorder.stop()


@asynccontextmanager
async def user_agent(
    user: str = "alice",
    domain: str = "127.0.0.1",
    account: Mapping[str, Any] | None = None,
    general: Mapping[str, Any] | None = None,
) -> AsyncIterator[UserAgent]:
    """Run a user agent on loopback, and look that nothing is left of it.

    `account` are settings of its account, `general` those that belong to none.
    """
    name = f"{user}@{domain}"
    settings = {
        "SIPSimpleSettings": {
            "local_ip": "127.0.0.1",
            "default_account": name,
            "audio": {"input_device": None, "output_device": None, "alert_device": None},
            "sip": {"transport_list": ["udp", "tcp"]},
            "rtp": {"port_range": "40000-44000"},
            **(general or {}),
        },
        "Accounts": {
            name: {"enabled": "true", "registration": {"enabled": "false"}, **(account or {})},
            # The neighbours are not to be told of tests.
            "bonjour@local": {"enabled": "false"},
        },
    }
    record, trace = Record(), SIPTrace()
    others = asyncio.all_tasks()
    with observed(record), observed(trace, "SIPEngineSIPTrace"):
        async with SIPApplication.running(MemoryBackend(settings)) as application:
            yield UserAgent(application, Account(name), record, trace)
        assert asyncio.all_tasks() <= others


class VoiceServer:
    """`sipsimple answer` in a process of its own."""

    def __init__(self, home: Path, *options: str | Path) -> None:
        self.program = Program(
            *(sys.executable, "-m", "sipsimple.cli"),
            *("answer", "--bind", "127.0.0.1", "--udp-port", "0", "--tcp-port", "0"),
            *options,
            environment={"SIPSIMPLE_CONFIG": str(home / "config"), "HOME": str(home), "COLUMNS": "200"},
        )

    async def __aenter__(self) -> Self:
        await self.program.__aenter__()
        ready = await self.program.line(r"ready udp:127\.0\.0\.1:(\d+) tcp:127\.0\.0\.1:(\d+)", timeout=15)
        self.udp_port, self.tcp_port = int(ready[1]), int(ready[2])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.program.stop()

    async def report(self) -> tuple[int, int, int]:
        """End it as a user would; how many calls it says it answered, refused and lost."""
        status = await self.program.stop()
        assert status == 0, self.program.output
        said = await self.program.line(r"answered (\d+) calls, refused (\d+), (\d+) failed")
        return int(said[1]), int(said[2]), int(said[3])
