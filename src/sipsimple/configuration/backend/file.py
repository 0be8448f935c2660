"""The configuration in a text file that people can read and edit.

The file is replaced as a whole and atomically: a crash, a full disk or a pulled plug leaves either the old file or the
new one. It holds passwords, so only its owner may read it. The text form is that of
`sipsimple.configuration.backend.syntax`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import Any

from zope.interface import implementer

from sipsimple.configuration.backend import IConfigurationBackend
from sipsimple.configuration.backend.syntax import FileBuilderError, FileParserError, build, parse

__all__ = ["FileBackend", "FileBuilderError", "FileParserError"]


@implementer(IConfigurationBackend)
class FileBackend:
    """Keeps the configuration in the file `filename`; its directory is created at the first save."""

    def __init__(self, filename: str | os.PathLike[str], encoding: str = "utf-8") -> None:
        self.filename = os.fspath(filename)
        self.encoding = encoding
        self._damage: FileParserError | None = None

    def load(self) -> dict[str, Any]:
        """Read the file; a missing file is an empty configuration.

        Raises FileParserError when it is not understood (it is left as it is, see `save`), and OSError.
        """
        try:
            with open(self.filename, "rb") as file:
                content = file.read()
        except FileNotFoundError:
            self._damage = None
            return {}
        try:
            data = parse(self._decode(content))
        except FileParserError as error:
            self._damage = FileParserError(error.message, error.line, self.filename)
            raise self._damage from None
        self._damage = None
        return data

    def save(self, data: dict[str, Any]) -> None:
        """Replace the file; raises FileBuilderError, and the old file is whole then.

        A file that could not be understood is never replaced: it may hold what nobody has elsewhere.
        """
        if self._damage is not None:
            raise FileBuilderError(
                f"the configuration file was not understood when it was loaded ({self._damage}); "
                "repair it or move it away, then load it again"
            )
        try:
            content = build(data).replace("\n", os.linesep).encode(self.encoding)
        except UnicodeEncodeError as error:
            raise FileBuilderError(f"the configuration holds text that {self.encoding} cannot express") from error
        try:
            self._replace(content)
        except OSError as error:
            raise FileBuilderError(f"cannot write the configuration file {self.filename}: {error}") from error

    def _decode(self, content: bytes) -> str:
        try:
            return content.decode(self.encoding).removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise FileParserError(f"this is not {self.encoding} text", line) from None

    def _replace(self, content: bytes) -> None:
        # Through a symbolic link, its target is replaced and the link stays.
        target = os.path.realpath(self.filename)
        directory = os.path.dirname(target)
        os.makedirs(directory, mode=0o700, exist_ok=True)
        temporary = f"{target}.{os.getpid()}.{secrets.token_hex(4)}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _sync_directory(directory)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.filename!r})"


def _sync_directory(directory: str) -> None:
    """Make the new name of a file survive a power failure, on systems that can."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        # Some network file systems refuse this; the file itself is written.
        return
    finally:
        os.close(descriptor)
