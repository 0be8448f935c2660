"""The desktop of the demonstration arrives pixel by pixel, however its octets are cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.cli.demo.desktop import HEIGHT, WIDTH, NotRFB, Server, Viewer, desktop, png


def exchange(cut):
    server, viewer = Server(desktop()), Viewer()
    to_viewer, to_server = server.greeting(), b""
    while to_viewer or to_server:
        part, to_viewer = to_viewer[:cut], to_viewer[cut:]
        to_server += viewer.feed(part)
        part, to_server = to_server[:cut], to_server[cut:]
        to_viewer += server.feed(part)
    return viewer.picture


@pytest.mark.parametrize("cut", [7, 2048, 1 << 20])
def test_the_viewer_sees_the_desktop(cut):
    picture = exchange(cut)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert np.array_equal(picture, desktop())
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100


@given(st.binary(max_size=200))
def test_what_is_not_rfb_is_refused(data):
    for end in (Server(desktop()), Viewer()):
        try:
            end.feed(data)
        except NotRFB:
            continue


def test_the_picture_is_a_png():
    data = png(desktop())
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data.endswith(b"IEND\xaeB`\x82")
