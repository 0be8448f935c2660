"""The Common Presence and Instant Messaging format (RFC 3862): `message/cpim`, a message with its own envelope.

    From: Alice <sip:alice@example.com>         message headers, escaped UTF-8, names with prefixes of namespaces
    NS: imdn <urn:ietf:params:imdn>
    imdn.Message-ID: 34jk324j
                                                empty line
    Content-Type: text/plain; charset="utf-8"   headers of the content (MIME)
                                                empty line
    Hello                                       the content, which is bytes to this module

Lines may end with CRLF or LF. What is not understood is passed over, as RFC 3862 3.4 wants it; what has no empty line
or no Content-Type is no CPIM.
"""

from __future__ import annotations

import binascii
import quopri
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

__all__ = [
    "CORE_NAMESPACE",
    "MAX_HEADERS",
    "MAX_LINE_LENGTH",
    "CPIMDocument",
    "CPIMField",
    "CPIMNamespace",
    "CPIMParserError",
    "charset_of",
    "escape",
    "format_address",
    "parse_address",
    "unescape",
]

CORE_NAMESPACE: Final = "urn:ietf:params:cpim-headers:"
MAX_HEADERS: Final = 128
"""Lines in each of the two header blocks."""
MAX_LINE_LENGTH: Final = 16 * 1024
REMEMBERED_LINES: Final = 256
"""Header lines that are not read again: most are the same in every message of a conversation."""
REMEMBERED_BLOCKS: Final = 16
"""The same for whole blocks of content headers."""

_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+\-^_`|~]{1,128}")
_LANGUAGE: Final = re.compile(r"[A-Za-z0-9\-]{1,64}")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+\-^_`|~.]+(?: [A-Za-z0-9!#$%&'*+\-^_`|~.]+)*")
_UNWRITABLE: Final = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\\]|\A\s|\s\Z")
_UNWRITABLE_IN_STRING: Final = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\\\"]")
_ESCAPE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_ESCAPED: Final = {"b": "\b", "t": "\t", "n": "\n", "r": "\r"}
_SURROGATES: Final = re.compile("([\ud800-\udbff])([\udc00-\udfff])|[\ud800-\udfff]")
_CHARSET: Final = re.compile(r';\s*charset\s*=\s*"?([A-Za-z0-9_.:+\-]{1,64})"?\s*(?:;|\Z)', re.IGNORECASE)
_URI: Final = re.compile(r"[^\s<>\x00-\x20\x7f]{1,2048}")


class CPIMParserError(Exception):
    """What came is no CPIM message; the text says why."""


class CPIMNamespace(str):
    """The URI of a namespace of headers, and the `prefix` that stands for it; no prefix leaves it to the writer."""

    prefix: str

    def __new__(cls, value: str, prefix: str = "") -> CPIMNamespace:
        namespace = super().__new__(cls, value)
        namespace.prefix = prefix
        return namespace

    __slots__ = ("prefix",)


@dataclass(frozen=True, slots=True)
class CPIMField:
    """One message header. `value` is as on the wire, with its escapes; `namespace` None is that of RFC 3862."""

    name: str
    value: str
    namespace: CPIMNamespace | None = None
    language: str | None = None

    @property
    def text(self) -> str:
        """The value without its escapes."""
        return unescape(self.value)


@dataclass(frozen=True, slots=True)
class CPIMDocument:
    """A message with its envelope. `content_headers` are those of the content besides its type."""

    fields: tuple[CPIMField, ...]
    content_type: str
    """Media type and parameters, as on the wire."""
    content: bytes
    content_headers: tuple[tuple[str, str], ...] = field(default=())

    @classmethod
    def parse(cls, data: bytes) -> CPIMDocument:
        """Read a message; raises CPIMParserError and nothing else."""
        lines, place = _header_block(data, 0, "message headers")
        mime_lines, place = _header_block(data, place, "content headers")
        content_type, encoding, others = _content_headers(tuple(mime_lines))
        if not content_type:
            raise CPIMParserError("the content has no Content-Type")
        return cls(tuple(_fields(lines)), content_type, _decoded(data[place:], encoding), others)

    def encode(self) -> bytes:
        """The wire form; raises ValueError for names and values that have none."""
        lines = list(_written(self.fields))
        lines += ["", f"Content-Type: {_one_line(self.content_type)}"]
        lines += [f"{_checked_name(name)}: {_one_line(value)}" for name, value in self.content_headers]
        return "".join(f"{line}\r\n" for line in [*lines, ""]).encode() + self.content

    @property
    def media_type(self) -> str:
        """The type of the content without parameters, in lower case."""
        return self.content_type.partition(";")[0].strip().lower()

    @property
    def charset(self) -> str | None:
        """The character set of the content, if it says so."""
        return charset_of(self.content_type)


