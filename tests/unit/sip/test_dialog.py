"""Dialogs as both sides see them (RFC 3261 12, 13.2.2.4, 16.12.1)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipsimple.sip.dialog import Dialog, DialogState, Verdict, request_dialog_id, response_dialog_id
from sipsimple.sip.errors import MalformedMessage, SIPCoreInvalidStateError
from sipsimple.sip.message import parse_message
from sipsimple.sip.uri import FrozenSIPURI

LOOSE = "<sip:p2.domain.com;lr>, <sip:p1.example.com;lr>"
"""The Record-Route of the example in 16.12.1.1: the proxy nearest to the callee first."""

CALLER = "caller@u1.example.com"
CALLEE = "callee@u2.domain.com"


def request(method="INVITE", *, cseq=1, to_tag="", contact=f"<sip:{CALLER}>", record_route="", uri="", extra=()):
    lines = [
        f"{method} {uri or 'sip:callee@domain.com'} SIP/2.0",
        "Via: SIP/2.0/UDP u1.example.com;branch=z9hG4bK1",
        "Max-Forwards: 70",
        'From: "The Caller" <sip:caller@example.com>;tag=caller-tag',
        "To: sip:callee@domain.com" + (f";tag={to_tag}" if to_tag else ""),
        "Call-ID: 843817637684230@998sdasdh09",
        f"CSeq: {cseq} {method}",
        *([f"Contact: {contact}"] if contact else []),
        *([f"Record-Route: {record_route}"] if record_route else []),
        *extra,
    ]
    return parse_message("\r\n".join([*lines, "", ""]).encode())


def respond(to, code, *, tag="callee-tag", contact=f"<sip:{CALLEE}>", record_route=""):
    response = to.make_response(code, to_tag=tag)
    response.headers.remove("Record-Route")
    if contact:
        response.headers.add("Contact", contact)
    if record_route:
        response.headers.add("Record-Route", record_route)
    return response


def routes(message):
    return [str(route.uri) for route in message.routes]


@pytest.fixture
def invite():
    return request(cseq=314159, record_route=LOOSE)


@pytest.fixture
def uac(invite):
    return Dialog.from_response(invite, respond(invite, 200, record_route=LOOSE))


@pytest.fixture
def uas(invite):
    dialog = Dialog.from_request(invite, "callee-tag", local_contact=f"<sip:{CALLEE}>")
    dialog.confirm()
    return dialog


def uri(text):
    return FrozenSIPURI.parse(text)


def test_both_sides_name_the_same_dialog_from_their_end(invite, uac, uas):
    call_id = "843817637684230@998sdasdh09"
    assert uac.id == (call_id, "caller-tag", "callee-tag")
    assert uas.id == (call_id, "callee-tag", "caller-tag")
    assert response_dialog_id(respond(invite, 200)) == uac.id
    assert request_dialog_id(uac.make_request("BYE")) == uas.id
    assert request_dialog_id(uas.make_request("BYE")) == uac.id


def test_the_caller_sends_along_the_route_set_in_the_order_of_its_path(uac):
    bye = uac.make_request("BYE")
    assert bye.start_line == f"BYE sip:{CALLEE} SIP/2.0"
    assert routes(bye) == ["sip:p1.example.com;lr", "sip:p2.domain.com;lr"]
    assert uac.next_hop() == uri("sip:p1.example.com;lr")
    assert bye.cseq == (314160, "BYE")
    assert bye.headers.get("From") == '"The Caller" <sip:caller@example.com>;tag=caller-tag'
    assert bye.headers.get("To") == "sip:callee@domain.com;tag=callee-tag"
    assert bye.max_forwards == 70
    assert "Via" not in bye.headers


def test_the_callee_sends_along_the_same_path_the_other_way(uas):
    bye = uas.make_request("BYE")
    assert bye.start_line == f"BYE sip:{CALLER} SIP/2.0"
    assert routes(bye) == ["sip:p2.domain.com;lr", "sip:p1.example.com;lr"]
    assert bye.headers.get("From") == "sip:callee@domain.com;tag=callee-tag"
    assert bye.headers.get("To") == '"The Caller" <sip:caller@example.com>;tag=caller-tag'
    assert bye.cseq == (1, "BYE")
    assert uas.make_request("INFO").cseq == (2, "INFO")


def test_a_strict_router_in_the_middle_is_the_business_of_the_proxies():
    invite = request()
    record_route = "<sip:p4.domain.com;lr>, <sip:p3.middle.com>, <sip:p1.example.com;lr>"
    uas = Dialog.from_request(request(record_route=record_route), "callee-tag")
    bye = uas.make_request("BYE")
    assert bye.start_line == f"BYE sip:{CALLER} SIP/2.0"
    assert routes(bye) == ["sip:p4.domain.com;lr", "sip:p3.middle.com", "sip:p1.example.com;lr"]
    uac = Dialog.from_response(invite, respond(invite, 200, record_route=record_route))
    assert routes(uac.make_request("BYE")) == ["sip:p1.example.com;lr", "sip:p3.middle.com", "sip:p4.domain.com;lr"]


def test_a_strict_router_as_first_hop_becomes_the_request_uri():
    """The example of 12.2.1.1."""
    path = "<sip:proxy1?Subject=x>, <sip:proxy2>, <sip:proxy3;lr>, <sip:proxy4>"
    dialog = Dialog.from_request(request(contact="<sip:user@remoteua>", record_route=path), "t")
    for message in (dialog.make_request("BYE"), dialog.make_ack(request())):
        assert message.uri == uri("sip:proxy1")
        assert routes(message) == ["sip:proxy2", "sip:proxy3;lr", "sip:proxy4", "sip:user@remoteua"]
    assert dialog.next_hop().host == "proxy1"


def test_the_request_uri_has_no_method_parameter():
    dialog = Dialog.from_request(request(record_route="<sip:proxy1;method=INVITE;transport=tcp>"), "t")
    assert str(dialog.make_request("BYE").uri) == "sip:proxy1;transport=tcp"


def test_without_a_route_set_requests_go_to_the_remote_target():
    dialog = Dialog.from_request(request(), "t")
    bye = dialog.make_request("BYE")
    assert routes(bye) == []
    assert dialog.next_hop() == bye.uri == uri(f"sip:{CALLER}")


def test_parameters_of_routes_are_kept():
    dialog = Dialog.from_request(request(record_route="<sip:p1.example.com;lr;ftag=x;transport=tls>;hop=1"), "t")
    assert dialog.make_request("BYE").headers.get_all("Route") == ["<sip:p1.example.com;lr;ftag=x;transport=tls>"]


def test_an_early_dialog_is_confirmed_by_the_2xx_and_its_route_set_computed_again(invite):
    dialog = Dialog.from_response(invite, respond(invite, 180, record_route="<sip:early.example.com;lr>"))
    assert dialog.state is DialogState.EARLY
    dialog.update(invite, respond(invite, 183, contact="<sip:elsewhere@example.com>"))
    assert dialog.remote_target == uri(f"sip:{CALLEE}")
    assert routes(dialog.make_request("PRACK")) == ["sip:early.example.com;lr"]
    dialog.update(invite, respond(invite, 200, record_route=LOOSE, contact="<sip:callee@desk.domain.com>"))
    assert dialog.state is DialogState.CONFIRMED
    assert dialog.remote_target == uri("sip:callee@desk.domain.com")
    assert routes(dialog.make_ack(invite)) == ["sip:p1.example.com;lr", "sip:p2.domain.com;lr"]


def test_the_2xx_to_an_update_moves_the_target_of_an_early_dialog_and_leaves_it_early(invite):
    dialog = Dialog.from_response(invite, respond(invite, 180, record_route=LOOSE))
    update = dialog.make_request("UPDATE")
    dialog.update(update, respond(update, 200, contact="<sip:callee@new.domain.com>"))
    assert dialog.state is DialogState.EARLY
    assert dialog.remote_target == uri("sip:callee@new.domain.com")
    assert len(dialog.route_set) == 2


def test_two_forks_make_two_dialogs(invite):
    desk, mobile = (Dialog.from_response(invite, respond(invite, 200, tag=tag)) for tag in ("desk", "mobile"))
    assert desk.id != mobile.id
    assert (desk.make_ack(invite).to.tag, mobile.make_ack(invite).to.tag) == ("desk", "mobile")


def test_a_target_refresh_moves_the_target_but_never_the_route_set(uac, uas):
    reinvite = uas.make_request("INVITE")
    assert reinvite.headers.get("Contact") == f"<sip:{CALLEE}>"
    reinvite.headers.set("Contact", "<sip:callee@new.domain.com>")
    reinvite.headers.add("Record-Route", "<sip:other.example.com;lr>")
    assert uac.receive(reinvite) is Verdict.PROCESS
    assert uac.remote_target == uri("sip:callee@new.domain.com")
    uas.update(reinvite, respond(reinvite, 200, contact="<sip:caller@new.example.com>", record_route="<sip:x;lr>"))
    assert uas.remote_target == uri("sip:caller@new.example.com")
    assert len(uac.route_set) == len(uas.route_set) == 2


def test_a_refused_target_refresh_moves_nothing(uac):
    reinvite = uac.make_request("INVITE")
    uac.update(reinvite, respond(reinvite, 488, contact="<sip:callee@new.domain.com>"))
    assert uac.remote_target == uri(f"sip:{CALLEE}")


def test_a_late_copy_of_the_first_2xx_does_not_undo_a_target_refresh(invite, uac, uas):
    update = uas.make_request("UPDATE", headers=[("Contact", "<sip:callee@new.domain.com>")])
    uac.receive(update)
    uac.update(invite, respond(invite, 200, record_route=LOOSE))
    assert uac.remote_target == uri("sip:callee@new.domain.com")


@pytest.mark.parametrize("method", ["INFO", "BYE", "MESSAGE", "PRACK"])
def test_other_requests_move_nothing(uac, uas, method):
    moved = uas.make_request(method, headers=[("Contact", "<sip:callee@new.domain.com>")])
    assert uac.receive(moved) is Verdict.PROCESS
    assert uac.remote_target == uri(f"sip:{CALLEE}")
    uas.update(moved, respond(moved, 200, contact="<sip:caller@new.example.com>"))
    assert uas.remote_target == uri(f"sip:{CALLER}")


@pytest.mark.parametrize("contact", ["*", "<tel:+15551234>", "<mailto:bob@example.com>"])
def test_a_contact_that_is_no_sip_uri_is_no_target(uac, uas, contact):
    uac.receive(uas.make_request("UPDATE", headers=[("Contact", contact)]))
    assert uac.remote_target == uri(f"sip:{CALLEE}")
    with pytest.raises(ValueError, match="INVITE has no Contact"):
        Dialog.from_request(request(contact=contact), "t")


def test_a_broken_contact_raises_and_changes_nothing(uac, uas):
    broken = uas.make_request("UPDATE", headers=[("Contact", "<sip:callee@")])
    with pytest.raises(MalformedMessage):
        uac.receive(broken)
    assert uac.remote_cseq is None
    assert uac.receive(uas.make_request("UPDATE")) is Verdict.PROCESS


def test_a_2xx_without_contact_leaves_the_address_that_was_called(invite):
    dialog = Dialog.from_response(invite, respond(invite, 200, contact=""))
    assert dialog.remote_target == uri("sip:callee@domain.com")


def test_requests_must_come_in_order_but_may_leave_gaps(uas):
    assert uas.receive(request("INFO", cseq=314161)) is Verdict.PROCESS
    assert uas.receive(request("INFO", cseq=314160)) is Verdict.OUT_OF_ORDER
    assert uas.receive(request("BYE", cseq=314161)) is Verdict.OUT_OF_ORDER
    assert uas.receive(request("BYE", cseq=314170)) is Verdict.PROCESS
    assert uas.remote_cseq == 314170


def test_an_out_of_order_request_moves_nothing(uas):
    assert uas.receive(request("UPDATE", cseq=1, contact="<sip:stale@example.com>")) is Verdict.OUT_OF_ORDER
    assert uas.remote_target == uri(f"sip:{CALLER}")


@pytest.mark.parametrize("method", ["ACK", "CANCEL"])
def test_ack_and_cancel_have_the_number_of_their_invite(uas, method):
    uas.receive(request("INFO", cseq=314160))
    assert uas.receive(request(method, cseq=314159)) is Verdict.PROCESS
    assert uas.remote_cseq == 314160


def test_the_ack_has_the_number_and_the_credentials_of_its_invite(uac):
    extra = ["Authorization: Digest username=a", "Proxy-Authorization: Digest username=b", "Subject: lunch"]
    invite = request(cseq=314159, extra=extra)
    uac.make_request("INFO")
    ack = uac.make_ack(invite, body=b"v=0\r\n", content_type="application/sdp")
    assert ack.start_line == f"ACK sip:{CALLEE} SIP/2.0"
    assert ack.cseq == (314159, "ACK")
    assert ack.headers.get("Authorization") == "Digest username=a"
    assert ack.headers.get("Proxy-Authorization") == "Digest username=b"
    assert "Subject" not in ack.headers
    assert (ack.content_type, ack.body) == (("application/sdp", {}), b"v=0\r\n")
    assert uac.local_cseq == 314160


def test_a_request_may_have_a_body_and_headers_of_its_own(uac):
    info = uac.make_request("INFO", body=b"x", content_type="text/plain", headers=[("Info-Package", "dtmf")])
    assert info.headers.get("Info-Package") == "dtmf"
    assert b"Content-Length: 1\r\n\r\nx" in info.encode()
    assert "Contact" not in info.headers
    for incomplete in ({"body": b"x"}, {"content_type": "text/plain"}):
        with pytest.raises(ValueError, match="must come together"):
            uac.make_request("INFO", **incomplete)
    assert uac.local_cseq == 314160


@pytest.mark.parametrize("method", ["ACK", "CANCEL"])
def test_ack_and_cancel_are_made_from_their_invite(uac, method):
    with pytest.raises(ValueError, match=method):
        uac.make_request(method)
    assert uac.local_cseq == 314159


def test_a_dialog_that_is_over_only_acknowledges(invite, uac):
    uac.terminate()
    with pytest.raises(SIPCoreInvalidStateError, match="BYE"):
        uac.make_request("BYE")
    with pytest.raises(SIPCoreInvalidStateError):
        uac.confirm()
    uac.update(invite, respond(invite, 200, contact="<sip:new@domain.com>"))
    assert uac.state is DialogState.TERMINATED
    assert uac.make_ack(invite).uri == uri(f"sip:{CALLEE}")


@pytest.mark.parametrize("code", [100, 302, 486])
def test_other_responses_make_no_dialog(invite, code):
    with pytest.raises(ValueError, match=str(code)):
        Dialog.from_response(invite, respond(invite, code))


def test_a_peer_without_tags_has_an_empty_one(invite):
    invite.headers.set("From", "sip:caller@example.com")
    assert Dialog.from_request(invite, "t").id == (invite.call_id, "t", "")


def test_a_notify_makes_the_dialog_of_the_subscribe_that_it_overtook():
    notify = request("NOTIFY", to_tag="subscriber-tag", cseq=5)
    dialog = Dialog.from_request(notify, "unused", local_cseq=17)
    assert dialog.local_tag == "subscriber-tag"
    assert dialog.make_request("SUBSCRIBE").cseq == (18, "SUBSCRIBE")
    assert dialog.make_request("SUBSCRIBE").from_.tag == "subscriber-tag"


@pytest.mark.parametrize(("scheme", "secure"), [("sip", False), ("sips", True), ("SIPS", True)])
def test_a_call_to_a_sips_uri_is_secure(scheme, secure):
    invite = request(uri=f"{scheme}:callee@domain.com")
    assert Dialog.from_request(invite, "t").secure is secure
    assert Dialog.from_response(invite, respond(invite, 180)).secure is secure


def test_a_dialog_shows_what_it_is(uac):
    assert repr(uac) == "<Dialog 843817637684230@998sdasdh09 caller-tag callee-tag confirmed>"


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["INFO", "UPDATE", "MESSAGE", "INVITE"])), max_size=30))
def test_what_one_side_sends_in_order_the_other_takes_in_order(steps):
    invite = request(record_route=LOOSE)
    uas = Dialog.from_request(invite, "callee-tag", local_contact=f"<sip:{CALLEE}>")
    uac = Dialog.from_response(invite, respond(invite, 200, record_route=LOOSE))
    for forwards, method in steps:
        sender, receiver = (uac, uas) if forwards else (uas, uac)
        sent = parse_message(sender.make_request(method).encode())
        assert request_dialog_id(sent) == receiver.id
        assert receiver.receive(sent) is Verdict.PROCESS
        assert receiver.receive(sent) is Verdict.OUT_OF_ORDER
    assert uac.remote_target == uri(f"sip:{CALLEE}")
    assert uas.remote_target == uri(f"sip:{CALLER}")
    assert uac.route_set == tuple(reversed(uas.route_set))
