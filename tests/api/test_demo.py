"""The demonstration itself: two processes register, call each other, and the recording is what was played."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from sipsimple.cli.demo.desktop import desktop, png
from sipsimple.cli.demo.together import REPLY
from sipsimple.cli.demo.verdict import MIN_CORRELATION, compare_files
from tests.api.test_cli import SPEECH
from tests.support.programs import Program

COMMAND = (sys.executable, "-m", "sipsimple.cli", "demo")
LIMIT = 30.0


# The demonstration may call twice, which on a busy machine takes longer than most tests.
pytestmark = pytest.mark.timeout(150)


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who has nothing yet."""
    empty = tmp_path / "home"
    empty.mkdir()
    return {"HOME": str(empty), "XDG_CONFIG_HOME": str(empty / ".config")}


async def test_the_recording_is_what_was_played(tmp_path, home, nothing_left):
    output = tmp_path / "out"
    async with Program(*COMMAND, "--output", output, environment=home) as demo:
        assert await demo.ended(2 * LIMIT) == 0, demo.output
    verdict = compare_files(SPEECH, output / "recording.wav")
    assert verdict.correlation >= MIN_CORRELATION
    assert verdict.passed
    shown = "\n".join(demo.lines)
    for label in (
        "REGISTER",
        "401 Unauthorized",
        "INVITE (digest)",
        "180 Ringing",
        "audio, RTP, PCMU",
        "message, MSRP over TLS",
        "file, MSRP over TLS",
        "desktop, RFB in MSRP over TLS",
        "BYE",
        "PASSED",
    ):
        assert label in shown
    page = (output / "report.html").read_text("utf-8")
    for text in (
        "Bob heard what Alice played",
        "SIPSessionDidStart",
        "SIPAccountRegistrationDidSucceed",
        "Record-Route",
    ):
        assert text in page
    assert (output / "received" / SPEECH.name).read_bytes() == SPEECH.read_bytes()
    assert (output / "desktop.png").read_bytes() == png(desktop())
    assert "the same hash at both ends" in page
    assert REPLY in page
    assert os.listdir(home["HOME"]) == []


async def test_disturbed_audio_fails_the_verdict(tmp_path, home):
    output = tmp_path / "out"
    async with Program(*COMMAND, "--output", output, "--disturb", environment=home) as demo:
        assert await demo.ended(2 * LIMIT) == 1, demo.output
    assert any("FAILED" in line for line in demo.lines)
    assert "Bob did not hear what Alice played" in (output / "report.html").read_text("utf-8")


async def test_ctrl_c_leaves_nobody_behind(tmp_path, home, nothing_left):
    async with Program(*COMMAND, "--output", tmp_path / "out", environment=home) as demo:
        await demo.line("audio, RTP", timeout=LIMIT)
        demo.send_signal(signal.SIGINT)
        assert await demo.ended(LIMIT) == 130, demo.output
    assert not any("Traceback" in line for line in demo.lines)
