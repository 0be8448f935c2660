"""The report of the demonstration: one page that needs nothing else, neither files nor network nor scripts.

Whatever came over the wire is escaped before it gets into the page, and the page forbids itself to load anything.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Final

import numpy as np

from sipsimple import __version__
from sipsimple.cli.demo.ladder import MEDIA, SERVER, Ladder
from sipsimple.cli.demo.pictures import ladder_svg, safe, wave_svg
from sipsimple.cli.demo.together import Together
from sipsimple.cli.demo.verdict import MIN_CORRELATION, STRETCH_SECONDS, Verdict, align, read_wave
from sipsimple.cli.output import clean_lines

MAX_MESSAGE_LENGTH: Final = 8192
MAX_SOUND_SIZE: Final = 2_000_000


@dataclass(frozen=True)
class Event:
    """A notification that one of the agents saw; `at` is in seconds since the epoch."""

    at: float
    who: str
    name: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Report:
    """What happened, without the verdict. `statistics` has one entry per agent, in the terms of `Summary.json`."""

    began: float
    seconds: float
    ladder: Ladder
    events: Sequence[Event]
    statistics: dict[str, dict[str, Any]]
    agents: tuple[str, str]
    codec: str
    together: Together = field(default_factory=Together)
    earlier: list[Verdict] = field(default_factory=list)
    """What was found in calls before this one, which were not good enough."""


def write_report(page: Path, report: Report, verdict: Verdict, source: Path, recording: Path) -> None:
    """Write the page; raises OSError and AudioUnusable."""
    folder = files("sipsimple.cli.demo")
    template = Template((folder / "report.html").read_text("utf-8"))
    style = (folder / "report.css").read_text("utf-8")
    page.write_text(template.substitute(style=style, **contents(report, verdict, source, recording)), "utf-8")


def contents(report: Report, verdict: Verdict, source: Path, recording: Path) -> dict[str, str]:
    """What stands in the places of the template, all of it HTML."""
    caller, callee = (safe(name.capitalize()) for name in report.agents)
    return {
        "state": "passed" if verdict.passed else "failed",
        "badge": "passed" if verdict.passed else "failed",
        "headline": _headline(verdict, caller, callee),
        "explanation": _explanation(verdict) + _earlier(report),
        "tiles": _tiles(report, verdict),
        "waves": _waves(verdict, source, recording, caller, callee),
        "together": _together(report.together),
        "ladder": ladder_svg(report.ladder, report.began),
        "messages": _messages(report),
        "timeline": _timeline(report),
        "statistics": _statistics(report),
        "version": safe(__version__),
        "date": f"{datetime.fromtimestamp(report.began).astimezone():%Y-%m-%d %H:%M:%S %Z}",
        "seconds": f"{report.seconds:.1f}",
        "caller": caller,
        "callee": callee,
    }


def _headline(verdict: Verdict, caller: str, callee: str) -> str:
    if verdict.passed:
        return f"{callee} heard what {caller} played"
    if set(verdict.faults) == set(verdict.faults_besides):
        return f"{callee} heard {caller}, but something else went wrong"
    return f"{callee} did not hear what {caller} played"


def _explanation(verdict: Verdict) -> str:
    if verdict.passed:
        return (
            "The recording was searched for the sound that was played. Found at one delay, it matches with a "
            f"normalised correlation of {verdict.correlation:.4f}; the limit is {MIN_CORRELATION}."
        )
    return "; ".join(safe(fault) for fault in verdict.faults).capitalize() + "."


def _earlier(report: Report) -> str:
    attempts = (f"An earlier call failed, with a correlation of {one.correlation:.4f}." for one in report.earlier)
    return "".join(f" {attempt}" for attempt in attempts)


def _tiles(report: Report, verdict: Verdict) -> str:
    heard = report.statistics.get(report.agents[1], {})
    tiles = [
        ("correlation", f"{verdict.correlation:.4f}", "with the source"),
        ("worst stretch", f"{verdict.worst_stretch:.4f}", f"at {verdict.worst_at:.2f} s"),
        ("level", f"{verdict.gain_db:+.2f} dB", "against the source"),
        ("packets", f"{heard.get('packets_received', 0)}", f"{heard.get('packets_lost', 0)} lost"),
        ("jitter", f"{heard.get('jitter_ms', 0):.2f} ms", f"at most {heard.get('jitter_max_ms', 0):.2f} ms"),
        ("codec", safe(report.codec), "as both agreed"),
    ]
    return "".join(
        f'<div class="tile"><span class="tile-name">{name}</span><span class="tile-value">{value}</span>'
        f'<span class="tile-note">{note}</span></div>'
        for name, value, note in tiles
    )


def _waves(verdict: Verdict, source: Path, recording: Path, caller: str, callee: str) -> str:
    pair = align(*read_wave(source), *read_wave(recording))
    heard = pair.heard / pair.gain if pair.gain else pair.heard
    loudest = float(np.abs(pair.played).max())
    seconds = verdict.source_seconds
    fault = None
    if not verdict.passed:
        fault = (verdict.worst_at / seconds, min(1.0, (verdict.worst_at + STRETCH_SECONDS) / seconds))
    rows = [
        (f"<span>{caller} played</span>{_sound(source)}", wave_svg(pair.played, "played", loudest)),
        (f"<span>{callee} recorded</span>{_sound(recording)}", wave_svg(heard, "heard", loudest, fault)),
        ("<span>the difference</span>", wave_svg(heard - pair.played, "difference", loudest)),
    ]
    figures = "".join(f"<figure><figcaption>{name}</figcaption>{picture}</figure>" for name, picture in rows)
    marks = "".join(
        f'<span style="left:{100 * second / seconds:.2f}%">{second} s</span>' for second in range(int(seconds) + 1)
    )
    return f'{figures}<div class="axis">{marks}</div>'


def _sound(path: Path) -> str:
    """A player with the file in the page; none for a file that would make the page too large."""
    if path.stat().st_size > MAX_SOUND_SIZE:
        return ""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<audio controls preload="none" src="data:audio/wav;base64,{data}"></audio>'


def _together(together: Together) -> str:
    """The messages, the file and the picture of the desktop."""
    said = "".join(
        f'<p class="said {"left" if index % 2 == 0 else "right"}"><span>{safe(who)}</span>{safe(text)}</p>'
        for index, (who, text) in enumerate(together.said)
    )
    same = together.sent_hash == together.received_hash and together.sent_hash
    mark = '<b class="good">the same hash at both ends</b>' if same else '<b class="bad">another hash arrived</b>'
    file = (
        f"<p>{safe(together.file_name)}, {together.file_size:,} bytes: {mark}</p>"
        f'<p class="hash">SHA-256 {safe(together.received_hash or "-")}</p>'
    )
    picture = ""
    if together.screenshot:
        data = base64.b64encode(together.screenshot).decode("ascii")
        picture = f'<img class="desktop" alt="the shared desktop" src="data:image/png;base64,{data}">'
    return f'<div class="chat">{said}</div><div class="file">{file}</div>{picture}'


def _messages(report: Report) -> str:
    items = []
    for number, arrow in enumerate(report.ladder.arrows):
        if arrow.kind == MEDIA:
            continue
        text = safe_lines(arrow.text[:MAX_MESSAGE_LENGTH])
        items.append(
            f'<details class="message"><summary><span class="stamp">{arrow.at - report.began:.3f}</span>'
            f'<span class="route">{safe(arrow.source)} &rarr; {safe(arrow.target)}</span>'
            f'<span class="fill-{arrow.kind}">{safe(arrow.label)}</span></summary>'
            f'<pre id="m{number}">{text}</pre></details>'
        )
    return "".join(items)


def safe_lines(text: str) -> str:
    """As `safe`, for text of several lines."""
    return "\n".join(safe(line) for line in clean_lines(text).splitlines())


def _timeline(report: Report) -> str:
    rows = []
    for event in report.events:
        side = "left" if event.who == report.agents[0] else "right"
        details = " ".join(f"<b>{safe(name)}</b>&nbsp;{safe(value)}" for name, value in event.data.items())
        rows.append(
            f'<li class="{side} {_family(event.name)}"><span class="stamp">{event.at - report.began:.3f}</span>'
            f'<div class="event"><span class="event-name">{safe(event.name)}</span>'
            f'<span class="event-data">{details}</span></div></li>'
        )
    return "".join(rows)


def _family(name: str) -> str:
    """The colour of a notification, by what it is about."""
    for prefix, family in (
        ("SIPApplication", "of-application"),
        ("SIPAccount", "of-account"),
        ("SIPSession", "of-session"),
    ):
        if name.startswith(prefix):
            return family
    return "of-media"


def _statistics(report: Report) -> str:
    rows = (
        ("codec", "codec", "{}"),
        ("seconds", "duration", "{:.1f} s"),
        ("packets_sent", "packets sent", "{}"),
        ("packets_received", "packets received", "{}"),
        ("packets_lost", "packets lost", "{}"),
        ("jitter_ms", "jitter, mean", "{:.2f} ms"),
        ("jitter_max_ms", "jitter, at most", "{:.2f} ms"),
        ("round_trip_ms", "round trip", "{:.2f} ms"),
    )
    head = "".join(f"<th>{safe(name.capitalize())}</th>" for name in report.agents)
    lines = []
    for key, title, form in rows:
        cells = []
        for name in report.agents:
            value = report.statistics.get(name, {}).get(key)
            known = value is not None and (key != "round_trip_ms" or value)
            cells.append(f"<td>{safe(form.format(value)) if known else '&ndash;'}</td>")
        lines.append(f"<tr><th>{title}</th>{''.join(cells)}</tr>")
    messages = dict.fromkeys(report.agents, 0)
    for arrow in report.ladder.arrows:
        if arrow.target == SERVER and arrow.source in messages:
            messages[arrow.source] += 1
    counts = "".join(f"<td>{messages[name]}</td>" for name in report.agents)
    lines.append(f"<tr><th>SIP messages sent</th>{counts}</tr>")
    return f"<thead><tr><th></th>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
