"""The process that runs the media engine: `python -m sipsimple.media.child [audio backend]`.

Commands come by the standard input, events go by the standard output. The process ends when its input does, which is
also what happens when its parent dies: the streams say goodbye and the recordings are completed.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from contextlib import suppress
from io import BufferedReader, FileIO
from typing import Final

from .pipe import BrokenMessage, packed, read_message, waiting, write
from .runner import Runner

FLUSH_TIMEOUT: Final = 2.0
"""Seconds for the last events to be read by the parent."""

NICENESS: Final = -11
"""What other programs for sound ask for, too: a late tick is heard, late signalling is not."""

RARE_COLLECTIONS: Final = (20_000, 10, 50)
"""How rarely the garbage collector looks for cycles: ticks and streams make none, and a look can make a tick late."""


def main() -> None:
    """Run the engine until the standard input ends."""
    # Ctrl-C in a terminal reaches the whole group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The end of the process closes these, because their threads may be in them until then.
    commands = BufferedReader(FileIO(os.dup(0), "rb", closefd=False))
    events = FileIO(os.dup(1), "wb", closefd=False)
    # Whatever a library prints must not get between the events.
    os.dup2(2, 1)
    _raise_file_limit()
    _raise_priority()
    gc.set_threshold(*RARE_COLLECTIONS)
    runner = Runner(audio_backend=sys.argv[1] if len(sys.argv) > 1 else None)
    writer = threading.Thread(target=_tell, args=(runner, events), name="media-pipe", daemon=True)
    threading.Thread(target=_obey, args=(runner, commands), name="media-commands", daemon=True).start()
    writer.start()
    runner.run()
    writer.join(FLUSH_TIMEOUT)


def _obey(runner: Runner, pipe: BufferedReader) -> None:
    try:
        while True:
            runner.put(read_message(pipe))
    except (EOFError, OSError):
        runner.stop()
    except BrokenMessage as error:
        print(f"the media engine ends: {error}", file=sys.stderr)
        runner.stop()


def _tell(runner: Runner, pipe: FileIO) -> None:
    """Write the events; where nobody reads them any more, they are dropped until the end."""
    # The input ends too when the parent is gone, and that ends the engine.
    with suppress(OSError):
        while (event := runner.outbox.get()) is not None:
            events = waiting(runner.outbox, event)
            write(pipe, b"".join([packed(event) for event in events if event is not None]))
            if events[-1] is None:
                return
        return
    while runner.outbox.get() is not None:
        pass


def _raise_file_limit() -> None:
    """Allow as many open files as the system lets us have: a stream has two sockets."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _raise_priority() -> None:
    """Run before what else wants the processor, where the system lets us."""
    with suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)


if __name__ == "__main__":
    main()
