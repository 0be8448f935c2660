"""The endpoint: transactions over real loopback sockets, and what it answers by itself."""

from __future__ import annotations

import asyncio
import errno
import random
import sys
from typing import Any

import pytest

from sipsimple.sip.errors import LimitReached, MalformedMessage, SIPCoreInvalidStateError
from sipsimple.sip.layer import reception, tables
from sipsimple.sip.transaction import State
from sipsimple.sip.transport import (
    ConnectError,
    Destination,
    ListenError,
    MessageTooLarge,
    TransportNotListening,
)
from tests.conftest import tasks_left
from tests.unit.sip.endpoint_kit import HOSTS, BareUDP, Peer, make_request, peers, until, wire_request

every_transport = pytest.mark.parametrize(
    ("transport", "family"), [("udp", "4"), ("udp", "6"), ("tcp", "4"), ("tcp", "6")]
)


@every_transport
async def test_request_reaches_the_other_side_and_its_response_comes_back(transport, family):
    async with peers(transport, HOSTS[family]) as (client, server, destination):
        client.endpoint.send_request(make_request(), destination, client)
        _, request = await server.next("request")
        assert request.via.received == HOSTS[family]
        assert request.via.rport is not None
        assert request.headers.get("User-Agent") == "peer"
        assert request.max_forwards == 70
        _, response = await client.next("response")
        assert (response.code, response.headers.get("Server")) == (200, "peer")


@every_transport
async def test_call_is_made_answered_acknowledged_and_ended(transport, family):
    async with peers(transport, HOSTS[family]) as (client, server, destination):
        server.answer = None
        client.endpoint.send_request(make_request("INVITE"), destination, client)
        transaction, _ = await server.next("request")
        server.respond(transaction, 180)
        await client.responses(180)
        server.respond(transaction, 200)
        await client.responses(200)
        client.endpoint.send_stateless(make_request("ACK"), destination)
        assert (await server.next("ack"))[1].method == "ACK"
        server.answer = 200
        client.endpoint.send_request(make_request("BYE", sequence=2), destination, client)
        await client.responses(200)


@every_transport
async def test_refused_invite_is_acknowledged_by_the_transaction(transport, family):
    async with peers(transport, HOSTS[family]) as (client, server, destination):
        server.answer = 486
        client.endpoint.send_request(make_request("INVITE"), destination, client)
        transaction, _ = await server.next("request")
        await client.responses(486)
        await until(lambda: transaction.state in {State.CONFIRMED, State.TERMINATED})


@every_transport
async def test_cancel_waits_for_a_provisional_response_and_ends_the_invite(transport, family):
    async with peers(transport, HOSTS[family]) as (client, server, destination):
        server.answer = None
        invite = client.endpoint.send_request(make_request("INVITE"), destination, client)
        client.endpoint.cancel(invite)
        transaction, _ = await server.next("request")
        assert "cancel" not in server.kinds()
        server.respond(transaction, 180)
        await server.next("cancel")
        assert (await client.responses(487)).cseq[1] == "INVITE"
        with pytest.raises(SIPCoreInvalidStateError):
            client.endpoint.cancel(invite)


async def test_destination_of_a_transaction_is_known_while_it_lasts():
    async with peers() as (client, server, destination):
        server.answer = None
        sent = client.endpoint.send_request(make_request(), destination, client)
        assert client.endpoint.destination_of(sent) == destination
        received, _ = await server.next("request")
        local = client.endpoint.local_address("udp")
        assert server.endpoint.destination_of(received) == Destination("udp", *local)


async def test_lost_request_and_lost_response_are_repeated(monkeypatch):
    async with peers() as (client, server, destination):
        for peer, losses in ((client, [True, False]), (server, [True, False])):
            really_send, pattern = peer.endpoint.transports.send_by, iter(losses)

            def send(channel, address, data, really_send=really_send, pattern=pattern):
                if not next(pattern, False):
                    really_send(channel, address, data)

            monkeypatch.setattr(peer.endpoint.transports, "send_by", send)
        client.endpoint.send_request(make_request(), destination, client)
        await client.responses(200)
        assert server.endpoint.statistics.retransmissions_absorbed >= 1
        assert server.kinds() == ["request"]


async def test_request_without_an_answer_times_out():
    async with peers() as (client, server, destination):
        server.answer = None
        transaction = client.endpoint.send_request(make_request(), destination, client)
        assert (await client.next("timeout"))[0] is transaction
        assert not client.endpoint.tables.clients


