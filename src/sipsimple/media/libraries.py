"""The shared libraries behind the codecs: where they are, and which codecs can be offered because of that.

Opus comes with the wheel of `av`, beside the libraries of FFmpeg. It is opened where it lies, without importing `av`,
which takes longer than a call has time. Speex and GSM are libraries of the system; G.722 is coded by `av` itself.
Nothing here needs numpy, so that whoever only writes an offer does not load it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from ctypes.util import find_library
from functools import cache
from pathlib import Path
from typing import Final

from .stream import KNOWN_CODECS

_BUNDLES: Final = ("../av.libs", ".dylibs", "../.dylibs", ".")
"""Where auditwheel, delvewheel and delocate put the libraries of a wheel, seen from its package."""
_SYSTEM_NAMES: Final = {
    "opus": {"linux": "libopus.so.0", "darwin": "libopus.0.dylib", "win32": "libopus-0.dll"},
    "speex": {"linux": "libspeex.so.1", "darwin": "libspeex.1.dylib", "win32": "libspeex-1.dll"},
    "gsm": {"linux": "libgsm.so.1", "darwin": "libgsm.1.dylib", "win32": "libgsm.dll"},
}
_SUFFIXES: Final = (".so", ".dylib", ".dll")


@cache
def library(name: str) -> ctypes.CDLL | None:
    """Open `opus`, `speex` or `gsm`: the copy in the wheel of `av`, else the system's; None when there is none."""
    for path in [*_bundled(name), _SYSTEM_NAMES[name].get(sys.platform)]:
        if path is not None and (opened := _open(path)) is not None:
            return opened
    # On Linux this would ask compilers and linkers, in processes of their own, about what was just looked for.
    found = None if sys.platform == "linux" else find_library(name)
    return _open(found) if found else None


def _open(path: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(path)
    except OSError:
        return None


def _bundled(name: str) -> list[str]:
    """Find the library among those of the wheel."""
    package = _av_package()
    if package is None:
        return []
    files = (file for folder in _BUNDLES for file in (package / folder).glob(f"*{name}*"))
    return [str(file) for file in files if any(suffix in file.name for suffix in _SUFFIXES)]


def _av_package() -> Path | None:
    """Locate the package `av` without importing it."""
    spec = importlib.util.find_spec("av")
    return Path(spec.origin).parent if spec is not None and spec.origin else None


@cache
def why_missing(codec: str) -> str | None:
    """Say why the codec cannot be offered here; None when it can."""
    match codec.lower():
        case "pcmu" | "pcma":
            return None
        case "g722":
            return None if _av_package() else "the package av is not installed: pip install av"
        case "opus":
            return None if library("opus") else "libopus was found neither with the package av nor in the system"
        case "speex" | "gsm" as name:
            return None if library(name) else f"lib{name} is not installed"
        case "ilbc":
            return "no library that is at hand encodes it"
        case _:
            return f"only {', '.join(KNOWN_CODECS)} are known here"


def available_codecs() -> list[str]:
    """Name the codecs that work here, in the order of preference."""
    return [name for name in KNOWN_CODECS if why_missing(name) is None]
