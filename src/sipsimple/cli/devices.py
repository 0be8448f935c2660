"""`sipsimple devices`: the sound devices of this host."""

from __future__ import annotations

from sipsimple.cli.output import CommandError, clean, console, print_json, say
from sipsimple.core import SIPCoreError
from sipsimple.core.media import MediaClient


def show_devices(json: bool) -> None:
    """Print the names that the audio settings take; the first of each list is the default of the system."""
    try:
        names = MediaClient().devices()
    except SIPCoreError as error:
        raise CommandError(f"the sound devices cannot be listed: {clean(error)}") from error
    finally:
        MediaClient().stop()
    if json:
        print_json({"inputs": list(names.inputs), "outputs": list(names.outputs)})
        return
    if not names.inputs and not names.outputs:
        say("there is no sound device here; calls play and record files all the same")
    for title, found in (("inputs", names.inputs), ("outputs", names.outputs)):
        for position, name in enumerate(found):
            console().print(f"{title[:-1]}: {clean(name)}{' (default)' if position == 0 else ''}")
