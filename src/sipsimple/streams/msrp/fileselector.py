"""Which file is meant: its name, type, size and hashes, and the SDP attribute that says so (RFC 5547 6).

A selector of a file that is sent also holds the open file. One that came from a stranger is text to be careful with:
`name` is as it came, and `safe_name` what may be the name of a file of ours.
"""

from __future__ import annotations

import mimetypes
import os
import re
import stat
from typing import Any, BinaryIO, Final
from urllib.parse import unquote

from sipsimple.streams.msrp.filehash import BLOCK_SIZE, Hasher, parse_hash
from sipsimple.streams.msrp.filename import safe_name

__all__ = ["MAX_FILE_SIZE", "MAX_SELECTOR_LENGTH", "FileSelector"]

MAX_SELECTOR_LENGTH: Final = 8192
"""Characters of a selector; beyond it is no description of a file."""
MAX_FILE_SIZE: Final = 2**63 - 1

DEFAULT_TYPE: Final = "application/octet-stream"

# A part begins at the beginning or after a blank; what it holds in quotes, blanks included, belongs to it.
_PART: Final = re.compile(r'(?<!\S)([a-z-]{1,32}):((?:[^\s"]|"[^"]*")*)(?!\S)')
_SIZE: Final = re.compile(r"[0-9]{1,19}")
_TYPE: Final = re.compile(r'(?:[!#-~]|"[ !#-~]*")+')
_TYPE_BLANKS: Final = re.compile(r'("[^"]*")|\s*;\s*')  # an attribute of SDP has no room for them
_QUOTED_BYTES: Final = re.compile(rb'[\x00-\x1f"%\x7f]')


