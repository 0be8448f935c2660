"""The pictures of the report as inline SVG: the ladder of the call and the waveforms.

Colours are classes, which the style sheet of the page defines for light and for dark screens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

import numpy as np

from sipsimple.cli.demo.ladder import MEDIA, Arrow, Ladder
from sipsimple.cli.demo.verdict import Samples
from sipsimple.cli.output import clean

LADDER_WIDTH: Final = 900
ROW: Final = 34
TOP: Final = 64
FIRST_COLUMN: Final = 150
LAST_COLUMN: Final = 820
PHASE_GAP: Final = 20

WAVE_WIDTH: Final = 1000
WAVE_HEIGHT: Final = 96
BUCKETS: Final = 500


def safe(text: object) -> str:
    """Text of others, fit for HTML and SVG: without control characters, and with everything escaped."""
    return escape(clean(text), quote=True)


def ladder_svg(ladder: Ladder, began: float) -> str:
    """The ladder; each message links to its text, `#m<number>`."""
    step = (LAST_COLUMN - FIRST_COLUMN) / (len(ladder.parties) - 1)
    columns = {name: FIRST_COLUMN + index * step for index, name in enumerate(ladder.parties)}
    rows: list[str] = []
    y = float(TOP + 20)
    for number, (arrow, phase) in enumerate(_phases(ladder.arrows)):
        if phase:
            y += PHASE_GAP if number else 0
            rows.append(_phase(phase, y))
            y += PHASE_GAP
        y += ROW
        rows.append(_arrow(arrow, number, arrow.at - began, columns, y))
    bottom = y + 26
    lines = "".join(
        f'<line class="life" x1="{x:.0f}" x2="{x:.0f}" y1="{TOP}" y2="{bottom:.0f}"/>' for x in columns.values()
    )
    heads = "".join(_head(name, x) for name, x in columns.items())
    box = f"0 0 {LADDER_WIDTH} {bottom + 10:.0f}"
    return (
        f'<svg class="ladder" viewBox="{box}" role="img" aria-label="ladder of the call">'
        f"<defs>{_markers()}</defs>{lines}{heads}{''.join(rows)}</svg>"
    )


def _phases(arrows: Sequence[Arrow]) -> Iterator[tuple[Arrow, str | None]]:
    """Each arrow, with the name of the part of the story that begins with it."""
    before = None
    for arrow in arrows:
        phase = _phase_of(arrow) or before
        yield arrow, phase if phase != before else None
        before = phase


def _phase_of(arrow: Arrow) -> str | None:
    if arrow.kind == MEDIA:
        return "talking"
    method = arrow.label.partition(" ")[0]
    if method == "REGISTER":
        return "unregistering" if "expires 0" in arrow.label else "registering"
    return {"INVITE": "calling", "BYE": "hanging up"}.get(method)


def _phase(name: str, y: float) -> str:
    return (
        f'<line class="phase-line" x1="24" x2="{LADDER_WIDTH - 24}" y1="{y:.0f}" y2="{y:.0f}"/>'
        f'<text class="phase" x="24" y="{y + 21:.0f}">{safe(name)}</text>'
    )


def _head(name: str, x: float) -> str:
    return (
        f'<rect class="party" x="{x - 62:.0f}" y="14" width="124" height="38" rx="10"/>'
        f'<text class="party-name" x="{x:.0f}" y="38">{safe(name)}</text>'
    )


def _markers() -> str:
    kinds = ("request", "provisional", "success", "challenge", "failure")
    return "".join(
        f'<marker id="tip-{kind}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
        f'orient="auto-start-reverse"><path class="fill-{kind}" d="M0 0 L10 5 L0 10 z"/></marker>'
        for kind in kinds
    )


def _arrow(arrow: Arrow, number: int, seconds: float, columns: dict[str, float], y: float) -> str:
    source, target = columns[arrow.source], columns[arrow.target]
    stamp = f'<text class="stamp" x="24" y="{y + 4:.0f}">{seconds:.3f}</text>'
    middle = (source + target) / 2
    if arrow.kind == MEDIA:
        left, width = min(source, target) + 6, abs(target - source) - 12
        return (
            f'{stamp}<rect class="media" x="{left:.0f}" y="{y - 15:.0f}" width="{width:.0f}" height="26" rx="13"/>'
            f'<text class="media-label" x="{middle:.0f}" y="{y + 3:.0f}">{safe(arrow.label)} &#9654;</text>'
        )
    inset = 4 if source < target else -4
    return (
        f'{stamp}<a href="#m{number}"><line class="line-{arrow.kind}" x1="{source + inset:.0f}" '
        f'x2="{target - inset:.0f}" y1="{y:.0f}" y2="{y:.0f}" marker-end="url(#tip-{arrow.kind})"/>'
        f'<text class="label fill-{arrow.kind}" x="{middle:.0f}" y="{y - 6:.0f}">{safe(arrow.label)}</text></a>'
    )


def wave_svg(samples: Samples, style: str, loudest: float, fault: tuple[float, float] | None = None) -> str:
    """A waveform, scaled so that `loudest` fills it; `fault` marks a stretch, from and to as parts of the whole."""
    mark = ""
    if fault is not None:
        start, end = (WAVE_WIDTH * part for part in fault)
        mark = f'<rect class="fault" x="{start:.1f}" y="0" width="{end - start:.1f}" height="{WAVE_HEIGHT}"/>'
    return (
        f'<svg class="wave" viewBox="0 0 {WAVE_WIDTH} {WAVE_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="waveform">{mark}<line class="zero" x1="0" x2="{WAVE_WIDTH}" y1="{WAVE_HEIGHT / 2}" '
        f'y2="{WAVE_HEIGHT / 2}"/><path class="{style}" d="{_outline(samples, loudest)}"/></svg>'
    )


def _outline(samples: Samples, loudest: float) -> str:
    """The highest and lowest sample of each of many short stretches, as a closed path."""
    count = min(BUCKETS, max(1, len(samples)))
    stretches = np.array_split(samples, count)
    middle, scale = WAVE_HEIGHT / 2, (WAVE_HEIGHT / 2 - 2) / (loudest or 1.0)
    step = WAVE_WIDTH / count
    highs = [
        (index * step, middle - max(0.0, float(part.max(initial=0))) * scale) for index, part in enumerate(stretches)
    ]
    lows = [
        (index * step, middle - min(0.0, float(part.min(initial=0))) * scale) for index, part in enumerate(stretches)
    ]
    points = " L".join(f"{x:.1f} {max(0.0, min(WAVE_HEIGHT, y)):.1f}" for x, y in (*highs, *reversed(lows)))
    return f"M{points} Z"
