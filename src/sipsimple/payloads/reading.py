"""What the XML documents have in common: values of elements and attributes, read leniently and written strictly.

A value that makes no sense, or is longer than `MAX_TEXT`, counts as missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

__all__ = [
    "MAX_ITEMS",
    "MAX_TEXT",
    "XML_LANG",
    "attribute",
    "boolean",
    "child_text",
    "children",
    "integer",
    "local_name",
    "moment",
    "text_of",
    "write_moment",
]

MAX_TEXT: Final = 4096
"""Characters of one value."""
MAX_ITEMS: Final = 1000
"""Elements of one kind in one parent; what comes after them is passed over."""

XML_LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"


def text_of(element: Any) -> str | None:
    """The text of an element without blanks around it; None for none."""
    text = None if element is None else element.text
    return str(text).strip() or None if text is not None and len(text) <= MAX_TEXT else None


def child_text(element: Any, tag: str) -> str | None:
    """The text of the first child of this tag."""
    return text_of(element.find(tag))


def children(element: Any, tag: str) -> Iterator[Any]:
    """The children of this tag, at most `MAX_ITEMS`."""
    for number, child in enumerate(element.iterchildren(tag)):
        if number == MAX_ITEMS:
            return
        yield child


def attribute(element: Any, name: str) -> str | None:
    """An attribute; None when it is missing, empty or too long."""
    value = element.get(name)
    return str(value).strip() or None if value is not None and len(value) <= MAX_TEXT else None


def integer(text: str | None, least: int = 0, most: int = 2**32 - 1) -> int | None:
    """A decimal number within the bounds; else None."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 20:
        return None
    number = int(text)
    return number if least <= number <= most else None


def boolean(text: str | None) -> bool | None:
    """An `xs:boolean`; else None."""
    return {"true": True, "1": True, "false": False, "0": False}.get(text or "")


def moment(text: str | None) -> datetime | None:
    """A time of RFC 3339, aware of its zone; one without a zone is taken for UTC."""
    if text is None:
        return None
    try:
        value = datetime.fromisoformat(text)
        return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    except ValueError:
        return None


def write_moment(value: datetime) -> str:
    """The time in UTC; one without a zone is local time."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def local_name(element: Any) -> str:
    """The name of an element without its namespace."""
    return str(element.tag).rpartition("}")[2]