class FileSelector:
    """A description of a file (RFC 5547 6); what is None says nothing.

    `name` is the base name, `size` counts bytes, `hash` is the SHA-1 as `sha-1:72:24:5F:...`; `sha1` and a leading
    `hash:` are understood. `sha256` is the same for SHA-256. `fd` is the open binary file to send; it is read by
    position, and closing it is left to whoever opened it. Raises ValueError for what is no size, type or hash.
    """

    def __init__(
        self,
        name: str | None = None,
        type: str | None = None,
        size: int | None = None,
        hash: str | None = None,
        fd: BinaryIO | Any = None,
        *,
        sha256: str | None = None,
    ) -> None:
        self.name = name
        self.type = type
        self.size = size
        self.hash = hash
        self.sha256 = sha256
        self.fd = fd

    @classmethod
    def parse(cls, string: str) -> FileSelector:
        """Read the value of a `file-selector` attribute. Parts that are unknown, broken or repeated are ignored.

        Raises ValueError when it has more than 8192 characters.
        """
        if len(string) > MAX_SELECTOR_LENGTH:
            raise ValueError(f"a file selector of {len(string)} characters; at most {MAX_SELECTOR_LENGTH} are read")
        selector = cls()
        for kind, value in _PART.findall(string):
            selector._take(kind, value)
        return selector

    def _take(self, kind: str, value: str) -> None:
        """Take one part, unless there is one of its kind already."""
        try:
            if kind == "name" and self.name is None and value.startswith('"') and value.count('"') == 2:
                self.name = unquote(value[1:-1])
            elif kind == "type" and self.type is None:
                self.type = value
            elif kind == "size" and self.size is None and _SIZE.fullmatch(value):
                self.size = int(value)
            elif kind == "hash":
                algorithm, text = parse_hash(value)
                if algorithm == "sha-256":
                    self.sha256 = self.sha256 or text
                else:
                    self.hash = self.hash or text
        except ValueError:
            return

    @classmethod
    def for_file(
        cls, path: str | os.PathLike[str], content_type: str | None = None, compute_hash: bool = True
    ) -> FileSelector:
        """Describe the file at `path` and open it. Without `content_type` the extension decides.

        With `compute_hash` the file is read to its end, which blocks; else a stream that sends it does so in a thread.
        Raises OSError when there is no such file or it is no regular one.
        """
        path = os.fspath(path)
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError(f"{path} is no regular file")  # to open a pipe or a device may block
        file = open(path, "rb")  # noqa: SIM115  # the selector keeps it
        try:
            size = os.fstat(file.fileno()).st_size
            selector = cls(os.path.basename(path), content_type or _guess_type(path), size, fd=file)
            if compute_hash:
                selector.set_hashes(_hash_file(file))
        except BaseException:
            file.close()
            raise
        return selector

    def set_hashes(self, hasher: Hasher) -> None:
        """Take over what a hasher has computed of the whole file."""
        self.hash = hasher.text("sha-1")
        self.sha256 = hasher.text("sha-256")

    @property
    def type(self) -> str | None:
        return self._type

    @type.setter
    def type(self, value: str | None) -> None:
        if value is not None:
            value = _TYPE_BLANKS.sub(lambda found: found[1] or ";", value.strip())
            if not _TYPE.fullmatch(value):
                raise ValueError(f"{value[:80]!r} is no type such as text/plain")
        self._type = value

    @property
    def size(self) -> int | None:
        return self._size

    @size.setter
    def size(self, value: int | None) -> None:
        if value is not None and not 0 <= value <= MAX_FILE_SIZE:
            raise ValueError(f"{value} is no size of a file")
        self._size = value

    @property
    def hash(self) -> str | None:
        """The SHA-1 of the file, as `sha-1:72:24:5F:...`."""
        return self._hash

    @hash.setter
    def hash(self, value: str | None) -> None:
        self._hash = _checked_hash("sha-1", value)

    @property
    def sha256(self) -> str | None:
        """The SHA-256 of the file, as `sha-256:E3:B0:...`."""
        return self._sha256

    @sha256.setter
    def sha256(self, value: str | None) -> None:
        self._sha256 = _checked_hash("sha-256", value)

    @property
    def hashes(self) -> dict[str, str]:
        """The hashes that there are, by algorithm: `sha-1`, `sha-256`."""
        known = {"sha-1": self.hash, "sha-256": self.sha256}
        return {algorithm: text for algorithm, text in known.items() if text is not None}

    @property
    def safe_name(self) -> str:
        """The name made fit for a file in a directory of ours, whatever the remote called it."""
        return safe_name(self.name)

    @property
    def sdp_repr(self) -> str:
        """The value of the `file-selector` attribute."""
        parts = []
        if self.name is not None:
            parts.append(f'name:"{_quote(self.name)}"')
        if self.type is not None:
            parts.append(f"type:{self.type}")
        if self.size is not None:
            parts.append(f"size:{self.size}")
        parts += [f"hash:{text}" for text in self.hashes.values()]
        return " ".join(parts)

    def matches(self, other: FileSelector) -> bool:
        """Whether `other` is a file that this selector asks for: nothing that both say differs (RFC 5547 5)."""
        pairs = [(self.name, other.name), (self.size, other.size)]
        pairs += [(text, other.hashes.get(algorithm)) for algorithm, text in self.hashes.items()]
        return all(mine is None or theirs is None or mine == theirs for mine, theirs in pairs)

    def __repr__(self) -> str:
        return f"FileSelector({self.sdp_repr})"


def _quote(name: str) -> str:
    """A name for between quotes: what would end them or the line is percent-encoded."""
    data = name.encode(errors="replace")  # a name that is no text, of a file system, becomes one
    return _QUOTED_BYTES.sub(lambda found: b"%%%02X" % ord(found[0]), data).decode()


def _checked_hash(algorithm: str, value: str | None) -> str | None:
    if value is None:
        return None
    found, text = parse_hash(value)
    if found != algorithm:
        raise ValueError(f"{text[:40]!r}... is no {algorithm}")
    return text


def _guess_type(path: str) -> str:
    kind, encoding = mimetypes.guess_type(path)
    if encoding is not None:
        return f"application/x-{encoding}"
    return kind or DEFAULT_TYPE


def _hash_file(file: BinaryIO) -> Hasher:
    hasher = Hasher()
    while block := file.read(BLOCK_SIZE):
        hasher.update(block)
    file.seek(0)
    return hasher