async def test_retransmitted_request_gets_the_same_answer_and_is_told_once():
    async with peers() as (_, server, destination):
        with BareUDP(destination) as bare:
            first, second = await bare.ask(wire_request()), await bare.ask(wire_request())
            assert first.encode() == second.encode()
        assert server.kinds() == ["request"]


async def test_response_goes_to_the_port_of_the_via_unless_rport_is_asked_for():
    async with peers() as (_, _server, destination):
        with BareUDP(destination) as sender, BareUDP(destination) as named:
            sender.send(wire_request(via=f"SIP/2.0/UDP 127.0.0.1:{named.port};branch=z9hG4bKplain"))
            assert (await named.receive()).code == 200
            response = await sender.ask(wire_request(via=f"SIP/2.0/UDP example.com:{named.port};rport;branch=z9hG4bKr"))
            assert (response.via.received, response.via.rport) == ("127.0.0.1", sender.port)


async def test_response_goes_to_maddr_and_never_where_the_sender_claims_to_be():
    async with peers() as (_, _server, destination):
        with BareUDP(destination) as sender, BareUDP(destination) as named:
            via = f"SIP/2.0/UDP 192.0.2.1:{named.port};maddr=127.0.0.1;received=192.0.2.7;branch=z9hG4bKm"
            sender.send(wire_request(via=via))
            assert (await named.receive()).via.received == "127.0.0.1"


async def test_second_via_of_a_line_survives_the_completion_of_the_first():
    async with peers() as (_, _server, destination):
        with BareUDP(destination) as bare:
            via = "SIP/2.0/UDP 10.0.0.1;rport;branch=z9hG4bK1, SIP/2.0/UDP 10.0.0.2;rport;branch=z9hG4bK2"
            vias = (await bare.ask(wire_request(via=via))).vias
            assert [hop.branch for hop in vias] == ["z9hG4bK1", "z9hG4bK2"]
            assert vias[1].received is None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"version": "SIP/7.0"}, 505),
        ({"uri": "nobodyknows:bob"}, 416),
        ({"From": ""}, 400),
        ({"CSeq": "1 INVITE"}, 400),
        ({"CSeq": "one OPTIONS"}, 400),
        ({"Content-Length": "10"}, 400),
        ({"bad header": "x"}, 400),
    ],
)
async def test_request_that_cannot_be_served_is_refused(changes, code):
    async with peers() as (_, server, destination):
        with BareUDP(destination) as bare:
            response = await bare.ask(wire_request(**changes))
            assert response.code == code
            assert response.to.tag
        assert server.kinds() == []
        assert server.endpoint.statistics.rejected == 1


async def test_cancel_of_nothing_is_answered_481():
    async with peers() as (_, _server, destination):
        with BareUDP(destination) as bare:
            assert (await bare.ask(wire_request("CANCEL"))).code == 481


async def test_cancel_after_the_answer_changes_nothing():
    async with peers() as (_, server, destination):
        with BareUDP(destination) as bare:
            assert (await bare.ask(wire_request("INVITE"))).code == 200
            response = await bare.ask(wire_request("CANCEL"))
            assert (response.code, response.cseq[1], response.to.tag) == (200, "CANCEL", "there")
        assert server.kinds() == ["request"]


async def test_request_that_came_by_two_ways_is_refused_the_second_time():
    async with peers() as (_, server, destination):
        server.answer = None
        with BareUDP(destination) as bare:
            bare.send(wire_request("INVITE", via="SIP/2.0/UDP 10.0.0.1;rport;branch=z9hG4bKone"))
            await server.next("request")
            bare.send(wire_request("INVITE", via="SIP/2.0/UDP 10.0.0.1;rport;branch=z9hG4bKtwo"))
            while (response := await bare.receive()).code == 100:
                pass
            assert (response.code, response.via.branch) == (482, "z9hG4bKtwo")


async def test_endpoint_may_call_itself():
    async with peers() as (client, _, _destination):
        itself = Destination("udp", *client.endpoint.local_address("udp"))
        client.endpoint.send_request(make_request("INVITE"), itself, client)
        await client.responses(200)