def charset_of(content_type: str) -> str | None:
    """The parameter `charset` of a Content-Type, in lower case; None without one."""
    match = _CHARSET.search(content_type)
    return None if match is None else match[1].lower()


def escape(text: str) -> str:
    """Write text as the value of a header (RFC 3862 2.3.2); spaces at its ends would be lost without an escape."""
    return _UNWRITABLE.sub(_as_escape, text)


def unescape(value: str) -> str:
    """Read the value of a header; an escape that is none stands for itself, lone surrogates become U+FFFD."""
    if "\\" not in value:
        return value
    text = _ESCAPE.sub(_from_escape, value)
    return _SURROGATES.sub(_from_surrogates, text)


def parse_address(value: str) -> tuple[str | None, str]:
    """Name and URI of `Name <uri>`, `"Name" <uri>`, `<uri>` or a bare URI; raises ValueError."""
    value = value.strip()
    name, uri = "", value
    if value.endswith(">"):
        name, bracket, uri = value[:-1].rpartition("<")
        if not bracket:
            raise ValueError(f"{value[:80]!r} is no address: the bracket was never opened")
    name, uri = name.strip(), uri.strip()
    if len(name) >= 2 and name.startswith('"') and name.endswith('"'):
        name = name[1:-1]
    if _URI.fullmatch(uri) is None:
        raise ValueError(f"{value[:80]!r} is no address: there is no URI in it")
    return unescape(name) or None, uri


def format_address(name: str | None, uri: str) -> str:
    """The wire form of an address, the name in quotes when it has to be; raises ValueError for what is no URI."""
    if _URI.fullmatch(uri) is None:
        raise ValueError(f"{uri[:80]!r} cannot be written as a URI")
    if not name:
        return f"<{uri}>"
    if _PLAIN_NAME.fullmatch(name):
        return f"{name} <{uri}>"
    quoted = _UNWRITABLE_IN_STRING.sub(_as_escape, name)
    return f'"{quoted}" <{uri}>'


# Reading


def _header_block(data: bytes, start: int, what: str) -> tuple[list[str], int]:
    """The lines up to the first empty one, and where the rest begins; a line that is no UTF-8 is left out."""
    lines: list[str] = []
    for _ in range(MAX_HEADERS + 1):
        end = data.find(b"\n", start, start + MAX_LINE_LENGTH)
        if end < 0:
            reason = "no empty line ends" if len(data) - start < MAX_LINE_LENGTH else "a line is too long among"
            raise CPIMParserError(f"{reason} the {what}")
        line = data[start:end].removesuffix(b"\r")
        start = end + 1
        if not line:
            return lines, start
        try:
            lines.append(line.decode())
        except UnicodeDecodeError:
            continue
    raise CPIMParserError(f"more than {MAX_HEADERS} {what}")


def _fields(lines: Iterable[str]) -> Iterator[CPIMField]:
    """The headers that make sense; prefixes are known from the NS header on that declares them (RFC 3862 3.4)."""
    prefixes: dict[str, str] = {}
    default = CORE_NAMESPACE
    for line in lines:
        prefix, entry = _read_line(line)
        if entry is None or (prefix is not None and prefix not in prefixes):
            continue
        uri = default if prefix is None else prefixes[prefix]
        if entry.name.upper() == "NS" and (prefix is None or uri == CORE_NAMESPACE):
            try:
                declared, declared_uri = parse_address(entry.value)
            except ValueError:
                continue
            if declared is None:
                default = declared_uri
            elif _NAME.fullmatch(declared):
                prefixes[declared] = declared_uri
        elif uri == CORE_NAMESPACE:
            yield entry
        else:
            yield replace(entry, namespace=CPIMNamespace(uri, prefix or ""))


