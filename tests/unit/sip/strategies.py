"""Random SIP values for the property tests."""

from hypothesis import strategies as st

from sipsimple.sip.frozen import frozendict
from sipsimple.sip.headers import (
    FrozenContactHeader,
    FrozenEventHeader,
    FrozenFromHeader,
    FrozenRetryAfterHeader,
    FrozenSubscriptionStateHeader,
    FrozenToHeader,
    FrozenViaHeader,
    FrozenWarningHeader,
)
from sipsimple.sip.uri import FrozenSIPURI

TOKEN_CHARACTERS = "abcXYZ019-.!%*_+`'~"

tokens = st.text(TOKEN_CHARACTERS, min_size=1, max_size=8)
plain = st.text(max_size=12).filter(lambda text: "\r" not in text and "\n" not in text)
filled = st.text(min_size=1, max_size=8)
hosts = st.one_of(
    st.from_regex(r"[a-z0-9][a-z0-9.-]{0,12}", fullmatch=True),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
)
ports = st.integers(1, 65535)

uri_parameters = st.dictionaries(
    filled.filter(lambda name: name.lower() not in {"user", "method", "transport", "ttl", "lr", "maddr"}),
    st.none() | filled,
    max_size=3,
)


@st.composite
def uris(draw):
    user = draw(st.none() | filled)
    return FrozenSIPURI(
        draw(hosts),
        user,
        None if user is None else draw(st.none() | st.text(max_size=6)),
        draw(st.none() | ports),
        draw(st.booleans()),
        frozendict(draw(uri_parameters)),
        frozendict(draw(uri_parameters)),
    )


quoted_values = st.text(max_size=8).map(lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
parameters = st.dictionaries(tokens, st.none() | tokens | quoted_values, max_size=3).map(frozendict)
addresses = (uris(), st.none() | plain, parameters)

headers = st.one_of(
    st.builds(FrozenContactHeader, *addresses),
    st.just(FrozenContactHeader(None)),
    st.builds(FrozenFromHeader, *addresses),
    st.builds(FrozenToHeader, *addresses),
    st.builds(FrozenViaHeader, tokens, hosts, ports, parameters),
    st.builds(FrozenEventHeader, tokens, parameters),
    st.builds(FrozenSubscriptionStateHeader, tokens, parameters),
    st.builds(FrozenRetryAfterHeader, st.integers(0, 2**32 - 1), st.none() | plain, parameters),
    st.builds(FrozenWarningHeader, st.integers(100, 999), tokens, plain),
)
