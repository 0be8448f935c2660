"""The line that says how a call is doing, and the summary after it."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sipsimple.cli.output import clean, console, error_console, say

if TYPE_CHECKING:
    from rich.live import Live


class Summary:
    """The statistics of one audio stream in the terms of a summary; times are in milliseconds."""

    def __init__(self, codec: str | None, statistics: dict[str, Any] | None, seconds: float) -> None:
        received, sent = (statistics or {}).get("rx", {}), (statistics or {}).get("tx", {})
        self.codec = codec
        self.seconds = seconds
        self.sent = int(sent.get("packets", 0))
        self.received = int(received.get("packets", 0))
        self.lost = int(received.get("packets_lost", 0))
        self.remote_lost = int(sent.get("packets_lost", 0))
        self.jitter_ms = received.get("jitter", {}).get("avg", 0) / 1000
        self.max_jitter_ms = received.get("jitter", {}).get("max", 0) / 1000
        self.round_trip_ms = (statistics or {}).get("rtt", {}).get("avg", 0) / 1000
        self.mos: float | None = received.get("mos")
        self.remote_mos: float | None = sent.get("mos")

    @property
    def loss_percent(self) -> float:
        """How much of what the remote sent did not arrive."""
        expected = self.received + self.lost
        return 100 * self.lost / expected if expected else 0.0

    def json(self) -> dict[str, Any]:
        return {
            "codec": self.codec,
            "seconds": round(self.seconds, 3),
            "packets_sent": self.sent,
            "packets_received": self.received,
            "packets_lost": self.lost,
            "packets_lost_by_remote": self.remote_lost,
            "loss_percent": round(self.loss_percent, 3),
            "jitter_ms": round(self.jitter_ms, 3),
            "jitter_max_ms": round(self.max_jitter_ms, 3),
            "round_trip_ms": round(self.round_trip_ms, 3),
            "mos": self.mos,
            "mos_remote": self.remote_mos,
        }

    def line(self) -> str:
        """The present state in one line."""
        return (
            f"{clean(self.codec or '-')}  sent {self.sent}  received {self.received}  "
            f"lost {self.lost} ({self.loss_percent:.1f} %)  jitter {self.jitter_ms:.1f} ms"
        )

    def show(self) -> None:
        """Print the table at the end of a call."""
        from rich.table import Table

        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        table.add_column(style="dim")
        table.add_column()
        round_trip = f"{self.round_trip_ms:.1f} ms" if self.round_trip_ms else "unknown"
        for name, value in (
            ("codec", clean(self.codec or "none")),
            ("duration", f"{self.seconds:.1f} s"),
            ("sent", f"{self.sent} packets, {self.remote_lost} reported lost"),
            ("received", f"{self.received} packets, {self.lost} lost ({self.loss_percent:.2f} %)"),
            ("jitter", f"{self.jitter_ms:.2f} ms (at most {self.max_jitter_ms:.2f} ms)"),
            ("round trip", round_trip),
            ("quality", f"MOS {_score(self.mos)} here, {_score(self.remote_mos)} at the other end"),
        ):
            table.add_row(name, value)
        console().print(table)


def _score(mos: float | None) -> str:
    return "unknown" if mos is None else f"{mos:.1f}"


class StatusLine:
    """A line on the terminal that is rewritten; where there is no terminal, only its changes of phase are printed."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._phase = ""
        self._since = time.monotonic()

    def __enter__(self) -> Self:
        if error_console().is_terminal:
            from rich.live import Live

            self._live = Live(console=error_console(), refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def phase(self, text: str) -> None:
        """Say what is going on now."""
        self._phase, self._since = text, time.monotonic()
        if self._live is None:
            say(text)
        else:
            self.detail("")

    def detail(self, text: str) -> None:
        """Say how that goes; does nothing without a terminal."""
        if self._live is not None:
            from rich.text import Text

            minutes, seconds = divmod(int(time.monotonic() - self._since), 60)
            line = Text.assemble(
                ("● ", "green"), (self._phase, "bold"), (f"  {minutes:02}:{seconds:02}  {text}", "dim")
            )
            self._live.update(line)