@lru_cache(maxsize=REMEMBERED_LINES)
def _read_line(line: str) -> tuple[str | None, CPIMField | None]:
    """The prefix, and the header as if it were one of RFC 3862; None for what is no header."""
    full_name, colon, rest = line.partition(":")
    prefix, dot, name = full_name.rpartition(".")
    if not colon or _NAME.fullmatch(name) is None:
        return None, None
    language, value = _parameters(rest)
    return prefix if dot else None, CPIMField(name, value, None, language)


def _parameters(rest: str) -> tuple[str | None, str]:
    """The language and the value of what follows the colon: `;lang=fr Salut`, ` Hello`."""
    if not rest.startswith(";"):
        return None, rest.strip(" \t")
    parameters, _, value = rest.partition(" ")
    for parameter in parameters.split(";"):
        name, _, text = parameter.partition("=")
        if name.strip().lower() == "lang" and _LANGUAGE.fullmatch(text):
            return text, value.strip(" \t")
    return None, value.strip(" \t")


@lru_cache(maxsize=REMEMBERED_BLOCKS)
def _content_headers(lines: tuple[str, ...]) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """Type and encoding of the content, empty when it does not say, and its other headers."""
    content_type = encoding = ""
    others = []
    for name, value in _mime_headers(lines):
        match name.lower():
            case "content-type":
                content_type = content_type or value
            case "content-transfer-encoding":
                encoding = encoding or value
            case "mime-version":
                pass
            case _:
                others.append((name, value))
    return content_type, encoding, tuple(others)


def _mime_headers(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    unfolded: list[str] = []
    for line in lines:
        if line[0] in " \t" and unfolded:
            unfolded[-1] += " " + line.strip()
        else:
            unfolded.append(line)
    for line in unfolded:
        name, colon, value = line.partition(":")
        if colon and _NAME.fullmatch(name.strip()):
            yield name.strip(), value.strip()


def _decoded(content: bytes, encoding: str) -> bytes:
    if not encoding:
        return content
    match encoding.strip().lower():
        case "base64":
            try:
                return binascii.a2b_base64(content)
            except ValueError as error:
                raise CPIMParserError(f"the content is no base64: {error}") from error
        case "quoted-printable":
            return quopri.decodestring(content)
    return content


# Writing


def _written(fields: Iterable[CPIMField]) -> Iterator[str]:
    prefixes: dict[str, str] = {}
    for entry in fields:
        name = _checked_name(entry.name)
        if entry.namespace is not None:
            uri = str(entry.namespace)
            if uri not in prefixes:
                prefix = _new_prefix(entry.namespace.prefix, prefixes.values())
                prefixes[uri] = prefix
                yield f"NS: {format_address(prefix, uri)}"
            name = f"{prefixes[uri]}.{name}"
        language = ""
        if entry.language is not None:
            if _LANGUAGE.fullmatch(entry.language) is None:
                raise ValueError(f"{entry.language!r} is no language tag")
            language = f";lang={entry.language}"
        yield f"{name}:{language} {_one_line(entry.value)}"


def _new_prefix(wish: str, taken: Iterable[str]) -> str:
    known = set(taken)
    if wish and _NAME.fullmatch(wish) and wish not in known:
        return wish
    return next(prefix for number in range(1, len(known) + 2) if (prefix := f"ns{number}") not in known)


def _checked_name(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name[:80]!r} is no name of a header")
    return name


def _one_line(value: str) -> str:
    if "\r" in value or "\n" in value:
        raise ValueError(f"a line break in the value of a header: {value[:80]!r}")
    return value


def _as_escape(match: re.Match[str]) -> str:
    character = match[0]
    return f"\\{character}" if character in '\\"' else f"\\u{ord(character):04x}"


def _from_escape(match: re.Match[str]) -> str:
    if match[1] is not None:
        return chr(int(match[1], 16))
    character = match[2]
    return _ESCAPED.get(character, character if character in "\\\"'" else match[0])


def _from_surrogates(match: re.Match[str]) -> str:
    if match[1] is None:
        return "\ufffd"
    return (match[1] + match[2]).encode("utf-16", "surrogatepass").decode("utf-16")