async def test_too_many_transactions_are_refused_with_a_time_to_retry(monkeypatch):
    monkeypatch.setattr(tables, "MAX_SERVER_TRANSACTIONS", 1)
    async with peers() as (_, server, destination):
        with BareUDP(destination) as bare:
            assert (await bare.ask(wire_request(Call_ID="a"))).code == 200
            response = await bare.ask(wire_request(Call_ID="b", via="SIP/2.0/UDP 10.0.0.1;rport;branch=z9hG4bKb"))
            assert (response.code, response.headers.get("Retry-After")) == (503, "10")
        assert server.endpoint.statistics.overloaded == 1


async def test_an_agent_that_falls_behind_refuses_new_calls_and_serves_the_others():
    async with peers() as (_, server, destination):
        (opened,) = server.endpoint.transports._sockets.values()

        async def answer(method: str, lag: float, **headers: str) -> Any:
            """What the request gets that is read when there has been a backlog for so long."""
            via = f"SIP/2.0/UDP 10.0.0.1;rport;branch=z9hG4bK{method}{lag}"
            opened.behind_since = asyncio.get_running_loop().time() - lag
            bare.send(wire_request(method, via=via, **headers))
            while (response := await bare.receive()).code == 100:
                pass
            return response

        with BareUDP(destination) as bare:
            assert (await answer("INVITE", reception.MAX_LAG / 2, Call_ID="early")).code == 200
            refusal = await answer("INVITE", reception.MAX_LAG * 2, Call_ID="late")
            assert (refusal.code, refusal.headers.get("Retry-After")) == (503, str(reception.RETRY_AFTER))
            for method in ("BYE", "INVITE"):
                inside = {"Call_ID": "early", "To": "<sip:bob@127.0.0.1>;tag=there", "CSeq": f"2 {method}"}
                assert (await answer(method, reception.MAX_LAG * 3, **inside)).code == 200
        assert server.endpoint.statistics.shed == 1
        assert server.endpoint.transports.lag() == 0.0


async def test_large_requests_that_linger_are_refused_by_their_bytes(monkeypatch):
    monkeypatch.setattr(tables, "MAX_SERVER_TRANSACTION_BYTES", 30_000)
    async with peers() as (_, server, destination):
        with BareUDP(destination) as bare:
            codes = []
            for number in range(4):
                via = f"SIP/2.0/UDP 10.0.0.1;rport;branch=z9hG4bK{number}"
                head = wire_request(Call_ID=str(number), via=via, Content_Length="10000")
                codes.append((await bare.ask(head + b"x" * 10_000)).code)
            assert codes == [200, 200, 200, 503]
            for transaction in list(server.endpoint.tables.servers.values()):
                transaction.wake(server.endpoint.now() + 60)
            assert (await bare.ask(wire_request(Call_ID="later"))).code == 200


async def test_stray_responses_acks_and_keep_alives_are_counted():
    async with peers() as (_, server, destination):
        statistics = server.endpoint.statistics
        with BareUDP(destination) as bare:
            bare.send(wire_request().replace(b"OPTIONS sip:bob@127.0.0.1 SIP/2.0", b"SIP/2.0 200 OK"))
            bare.send(wire_request("ACK", version="SIP/7.0"))
            bare.send(b"\r\n\r\n")
            await until(
                lambda: (statistics.stray_responses, statistics.stray_acks, statistics.keep_alives) == (1, 1, 1)
            )
        assert server.kinds() == []


async def test_endpoint_lives_through_thousands_of_random_datagrams():
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    good = wire_request("INVITE")
    mistakes: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: mistakes.append(context))
    async with peers() as (_, server, destination):
        server.answer = 480
        with BareUDP(destination) as bare:
            for number in range(4000):
                if number % 2:
                    data = bytearray(good)
                    for _ in range(dice.randrange(1, 12)):
                        data[dice.randrange(len(data))] = dice.randrange(256)
                else:
                    data = dice.randbytes(dice.randrange(0, 200))
                bare.send(bytes(data))
                if number % 50 == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(0)
        with BareUDP(destination) as bare:
            assert (await bare.ask(wire_request("OPTIONS", Call_ID="after"))).code == 480
        assert server.endpoint.statistics.malformed > 1000
    assert mistakes == []


async def test_request_without_via_is_counted_and_has_no_answer():
    mistakes: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: mistakes.append(context))
    async with peers() as (_, server, destination):
        statistics = server.endpoint.statistics
        with BareUDP(destination) as bare:
            bare.send(wire_request().replace(b"Via:", b"Vxa:"))
            await until(lambda: statistics.requests_received == 1)
        assert (statistics.malformed, statistics.unanswerable, statistics.responses_sent) == (1, 1, 0)
    assert mistakes == []


