"""The `sipsimple` command as people run it: processes, sockets, signals, exit statuses."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import time
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sipsimple.cli.demo.registrar import Registrar
from sipsimple.cli.demo.verdict import align, correlation, read_wave
from tests.support.programs import Program

COMMAND = (sys.executable, "-m", "sipsimple.cli")
SPEECH = Path(str(files("sipsimple") / "data" / "demo.wav"))
TIMEOUT = 40.0


@dataclass
class Finished:
    """What a command that ended has said."""

    status: int
    out: str
    err: str


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config"


@pytest.fixture
def sipsimple(config: Path) -> Any:
    """Run the command to its end; `interrupt` is a coroutine function that says when to send SIGINT."""

    async def run(*arguments: object, interrupt: Any = None) -> Finished:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "--config", str(config), *map(str, arguments),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(TIMEOUT):
                if interrupt is not None:
                    await interrupt()
                    process.send_signal(signal.SIGINT)
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return Finished(process.returncode, out.decode(), err.decode())

    return run


@asynccontextmanager
async def answering(config: Path, *options: object) -> AsyncIterator[tuple[Program, str]]:
    """A running `sipsimple answer`, and the URI to call it by UDP."""
    ports = ("--bind", "127.0.0.1", "--udp-port", "0", "--tcp-port", "0")
    async with Program(*COMMAND, "--config", config, "answer", *ports, "--verbose", *map(str, options)) as server:
        ready = await server.line(r"^ready udp:127\.0\.0\.1:(\d+) tcp:127\.0\.0\.1:(\d+)$", timeout=TIMEOUT)
        yield server, f"sip:anybody@127.0.0.1:{ready[1]}"


def likeness(recording: Path) -> float:
    """How well the part of the shipped speech that is found best is found in the recording.

    A busy machine delays packets, and so moves what comes later; the whole is the matter of the demonstration's test.
    """
    samples, rate = read_wave(SPEECH)
    recorded = read_wave(recording)
    parts = (samples[start : start + rate] for start in range(0, 5 * rate, rate // 2))
    pairs = [align(part, rate, *recorded) for part in parts]
    return max(correlation(pair.played, pair.heard) for pair in pairs)


async def test_an_echo_comes_back_and_sigterm_ends_the_server(sipsimple, config, tmp_path):
    recording = tmp_path / "echo.wav"
    async with answering(config) as (server, uri):
        result = await sipsimple("call", uri, "--play", SPEECH, "--record", recording, "--codec", "PCMA", "--json")
        assert result.status == 0, result.err
        await server.line("ended: user_request")
        assert await server.stop() == 0
        await server.line("answered 1 calls, refused 0, 0 failed")
    summary = json.loads(result.out)
    assert summary["codec"] == "PCMA"
    assert summary["packets_sent"] > 290
    assert summary["packets_received"] > 250
    assert summary["ended"] == "the file was played"
    assert likeness(recording) > 0.9


async def test_a_call_over_tcp_is_traced_and_summed_up(sipsimple, config):
    async with answering(config) as (server, _):
        port = (await server.line(r"tcp:127\.0\.0\.1:(\d+)"))[1]
        proxy = f"127.0.0.1:{port};transport=tcp"
        result = await sipsimple(
            "call", "somebody@nowhere.invalid", "--proxy", proxy, "--duration", 0.5, "--trace", "sip,notifications"
        )
    assert result.status == 0, result.err
    assert "INVITE sip:somebody@nowhere.invalid" in result.err
    assert "Via: SIP/2.0/TCP" in result.err
    assert "SIPSessionDidStart streams=AudioStream" in result.err
    assert "BYE sip:" in result.err
    for word in ("opus", "sent", "received", "lost", "jitter"):
        assert word in result.out


async def test_callers_beyond_the_limit_are_told_busy(sipsimple, config):
    async with answering(config, "--max-calls", 1) as (server, uri):
        first = asyncio.create_task(sipsimple("call", uri, "--duration", 30))
        await server.line("answered")
        second = await sipsimple("call", uri)
        assert second.status == 1
        assert "486 Busy Here" in second.err
        # The server hangs up before it ends.
        assert await server.stop() == 0
        assert (await first).status == 0


async def test_a_refused_call_says_so(sipsimple, config):
    async with answering(config, "--mode", "reject", "--reject-code", 603) as (_, uri):
        result = await sipsimple("call", uri)
    assert result.status == 1
    assert "was not reached: 603 Decline" in result.err


async def test_a_file_is_played_to_callers(sipsimple, config, tmp_path):
    recording = tmp_path / "heard.wav"
    async with answering(config, "--mode", "play", "--file", SPEECH) as (_, uri):
        result = await sipsimple("call", uri, "--record", recording, "--duration", 3)
    assert result.status == 0, result.err
    samples, _ = read_wave(recording)
    assert np.abs(samples).max() > 0.2


async def test_callers_are_recorded(sipsimple, config, tmp_path):
    directory = tmp_path / "calls"
    directory.mkdir()
    async with answering(config, "--mode", "record", "--dir", directory) as (server, uri):
        assert (await sipsimple("call", uri, "--play", SPEECH)).status == 0
        await server.line("ended")
        assert await server.stop() == 0
    (recording,) = directory.iterdir()
    assert recording.name.endswith("-guest.wav")
    assert likeness(recording) > 0.9


async def test_callers_of_a_conference_hear_each_other(sipsimple, config, tmp_path):
    recording = tmp_path / "conference.wav"
    async with answering(config, "--mode", "conference") as (server, uri):
        listener = asyncio.create_task(sipsimple("call", uri, "--record", recording, "--duration", 9))
        await server.line("answered")
        assert (await sipsimple("call", uri, "--play", SPEECH)).status == 0
        assert (await listener).status == 0
    assert likeness(recording) > 0.9


async def test_ctrl_c_hangs_up_first(sipsimple, config):
    async with answering(config) as (server, uri):

        async def connected() -> None:
            await server.line("answered", timeout=TIMEOUT)

        result = await sipsimple("call", uri, interrupt=connected)
        assert result.status == 0
        assert "interrupted" in result.err
        await server.line(r"ended: user_request \(remote\)")


class SilentPhone:
    """A socket that takes INVITEs and says nothing, or 180 at most."""

    def __init__(self, *, rings: bool = False) -> None:
        self.rings = rings
        self.methods: list[str] = []
        self.arrived = asyncio.Event()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.uri = f"sip:phone@127.0.0.1:{self._socket.getsockname()[1]}"

    async def __aenter__(self) -> SilentPhone:
        asyncio.get_running_loop().add_reader(self._socket, self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        data, address = self._socket.recvfrom(65535)
        method = data.split(b" ", 1)[0].decode()
        self.methods.append(method)
        self.arrived.set()
        if method == "INVITE" and self.rings:
            self._answer(data, address, "180 Ringing")
        elif method == "CANCEL":
            self._answer(data, address, "200 OK")
            self._answer(data.replace(b"CANCEL", b"INVITE"), address, "487 Request Terminated")

    def _answer(self, request: bytes, address: Any, status: str) -> None:
        wanted = (b"via:", b"from:", b"call-id:", b"cseq:")
        lines = [line for line in request.split(b"\r\n") if line.lower().startswith(wanted)]
        to = next(line for line in request.split(b"\r\n") if line.lower().startswith(b"to:"))
        message = [f"SIP/2.0 {status}".encode(), *lines, to + b";tag=1", b"Content-Length: 0", b"", b""]
        self._socket.sendto(b"\r\n".join(message), address)


async def test_ctrl_c_while_it_rings_cancels_the_call(sipsimple):
    async with SilentPhone(rings=True) as phone:
        result = await sipsimple("call", phone.uri, interrupt=phone.arrived.wait)
    assert result.status == 130
    assert "CANCEL" in phone.methods


async def test_no_answer_ends_in_time(sipsimple):
    async with SilentPhone(rings=True) as phone:
        began = time.monotonic()
        result = await sipsimple("call", phone.uri, "--timeout", 1)
    assert result.status == 1
    assert "no answer in time" in result.err
    assert time.monotonic() - began < 15
    assert "CANCEL" in phone.methods


async def test_nobody_there_is_told(sipsimple, free_udp_port):
    result = await sipsimple("call", f"sip:127.0.0.1:{free_udp_port}")
    assert result.status == 1
    assert "was not reached" in result.err
    assert "Traceback" not in result.err


def damaged_wave(directory: Path) -> Path:
    path = directory / "damaged.wav"
    path.write_bytes(b"RIFF....not a wave file")
    return path


@pytest.mark.parametrize(
    ("arguments", "status", "advice"),
    [
        (("call", "sip:127.0.0.1", "--codec", "mp3"), 2, "opus, speex, G722, PCMU, PCMA, iLBC, GSM"),
        (("call", "sip:127.0.0.1", "--codec", "iLBC"), 1, "PCMU, PCMA"),
        (("call", "sip:127.0.0.1", "--play", "missing.wav"), 1, "missing.wav"),
        (("call", "sip:127.0.0.1", "--play", "{damaged}"), 1, "convert it to WAV"),
        (("call", "sip:127.0.0.1", "--record", "no/such/directory/a.wav"), 1, "there is no directory"),
        (("call", "sip:127.0.0.1", "--trace", "everything"), 2, "sip or notifications"),
        (("call", "sip:127.0.0.1", "--proxy", "a b"), 2, "neither a host name nor"),
        (("call", "sip:127.0.0.1", "--account", "carol@example.com"), 2, "there is no account"),
        (("call", "bob"), 2, "somebody@example.com"),
        (("call", "sip:b ob@example.com"), 2, "is no SIP address"),
        (("call", "sip:bob@host.invalid"), 1, "cannot be resolved"),
        (("call", "sip:127.0.0.1", "--bind", "192.0.2.1"), 1, "this machine has no such address"),
        (("register",), 2, "sipsimple settings add-account"),
        (("register", "--account", "carol@example.com"), 2, "there is no account"),
        (("answer", "--mode", "play"), 2, "--file"),
        (("answer", "--mode", "play", "--file", "{damaged}"), 1, "convert it to WAV"),
        (("answer", "--mode", "sing"), 2, "echo, conference, play, record, reject"),
        (("answer", "--mode", "record", "--dir", "no/such/directory"), 1, "there is no directory"),
        (("answer", "--codec", "mp3"), 2, "one of"),
        (("answer", "--no-udp", "--no-tcp"), 2, "nobody can call"),
        (("answer", "--bind", "127.0.0.1", "--udp-port", "{used}", "--tcp-port", "0"), 1, "choose another one"),
        (("demo", "--play", "{damaged}"), 1, "convert it to WAV"),
        (("demo", "--output", "{damaged}"), 1, "--output"),
    ],
)
async def test_bad_input_says_what_to_do(sipsimple, tmp_path, arguments, status, advice):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as used:
        used.bind(("127.0.0.1", 0))
        places = {"damaged": damaged_wave(tmp_path), "used": used.getsockname()[1]}
        result = await sipsimple(*(str(argument).format(**places) for argument in arguments))
    assert result.status == status, result.err
    assert advice in " ".join(result.err.split())
    assert "Traceback" not in result.err
    assert not result.out


async def test_a_damaged_configuration_is_named(sipsimple, config):
    config.write_text("this is not a configuration\n")
    result = await sipsimple("call", "sip:127.0.0.1")
    assert result.status == 1
    assert str(config) in result.err
    assert "--config" in result.err


@asynccontextmanager
async def registrar(sipsimple: Any, password: str = "right") -> AsyncIterator[Registrar]:
    """A registrar, and an account for it in the configuration."""
    server = Registrar("example.com", {"alice": "right"})
    port = await server.start(transports=("udp", "tcp"))
    try:
        added = await sipsimple(
            "settings", "add-account", "alice@example.com", "--password", password, "--proxy", f"127.0.0.1:{port}"
        )
        assert added.status == 0, added.err
        yield server
    finally:
        await server.stop()


async def test_register_tells_the_outcome_and_unregisters(sipsimple, config):
    async with registrar(sipsimple) as server:
        before = config.read_text()
        result = await sipsimple("register", "--duration", 0.2, "--json")
        assert result.status == 0, result.err
        outcome = json.loads(result.out)
        assert outcome["account"] == "alice@example.com"
        assert outcome["expires"] == 600
        assert "unregistered" in result.err
        assert server.locations.of("alice", server.endpoint.now()) == []
    assert config.read_text() == before


async def test_register_over_tcp_until_ctrl_c(sipsimple):
    async with registrar(sipsimple) as server:
        (port,) = {server.endpoint.local_address(name)[1] for name in ("udp", "tcp")}

        async def registered() -> None:
            while not server.locations.of("alice", server.endpoint.now()):  # noqa: ASYNC110 - a table tells nobody
                await asyncio.sleep(0.02)

        result = await sipsimple("register", "--proxy", f"127.0.0.1:{port};transport=tcp", interrupt=registered)
        assert result.status == 0, result.err
        assert "transport=tcp for 600 seconds" in result.err
        assert server.locations.of("alice", server.endpoint.now()) == []


async def test_a_wrong_password_is_reported(sipsimple):
    async with registrar(sipsimple, "wrong"):
        result = await sipsimple("register", "--duration", 1)
    assert result.status == 1
    assert "Authentication failed" in result.err
    assert "settings set --account alice@example.com password" in result.err


async def test_a_registrar_that_is_not_there_is_reported(sipsimple, free_udp_port):
    await sipsimple("settings", "add-account", "alice@example.com", "--proxy", f"127.0.0.1:{free_udp_port}")
    result = await sipsimple("register", "--duration", 1)
    assert result.status == 1
    assert "alice@example.com is not registered" in result.err


async def test_devices_are_listed_wherever_there_are_any(sipsimple):
    result = await sipsimple("devices", "--json")
    assert result.status == 0
    assert set(json.loads(result.out)) == {"inputs", "outputs"}
    assert (await sipsimple("devices")).status == 0


def test_the_shipped_sound_is_small_and_in_the_telephone_band():
    assert SPEECH.stat().st_size < 200_000
    with wave.open(str(SPEECH)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
        assert 5 <= file.getnframes() / 16000 <= 6
    samples, rate = read_wave(SPEECH)
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    high = np.fft.rfftfreq(len(samples), 1 / rate) > 3400
    assert spectrum[high].sum() < 1e-4 * spectrum.sum()
