"""Names for received files: nothing that a stranger calls a file leads out of its directory, hides or disguises it.

What one file system cannot hold is refused on all, so that a directory can be copied.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

__all__ = ["MAX_NAME_SIZE", "numbered", "safe_name"]

MAX_NAME_SIZE: Final = 200
"""Bytes of a name in UTF-8. File systems take 255; what is left is for ` (1)` and the like."""
MAX_EXTENSION_SIZE: Final = 16
FALLBACK: Final = "file"

_SEPARATORS: Final = re.compile(r"[/\\]")
_UNPORTABLE: Final = frozenset('<>:"|?*')
_JOINERS: Final = frozenset("\u200c\u200d")
"""Format characters that scripts and emoji need; the others are invisible, or turn the direction of a name."""
_REFUSED_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_DEVICE: Final = re.compile(r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³]) *(?:\.|$)", re.IGNORECASE)


def safe_name(name: str | None) -> str:
    """The name of a file, without any directory, that every system takes and shows as it is; `file` if none is left."""
    for part in reversed(_SEPARATORS.split(name or "")):
        text = "".join(map(_safe_character, unicodedata.normalize("NFC", part))).strip(" .")
        if text:
            break
    else:
        return FALLBACK
    if _DEVICE.match(text):
        text = f"_{text}"  # else Windows opens a device, whatever the extension is
    return _shortened(text)


def numbered(name: str, number: int) -> str:
    """The name with ` (number)` before its extension; 0 gives the name itself."""
    if not number:
        return name
    stem, extension = _split(name)
    return f"{stem} ({number}){extension}"


def _safe_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Zs":
        return " "
    refused = character in _UNPORTABLE or (category in _REFUSED_CATEGORIES and character not in _JOINERS)
    return "_" if refused else character


def _shortened(name: str) -> str:
    if len(name.encode()) <= MAX_NAME_SIZE:
        return name
    stem, extension = _split(name)
    room = MAX_NAME_SIZE - len(extension.encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip(" .") + extension


def _split(name: str) -> tuple[str, str]:
    """The name and its extension; one of more than 16 bytes is none."""
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension.encode()) >= MAX_EXTENSION_SIZE:
        return name, ""
    return stem, dot + extension