async def test_mistake_of_the_user_is_answered_500_and_reported():
    mistakes: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: mistakes.append(context["exception"]))
    async with peers() as (_, server, destination):
        server.respond = lambda transaction, code: 1 / 0
        with BareUDP(destination) as bare:
            assert (await bare.ask(wire_request())).code == 500
    assert [type(mistake) for mistake in mistakes] == [ZeroDivisionError]


async def test_header_that_turns_out_malformed_late_is_answered_with_its_status():
    async with peers() as (_, server, destination):

        def touch(transaction, code):
            raise MalformedMessage("the Event header is empty", status=400)

        server.respond = touch
        with BareUDP(destination) as bare:
            assert (await bare.ask(wire_request())).code == 400


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux hands ICMP errors to unconnected sockets")
@pytest.mark.parametrize("family", ["4", "6"])
async def test_port_that_nobody_listens_on_fails_the_request_at_once(family):
    async with peers("udp", HOSTS[family]) as (client, server, destination):
        await server.endpoint.close_transport("udp")
        transaction = client.endpoint.send_request(make_request(), destination, client)
        failed, error = await client.next("transport error")
        assert failed is transaction
        assert error.errno == errno.ECONNREFUSED
        assert client.endpoint.statistics.unreachable == 1


async def test_refused_connection_fails_the_request():
    async with peers("tcp") as (client, server, destination):
        await server.endpoint.close_transport("tcp")
        transaction = client.endpoint.send_request(make_request(), destination, client)
        failed, error = await client.next("transport error")
        assert failed is transaction
        assert isinstance(error, ConnectError)
        assert error.errno == errno.ECONNREFUSED


async def test_large_request_goes_by_tcp():
    async with peers() as (client, server, destination):
        await client.endpoint.listen("tcp", "127.0.0.1", 0)
        await server.endpoint.listen("tcp", "127.0.0.1", destination.port)
        transaction = client.endpoint.send_request(make_request("MESSAGE", body=b"x" * 1300), destination, client)
        assert client.endpoint.destination_of(transaction).transport == "tcp"
        _, request = await server.next("request")
        assert request.via.transport == "TCP"
        await client.responses(200)


async def test_large_request_goes_by_udp_after_all_when_nobody_takes_tcp():
    async with peers() as (client, server, destination):
        await client.endpoint.listen("tcp", "127.0.0.1", 0)
        transaction = client.endpoint.send_request(make_request("MESSAGE", body=b"x" * 1300), destination, client)
        _, request = await server.next("request")
        assert request.via.transport == "UDP"
        assert client.endpoint.destination_of(transaction) == destination
        await client.responses(200)


async def test_large_request_says_so_when_tcp_does_not_listen():
    async with peers() as (client, _, destination):
        with pytest.raises(MessageTooLarge) as caught:
            client.endpoint.send_request(make_request("MESSAGE", body=b"x" * 1300), destination, client)
        assert caught.value.limit == 1300
        assert caught.value.size > 1300
        assert not client.endpoint.tables.clients


async def test_transport_that_does_not_listen_is_named():
    async with peers() as (client, _, destination):
        with pytest.raises(TransportNotListening, match=r"listen\('tcp'"):
            client.endpoint.send_request(make_request(), destination._replace(transport="tcp"), client)
        with pytest.raises(TransportNotListening, match="IPv6"):
            client.endpoint.send_request(make_request(), Destination("udp", "::1", 5060), client)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_port_in_use_is_reported_with_what_to_do(transport):
    async with peers(transport) as (client, _, destination):
        await client.endpoint.close_transport(transport)
        with pytest.raises(ListenError, match="choose another one") as caught:
            await client.endpoint.listen(transport, "127.0.0.1", destination.port)
        error = caught.value
        assert (error.errno, error.address, error.port) == (errno.EADDRINUSE, "127.0.0.1", destination.port)


async def test_transport_is_opened_once_and_opened_again_after_closing():
    async with peers() as (client, _, _destination):
        with pytest.raises(ListenError, match="close_transport"):
            await client.endpoint.listen("udp", "127.0.0.1", 0)
        await client.endpoint.close_transport("udp")
        await client.endpoint.close_transport("udp")
        assert not client.endpoint.listens("udp")
        assert await client.endpoint.listen("udp", "127.0.0.1", 0) > 0


