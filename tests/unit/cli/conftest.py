"""What the tests of the command share: a runner, and a configuration file of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sipsimple.cli.app import app
from sipsimple.cli.output import console, error_console


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config"


@pytest.fixture
def sipsimple(config: Path) -> Callable[..., object]:
    """Run the command with the configuration file of the test; the result has `exit_code`, `stdout` and `stderr`."""
    runner = CliRunner()

    def run(*arguments: str, input: str | None = None) -> object:
        # The consoles keep the streams that they were made with.
        console.cache_clear()
        error_console.cache_clear()
        try:
            return runner.invoke(app, ["--config", str(config), *arguments], input=input)
        finally:
            console.cache_clear()
            error_console.cache_clear()

    return run
