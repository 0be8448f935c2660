"""The engine's life, its ports, and the options that may change while it runs."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from sipsimple.core import SIPURI, Engine, FromHeader, PJSIPError, Request, RouteHeader, SIPCoreError, ToHeader
from sipsimple.loop import bound_loop, unbind_loop

LIMIT = 5.0


def names(record: Any) -> list[str]:
    return [n.name for n in record.all if n.sender is Engine()]


def test_it_is_one_object():
    assert Engine() is Engine()
    assert repr(Engine()) == "<Engine stopped>"


async def test_its_life_is_told(nothing_left, record):
    engine = Engine()
    assert not engine.is_running
    assert await engine.start(local_ip="127.0.0.1", udp_port=0) is engine
    assert engine.is_running
    assert repr(engine) == "<Engine running>"
    with pytest.raises(SIPCoreError, match="runs already"):
        engine.start()
    await engine.stop()
    assert not engine.is_running
    assert await engine.stop() is engine
    assert names(record) == ["SIPEngineWillStart", "SIPEngineDidStart", "SIPEngineWillEnd", "SIPEngineDidEnd"]
    unbind_loop(asyncio.get_running_loop())


def test_without_a_loop_it_runs_in_a_thread_of_its_own(nothing_left):
    engine = Engine()
    engine.start(local_ip="127.0.0.1", udp_port=0)
    assert engine.is_running
    assert engine.udp_port
    engine.set_tcp_port(0).wait(LIMIT)
    assert engine.tcp_port
    engine.stop().wait(LIMIT)
    with pytest.raises(RuntimeError):
        bound_loop()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"udp_port": 65536}, ValueError),
        ({"tls_protocol": "SSLv99"}, ValueError),
        ({"tls_timeout": -1}, ValueError),
        ({"log_level": 7}, ValueError),
        ({"rtp_port_range": (40000, 40000)}, SIPCoreError),
        ({"colour": "blue"}, TypeError),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(options, error):
    with pytest.raises(error):
        Engine().start(**options)
    assert not Engine().is_running


async def test_a_port_in_use_ends_the_start_and_leaves_nothing(nothing_left, record):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(PJSIPError, match="another program uses this port") as caught:
            await Engine().start(local_ip="127.0.0.1", udp_port=taken.getsockname()[1])
        assert caught.value.errno == 98
    assert names(record) == ["SIPEngineWillStart", "SIPEngineDidFail"]
    unbind_loop(asyncio.get_running_loop())


async def test_ports_can_be_moved_and_closed(engine):
    before = engine.udp_port
    await engine.set_udp_port(before)
    assert engine.udp_port == before
    await engine.set_udp_port(0)
    assert engine.udp_port not in (None, before)
    await engine.set_tcp_port(None)
    assert engine.tcp_port is None
    assert engine.ip_address == "127.0.0.1"
    await engine.set_udp_port(None)
    assert engine.ip_address is None
    with pytest.raises(ValueError):
        engine.set_udp_port(70000)


async def test_attributes_follow_what_is_assigned(engine):
    engine.user_agent = "mine 2.0"
    engine.log_level = 3
    engine.rtp_port_range = (50000, 50100)
    engine.codecs = ["PCMA", "PCMU"]
    engine.ignore_missing_ack = True
    assert (engine.user_agent, engine.log_level, engine.rtp_port_range) == ("mine 2.0", 3, (50000, 50100))
    assert engine.codecs == ["PCMA", "PCMU"]
    assert engine.ignore_missing_ack is True
    assert "PCMU" in engine.available_codecs
    with pytest.raises(ValueError):
        engine.codecs = ["PCMA", "PCMA"]
    with pytest.raises(ValueError):
        engine.log_level = 9
    with pytest.raises(SIPCoreError):
        engine.rtp_port_range = (5, 4)


async def test_what_passes_the_wire_is_told_while_that_is_wanted(engine, record):
    async def options() -> None:
        uri = SIPURI("127.0.0.1", "bob")
        route = RouteHeader(SIPURI("127.0.0.1", port=engine.udp_port))
        await Request("OPTIONS", FromHeader(uri), ToHeader(uri), uri, route).send(timeout=LIMIT)

    assert engine.trace_sip
    await options()
    traces = [n.data for n in record.of(engine) if n.name == "SIPEngineSIPTrace"]
    assert [(data.received, data.transport) for data in traces] == [
        (False, "UDP"),
        (True, "UDP"),
        (False, "UDP"),
        (True, "UDP"),
    ]
    assert traces[0].destination_port == engine.udp_port
    engine.trace_sip = False
    record.all.clear()
    await options()
    assert "SIPEngineSIPTrace" not in names(record)


async def test_events_and_requests_for_the_application(engine):
    assert engine.events["presence"] == ["application/pidf+xml"]
    engine.add_event("weather", ["text/plain"])
    assert engine.events["weather"] == ["text/plain"]
    with pytest.raises(SIPCoreError):
        engine.add_event("weather", [])
    engine.add_incoming_event("weather")
    assert engine.incoming_events == {"weather"}
    engine.remove_incoming_event("weather")
    assert engine.incoming_events == set()
    with pytest.raises(ValueError, match=r"add_event\(\) comes first"):
        engine.add_incoming_event("sports")
    engine.add_incoming_request("info")
    assert engine.incoming_requests == {"INFO"}
    engine.remove_incoming_request("INFO")
    assert engine.incoming_requests == set()
    for method in ("ACK", "bye", "INVITE", "subscribe"):
        with pytest.raises(ValueError, match="answered by the core itself"):
            engine.add_incoming_request(method)


def test_while_it_does_not_run_there_is_nothing_to_read():
    for name in ("user_agent", "tls_protocol", "events", "codecs", "trace_sip"):
        with pytest.raises(SIPCoreError, match=r"call Engine\(\)\.start\(\) first"):
            getattr(Engine(), name)
    assert Engine().udp_port is None
    with pytest.raises(SIPCoreError):
        Engine().set_udp_port(0)
    with pytest.raises(SIPCoreError):
        Engine().set_tls_identity(SIPURI("example.org", "alice"))
    Engine().forget_tls_identity(SIPURI("example.org", "alice"))


def test_it_reads_uris():
    assert Engine().parse_sip_uri("sip:alice@example.org") == SIPURI("example.org", "alice")
    with pytest.raises(SIPCoreError):
        Engine().parse_sip_uri("mailto:alice@example.org")
