"""A PulseAudio server of the test's own, whose sinks and sources are real devices without hardware."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Self

import numpy as np

from tests.support.programs import Program, need, until

RATE = 16000


def null_sink(name: str) -> str:
    """What loads a sink without hardware."""
    return f"module-null-sink sink_name={name} sink_properties=device.description={name}"


class PulseAudio:
    """The server; devices come with `plug` and go with `unplug`."""

    def __init__(self, folder: Path) -> None:
        server, self._pactl, self._parec, self._pacat = (
            need(program, package)
            for program, package in (
                ("pulseaudio", "pulseaudio"),
                ("pactl", "pulseaudio-utils"),
                ("parec", "pulseaudio-utils"),
                ("pacat", "pulseaudio-utils"),
            )
        )
        folder.mkdir(mode=0o700)
        self._socket = folder / "native"
        self.environment = {
            "PULSE_SERVER": f"unix:{self._socket}",
            "XDG_RUNTIME_DIR": str(folder),
            "XDG_CONFIG_HOME": str(folder),
            "HOME": str(folder),
        }
        options = ["-n", "--daemonize=no", "--exit-idle-time=-1", "--disable-shm=yes", "--use-pid-file=no"]
        protocol = f"module-native-protocol-unix auth-anonymous=1 socket={self._socket}"
        self._command = [server, *options, "-L", protocol]
        self._server = Program(*self._command, environment=self.environment)

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        await until(self._socket.exists, "the socket of PulseAudio")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop()

    async def _run(self, *arguments: str) -> str:
        async with Program(self._pactl, *arguments, environment=self.environment) as pactl:
            assert await pactl.ended(10) == 0, pactl.output
        return "\n".join(pactl.lines)

    async def plug(self, name: str) -> str:
        """Add a sink; its monitor is a source that gives back what the sink plays. Returns what `unplug` takes."""
        return await self._run("load-module", *null_sink(name).split())

    async def restart(self, sink: str) -> None:
        """End the server suddenly and start it again, with this sink."""
        self._server.send_signal(signal.SIGKILL)
        await self._server.stop()
        self._socket.unlink()
        self._server = Program(*self._command, "-L", null_sink(sink), environment=self.environment)
        await self.__aenter__()

    async def unplug(self, module: str) -> None:
        await self._run("unload-module", module)

    async def make_default(self, name: str) -> None:
        """Make the sink, and what it plays, the default devices."""
        await self._run("set-default-sink", name)
        await self._run("set-default-source", f"{name}.monitor")

    async def play(self, name: str, samples: np.ndarray) -> None:
        """Play samples on a sink."""
        process = await asyncio.create_subprocess_exec(
            self._pacat,
            *(f"--device={name}", f"--rate={RATE}", "--channels=1", "--format=s16le", "--raw", "--latency-msec=20"),
            stdin=asyncio.subprocess.PIPE,
            env=self.environment,
        )
        await process.communicate(samples.astype(np.int16).tobytes())

    async def record(self, name: str, seconds: float) -> np.ndarray:
        """Record what a sink plays."""
        process = await asyncio.create_subprocess_exec(
            self._parec,
            *(f"--device={name}.monitor", f"--rate={RATE}", "--channels=1", "--format=s16le", "--latency-msec=20"),
            stdout=asyncio.subprocess.PIPE,
            env=self.environment,
        )
        assert process.stdout is not None
        try:
            data = await asyncio.wait_for(process.stdout.readexactly(int(seconds * RATE) * 2), 10 + seconds)
        finally:
            process.kill()
            await process.wait()
        return np.frombuffer(data, np.int16)
