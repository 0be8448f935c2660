"""The receiver of a file: what it reports when, how it slows the sender down, and how it continues."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipsimple.msrp import ByteRange, MSRPData
from sipsimple.streams.msrp import incoming_file
from sipsimple.streams.msrp.file_receiver import MAX_UNWRITTEN, FileReceiver
from sipsimple.streams.msrp.fileselector import FileSelector
from sipsimple.streams.msrp.incoming_file import PARTS, FileMismatch, FileUnwritable, IncomingFile
from tests.unit.streams.test_incoming_file import DATA, selector_of


class Sender:
    """The session, and what a sender at the other end would see of it."""

    def __init__(self, directory: Path, selector: FileSelector) -> None:
        self.directory = directory
        self.wants_more = asyncio.Event()
        self.wants_more.set()
        self.reported = asyncio.Event()
        self.pauses = 0
        self.refused: list[str] = []
        self.reports: list[tuple[int, str]] = []
        self.seen_at_report: list[list[str]] = []
        self.progress: list[int] = []
        self.receiver = FileReceiver(directory, selector, self.progress.append)

    def pause_reading(self) -> None:
        self.wants_more.clear()
        self.pauses += 1

    def resume_reading(self) -> None:
        self.wants_more.set()

    def refuse(self, message_id: str, code: int = 413) -> None:
        self.refused.append(message_id)

    def report(self, chunk: MSRPData, code: int, byte_range: ByteRange, comment: str | None = None) -> None:
        self.reports.append((code, str(byte_range)))
        self.reported.set()
        self.seen_at_report.append(sorted(path.name for path in self.directory.iterdir()))

    def send(self, start: int, data: bytes, total: int | None, flag: str = "+", **headers: str) -> None:
        known = {"Message-ID": "m", "Success-Report": "yes", "Failure-Report": "partial"}
        known["Byte-Range"] = f"{start}-*/{'*' if total is None else total}"
        chunk = MSRPData("t", method="SEND", headers=known | headers, data=data, continuation=flag)
        self.receiver.receive(self, chunk)


def contents(path: str | None) -> bytes:
    assert path is not None
    return Path(path).read_bytes()


async def test_the_end_is_reported_when_the_file_is_in_place(tmp_path: Path):
    sender = Sender(tmp_path, selector_of(DATA))
    await sender.receiver.prepare()
    running = asyncio.ensure_future(sender.receiver.run())
    sender.send(1, DATA[:4000], len(DATA))
    await sender.reported.wait()
    assert sender.reports == [(200, f"1-4000/{len(DATA)}")]
    sender.send(4001, DATA[4000:5000], len(DATA))
    sender.send(5001, DATA[5000:], len(DATA), "$")
    assert await running == str(tmp_path / "data.bin")
    assert sender.reports[1:] == [(200, f"4001-{len(DATA)}/{len(DATA)}")]
    assert sender.seen_at_report == [[".sipsimple-parts"], ["data.bin"]]
    assert sender.progress == [4000, len(DATA)]


async def test_an_empty_file_is_reported_too(tmp_path: Path):
    sender = Sender(tmp_path, selector_of(b""))
    await sender.receiver.prepare()
    sender.send(1, b"", 0, "$")
    assert await sender.receiver.run() == str(tmp_path / "data.bin")
    assert sender.reports == [(200, "1-0/0")]


async def test_a_sender_that_wants_no_reports_gets_none(tmp_path: Path):
    sender = Sender(tmp_path, selector_of(DATA))
    await sender.receiver.prepare()
    sender.send(1, DATA, len(DATA), "$", **{"Success-Report": "no"})
    await sender.receiver.run()
    assert sender.reports == []


async def test_an_empty_part_is_not_reported(tmp_path: Path):
    sender = Sender(tmp_path, selector_of(DATA))
    await sender.receiver.prepare()
    running = asyncio.ensure_future(sender.receiver.run())
    sender.send(1, b"", len(DATA))
    await asyncio.to_thread(lambda: None)
    sender.send(1, DATA, len(DATA))
    sender.send(len(DATA) + 1, b"", len(DATA), "$")
    await running
    assert sender.reports == [(200, f"1-{len(DATA)}/{len(DATA)}")]


async def test_parts_in_any_order_are_put_together(tmp_path: Path):
    sender = Sender(tmp_path, selector_of(DATA))
    await sender.receiver.prepare()
    sender.send(4001, DATA[4000:], len(DATA), "$")
    sender.send(1, DATA[:4000], len(DATA))
    path = await sender.receiver.run()
    assert contents(path) == DATA
    assert sender.reports == [(200, f"4001-{len(DATA)}/{len(DATA)}"), (200, f"1-4000/{len(DATA)}")]


async def test_a_disk_that_is_slower_than_the_network_stops_reading(tmp_path: Path):
    data = os.urandom(5 * MAX_UNWRITTEN // 2)
    sender = Sender(tmp_path, selector_of(data))
    await sender.receiver.prepare()
    running = asyncio.ensure_future(sender.receiver.run())
    step = MAX_UNWRITTEN // 4
    for start in range(0, len(data), step):
        end = min(start + step, len(data))
        sender.send(start + 1, data[start:end], len(data), "$" if end == len(data) else "+")
        await sender.wants_more.wait()
    await running
    assert sender.pauses >= 2
    assert sender.wants_more.is_set()


@pytest.mark.parametrize(
    ("begin", "total", "expected"),
    [
        (4000, len(DATA) - 4000, DATA[4000:]),  # it goes on where we are
        (0, len(DATA), DATA),  # it knows nothing of ranges
        (4000, None, DATA[4000:]),
    ],
)
async def test_an_interrupted_transfer_is_continued(tmp_path: Path, begin: int, total: int | None, expected: bytes):
    first = Sender(tmp_path, selector_of(DATA))
    await first.receiver.prepare()
    first.send(1, DATA[:4000], len(DATA))
    first.receiver.close()
    assert await first.receiver.run() is None
    again = Sender(tmp_path, selector_of(DATA))
    await again.receiver.prepare()
    assert again.receiver.offset == 4000
    again.send(1, expected, total, "$")
    path = await again.receiver.run()
    assert contents(path) == DATA


@pytest.mark.parametrize(
    ("start", "data", "total"),
    [(1, DATA + b"?", None), (1, DATA, len(DATA) + 1), (len(DATA), b"??", None), (2**60, b"x", None)],
)
async def test_more_than_announced_is_refused_at_once(tmp_path: Path, start: int, data: bytes, total: int | None):
    sender = Sender(tmp_path, selector_of(DATA))
    await sender.receiver.prepare()
    sender.send(start, data, total)
    with pytest.raises(FileMismatch, match="more than"):
        await sender.receiver.run()
    assert sender.refused == ["m"]
    assert sender.reports[-1][0] == 413


async def test_a_wrong_hash_is_reported_as_failure(tmp_path: Path):
    sender = Sender(tmp_path, selector_of(DATA))
    await sender.receiver.prepare()
    sender.send(1, DATA[::-1], len(DATA), "$")
    with pytest.raises(FileMismatch, match="hash"):
        await sender.receiver.run()
    assert [code for code, _ in sender.reports] == [413]
    assert os.listdir(tmp_path) == []


async def test_a_disk_that_is_full_stops_the_sender_and_keeps_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_at = incoming_file._write_at

    def limited(descriptor: int, data: memoryview, offset: int) -> int:
        if offset >= 4000:
            raise OSError(28, "No space left on device")
        return write_at(descriptor, data[: 4000 - offset], offset)

    monkeypatch.setattr(incoming_file, "_write_at", limited)
    sender = Sender(tmp_path, selector_of(DATA))
    await sender.receiver.prepare()
    sender.send(1, DATA[:4000], len(DATA))
    sender.send(4001, DATA[4000:], len(DATA), "$")
    with pytest.raises(FileUnwritable, match="No space left on device"):
        await sender.receiver.run()
    assert 413 in [code for code, _ in sender.reports]
    assert sender.wants_more.is_set()
    again = IncomingFile.open(tmp_path, selector_of(DATA))
    assert again.offset == 4000
    again.close()


async def test_what_was_received_before_a_failure_is_kept(tmp_path: Path):
    sender = Sender(tmp_path, selector_of(DATA))
    await sender.receiver.prepare()
    sender.send(1, DATA[:4000], len(DATA))
    sender.receiver.fail(FileMismatch("the sender has given it up"))
    sender.send(4001, DATA[4000:], len(DATA), "$")
    with pytest.raises(FileMismatch, match="given it up"):
        await sender.receiver.run()
    again = Sender(tmp_path, selector_of(DATA))
    await again.receiver.prepare()
    assert again.receiver.offset == 4000
    again.receiver.close()
    await again.receiver.run()


async def test_a_transfer_that_never_begins_leaves_nothing(tmp_path: Path):
    sender = Sender(tmp_path, selector_of(DATA))
    sender.receiver.close()
    assert await sender.receiver.run() is None
    sender = Sender(tmp_path, selector_of(DATA))
    await sender.receiver.prepare()
    sender.receiver.close()
    assert await sender.receiver.run() is None
    assert os.listdir(tmp_path) == []


async def test_giving_up_while_the_file_is_opened_leaves_nothing(tmp_path: Path):
    sender = Sender(tmp_path, selector_of(DATA))
    opening = asyncio.ensure_future(sender.receiver.prepare())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    sender.receiver.close()
    await sender.receiver.run()
    assert os.listdir(tmp_path) == []


@settings(max_examples=25, deadline=None)
@given(data=st.data())
async def test_wherever_transfers_are_cut_the_file_is_right_in_the_end(tmp_path_factory: Any, data: Any):
    directory = tmp_path_factory.mktemp("cut")
    content = data.draw(st.binary(min_size=1, max_size=300))
    size, there = len(content), 0
    for knows_ranges in (*data.draw(st.lists(st.booleans(), max_size=4)), True):
        sender = Sender(directory, selector_of(content))
        await sender.receiver.prepare()
        assert sender.receiver.offset == min(there, size - 1)
        begin = sender.receiver.offset if knows_ranges else 0
        message = content[begin:]
        there = begin
        while there < size:
            step = data.draw(st.integers(1, size))
            piece, start = content[there : there + step], there - begin + 1
            there += len(piece)
            sender.send(start, piece, len(message), "$" if there == size else "+")
            if there < size and data.draw(st.booleans()):
                break
        sender.receiver.close()
        path = await sender.receiver.run()
        if there == size:
            assert contents(path) == content
            return
        assert path is None
    assert os.listdir(directory) == [PARTS]
