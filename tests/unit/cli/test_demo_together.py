"""What the demonstration makes of the messages, the file and the desktop."""

from sipsimple.cli.demo.together import GREETING, REPLY, Together


def reported(tmp_path, **changes):
    picture = tmp_path / "desktop.png"
    picture.write_bytes(b"picture")
    together = Together()
    for event in (
        {"event": "heard", "from": "Alice", "text": changes.get("text", GREETING)},
        {"event": "heard", "from": "Bob", "text": REPLY},
        {"event": "file sent", "name": "demo.wav", "size": 3, "hash": "aa"},
        {"event": "file received", "hash": changes.get("hash", "aa")},
        {"event": "desktop seen", "path": str(picture), "same": changes.get("same", True)},
    ):
        together.take("alice", event)
    return together


def test_what_arrived_as_it_was_is_no_fault(tmp_path):
    together = reported(tmp_path)
    assert together.faults == []
    assert together.screenshot == b"picture"


def test_each_difference_is_named(tmp_path):
    assert "messages" in reported(tmp_path, text="Helo").faults[0]
    assert "file" in reported(tmp_path, hash="ab").faults[0]
    assert "desktop" in reported(tmp_path, same=False).faults[0]
    assert len(Together().faults) == 3
