"""The report is one whole page, says what the verdict says, and lets no text from the wire become markup."""

from __future__ import annotations

import re
import wave
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from sipsimple.cli.demo.ladder import MEDIA, SERVER, Arrow, Ladder
from sipsimple.cli.demo.report import Event, Report, write_report
from sipsimple.cli.demo.verdict import compare_files, read_wave

SOURCE = Path(str(files("sipsimple") / "data" / "demo.wav"))
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>\x00\x1b[31m$version ${date}'


class Page(HTMLParser):
    """The tags and the text of a page; fails on what is not closed in order."""

    VOID = frozenset({"meta", "line", "rect", "path", "br", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def write(path: Path, samples: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def report_of(label: str = "INVITE") -> Report:
    ladder = Ladder(("alice", SERVER, "bob"), lambda: 0.0)
    ladder.add(Arrow(100.1, "alice", SERVER, label, "request", f"INVITE sip:bob SIP/2.0\r\nSubject: {label}\r\n\r\n"))
    ladder.add(Arrow(100.2, "alice", "bob", "audio", MEDIA))
    events = [
        Event(100.15, "alice", "SIPSessionNewOutgoing", {"streams": label}),
        Event(100.3, "bob", label, {label: label}),
    ]
    statistics = {"bob": {"codec": label, "packets_received": 300, "packets_lost": 1, "jitter_ms": 0.5}}
    return Report(100.0, 9.5, ladder, events, statistics, ("alice", "bob"), "PCMU")


def page_of(tmp_path: Path, report: Report, recording: Path) -> Page:
    page = tmp_path / "report.html"
    write_report(page, report, compare_files(SOURCE, recording), SOURCE, recording)
    return Page(page.read_text("utf-8"))


def test_a_good_recording_passes_on_the_page(tmp_path):
    page = page_of(tmp_path, report_of(), SOURCE)
    assert "Bob heard what Alice played" in page.text
    assert "1.0000" in page.text
    assert not [tag for tag in page.tags if tag[1].get("class") == "fault"]


def test_a_bad_recording_fails_on_the_page_and_the_fault_is_marked(tmp_path):
    samples, _ = read_wave(SOURCE)
    samples = samples.copy()
    samples[40000:50000] *= -1
    page = page_of(tmp_path, report_of(), write(tmp_path / "bad.wav", samples))
    assert "Bob did not hear what Alice played" in page.text
    assert "does not match" in page.text
    assert [tag for tag in page.tags if tag[1].get("class") == "fault"]


def test_an_empty_recording_has_a_page_too(tmp_path):
    assert "recording is empty" in page_of(tmp_path, report_of(), write(tmp_path / "none.wav", np.zeros(0))).text


def test_hostile_text_stays_text(tmp_path):
    page = page_of(tmp_path, report_of(HOSTILE), SOURCE)
    assert not [tag for tag in page.tags if tag[0] in ("script", "img", "iframe", "object")]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in page.text
    assert "$version ${date}" in page.text
    assert "\x1b" not in page.text
    assert "\x00" not in page.text


def test_the_page_needs_nothing_else(tmp_path):
    page = page_of(tmp_path, report_of(), SOURCE)
    addresses = [
        value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href", "data")
    ]
    assert addresses
    assert all(re.match(r"#m\d+$|data:", value or "") for value in addresses)
    policy = next(
        attributes["content"] for tag, attributes in page.tags if tag == "meta" and "http-equiv" in attributes
    )
    assert "default-src 'none'" in (policy or "")
    assert "url(" not in re.sub(r"url\(#", "", (tmp_path / "report.html").read_text("utf-8"))


@pytest.mark.parametrize("side", ["left", "right"])
def test_both_sides_have_their_notifications(tmp_path, side):
    page = page_of(tmp_path, report_of(), SOURCE)
    assert [tag for tag in page.tags if tag[0] == "li" and side in (tag[1].get("class") or "")]


def test_an_earlier_call_is_not_kept_secret(tmp_path):
    report = report_of()
    report.earlier.append(compare_files(SOURCE, write(tmp_path / "none.wav", np.zeros(100))))
    assert "An earlier call failed" in page_of(tmp_path, report, SOURCE).text
