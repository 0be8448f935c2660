"""What the commands of `sipsimple session` do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sipsimple.cli.output import WRONG_USE, CommandError, clean
from sipsimple.cli.session.call import KINDS, Call, describe
from sipsimple.cli.session.commands import Table, help_text
from sipsimple.cli.status import Summary

if TYPE_CHECKING:
    from sipsimple.cli.session.client import Client

DTMF_GAP: Final = 0.3
"""Seconds from one digit to the next."""

command = Table()
COMMANDS: Final = command.commands


def _none(arguments: list[str]) -> None:
    if arguments:
        raise CommandError(f"nothing can follow this command, not {clean(' '.join(arguments))!r}", WRONG_USE)


def _one(arguments: list[str], what: str) -> str:
    if len(arguments) != 1:
        raise CommandError(f"this command needs {what}", WRONG_USE)
    return arguments[0]


# --- calls


@command("call", "TARGET [audio] [chat] [desktop]")
async def call(client: Client, arguments: list[str]) -> None:
    """Call somebody with these streams; with audio when none is named."""
    if not arguments:
        raise CommandError("whom? /call sip:bob@example.com", WRONG_USE)
    target, *kinds = arguments
    await client.dial(target, client.make_streams(kinds or ["audio"]))


@command("accept", "[audio] [chat] [file] [desktop]")
async def accept(client: Client, arguments: list[str]) -> None:
    """Accept what the other party proposes: a call, more streams, a transfer; all of it, or only these kinds."""
    current = client.call()
    session = current.session
    if current.transfer_waits:
        current.transfer_waits = False
        session.accept_transfer()
        return
    proposed = list(session.proposed_streams or ())
    types = [KINDS.get(kind, kind) for kind in arguments]
    chosen = [stream for stream in proposed if not types or stream.type in types]
    if session.state not in ("incoming", "received_proposal") or not chosen:
        raise CommandError(f"{current.party} proposes nothing of that kind now")
    for stream in chosen:
        client.equip(stream)
    (session.accept if session.state == "incoming" else session.accept_proposal)(chosen)


@command("reject", "[CODE]")
async def reject(client: Client, arguments: list[str]) -> None:
    """Refuse what the other party proposes; 603 (Decline) unless another code is given."""
    current = client.call()
    session = current.session
    code = int(arguments[0]) if arguments else 603
    if current.transfer_waits:
        current.transfer_waits = False
        session.reject_transfer(code)
    elif session.state == "incoming":
        session.reject(code)
    elif session.state == "received_proposal":
        session.reject_proposal(code)
    else:
        raise CommandError(f"{current.party} proposes nothing now")


@command("hangup", "[NUMBER]")
async def hangup(client: Client, arguments: list[str]) -> None:
    """End the current call, or the one of this number."""
    ending = client.number(arguments[0]) if arguments else client.call()
    await ending.session.end()


@command("calls")
async def calls(client: Client, arguments: list[str]) -> None:
    """Show the calls; the current one has a star."""
    _none(arguments)
    if not client.calls:
        client.show("no calls")
    for one in client.calls.values():
        client.show(f"{'*' if one is client.current else ' '} {one.line()}")


@command("switch", "NUMBER")
async def switch(client: Client, arguments: list[str]) -> None:
    """Make another call the current one."""
    client.current = client.number(_one(arguments, "the number of a call"))
    client.show(f"current call is {client.current.line()}")


@command("hold")
async def hold(client: Client, arguments: list[str]) -> None:
    """Put the current call on hold."""
    _none(arguments)
    client.call().session.hold()


@command("unhold")
async def unhold(client: Client, arguments: list[str]) -> None:
    """Take the current call out of hold."""
    _none(arguments)
    client.call().session.unhold()


@command("transfer", "TARGET|NUMBER")
async def transfer(client: Client, arguments: list[str]) -> None:
    """Ask the other party to call somebody else, or to take our place in another of our calls."""
    target = _one(arguments, "whom to call, or the number of another call")
    current = client.call()
    if target.isdecimal() and int(target) in client.calls:
        other = client.number(target)
        await current.session.transfer(other.session.remote_identity.uri, other.session)
    else:
        await current.session.transfer(target)


# --- streams


@command("add", "audio|chat|desktop")
async def add(client: Client, arguments: list[str]) -> None:
    """Propose one more stream in the current call."""
    kind = _one(arguments, "what to add: audio, chat or desktop")
    current = await client.ready()
    current.session.add_stream(client.make_stream(kind))


@command("remove", "audio|chat|file|desktop")
async def remove(client: Client, arguments: list[str]) -> None:
    """Take a stream out of the current call."""
    kind = _one(arguments, "what to remove: audio, chat, file or desktop")
    current = await client.ready()
    current.session.remove_stream(_stream(current, kind))


@command("send", "FILE [TARGET]")
async def send(client: Client, arguments: list[str]) -> None:
    """Send a file in the current call, or to somebody else."""
    if not 1 <= len(arguments) <= 2:
        raise CommandError("which file? /send FILE, or /send FILE TARGET", WRONG_USE)
    if len(arguments) == 1:
        client.call()
    stream = await client.file_stream(_path(arguments[0]))
    if len(arguments) == 2:
        await client.dial(arguments[1], [stream])
    else:
        current = await client.ready()
        current.session.add_stream(stream)


@command("share", "[HOST:PORT]")
async def share(client: Client, arguments: list[str]) -> None:
    """Show the desktop of a VNC server here to the other party."""
    if arguments:
        client.desktop = desktop_address(arguments[0])
    current = await client.ready()
    current.session.add_stream(client.share_stream())


@command("mute")
async def mute(client: Client, arguments: list[str]) -> None:
    """Silence the microphone, or let it be heard again."""
    _none(arguments)
    mixer = _stream(client.call(), "audio").mixer
    mixer.muted = not mixer.muted
    client.show("the microphone is muted" if mixer.muted else "the microphone is heard")


@command("dtmf", "DIGITS")
async def dtmf(client: Client, arguments: list[str]) -> None:
    """Send the tones of telephone keys: 0-9, *, #, A-D."""
    audio = _stream(client.call(), "audio")
    for digit in _one(arguments, "the digits"):
        audio.send_dtmf(digit.upper())
        await asyncio.sleep(DTMF_GAP)


