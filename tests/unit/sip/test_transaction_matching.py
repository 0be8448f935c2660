"""Which transaction a message belongs to (RFC 3261 17.1.3, 17.2.3)."""

import pytest

from sipsimple.sip.message import parse_message
from sipsimple.sip.transaction import cancelled_key, client_key, make_ack, make_cancel, merge_key, server_key
from tests.unit.sip.ladder import make_invite, make_request

BRANCHES = ["z9hG4bK74bf9", "1", "old-style"]


def via_of(request, via):
    request.headers.set("Via", via)
    return request


def test_a_response_finds_its_request_by_branch_and_method():
    invite = make_invite()
    assert client_key(invite) == client_key(invite.make_response(180))
    assert client_key(invite) != client_key(make_cancel(invite))
    assert client_key(invite) != client_key(make_invite(branch="z9hG4bKother").make_response(180))


@pytest.mark.parametrize("branch", BRANCHES)
def test_a_retransmission_and_the_ack_of_a_refusal_find_the_invite(branch):
    invite = make_invite(branch=branch)
    assert server_key(make_invite(branch=branch)) == server_key(invite)
    assert server_key(make_ack(invite, invite.make_response(486, to_tag="desk"))) == server_key(invite)


@pytest.mark.parametrize("branch", BRANCHES)
def test_a_cancel_is_a_transaction_of_its_own_that_means_the_invite(branch):
    invite = make_invite(branch=branch)
    cancel = make_cancel(invite)
    assert server_key(cancel) != server_key(invite)
    assert cancelled_key(cancel) == server_key(invite)


@pytest.mark.parametrize("branch", BRANCHES)
def test_the_same_branch_from_another_sender_is_another_transaction(branch):
    ours = make_invite(branch=branch)
    theirs = via_of(make_invite(branch=branch), f"SIP/2.0/UDP other.example.com;branch={branch}")
    assert server_key(ours) != server_key(theirs)


def test_the_sender_may_write_its_name_and_port_in_more_than_one_way():
    ours = via_of(make_invite(), "SIP/2.0/UDP Client.Atlanta.example.com;branch=z9hG4bK74bf9;rport")
    assert server_key(ours) == server_key(make_invite())


def test_without_the_magic_cookie_the_branch_alone_says_nothing():
    assert server_key(make_invite(branch="1")) != server_key(make_invite(branch="1", cseq=2))
    assert server_key(make_invite(branch="1")) != server_key(make_request("OPTIONS", branch="1"))
    assert server_key(make_invite()) == server_key(make_invite(cseq=2))


def test_a_request_without_any_branch_is_matched_too():
    invites = [via_of(make_invite(), "SIP/2.0/UDP client.atlanta.example.com") for _ in range(2)]
    assert server_key(invites[0]) == server_key(invites[1])
    assert client_key(invites[0]) == ("", "INVITE")


def test_copies_of_a_request_that_came_by_two_paths_are_recognised():
    assert merge_key(make_invite(branch="z9hG4bKone")) == merge_key(make_invite(branch="z9hG4bKtwo"))
    assert merge_key(make_invite()) != merge_key(make_invite(cseq=2))


def test_the_ack_of_a_response_without_to_says_nothing_of_it():
    invite = make_invite()
    response = parse_message(b"SIP/2.0 486 Busy Here\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK74bf9\r\n\r\n")
    assert "To" not in make_ack(invite, response).headers
