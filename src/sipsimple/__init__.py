"""A SIP user-agent SDK: audio, chat, files and desktop sharing in one session, by notifications or by `await`."""

from typing import Final

__version__: Final = "0.1.0"