@command("record", "[FILE]")
async def record(client: Client, arguments: list[str]) -> None:
    """Record the audio of the current call, or stop recording."""
    audio = _stream(client.call(), "audio")
    if audio.recording_active:
        await audio.stop_recording()
    else:
        path = str(_path(arguments[0])) if arguments else None
        await audio.start_recording(path)


@command("status")
async def status(client: Client, arguments: list[str]) -> None:
    """Show how the current call is doing."""
    _none(arguments)
    current = client.call()
    client.show(current.line())
    audio = current.stream("audio")
    if audio is not None:
        statistics: dict[str, Any] | None = audio.statistics
        client.show(f"  audio: {Summary(audio.codec, statistics, 0).line()}")
    for stream in current.streams:
        progress = client.progress.get(id(stream))
        if progress is not None:
            client.show(f"  {progress.text()}")
        elif stream is not audio:
            client.show(f"  {describe(stream)}")


# --- the client


@command("help", "[COMMAND]")
async def help_(client: Client, arguments: list[str]) -> None:
    """Show what the commands do."""
    for line in help_text(COMMANDS, arguments[0] if arguments else None):
        client.show(line)


@command("quit")
async def quit_(client: Client, arguments: list[str]) -> None:
    """Hang up everything, and end."""
    _none(arguments)
    client.over.set()


def _stream(current: Call, kind: str) -> Any:
    if kind not in KINDS:
        raise CommandError(f"{clean(kind)!r} is no kind of stream: {', '.join(KINDS)}", WRONG_USE)
    stream = current.stream(kind)
    if stream is None:
        raise CommandError(f"the call with {current.party} has no {kind}")
    return stream


def _path(text: str) -> Path:
    """A file as people name it."""
    return Path(text).expanduser().absolute()


def desktop_address(text: str) -> tuple[str, int]:
    """HOST:PORT, or HOST for port 5900. Raises CommandError."""
    host, colon, port = text.rpartition(":")
    if not colon:
        return text, 5900
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise CommandError(f"{clean(text)!r} is no address of a VNC server: HOST:PORT", WRONG_USE)
    return host.strip("[]"), int(port)
