"""SIPp as a peer: one of its built-in scenarios or one of ours, run to its end, and its statistics."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.support.ports import free_port, port_is_bound
from tests.support.programs import Program, need, until

PACKAGE: Final = "sip-tester"
SCENARIOS: Final = Path(__file__).parent / "scenarios"


@dataclass(frozen=True)
class Outcome:
    """The last line of SIPp's statistics, and its exit status (0: no call failed)."""

    status: int
    successful: int
    failed: int
    retransmissions: int
    unexpected: int
    rate: float
    """Calls per second over the whole run."""


class SIPp:
    """One run of a scenario that ends by itself after `calls` calls: `uac`, `uas`, or the name of a file of ours."""

    def __init__(
        self,
        directory: Path,
        scenario: str,
        target: str | None = None,
        *,
        calls: int,
        rate: int = 10,
        timeout: int = 40,
        transport: str = "u1",
        options: tuple[str, ...] = (),
    ) -> None:
        """`timeout` in seconds; `transport` is SIPp's name of it, such as `u1` (UDP) or `t1` (one TCP connection)."""
        self.directory = directory
        self.port = free_port()
        self.timeout = timeout
        directory.mkdir(exist_ok=True)
        own = SCENARIOS / f"{scenario}.xml"
        self._statistics = directory / f"{scenario}-{self.port}.csv"
        self._errors = directory / f"{scenario}-{self.port}-errors.log"
        self.program = Program(
            need("sipp", PACKAGE),
            *(("-sf", str(own)) if own.exists() else ("-sn", scenario)),
            *("-i", "127.0.0.1", "-p", str(self.port), "-mp", str(free_port())),
            *("-m", str(calls), "-r", str(rate), "-t", transport, "-nostdin"),
            *("-timeout", str(timeout), "-timeout_error"),
            *("-trace_stat", "-stf", str(self._statistics), "-fd", "1"),
            *("-trace_err", "-error_file", str(self._errors)),
            *options,
            *([target] if target else []),
            cwd=directory,
            environment={"TERM": "dumb"},
        )

    async def __aenter__(self) -> SIPp:
        await self.program.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.program.stop()

    async def ready(self, transport: str = "udp") -> None:
        """Wait until it listens."""
        await until(lambda: port_is_bound(transport, self.port), f"SIPp listening on port {self.port}")

    async def outcome(self) -> Outcome:
        """Wait for its end; fails the test when that takes too long."""
        status = await self.program.ended(self.timeout + 10)
        with self._statistics.open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter=";"))
        if not rows:
            pytest.fail(f"SIPp wrote no statistics\n{self.program.output}")
        last = rows[-1]
        return Outcome(
            status=status,
            successful=int(last["SuccessfulCall(C)"]),
            failed=int(last["FailedCall(C)"]),
            retransmissions=int(last["Retransmissions(C)"]),
            unexpected=int(last["FailedUnexpectedMessage(C)"]),
            rate=float(last["CallRate(C)"]),
        )

    def errors(self) -> str:
        """What SIPp wrote about calls that failed."""
        return self._errors.read_text(errors="replace")[:4000] if self._errors.exists() else ""