async def test_closing_a_transport_fails_what_uses_it():
    async with peers() as (client, server, destination):
        server.answer = None
        client.endpoint.send_request(make_request(), destination, client)
        await client.endpoint.close_transport("udp")
        await client.next("transport error")


async def test_wildcard_address_is_written_as_the_one_that_the_kernel_uses():
    client = Peer()
    try:
        port = await client.endpoint.listen("udp", "0.0.0.0", 0)
        assert client.endpoint.local_address("udp", "127.0.0.1") == ("127.0.0.1", port)
        assert client.endpoint.local_address("udp", "::1") is None
        assert client.endpoint.local_address("tcp") is None
    finally:
        await client.endpoint.close()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_trace_shows_every_message_in_both_directions(transport):
    async with peers(transport) as (client, _, destination):
        traced: list[Any] = []
        client.endpoint.on_trace = lambda *call: traced.append(call)
        client.endpoint.send_request(make_request(), destination, client)
        await client.responses(200)
        (out, back) = traced
        assert (out[0], out[1], out[3], out[4][:7]) == (False, transport.upper(), destination.address, b"OPTIONS")
        assert (back[0], back[2], back[3], back[4][:11]) == (True, destination.address, out[2], b"SIP/2.0 200")


@every_transport
async def test_closed_endpoint_leaves_nothing_behind(transport, family, nothing_left):
    async with peers(transport, HOSTS[family]) as (client, server, destination):
        server.answer = 180
        client.endpoint.send_request(make_request("INVITE"), destination, client)
        await client.responses(180)
        await client.endpoint.close()
        await client.endpoint.close()
        await server.endpoint.close()
        assert client.kinds() == []
        assert not tasks_left()
        loop: Any = asyncio.get_running_loop()
        assert [handle for handle in loop._scheduled if not handle.cancelled()] == []


async def test_endpoint_that_is_closed_while_connecting_leaves_nothing_behind(nothing_left):
    async with peers("tcp") as (client, _, destination):
        client.endpoint.send_request(make_request(), destination, client)
        await client.endpoint.close()
        assert not tasks_left()
        assert client.kinds() == []


async def test_mistake_over_an_ack_is_reported_and_the_next_request_served():
    mistakes: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: mistakes.append(context["exception"]))
    async with peers() as (_, server, destination):
        server.on_acknowledgement = lambda ack: 1 / 0
        with BareUDP(destination) as bare:
            bare.send(wire_request("ACK"))
            assert (await bare.ask(wire_request())).code == 200
    assert [type(mistake) for mistake in mistakes] == [ZeroDivisionError]


async def test_too_many_client_transactions_are_refused(monkeypatch):
    monkeypatch.setattr(tables, "MAX_CLIENT_TRANSACTIONS", 1)
    async with peers() as (client, _, destination):
        client.endpoint.send_request(make_request(), destination, client)
        with pytest.raises(LimitReached):
            client.endpoint.send_request(make_request(), destination, client)


async def test_empty_line_keeps_a_binding_alive_over_udp():
    async with peers() as (client, server, destination):
        client.endpoint.keep_alive(destination)
        await until(lambda: server.endpoint.statistics.keep_alives == 1)
        with pytest.raises(TransportNotListening):
            client.endpoint.keep_alive(Destination("udp", "::1", 5060))


async def test_alarm_rings_unless_it_is_cancelled():
    async with peers() as (client, _, _destination):
        rung: list[str] = []
        endpoint = client.endpoint
        endpoint.cancel_alarm(endpoint.call_at(endpoint.now() + 0.01, rung.append, "cancelled"))
        endpoint.call_at(endpoint.now() + 0.02, rung.append, "kept")
        await until(lambda: bool(rung))
        assert rung == ["kept"]


async def test_acknowledgement_is_repeated_as_it_was():
    async with peers() as (client, server, destination):
        ack = make_request("ACK")
        client.endpoint.send_stateless(ack, destination)
        client.endpoint.send_stateless(ack, destination)
        first, second = (await server.next("ack"))[1], (await server.next("ack"))[1]
        assert first.via.branch == second.via.branch


async def test_tls_without_certificates_says_what_is_missing():
    async with peers() as (client, _, _destination):
        with pytest.raises(ListenError, match="security"):
            await client.endpoint.listen("tls", "127.0.0.1", 0)


async def test_destination_is_never_looked_up():
    async with peers() as (client, _, destination):
        with pytest.raises(ValueError, match="look it up first"):
            client.endpoint.send_request(make_request(), destination._replace(host="localhost"), client)
