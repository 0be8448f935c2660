"""What is looked at before a call is made, because it is of no use to find out in the middle of it."""

from __future__ import annotations

import os
from pathlib import Path

from sipsimple.cli.output import WRONG_USE, CommandError, clean
from sipsimple.configuration.datatypes import AudioCodecList
from sipsimple.media.errors import MediaError
from sipsimple.media.libraries import available_codecs, why_missing
from sipsimple.media.wave import WaveReader


def check_codecs(names: list[str]) -> None:
    """Raise CommandError unless all codecs are known, and can be used here."""
    try:
        AudioCodecList(names)
    except ValueError as error:
        raise CommandError(f"--codec: {error}", WRONG_USE) from error
    for name in names:
        if reason := why_missing(name):
            raise CommandError(
                f"--codec: {name} cannot be used here, {reason}; there are {', '.join(available_codecs())}"
            )


def check_wave(path: Path) -> None:
    """Raise CommandError unless this is a WAV file that can be played."""
    try:
        WaveReader(str(path)).close()
    except MediaError as error:
        raise CommandError(clean(error)) from error


def check_recording(path: Path) -> None:
    """Raise CommandError unless a recording can be written there."""
    directory = path.absolute().parent
    if not directory.is_dir():
        raise CommandError(f"there is no directory {clean(directory)}: make it, or record to another place")
    if path.is_dir() or not os.access(path if path.exists() else directory, os.W_OK):
        raise CommandError(f"{clean(path)} cannot be written: record to another place")
