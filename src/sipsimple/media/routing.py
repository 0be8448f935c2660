"""Who hears whom, compiled into a few array operations that every tick runs.

All audio of a mixer lies in the rows of one matrix: a row per slot with what comes from it, then rows for the sums of
bridges, then a row per sink. A `Route` says how these rows are made from each other. It is compiled when the topology
or a volume changes, and only run in between.

A bridge is a sum minus own: its sum is made once, and each consumer hears it less its own producer. So N members cost N
additions, not N squared.

Pass-through ports join bridges to larger ones. A port hears everybody in the bridge but itself, which makes a tree of
bridges behave as one bridge. It costs no tick of delay per level, because the sums are ordered by what they need: a
bridge that lacks only one port's own producer can already feed that port. Where ports form a cycle, one port of the
cycle is heard one tick late, and saturated, so that the loop cannot grow without bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Rows: TypeAlias = npt.NDArray[np.intp]
Matrix: TypeAlias = npt.NDArray[np.int32]
Member: TypeAlias = tuple[int | None, int | None]

INT16_MAX: Final = 32_767
INT32_MAX: Final = 2_147_483_647
# From this many terms on, a sum of its own is faster than taking part in the rounds that serve all targets at once.
WIDE_SUM: Final = 8


class Step(Protocol):
    def run(self, matrix: Matrix) -> None: ...


@dataclass(frozen=True, slots=True)
class Route:
    """What a tick does with the matrix: the steps in order; then the rows `sink_rows` go to the slots `sink_slots`."""

    row_count: int
    steps: list[Step]
    sink_slots: Rows
    sink_rows: slice
    late_ports: Rows  # these rows of the last tick are kept for this one


def compile_route(
    slot_count: int,
    ports: Set[int],
    connections: Iterable[tuple[int, int]],
    bridges: Mapping[int, Mapping[int, Member]],
    *,
    volumes: Mapping[int, int],
    sink_volumes: Mapping[int, int],
) -> Route:
    """Order the sums of a topology. `ports` are the pass-through slots; volumes are percent, 100 where missing."""
    compiler = _Compiler(slot_count, ports, connections, bridges)
    steps: list[Step] = []
    late: list[int] = []
    _scale(steps, {slot: volume for slot, volume in volumes.items() if slot not in ports}, INT16_MAX)
    ready = sorted(port for port in ports if compiler.needs(port) is None)
    while compiler.waiting:
        if ready:
            compiler.add_level(steps, {port: port for port in ready})
            _scale(steps, _port_volumes(ready, volumes, sink_volumes), INT32_MAX)
        else:
            late.append(compiler.in_cycle())
            ready = late[-1:]
        touched = {port for done in ready for port in compiler.complete(done)} & compiler.waiting
        ready = sorted(port for port in touched if compiler.needs(port) is None)
    first = compiler.row_count
    targets = {slot: compiler.new_row() for slot in sorted(compiler.sinks())}
    compiler.add_level(steps, targets)
    _scale(steps, {targets[slot]: volume for slot, volume in sink_volumes.items() if slot in targets}, INT32_MAX)
    if late:
        # A port may hear itself here, so that its new frame is made beside the one that is heard.
        fresh = {port: compiler.new_row() for port in late}
        compiler.add_level(steps, fresh)
        steps.append(_Sums({port: ([row], []) for port, row in fresh.items()}))
        _scale(steps, dict.fromkeys(late, 100) | _port_volumes(late, volumes, sink_volumes), INT16_MAX)
    return Route(compiler.row_count, steps, _rows(targets), slice(first, first + len(targets)), _rows(late))


def _port_volumes(ports: list[int], volumes: Mapping[int, int], sink_volumes: Mapping[int, int]) -> dict[int, int]:
    products = {port: volumes.get(port, 100) * sink_volumes.get(port, 100) // 100 for port in ports}
    return {port: volume for port, volume in products.items() if volume != 100}


def _rows(numbers: Iterable[int]) -> Rows:
    return np.fromiter(numbers, dtype=np.intp)


class _Sums:
    """A step that defines rows as signed sums of rows which are complete before the step."""

    def __init__(self, terms: Mapping[int, tuple[list[int], list[int]]]) -> None:
        plus: list[tuple[list[int], list[int]]] = []
        minus: list[tuple[list[int], list[int]]] = []
        wide = {target: added for target, (added, _) in terms.items() if len(added) >= WIDE_SUM}
        for target, (added, subtracted) in terms.items():
            if target not in wide:
                _deal(plus, target, added)
            _deal(minus, target, subtracted)
        self._empty = _rows(target for target, (added, _) in terms.items() if not added)
        self._wide = [(target, _rows(added)) for target, added in wide.items()]
        self._plus = [(_rows(targets), _rows(sources)) for targets, sources in plus]
        self._minus = [(_rows(targets), _rows(sources)) for targets, sources in minus]

    def run(self, matrix: Matrix) -> None:
        if self._empty.size:
            matrix[self._empty] = 0
        for target, added in self._wide:
            np.add.reduce(matrix[added], axis=0, out=matrix[target])
        for number, (targets, sources) in enumerate(self._plus):
            if number == 0:
                matrix[targets] = matrix[sources]
            else:
                matrix[targets] += matrix[sources]
        for targets, sources in self._minus:
            matrix[targets] -= matrix[sources]


def _deal(rounds: list[tuple[list[int], list[int]]], target: int, sources: list[int]) -> None:
    """Spread the sources of one target over the rounds, so that no round holds a target twice."""
    for number, source in enumerate(sources):
        if number == len(rounds):
            rounds.append(([], []))
        rounds[number][0].append(target)
        rounds[number][1].append(source)


class _Scale:
    """A step that multiplies rows by percents, and saturates them."""

    def __init__(self, percents: Mapping[int, int], limit: int) -> None:
        self._rows = _rows(percents)
        self._percents = np.fromiter(percents.values(), dtype=np.int64)[:, np.newaxis]
        self._limit = limit

    def run(self, matrix: Matrix) -> None:
        scaled = (matrix[self._rows] * self._percents + 50) // 100
        matrix[self._rows] = np.clip(scaled, -self._limit - 1, self._limit)


def _scale(steps: list[Step], percents: Mapping[int, int], limit: int) -> None:
    if percents:
        steps.append(_Scale(percents, limit))


@dataclass(slots=True)
class _Bridge:
    """One bridge while a route is compiled."""

    members: list[Member]
    waiting: set[int]  # the members whose producer is a port that is not complete yet
    sum_row: int | None = None
    sum_missing: int = 0  # how many were waiting when the sum row was defined


class _Compiler:
    def __init__(
        self,
        slot_count: int,
        ports: Set[int],
        connections: Iterable[tuple[int, int]],
        bridges: Mapping[int, Mapping[int, Member]],
    ) -> None:
        self.row_count = slot_count
        self.waiting = set(ports)
        self._ports = ports
        self._sources: dict[int, list[int]] = {}
        self._listeners: dict[int, list[int]] = {}
        self._consumes: dict[int, list[tuple[_Bridge, int]]] = {}
        self._produces: dict[int, list[tuple[_Bridge, int]]] = {}
        for src, dst in sorted(connections):
            self._sources.setdefault(dst, []).append(src)
            if src in ports:
                self._listeners.setdefault(src, []).append(dst)
        for members in bridges.values():
            self._add_bridge(list(members.values()))

    def _add_bridge(self, members: list[Member]) -> None:
        bridge = _Bridge(members, set())
        for number, (producer, consumer) in enumerate(members):
            if consumer is not None:
                self._consumes.setdefault(consumer, []).append((bridge, number))
            if producer is not None and producer in self._ports:
                bridge.waiting.add(number)
                self._produces.setdefault(producer, []).append((bridge, number))

    def new_row(self) -> int:
        self.row_count += 1
        return self.row_count - 1

    def sinks(self) -> Set[int]:
        """The slots that hear something and are no ports."""
        return (self._sources.keys() | self._consumes.keys()) - self._ports

    def needs(self, port: int) -> int | None:
        """One port that has to be complete before this one, None when nothing is missing."""
        for source in self._sources.get(port, ()):
            if source in self.waiting:
                return source
        for bridge, own in self._consumes.get(port, ()):
            for number in bridge.waiting:  # looks at two at most, however large the bridge is
                if number != own:
                    return bridge.members[number][0]
        return None

    def in_cycle(self) -> int:
        """A port that needs itself by way of others: the lowest of its cycle."""
        path: list[int] = []
        port: int | None = min(self.waiting)
        while port is not None and port not in path:
            path.append(port)
            port = self.needs(port)
        return min(path[path.index(port) :]) if port is not None else path[-1]

    def complete(self, port: int) -> list[int]:
        """Mark the port as complete; returns the slots that may be complete next."""
        self.waiting.discard(port)
        touched = list(self._listeners.get(port, ()))
        for bridge, number in self._produces.get(port, ()):
            bridge.waiting.discard(number)
            if len(bridge.waiting) == 1:
                touched.extend(consumer for n in bridge.waiting if (consumer := bridge.members[n][1]) is not None)
            elif not bridge.waiting:
                touched.extend(consumer for _, consumer in bridge.members if consumer is not None)
        return touched

    def add_level(self, steps: list[Step], targets: Mapping[int, int]) -> None:
        """Append the steps that put what each slot hears into its target row."""
        totals: dict[int, tuple[list[int], list[int]]] = {}
        terms = {row: self._terms(slot, totals) for slot, row in targets.items()}
        if totals:
            steps.append(_Sums(totals))
        if terms:
            steps.append(_Sums(terms))

    def _terms(self, slot: int, totals: dict[int, tuple[list[int], list[int]]]) -> tuple[list[int], list[int]]:
        plus = list(self._sources.get(slot, ()))
        minus = []
        for bridge, own in self._consumes.get(slot, ()):
            plus.append(self._total(bridge, totals))
            producer = bridge.members[own][0]
            if producer is not None and own not in bridge.waiting:
                minus.append(producer)
        return plus, minus

    def _total(self, bridge: _Bridge, totals: dict[int, tuple[list[int], list[int]]]) -> int:
        """The row with the sum of the complete producers of the bridge, defined in `totals` when it is new."""
        # Members only ever stop waiting, so that an equal number of them means that the same are missing.
        if bridge.sum_row is None or bridge.sum_missing != len(bridge.waiting):
            members = enumerate(bridge.members)
            addends = [row for n, (row, _) in members if row is not None and n not in bridge.waiting]
            bridge.sum_row = self.new_row()
            bridge.sum_missing = len(bridge.waiting)
            totals[bridge.sum_row] = (addends, [])
        return bridge.sum_row
