"""The `sipsimple` command.

Nothing is imported until it is needed, so that `sipsimple --help` answers at once.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command with the arguments of the process."""
    from sipsimple.cli.app import app

    app()
