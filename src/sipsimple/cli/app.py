"""The command line itself: commands, options, help. What a command does is in a module of its own, imported late."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sipsimple.cli.output import WRONG_USE, CommandError, print_error
from sipsimple.cli.settings import settings_app


class Commands(TyperGroup):
    """The commands; an error that one of them meets becomes a message and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CommandError as error:
            print_error(error.message)
            raise typer.Exit(error.status) from error


app = typer.Typer(
    cls=Commands,
    name="sipsimple",
    help="Make, answer and test SIP calls.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(settings_app, name="settings")


@dataclass
class Global:
    """The options in front of the command."""

    config: Path


def _print_version(wanted: bool) -> None:
    if wanted:
        from sipsimple import __version__

        typer.echo(f"sipsimple {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", envvar="SIPSIMPLE_CONFIG", help="The configuration file."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that all commands have in common."""
    if config is None:
        from sipsimple.cli.config import default_path

        config = default_path()
    context.obj = Global(config.expanduser())


AccountOption = Annotated[
    str | None, typer.Option("--account", "-a", metavar="USER@DOMAIN", help="The account; else the default one.")
]
TraceOption = Annotated[
    str | None, typer.Option("--trace", metavar="sip,notifications", help="Print what happens, to standard error.")
]
BindOption = Annotated[str | None, typer.Option("--bind", metavar="IP", help="The local address; else any.")]
CodecOption = Annotated[
    list[str] | None,
    typer.Option("--codec", metavar="NAME", help="A codec to offer, first choice first; repeatable, or with commas."),
]
JSONOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
ProxyOption = Annotated[
    str | None, typer.Option(metavar="HOST[:PORT][;transport=NAME]", help="Send everything by this proxy.")
]
MODES = ("echo", "conference", "play", "record", "reject")


def _codecs(names: list[str] | None) -> list[str]:
    return [name.strip() for item in names or () for name in item.split(",")]


@app.command()
def register(
    context: typer.Context,
    account: AccountOption = None,
    duration: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="How long to stay registered; else until Ctrl-C.")
    ] = None,
    proxy: ProxyOption = None,
    bind: BindOption = None,
    trace: TraceOption = None,
    json: JSONOption = False,
) -> None:
    """Register an account, and tell what the registrar says."""
    from sipsimple.cli import register as command
    from sipsimple.cli.running import run
    from sipsimple.cli.trace import parse_kinds

    run(
        command.register(
            command.RegisterOptions(context.obj.config, account, duration, proxy, bind, parse_kinds(trace), json)
        )
    )


@app.command()
def call(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="Whom to call: sip:bob@example.com, bob, sip:192.0.2.1:5060.")],
    account: AccountOption = None,
    proxy: ProxyOption = None,
    play: Annotated[Path | None, typer.Option(metavar="FILE", help="Play this WAV file to the other party.")] = None,
    record: Annotated[Path | None, typer.Option(metavar="FILE", help="Record what the other party says.")] = None,
    duration: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Hang up this long after the answer.")
    ] = None,
    timeout: Annotated[
        int | None, typer.Option(min=1, metavar="SECONDS", help="Give up when nobody answers for this long.")
    ] = None,
    codec: CodecOption = None,
    bind: BindOption = None,
    trace: TraceOption = None,
    json: JSONOption = False,
) -> None:
    """Call somebody. Without --duration the call lasts until the file is played or somebody hangs up."""
    from sipsimple.cli import call as command
    from sipsimple.cli.running import run
    from sipsimple.cli.trace import parse_kinds

    run(
        command.call(
            command.CallOptions(
                config=context.obj.config,
                target=target,
                account=account,
                proxy=proxy,
                play=play,
                record=record,
                duration=duration,
                timeout=timeout,
                codecs=_codecs(codec),
                bind=bind,
                trace=parse_kinds(trace),
                json=json,
            )
        )
    )


@app.command()
def answer(
    context: typer.Context,
    bind: BindOption = None,
    udp_port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free port.")] = 5060,
    tcp_port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free port.")] = 5060,
    no_udp: Annotated[bool, typer.Option("--no-udp", help="Do not listen for UDP.")] = False,
    no_tcp: Annotated[bool, typer.Option("--no-tcp", help="Do not listen for TCP.")] = False,
    mode: Annotated[
        str, typer.Option(metavar="|".join(MODES), help="What callers get: their own words, each other, a file, ...")
    ] = "echo",
    file: Annotated[Path | None, typer.Option(help="The WAV file of --mode play; it is repeated.")] = None,
    directory: Annotated[Path, typer.Option("--dir", help="Where --mode record puts its files.")] = Path(),
    max_calls: Annotated[int, typer.Option(min=1, max=3800, help="More callers at a time hear 486 Busy.")] = 1000,
    reject_code: Annotated[int, typer.Option(min=400, max=699, help="The answer of --mode reject.")] = 603,
    codec: CodecOption = None,
    rtp_ports: Annotated[str | None, typer.Option(metavar="FIRST-LAST", help="The ports for audio.")] = None,
    trace: TraceOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print a line for each call.")] = False,
) -> None:
    """Answer every call at once. Prints `ready udp:IP:PORT tcp:IP:PORT` when it can; ends with Ctrl-C."""
    from sipsimple.cli import answer as command
    from sipsimple.cli.running import run
    from sipsimple.cli.trace import parse_kinds

    if mode not in MODES:
        raise CommandError(f"there is no mode {mode!r}: choose {', '.join(MODES)}", WRONG_USE)
    run(
        command.answer(
            command.AnswerOptions(
                config=context.obj.config,
                bind=bind,
                udp_port=None if no_udp else udp_port,
                tcp_port=None if no_tcp else tcp_port,
                mode=command.Mode(mode),
                file=file,
                directory=directory,
                max_calls=max_calls,
                reject_code=reject_code,
                codecs=_codecs(codec),
                rtp_ports=rtp_ports,
                trace=parse_kinds(trace),
                verbose=verbose,
            )
        )
    )


STREAMS = ("audio", "chat", "desktop")


@app.command()
def session(
    context: typer.Context,
    target: Annotated[str | None, typer.Argument(help="Whom to call at once; else wait, and type commands.")] = None,
    stream: Annotated[
        list[str] | None,
        typer.Option("--stream", "-s", metavar="|".join(STREAMS), help="What the first call has; repeatable."),
    ] = None,
    account: AccountOption = None,
    proxy: ProxyOption = None,
    bind: BindOption = None,
    udp_port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free port.")] = 0,
    tcp_port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free port.")] = 0,
    downloads: Annotated[Path, typer.Option(metavar="DIR", help="Where received files go.")] = Path("~/Downloads"),
    desktop: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The VNC server that is shared as our desktop.")
    ] = "localhost:5900",
    auto_accept: Annotated[bool, typer.Option("--auto-accept", help="Accept everything that is proposed.")] = False,
    no_sound: Annotated[bool, typer.Option("--no-sound", help="Use no sound devices.")] = False,
    trace: TraceOption = None,
) -> None:
    """Talk in the terminal: calls, chat, files, desktops. Type /help there; other lines are said in the chat."""
    from sipsimple.cli.running import run
    from sipsimple.cli.session import run as command
    from sipsimple.cli.trace import parse_kinds

    unknown = sorted(set(stream or ()) - set(STREAMS))
    if unknown:
        raise CommandError(f"there is no stream {unknown[0]!r}: choose {', '.join(STREAMS)}", WRONG_USE)
    run(
        command.session(
            command.SessionOptions(
                config=context.obj.config,
                target=target,
                streams=list(stream or ["audio"]),
                account=account,
                proxy=proxy,
                bind=bind,
                udp_port=udp_port,
                tcp_port=tcp_port,
                downloads=downloads,
                desktop=desktop,
                auto_accept=auto_accept,
                no_sound=no_sound,
                trace=parse_kinds(trace),
            )
        )
    )


@app.command()
def devices(json: JSONOption = False) -> None:
    """Print the sound devices."""
    from sipsimple.cli.devices import show_devices

    show_devices(json)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(metavar="DIR", help="Where the recording and the report go.")] = Path(
        "demo-out"
    ),
    play: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Play this WAV file instead of the usual one.")
    ] = None,
    disturb: Annotated[bool, typer.Option("--disturb", hidden=True)] = False,
) -> None:
    """Let two user agents call each other here, and show whether the audio arrived."""
    from sipsimple.cli.checks import check_wave
    from sipsimple.cli.demo import run as command
    from sipsimple.cli.running import run

    if play is not None:
        check_wave(play)
    run(command.demo(command.DemoOptions(output, play, disturb)))
