import errno

import pytest

from sipsimple.sip.errors import (
    LimitReached,
    MalformedMessage,
    MalformedURI,
    PJSIPError,
    PJSIPTLSError,
    SDPNegotiationError,
    SIPCoreError,
    SIPCoreInvalidStateError,
    TransportError,
)
from sipsimple.sip.status import sip_status_messages


def test_every_error_is_a_core_error():
    for error in (PJSIPError, MalformedMessage, SIPCoreInvalidStateError, SDPNegotiationError, TransportError):
        assert issubclass(error, SIPCoreError)
    assert issubclass(PJSIPTLSError, PJSIPError)
    assert issubclass(MalformedURI, MalformedMessage)


def test_a_stack_error_carries_the_number_of_the_operating_system():
    error = PJSIPError("cannot bind", 120000 + errno.EADDRINUSE)
    assert error.errno == errno.EADDRINUSE
    assert str(error) == "cannot bind: Address already in use"


def test_a_stack_error_without_status_has_no_errno():
    error = PJSIPError("odd", 0)
    assert (error.status, error.errno) == (0, 0)


def test_a_full_queue_is_recognised_by_the_name_at_the_end():
    assert str(PJSIPError("Could not send DTMF", 70010)).endswith("(PJ_ETOOMANY)")


def test_an_os_error_is_translated():
    error = PJSIPError.from_os_error("cannot bind", OSError(errno.EACCES, "no"))
    assert error.errno == errno.EACCES
    assert str(error) == "cannot bind: Permission denied"
    again = PJSIPError.from_os_error("cannot bind: Permission denied (do this)", OSError(errno.EACCES, "no"))
    assert str(again) == "cannot bind: Permission denied (do this)"


def test_data_of_the_others():
    assert MalformedMessage("x", status=505).status == 505
    assert LimitReached("dialogs", 10, retry_after=5).retry_after == 5
    assert SDPNegotiationError("no common codec").detail == "no common codec"
    assert TransportError("udp", "192.0.2.1", 5060, "refused").port == 5060


def test_reason_phrases():
    assert sip_status_messages[200] == "OK"
    assert sip_status_messages[490] == "Request Updated"
    assert sip_status_messages[703] == "Error sending message to destination server"
    with pytest.raises(IndexError):
        sip_status_messages[299]
