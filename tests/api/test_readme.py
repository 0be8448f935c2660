"""The examples of the README run as they stand there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.support.programs import Program

README = Path(__file__).parents[2] / "README.md"
ADDRESS = "127.0.0.1:5060"
MAX_LINES = 35


def example(name: str) -> str:
    (code,) = re.findall(rf"<!-- example: {name} -->\n```python\n(.*?)```", README.read_text(), re.DOTALL)
    return code


@pytest.mark.parametrize("name", ["asyncio", "notifications"])
async def test_an_example_of_the_readme_calls_the_voice_server(tmp_path: Path, name: str) -> None:
    code = example(name)
    assert ADDRESS in code
    assert len([line for line in code.splitlines() if line and not line.startswith(("from", "import"))]) <= MAX_LINES
    home = {"HOME": str(tmp_path), "SIPSIMPLE_CONFIG": str(tmp_path / "config")}
    command = (sys.executable, "-m", "sipsimple.cli")
    options = ("answer", "--bind", "127.0.0.1", "--udp-port", "0", "--no-tcp")
    async with Program(*command, *options, environment=home) as server:
        port = (await server.line(r"ready udp:127\.0\.0\.1:(\d+)", timeout=20))[1]
        script = tmp_path / "example.py"
        script.write_text(code.replace(ADDRESS, f"127.0.0.1:{port}"))
        async with Program(sys.executable, "-W", "error", script, cwd=tmp_path, environment=home) as program:
            assert await program.ended(30) == 0, program.output
        assert await program.line("talking with opus")
        assert not any("Traceback" in line for line in program.lines), program.output
        assert await server.stop() == 0, server.output
        await server.line("answered 1 calls, refused 0, 0 failed")
