"""A real desktop in a real viewer: Xvnc behind one application, a VNC client at another one, a session between them.

The desktop has one window, an `xterm` of a colour that no other window has. What the viewer types arrives in its shell.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sipsimple.core import SIPURI, Engine, ToHeader
from sipsimple.session import Session
from sipsimple.streams import DesktopSharingStream, ExternalVNCViewerHandler
from sipsimple.util import Route
from tests.support.agent import eventually, running_agent
from tests.support.msrp_agent import msrp_settings
from tests.support.ports import free_port
from tests.support.programs import Program, need, until

asyncvnc = pytest.importorskip("asyncvnc", reason="the VNC client is not installed: pip install --group dev")

SIZE = (320, 240)
COLOUR = "#d02090"
TEXT = "greetings from afar"
SEEN_LIMIT = 30.0


@asynccontextmanager
async def running_desktop(tmp_path: Path) -> AsyncIterator[int]:
    """A display of `SIZE` without anything on it but the window; the TCP port of its VNC server."""
    server, window = need("Xvnc", "tigervnc-standalone-server"), need("xterm", "xterm")
    port = free_port()
    width, height = SIZE
    # Who runs the tests may have a display of number 0, 1 or 2; the server looks for a free one and tells it.
    command = [server, "-displayfd", "1", "-rfbport", str(port), "-localhost", "-SecurityTypes", "None"]
    async with Program(*command, "-geometry", f"{width}x{height}", "-depth", "24") as xvnc:
        display = (await xvnc.line(r"^(\d+)$", timeout=20)).group(1)
        script = f'read line; echo "$line" >{tmp_path / "typed"}; sleep 60'
        look = ["-geometry", "200x100+0+0", "-bg", COLOUR, "-fg", "white", "+sb"]
        async with Program(window, *look, "-e", "sh", "-c", script, environment={"DISPLAY": f":{display}"}):
            yield port


def is_drawn(picture: Any) -> bool:
    """Whether nearly all of the picture is of the colour of the window."""
    red, green, blue = (int(COLOUR[at : at + 2], 16) for at in (1, 3, 5))
    alike = (picture[..., 0] == red) & (picture[..., 1] == green) & (picture[..., 2] == blue)
    return bool(alike.mean() > 0.9)


@pytest.mark.spec(213, 216, 223, 225, 226, 227, 228, 230)
@pytest.mark.parametrize(("transport", "who_calls"), [("tls", "viewer"), ("tcp", "server")])
async def test_a_window_is_seen_and_typed_into_over_a_session(
    nothing_left: None, tmp_path: Path, transport: str, who_calls: str
) -> None:
    handler = ExternalVNCViewerHandler(connect_timeout=10)
    async with running_agent(msrp_settings(transport)) as agent, running_desktop(tmp_path) as desktop:
        sharing = [sys.executable, "-m", "tests.interop.desktop_agent", str(desktop), transport]
        if who_calls == "server":
            sharing.append(f"sip:alice@127.0.0.1:{Engine().udp_port}")
        async with Program(*sharing, typing=True) as other:
            place = (await other.line(r"ready at (\S+)", timeout=20)).group(1)
            if who_calls == "server":
                session = await agent.incoming()
                (stream,) = session.proposed_streams
                stream.handler = handler
                session.accept([stream])
            else:
                target = SIPURI.parse(place)
                stream = DesktopSharingStream(agent.account, handler)
                session = Session(agent.account)
                session.connect(ToHeader(target), [Route("127.0.0.1", target.port)], [stream])
            await agent.record.until(session, "DidStart")
            async with asyncio.timeout(SEEN_LIMIT), asyncvnc.connect(*handler.address) as viewer:
                assert (viewer.video.width, viewer.video.height) == SIZE
                while not is_drawn(await viewer.screenshot()):
                    assert agent.record.short(session)[-1] == "DidStart", other.output
                # Without a window manager the keys go where the mouse is.
                viewer.mouse.move(100, 100)
                viewer.keyboard.write(TEXT)
                viewer.keyboard.press("Return")
                await viewer.drain()
                typed = tmp_path / "typed"
                await until(lambda: typed.exists() and typed.read_text() == f"{TEXT}\n", "the text")
                session.end()
                await agent.record.until(session, "DidEnd")
            await other.line("SIPSessionDidEnd")
            await eventually(lambda: "MediaStreamDidEnd" in agent.record.names(stream), "the end of the stream")
            assert "MediaStreamDidFail" not in agent.record.names(stream)
            assert not any("Fail" in line for line in other.lines), other.output
            other.end_input()
            assert await other.ended(10) == 0
