"""baresip as a peer: it plays a tone from a file, records both directions, and is controlled over TCP.

Its module `ctrl_tcp` speaks netstrings of JSON: commands in, responses and events out. Without a sound device the
module `aubridge` paces what it hears, and `sndfile` writes it down.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

import pytest

from tests.support.ports import free_port
from tests.support.programs import Program, need, until
from tests.support.tones import Tone, hear, write_tone

MODULES: Final = Path("/usr/lib/baresip/modules")
CONFIG: Final = """\
poll_method epoll
net_interface 127.0.0.1
sip_listen 127.0.0.1:{port}
sip_trans_def {transport}
call_local_timeout 60
call_max_calls 8
audio_player aubridge,loop
audio_source aufile,{tone}
audio_alert aubridge,loop
ausrc_srate {rate}
auplay_srate {rate}
snd_path {directory}
rtp_ports {rtp_port}-{rtp_last}
rtcp_mux no
module_path {modules}
module g711.so
module opus.so
module g722.so
module gsm.so
module aufile.so
module aubridge.so
module sndfile.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{control_port}
"""
FORMATS: Final = {"opus": ("opus/48000/2", 48000, 2), "g722": ("g722/16000/1", 16000, 1)}
"""How it names its codecs, and the rate and channels of their sound; others have 8000 Hz and one channel."""


class Baresip:
    """A running baresip with one account, which answers by itself.

    `account` is a line of its accounts file; by default `user` at its own address without a registrar.
    """

    def __init__(
        self,
        directory: Path,
        *,
        user: str = "bob",
        frequency: float = 700.0,
        codecs: Sequence[str] = ("pcmu", "pcma"),
        transport: str = "udp",
        account: str | None = None,
    ) -> None:
        self.directory = directory
        self.port = free_port()
        self.uri = f"sip:{user}@127.0.0.1:{self.port}" + (f";transport={transport}" if transport != "udp" else "")
        self._control_port = free_port()
        rtp_port = free_port()
        directory.mkdir()
        # Without a change of rate in baresip, which is none of ours.
        _, rate, channels = FORMATS.get(codecs[0], (codecs[0], 8000, 1))
        self._octets_per_second = 2 * rate * channels
        tone = write_tone(directory / "tone.wav", frequency, rate=rate, channels=channels)
        (directory / "config").write_text(
            CONFIG.format(
                port=self.port,
                rate=rate,
                transport=transport,
                tone=tone,
                directory=directory,
                rtp_port=rtp_port,
                rtp_last=rtp_port + 4,  # two calls at once
                control_port=self._control_port,
                modules=MODULES,
            )
        )
        account = account or f"<sip:{user}@127.0.0.1>;regint=0"
        names = ",".join(FORMATS[name][0] if name in FORMATS else name for name in codecs)
        (directory / "accounts").write_text(f"{account};answermode=auto;audio_codecs={names}\n")
        (directory / "contacts").touch()
        self.program = Program(need("baresip", "baresip-core"), "-4", "-f", directory)
        self.events: list[dict[str, Any]] = []
        self._tokens = itertools.count(1)
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._progress = asyncio.Condition()

    async def __aenter__(self) -> Self:
        await self.program.__aenter__()
        try:
            await self.program.line("baresip is ready")
            self._control, self._to_control = await asyncio.open_connection("127.0.0.1", self._control_port)
        except BaseException:
            await self.program.stop()
            raise
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reader.cancel()
        await asyncio.wait([self._reader])
        self._to_control.close()
        await self._to_control.wait_closed()
        await self.program.stop()

    async def _read(self) -> None:
        while True:
            try:
                length = int((await self._control.readuntil(b":"))[:-1])
                message = json.loads((await self._control.readexactly(length + 1))[:-1])
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            if message.get("response"):
                answer = self._answers.pop(message["token"])
                answer.set_result(message)
            else:
                self.events.append(message)
                async with self._progress:
                    self._progress.notify_all()

    async def command(self, name: str, parameters: str = "") -> str:
        """Have a command of its menu obeyed, such as `dial`; returns what it answers, fails the test on a refusal."""
        token = str(next(self._tokens))
        answer = self._answers[token] = asyncio.get_running_loop().create_future()
        text = json.dumps({"command": name, "params": parameters, "token": token}).encode()
        self._to_control.write(b"%d:%s," % (len(text), text))
        async with asyncio.timeout(5):
            message = await answer
        if not message["ok"]:
            pytest.fail(f"baresip refused {name} {parameters}: {message['data']}\n{self.program.output}")
        return str(message["data"])

    async def event(self, kind: str, timeout: float = 10.0, count: int = 1) -> dict[str, Any]:
        """Wait for the event of this type, for the `count`th one; fails the test when it does not come in time."""
        try:
            async with asyncio.timeout(timeout), self._progress:
                while True:
                    found = [event for event in self.events if event["type"] == kind]
                    if len(found) >= count:
                        return found[count - 1]
                    await self._progress.wait()
        except TimeoutError:
            told = ", ".join(event["type"] for event in self.events)
            pytest.fail(f"baresip told no {kind} in {timeout} s, only: {told}\n{self.program.output}")

    async def registered(self) -> None:
        """Wait until its registrar has accepted it, which may be before its control connection tells events."""
        await self.program.line(r"200 OK .*\[1 binding\]")

    async def dial(self, uri: str) -> None:
        await self.command("dial", uri)

    async def hang_up(self) -> None:
        await self.command("hangup")

    async def has_heard(self, seconds: float) -> None:
        """Wait until its recording of the present call is that long."""
        size = int(seconds * self._octets_per_second)
        await until(
            lambda: any(path.stat().st_size >= size for path in self._recordings()),
            f"baresip hearing {seconds} s",
            timeout=seconds + 10,
        )

    def heard(self) -> Tone:
        """What its one call so far, which is over, let it hear."""
        (recording,) = self._recordings()
        return hear(recording)

    def _recordings(self) -> list[Path]:
        return list(self.directory.glob("dump-*-dec.wav"))

    def codecs_used(self) -> tuple[str, str]:
        """The codecs (encoder, decoder) that it says its last call used."""
        said = "\n".join(self.program.lines)
        encoders = re.findall(r"Set audio encoder: (\w+)", said)
        decoders = re.findall(r"Set audio decoder: (\w+)", said)
        return encoders[-1], decoders[-1]
