"""What a user agent costs before it does anything, when it is registered, and during one call; next to pjsua2.

    python benchmarks/first_call.py [--imports 9] [--seconds 10] [--without-pjsua2] [--pjsua2-python PATH]

Both subjects do the same, each in a process of its own: register with the registrar of this benchmark, wait, call
`sipsimple answer --codec PCMU` (it echoes), play a WAV file to it and receive it back, without a sound device. CPU is
that of the whole subject process, in percent of one core. Unless `--pjsua2-python` names an interpreter that has it,
`pjsua2-python` is installed from PyPI into a temporary environment.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import venv
import wave
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

SETTLE = 2.0
TIMEOUT = 60.0
AIMS = {"import": 0.25, "idle": 60.0, "cpu": 3.0}

IMPORTS = {
    "sipsimple": "import sipsimple.application, sipsimple.account, sipsimple.session, sipsimple.streams",
    "pjsua2": "import pjsua2",
}


# The subjects. Each prints `registered MB` and `call MB PERCENT`.


def family() -> list[int]:
    """This process and its children: the media engine has a process of its own."""
    found = [os.getpid()]
    for tasks in Path("/proc/self/task").glob("*/children"):
        found += [int(pid) for pid in tasks.read_text().split()]
    return found


def resident() -> float:
    """The resident memory of the family in MB; what several of its members share is counted for each."""
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in family()]
    return sum(int(re.search(r"VmRSS:\s+(\d+)", text)[1]) for text in texts) / 1024  # type: ignore[index]


def cpu_time() -> float:
    """The seconds of CPU that the family has taken."""
    ticks = 0
    for pid in family():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def subject_sipsimple(registrar: int, target: str, file: str, seconds: float) -> None:
    from sipsimple.account import Account
    from sipsimple.application import SIPApplication
    from sipsimple.audio import WavePlayer
    from sipsimple.configuration.backend.memory import MemoryBackend
    from sipsimple.core import SIPURI, ToHeader
    from sipsimple.lookup import DNSLookup
    from sipsimple.notification import NotificationCenter
    from sipsimple.session import Session
    from sipsimple.streams import AudioStream

    silent = {"input_device": None, "output_device": None, "alert_device": None}
    account = {"enabled": "true", "sip": {"outbound_proxy": f"127.0.0.1:{registrar};transport=udp"}}
    settings = {"local_ip": "127.0.0.1", "audio": silent, "sip": {"transport_list": ["udp"]}}
    backend = MemoryBackend({"SIPSimpleSettings": settings, "Accounts": {"alice@127.0.0.1": account}})
    registrations = NotificationCenter().subscribe("SIPAccountRegistrationDidSucceed")
    async with registrations as registered, SIPApplication.running(backend) as application:
        application.engine.trace_sip = False
        await registered.next(TIMEOUT)
        await asyncio.sleep(SETTLE)
        print("registered", resident(), flush=True)
        uri = SIPURI.parse(target)
        session = Session(Account("alice@127.0.0.1"))
        stream = AudioStream(session.account)
        await session.connect(ToHeader(uri), await DNSLookup().lookup_sip_proxy(uri, ["udp"]), [stream])
        assert stream.codec == "PCMU", stream.codec
        player = WavePlayer(stream.mixer, file, loop_count=0)
        stream.bridge.add(player)
        await player.start()
        await asyncio.sleep(SETTLE)
        wall, cpu = time.perf_counter(), cpu_time()
        await asyncio.sleep(seconds)
        share = 100 * (cpu_time() - cpu) / (time.perf_counter() - wall)
        assert stream.statistics["rx"]["packets"] > 40 * seconds, stream.statistics
        print("call", resident(), share, flush=True)
        await session.end()


def subject_pjsua2(registrar: int, target: str, file: str, seconds: float) -> None:
    import pjsua2 as pj

    endpoint = pj.Endpoint()
    endpoint.libCreate()
    config = pj.EpConfig()
    config.logConfig.level = config.logConfig.consoleLevel = 0
    # Without voice activity detection, so that it sends as many packets as the other subject.
    config.medConfig.noVad = True
    endpoint.libInit(config)
    transport = pj.TransportConfig()
    transport.boundAddress = "127.0.0.1"
    endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()
    for codec in endpoint.codecEnum2():
        endpoint.codecSetPriority(codec.codecId, 255 if codec.codecId.startswith("PCMU") else 0)
    player = pj.AudioMediaPlayer()
    player.createPlayer(file, 0)

    class Account(pj.Account):
        registered = False

        def onRegState(self, prm: Any) -> None:
            self.registered = self.getInfo().regIsActive

        def is_registered(self) -> bool:
            return self.registered

    class Call(pj.Call):
        connected = False

        def onCallMediaState(self, prm: Any) -> None:
            self.connected = True

        def is_connected(self) -> bool:
            return self.connected

    account = Account()
    account_config = pj.AccountConfig()
    account_config.idUri = "sip:alice@127.0.0.1"
    account_config.regConfig.registrarUri = f"sip:127.0.0.1:{registrar}"
    account.create(account_config)
    _until(account.is_registered)
    time.sleep(SETTLE)
    print("registered", resident(), flush=True)
    call = Call(account)
    call.makeCall(target, pj.CallOpParam(True))
    _until(call.is_connected)
    audio = call.getAudioMedia(0)
    player.startTransmit(audio)
    audio.startTransmit(endpoint.audDevManager().getPlaybackDevMedia())
    time.sleep(SETTLE)
    wall, cpu = time.perf_counter(), cpu_time()
    time.sleep(seconds)
    share = 100 * (cpu_time() - cpu) / (time.perf_counter() - wall)
    received = call.getStreamStat(0).rtcp.rxStat.pkt
    assert received > 40 * seconds, received
    print("call", resident(), share, flush=True)
    call.hangup(pj.CallOpParam())
    time.sleep(0.5)
    # Its objects end before it does.
    del audio, call, account, player
    endpoint.libDestroy()


def _until(condition: Any) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("the subject waited in vain")
        time.sleep(0.02)


# What they talk to


@asynccontextmanager
async def registrar() -> AsyncIterator[int]:
    """A registrar that believes everybody; its port."""
    from sipsimple.sip.endpoint import Endpoint

    class Believer:
        endpoint: Any

        def on_request(self, transaction: Any, request: Any) -> None:
            response = request.make_response(200, to_tag="registrar")
            contact = request.headers.get("Contact")
            if contact:
                response.headers.add("Contact", f"{contact};expires=600")
            self.endpoint.respond(transaction, response)

        def __getattr__(self, name: str) -> Any:
            return lambda *args: None

    user = Believer()
    user.endpoint = Endpoint(user)
    await user.endpoint.listen("udp", "127.0.0.1", 0)
    try:
        yield user.endpoint.local_address("udp")[1]
    finally:
        await user.endpoint.close()


@asynccontextmanager
async def voice_server(home: Path) -> AsyncIterator[str]:
    """`sipsimple answer`; whom to call."""
    command = [sys.executable, "-c", "from sipsimple.cli import main; main()", "--config", str(home / "config")]
    options = ["answer", "--bind", "127.0.0.1", "--udp-port", "0", "--no-tcp", "--codec", "PCMU"]
    process = await asyncio.create_subprocess_exec(*command, *options, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(TIMEOUT):
            ready = (await process.stdout.readline()).decode()  # type: ignore[union-attr]
        yield "sip:echo@127.0.0.1:" + ready.split(":")[-1].strip()
    finally:
        process.terminate()
        await process.communicate()


def write_tone(path: Path) -> str:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        samples = (int(8000 * math.sin(2 * math.pi * 440 * n / 8000)) for n in range(8000))
        file.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return str(path)


def install_pjsua2(directory: Path) -> str | None:
    """An interpreter that has pjsua2; None when it cannot be installed here."""
    print("installing pjsua2-python", file=sys.stderr)
    venv.create(directory, with_pip=True)
    python = str(directory / "bin" / "python")
    command = [python, "-m", "pip", "install", "-q", "pjsua2-python"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"pjsua2-python is left out: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return python


# The measurement


def measure_import(python: str, statement: str, count: int) -> float:
    """The median of the seconds that the import takes in fresh interpreters, but for the first one, which compiles."""
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as cache:
        environment["PYTHONPYCACHEPREFIX"] = cache
        command = [python, "-c", code]
        times = [float(subprocess.check_output(command, text=True, env=environment)) for _ in range(count + 1)]
    return statistics.median(times[1:])


async def measure_subject(python: str, name: str, *arguments: str) -> dict[str, float]:
    process = await asyncio.create_subprocess_exec(
        python, __file__, "--subject", name, *arguments, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(2 * TIMEOUT):
        output = (await process.communicate())[0].decode()
    if process.returncode:
        raise SystemExit(f"{name} failed: {output}")
    idle = re.search(r"registered ([\d.]+)", output)
    call = re.search(r"call ([\d.]+) ([\d.]+)", output)
    if idle is None or call is None:
        raise SystemExit(f"{name} said {output!r}")
    return {"idle": float(idle[1]), "call": float(call[1]), "cpu": float(call[2])}


def show(results: dict[str, dict[str, float]]) -> None:
    rows = {
        "import": "import, seconds",
        "idle": "resident when registered, MB",
        "call": "resident in a call, MB",
        "cpu": "CPU of one core in a PCMU call, %",
    }
    names = list(results)
    print(f"{'':36}" + "".join(f"{name:>12}" for name in names) + f"{'ratio':>9}{'aim':>9}")
    for key, title in rows.items():
        values = [results[name][key] for name in names]
        ratio = f"{values[0] / values[1]:9.2f}" if len(values) > 1 else f"{'':9}"
        aim = f"{'< ' + format(AIMS[key], 'g'):>9}" if key in AIMS else ""
        print(f"{title:36}" + "".join(f"{value:12.3f}" for value in values) + ratio + aim)
    missed = [rows[key] for key, aim in AIMS.items() if results["sipsimple"][key] >= aim]
    print("missed: " + "; ".join(missed) if missed else "every aim is met")
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > cores:
        print(f"the machine is busy (load {load:.1f} on {cores} cores): the times and the CPU are too high")


async def benchmark(options: argparse.Namespace) -> None:
    results: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pythons = {"sipsimple": sys.executable}
        rival = None if options.without_pjsua2 else options.pjsua2_python or install_pjsua2(home / "pjsua2")
        if rival:
            pythons["pjsua2"] = rival
        tone = write_tone(home / "tone.wav")
        for name, python in pythons.items():
            async with registrar() as port, voice_server(home) as target:
                subject = await measure_subject(
                    python, name, "--port", str(port), "--target", target, "--file", tone, "--seconds", options.seconds
                )
            results[name] = {"import": measure_import(python, IMPORTS[name], options.imports), **subject}
    show(results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--imports", type=int, default=9, metavar="COUNT")
    parser.add_argument("--seconds", default="10")
    parser.add_argument("--without-pjsua2", action="store_true")
    parser.add_argument("--pjsua2-python", metavar="PATH")
    parser.add_argument("--subject", choices=list(IMPORTS), help=argparse.SUPPRESS)
    for name in ("--port", "--target", "--file"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.subject == "sipsimple":
        asyncio.run(subject_sipsimple(int(options.port), options.target, options.file, float(options.seconds)))
    elif options.subject == "pjsua2":
        subject_pjsua2(int(options.port), options.target, options.file, float(options.seconds))
    else:
        asyncio.run(benchmark(options))


if __name__ == "__main__":
    main()
