"""The text form of a configuration: groups by indentation, `name = value` lines, lists with commas.

    Accounts:
        alice@example.com:
            display_name = "Alice Liddell"
            sip:
                transport_list = udp,      # a list of one

Reading and writing are inverse to each other for dictionaries of text, lists of text, None and dictionaries. A value
that is missing is None, `""` is the empty text, a lone comma is the empty list. Files are left to
`sipsimple.configuration.backend.file`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sipsimple.configuration.backend import ConfigurationBackendError

INDENT: Final = " " * 4
MAX_DEPTH: Final = 64

_QUOTES: Final = "'\""
_ESCAPES: Final = {"n": "\n", "r": "\r"}
_SPECIAL: Final = frozenset(",\"'=:#\\")
_MARKS: Final = frozenset(",=:")


class FileParserError(ConfigurationBackendError):
    """A configuration file is not understood. The text names the line, and never quotes it: it may hold a password."""

    def __init__(self, message: str, line: int, filename: str | None = None) -> None:
        where = f"line {line}" if filename is None else f"{filename}, line {line}"
        super().__init__(f"{where}: {message}")
        self.message = message
        self.line = line
        self.filename = filename


class FileBuilderError(ConfigurationBackendError):
    """A configuration cannot be written to its file."""


class _Piece:
    """A stretch of a line: its characters, of which only the unquoted ones at the ends may be trimmed."""

    def __init__(self) -> None:
        self._characters: list[str] = []
        self._literal: list[bool] = []
        self._quoted = False

    def add(self, character: str, *, literal: bool) -> None:
        self._characters.append(character)
        self._literal.append(literal)

    def add_quotes(self) -> None:
        self._quoted = True

    @property
    def missing(self) -> bool:
        return not self._quoted and not self.text()

    def text(self) -> str:
        start, end = 0, len(self._characters)
        while start < end and self._is_blank(start):
            start += 1
        while end > start and self._is_blank(end - 1):
            end -= 1
        return "".join(self._characters[start:end])

    def _is_blank(self, index: int) -> bool:
        return not self._literal[index] and self._characters[index].isspace()


def parse(text: str) -> dict[str, Any]:
    """Read a whole configuration; raises FileParserError naming the line that is wrong."""
    root: dict[str, Any] = {}
    groups: list[tuple[int, dict[str, Any]]] = [(-1, root)]
    # Not splitlines(), which also splits at form feeds and the like: they are white space here.
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        pieces = list(_split(line, number))
        if len(pieces) == 1 and pieces[0][0].missing:
            continue
        name, value = _statement(pieces, number)
        indentation = len(line) - len(line.lstrip())
        while groups[-1][0] >= indentation:
            groups.pop()
        groups[-1][1][name] = value
        if isinstance(value, dict):
            if len(groups) > MAX_DEPTH:
                raise FileParserError(f"groups are nested more than {MAX_DEPTH} deep", number)
            groups.append((indentation, value))
    return root


def _statement(pieces: list[tuple[_Piece, str]], line: int) -> tuple[str, dict[str, Any] | str | list[str] | None]:
    """The name and the value (a new dictionary for a group) of one line that is not empty."""
    name, mark = pieces[0]
    if mark == ",":
        raise FileParserError("a name holds a comma; put the name in quotes", line)
    if not mark:
        raise FileParserError("neither `name:` nor `name = value`", line)
    if name.missing:
        raise FileParserError(f"no name before the {mark!r}", line)
    if mark == ":":
        if len(pieces) > 2 or not pieces[1][0].missing:
            raise FileParserError(
                "something follows the colon of a group; put a name that holds a colon in quotes", line
            )
        return name.text(), {}
    return name.text(), _value(pieces[1:], line)


def _value(pieces: list[tuple[_Piece, str]], line: int) -> str | list[str] | None:
    first = pieces[0][0]
    if len(pieces) == 1:
        return None if first.missing else first.text()
    items = [piece for piece, _ in pieces]
    if items[-1].missing:
        items.pop()  # the comma at the end of a list is not followed by an item
    if len(items) == 1 and first.missing:
        return []
    if any(item.missing for item in items):
        raise FileParserError('a list item is missing; write "" for an empty one', line)
    return [item.text() for item in items]


def _split(line: str, number: int) -> Iterator[tuple[_Piece, str]]:
    """Split a line at the marks outside quotes: the first `:` or `=`, then the commas after an `=`.

    Every piece comes with the mark that ended it; the last one with an empty text.
    """
    piece = _Piece()
    marks = _MARKS
    quote = ""
    characters = iter(line)
    for character in characters:
        if character == "\\":
            escaped = next(characters, None)
            if escaped is None:
                raise FileParserError("a backslash at the end of the line; write \\\\ for a backslash", number)
            piece.add(_ESCAPES.get(escaped, escaped), literal=True)
        elif quote:
            if character == quote:
                quote = ""
            else:
                piece.add(character, literal=True)
        elif character in _QUOTES:
            quote = character
            piece.add_quotes()
        elif character == "#":
            break
        elif character in marks:
            yield piece, character
            piece = _Piece()
            marks = frozenset(",")
        else:
            piece.add(character, literal=False)
    if quote:
        raise FileParserError(f"the quote {quote} is not closed", number)
    yield piece, ""


def build(data: Mapping[str, Any]) -> str:
    """Write a whole configuration; raises FileBuilderError for a value that has no text form."""
    lines = list(_lines(data, 0))
    return "".join(f"{line}\n" for line in lines)


def _lines(data: Mapping[str, Any], depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise FileBuilderError(f"groups are nested more than {MAX_DEPTH} deep")
    for name in data:
        if not isinstance(name, str):
            raise FileBuilderError(f"the name {name!r} is not text")
    indent = INDENT * depth
    for name in sorted(name for name, value in data.items() if not isinstance(value, Mapping)):
        yield f"{indent}{_quoted(name)} = {_built_value(name, data[name])}".rstrip(" ")
    groups = sorted(name for name, value in data.items() if isinstance(value, Mapping))
    for name in groups:
        yield f"{indent}{_quoted(name)}:"
        last = f"{indent}{name}"
        for last in _lines(data[name], depth + 1):
            yield last
        # A group that ends with a group has its empty line already.
        if last:
            yield ""


def _built_value(name: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(map(_quoted, value)) + ("," if len(value) < 2 else "")
    raise FileBuilderError(f"the value of {name!r} is neither text, a list of text, None nor a dictionary")


def _quoted(text: str) -> str:
    if text and text.isprintable() and not any(c in _SPECIAL or c.isspace() for c in text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'
