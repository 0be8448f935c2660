"""Digest authentication: the vectors of the RFCs, then a client and a server that talk to each other."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.sip import auth_server
from sipsimple.sip.auth import MAX_ROUNDS, Attempt, ClientAuthenticator
from sipsimple.sip.auth_server import ServerAuthenticator
from sipsimple.sip.digest import (
    MAX_PARAMETERS,
    MAX_VALUE_SIZE,
    MAX_VALUES,
    Challenge,
    DigestAnswer,
    MalformedAuthentication,
    compute_response,
    parse_answers,
    parse_authentication_info,
    parse_challenges,
    secret_hash,
)
from sipsimple.sip.errors import SIPCoreError

ALGORITHMS = [name + sess for name in ("MD5", "SHA-256", "SHA-512-256") for sess in ("", "-sess")]
Header = tuple[str, str]


@dataclass
class Request:
    method: str = "REGISTER"
    raw_uri: str = "sip:example.com"
    body: bytes = b""


@dataclass
class Headers:
    items: list[Header]

    def get_all(self, name: str, /) -> list[str]:
        return [value for other, value in self.items if other.lower() == name.lower()]


@dataclass
class Response:
    headers: Headers


@dataclass
class User:
    username: str = "alice"
    password: str = "secret"


@dataclass
class Counter:
    """Random numbers that are not."""

    values: itertools.count[int] = field(default_factory=itertools.count)

    def text(self) -> str:
        return f"cnonce{next(self.values)}"

    def octets(self, size: int) -> bytes:
        return next(self.values).to_bytes(size, "little")


def response(*headers: Header) -> Response:
    return Response(Headers(list(headers)))


def unauthorized(server: ServerAuthenticator, now: float = 0.0, stale: bool = False) -> Response:
    return response(*(("WWW-Authenticate", value) for value in server.challenges(now, stale)))


def make_server(**options: object) -> ServerAuthenticator:
    return ServerAuthenticator("example.com", {"alice": "secret"}.get, Counter().octets, **options)  # type: ignore[arg-type]


def make_client() -> ClientAuthenticator:
    return ClientAuthenticator(Counter().text)


def values(headers: list[Header] | None, name: str = "Authorization") -> list[str]:
    assert headers is not None
    return [value for other, value in headers if other == name]


def sign(answer: DigestAnswer, password: str, method: str = "GET", body: bytes = b"") -> str:
    secret = secret_hash(answer.algorithm, answer.username, answer.realm, password)
    return compute_response(answer, secret, method, body)


class TestVectors:
    def test_rfc_2617_3_5(self) -> None:
        [answer] = parse_answers(
            [
                'Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
                'uri="/dir/index.html", qop=auth, nc=00000001, cnonce="0a4f113b", '
                'response="6629fae49393a05397450978507c4ef1", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
            ]
        )
        assert sign(answer, "Circle Of Life") == answer.response

    @pytest.mark.parametrize(
        ("algorithm", "expected"),
        [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ],
    )
    def test_rfc_7616_3_9_1(self, algorithm: str, expected: str) -> None:
        answer = DigestAnswer(
            username="Mufasa",
            realm="http-auth@example.org",
            nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            uri="/dir/index.html",
            response="",
            algorithm=algorithm,
            cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
            qop="auth",
            nonce_count=1,
        )
        assert sign(answer, "Circle of Life") == expected

    def test_rfc_7616_3_9_2_as_corrected_by_erratum_4897(self) -> None:
        # The response printed in the RFC was made with the first half of SHA-512, which is another function.
        answer = DigestAnswer(
            username="J\u00e4s\u00f8n Doe",
            realm="api@example.org",
            nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK",
            uri="/doe.json",
            response="",
            algorithm="SHA-512-256",
            cnonce="NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
            qop="auth",
            nonce_count=1,
        )
        assert sign(answer, "Secret, or not?") == "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"

    def test_rfc_2069_as_corrected_by_its_erratum(self) -> None:
        answer = DigestAnswer(
            "Mufasa", "testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093", "/dir/index.html", ""
        )
        assert sign(answer, "CircleOfLife") == "1949323746fe6a43ef61f9606e7febea"


class TestParsing:
    def test_the_challenge_of_rfc_3665(self) -> None:
        value = (
            'Digest realm="atlanta.example.com", qop="auth", nonce="ea9c8e88df84f1cec4341ae6cbe5a359", '
            'opaque="", stale=FALSE, algorithm=MD5'
        )
        [challenge] = parse_challenges([value])
        expected = Challenge(
            "atlanta.example.com", "ea9c8e88df84f1cec4341ae6cbe5a359", algorithm="MD5", qop=("auth",), opaque=""
        )
        assert challenge == expected

    def test_other_schemes_are_stepped_over(self) -> None:
        header = 'Basic realm="x", Negotiate YII/a+b==, NTLM, dIgEsT REALM = "r", nonce=n,, qop="auth-int , auth"'
        assert parse_challenges([header, "Bearer"]) == [Challenge("r", "n", qop=("auth-int", "auth"))]

    def test_quoted_text_is_unescaped_and_escaped_again(self) -> None:
        [challenge] = parse_challenges([r'Digest realm="a \"b\" \\c, d=e", nonce="n"'])
        assert challenge.realm == r'a "b" \c, d=e'
        assert parse_challenges([str(challenge)]) == [challenge]

    @pytest.mark.parametrize(
        "text",
        [
            'realm="no scheme"',
            'Digest realm="unclosed, nonce="n"',
            'Digest realm="r"',
            'Digest realm="r", nonce="n", realm="r"',
            'Digest =x, realm="r"',
            "Digest " + "a=b," * MAX_PARAMETERS,
            "Digest " + "a" * MAX_VALUE_SIZE,
        ],
    )
    def test_malformed_challenges_raise(self, text: str) -> None:
        with pytest.raises(MalformedAuthentication):
            parse_challenges([text])

    def test_too_many_headers_raise(self) -> None:
        with pytest.raises(MalformedAuthentication, match="more than"):
            parse_challenges(['Digest realm="r", nonce="n"'] * (MAX_VALUES + 1))

    @pytest.mark.parametrize("count", ["1", "xxxxxxxx", "000000001", "+0000001"])
    def test_a_nonce_count_has_eight_digits(self, count: str) -> None:
        with pytest.raises(MalformedAuthentication, match="nonce count"):
            parse_answers([f'Digest username="u", realm="r", nonce="n", uri="u", response="x", nc={count}'])

    def test_authentication_info(self) -> None:
        assert parse_authentication_info('nextnonce="n2", qop=auth, nc=00000001') == {
            "nextnonce": "n2",
            "qop": "auth",
            "nc": "00000001",
        }
        with pytest.raises(MalformedAuthentication):
            parse_authentication_info('Digest nextnonce="x"')

    def test_a_line_break_is_never_sent(self) -> None:
        with pytest.raises(SIPCoreError, match="line break"):
            str(Challenge("r\r\nEvil: yes", "n"))
        with pytest.raises(SIPCoreError, match="token"):
            str(Challenge("r", "n", algorithm="MD5\r\nEvil: yes"))

    @given(st.lists(st.text() | st.text(alphabet='Digest realmnonce=",\\ \t'), max_size=3))
    def test_the_parsers_raise_one_exception_only(self, texts: list[str]) -> None:
        for parse in (parse_challenges, parse_answers):
            with contextlib.suppress(MalformedAuthentication):
                parse(["Digest " + text for text in texts])

    @given(
        *[st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=20)] * 3,
        st.sampled_from([None, *ALGORITHMS]),
        st.sampled_from([(), ("auth",), ("auth-int",), ("auth", "auth-int")]),
        st.booleans(),
    )
    def test_text_and_value_are_inverse(
        self, realm: str, nonce: str, opaque: str, algorithm: str | None, qop: tuple[str, ...], stale: bool
    ) -> None:
        challenge = Challenge(realm, nonce, algorithm, qop, opaque, stale)
        assert parse_challenges([str(challenge)]) == [challenge]
        answer = DigestAnswer("u" + realm, realm, nonce, opaque, "r", algorithm, nonce, opaque, "auth", 0x1F)
        assert parse_answers([str(answer)]) == [answer]

    def test_repr_hides_the_response(self) -> None:
        assert "0123abcd" not in repr(DigestAnswer("u", "r", "n", "uri", "0123abcd"))


class TestClientAndServer:
    @given(
        st.sampled_from(ALGORITHMS),
        st.sampled_from([(), ("auth",), ("auth-int",), ("auth", "auth-int")]),
        st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1, max_size=12),
        st.text(st.characters(codec="utf-8"), max_size=12),
        st.binary(max_size=40),
    )
    def test_every_combination_is_accepted(
        self, algorithm: str, qop: tuple[str, ...], username: str, password: str, body: bytes
    ) -> None:
        server = ServerAuthenticator(
            "example.com", {username: password}.get, Counter().octets, algorithms=[algorithm], qop=qop
        )
        request = Request("INVITE", "sip:bob@example.com", body)
        client = make_client()
        attempt = client.begin(User(username, password))
        headers = attempt.authorize(request, unauthorized(server))
        assert server.verify("INVITE", body, values(headers), 1.0).username == username
        # ... and so is the next request, without being asked.
        again = client.begin(User(username, password)).preemptive(request)
        assert server.verify("INVITE", body, values(again), 2.0).username == username
        assert server.verify("BYE", body, values(again), 3.0).username is None
        if qop == ("auth-int",):
            assert server.verify("INVITE", body + b"x", values(again), 3.0).username is None

    def test_the_strongest_algorithm_is_answered(self) -> None:
        server = make_server(algorithms=["MD5", "SHA-512-256", "SHA-256"])
        [answer] = parse_answers(values(make_client().begin(User()).authorize(Request(), unauthorized(server))))
        assert answer.algorithm == "SHA-512-256"

    def test_of_equals_the_first_is_answered(self) -> None:
        server = make_server(algorithms=["MD5-sess", "MD5"])
        [answer] = parse_answers(values(make_client().begin(User()).authorize(Request(), unauthorized(server))))
        assert answer.algorithm == "MD5-sess"

    def test_auth_is_preferred_to_auth_int(self) -> None:
        server = make_server(qop=["auth-int", "auth"])
        [answer] = parse_answers(values(make_client().begin(User()).authorize(Request(), unauthorized(server))))
        assert answer.qop == "auth"

    def test_401_and_407_in_one_response_are_both_answered(self) -> None:
        challenged = response(
            ("WWW-Authenticate", 'Digest realm="registrar", nonce="n1"'),
            ("Proxy-Authenticate", 'Digest realm="proxy", nonce="n2", opaque="o", algorithm=MD5'),
            ("Proxy-Authenticate", 'Digest realm="other proxy", nonce="n3"'),
        )
        headers = make_client().begin(User()).authorize(Request(), challenged)
        assert headers is not None
        answers = [(name, *parse_answers([value])) for name, value in headers]
        assert [(name, answer.realm, answer.nonce) for name, answer in answers] == [
            ("Authorization", "registrar", "n1"),
            ("Proxy-Authorization", "proxy", "n2"),
            ("Proxy-Authorization", "other proxy", "n3"),
        ]
        assert answers[1][1].opaque == "o"
        assert answers[1][1].algorithm == "MD5"

    def test_a_second_server_on_the_path_gets_both_answers(self) -> None:
        attempt = make_client().begin(User())
        attempt.authorize(Request(), response(("Proxy-Authenticate", 'Digest realm="proxy", nonce="n1", qop="auth"')))
        headers = attempt.authorize(
            Request(), response(("WWW-Authenticate", 'Digest realm="registrar", nonce="n2", qop="auth"'))
        )
        [proxy] = parse_answers(values(headers, "Proxy-Authorization"))
        [registrar] = parse_answers(values(headers))
        assert (proxy.nonce_count, registrar.nonce_count) == (2, 1)

    def test_a_wrong_password_is_tried_once(self) -> None:
        server = make_server()
        client = make_client()
        attempt = client.begin(User(password="wrong"))
        headers = attempt.authorize(Request(), unauthorized(server))
        verdict = server.verify("REGISTER", b"", values(headers), 0.0)
        assert (verdict.username, verdict.stale) == (None, False)
        assert attempt.authorize(Request(), unauthorized(server, now=1.0)) is None
        # A refused password is not sent along unasked with the next request; that one gets its own honest try.
        later = client.begin(User(password="right now"))
        assert later.preemptive(Request()) == []
        assert later.authorize(Request(), unauthorized(server)) is not None

    def test_stale_allows_one_more_try(self) -> None:
        server = make_server()
        attempt = make_client().begin(User())
        assert attempt.authorize(Request(), unauthorized(server)) is not None
        assert attempt.authorize(Request(), unauthorized(server, 1.0, stale=True)) is not None
        assert attempt.authorize(Request(), unauthorized(server, 2.0, stale=True)) is None

    def test_an_unasked_answer_is_not_the_honest_try(self) -> None:
        server = make_server()
        client = make_client()
        client.begin(User()).authorize(Request(), unauthorized(server))
        attempt = client.begin(User())
        assert attempt.preemptive(Request()) != []
        # Many servers forget nonces and challenge anew without saying stale.
        headers = attempt.authorize(Request(), unauthorized(server, 1.0))
        assert server.verify("REGISTER", b"", values(headers), 1.0).username == "alice"
        assert attempt.authorize(Request(), unauthorized(server, 2.0)) is None

    def test_requests_under_way_at_the_same_time_have_their_own_tries(self) -> None:
        server = make_server()
        client = make_client()
        first, second = client.begin(User()), client.begin(User())
        assert first.authorize(Request(), unauthorized(server, 0.0)) is not None
        assert second.authorize(Request(), unauthorized(server, 1.0)) is not None

    def test_the_same_nonce_again_means_refused(self) -> None:
        challenged = response(("WWW-Authenticate", 'Digest realm="r", nonce="n", qop="auth", stale=true'))
        attempt = make_client().begin(User())
        assert attempt.authorize(Request(), challenged) is not None
        assert attempt.authorize(Request(), challenged) is None

    @pytest.mark.parametrize(
        "challenged",
        [
            response(),
            response(("WWW-Authenticate", 'Basic realm="r"')),
            response(("WWW-Authenticate", 'Digest realm="r"')),
            response(("WWW-Authenticate", 'Digest realm="r", nonce="n", algorithm=AKAv1-MD5')),
            response(("WWW-Authenticate", 'Digest realm="r", nonce="n", qop="auth-conf"')),
        ],
    )
    def test_what_we_do_not_understand_is_not_answered(self, challenged: Response) -> None:
        assert make_client().begin(User()).authorize(Request(), challenged) is None

    def test_a_broken_header_does_not_spoil_another(self) -> None:
        challenged = response(
            ("Proxy-Authenticate", 'Digest realm="broken'), ("Proxy-Authenticate", 'Digest realm="r", nonce="n"')
        )
        assert make_client().begin(User()).authorize(Request(), challenged) is not None

    def test_without_credentials_nothing_is_answered(self) -> None:
        client = make_client()
        client.begin(User()).authorize(Request(), unauthorized(make_server()))
        attempt = client.begin(None)
        assert attempt.preemptive(Request()) == []
        assert attempt.authorize(Request(), unauthorized(make_server())) is None

    def test_a_server_with_ever_new_realms_does_not_keep_us_busy(self) -> None:
        attempt = make_client().begin(User())
        rounds = itertools.takewhile(lambda number: self.answers_realm(attempt, number), itertools.count())
        assert len(list(rounds)) == MAX_ROUNDS

    @staticmethod
    def answers_realm(attempt: Attempt, number: int) -> bool:
        challenged = response(("WWW-Authenticate", f'Digest realm="r{number}", nonce="n"'))
        return attempt.authorize(Request(), challenged) is not None

    def test_the_realms_that_are_remembered_are_bounded(self) -> None:
        client = make_client()
        for number in range(40):
            assert self.answers_realm(client.begin(User()), number)
        assert len(client.begin(User()).preemptive(Request())) == 16

    def test_the_next_nonce_is_used(self) -> None:
        server = make_server()
        client = make_client()
        attempt = client.begin(User())
        attempt.authorize(Request(), unauthorized(server))
        nonce = server.new_nonce(5.0)
        attempt.confirm(
            response(
                ("Authentication-Info", "qop=auth"),
                ("Authentication-Info", f'nextnonce="{nonce}"'),
                ("Authentication-Info", "="),
            )
        )
        headers = client.begin(User()).preemptive(Request())
        [answer] = parse_answers(values(headers))
        assert (answer.nonce, answer.nonce_count) == (nonce, 1)
        assert server.verify("REGISTER", b"", values(headers), 5.0).username == "alice"

    def test_a_next_nonce_of_an_unknown_realm_is_ignored(self) -> None:
        client = make_client()
        attempt = client.begin(User())
        challenged = response(
            ("WWW-Authenticate", 'Digest realm="a", nonce="n1"'), ("WWW-Authenticate", 'Digest realm="b", nonce="n2"')
        )
        attempt.authorize(Request(), challenged)
        attempt.confirm(response(("Authentication-Info", 'nextnonce="n3"')))
        answers = parse_answers(values(client.begin(User()).preemptive(Request())))
        assert [answer.nonce for answer in answers] == ["n1", "n2"]


class TestServer:
    def answer(self, server: ServerAuthenticator, now: float = 0.0) -> DigestAnswer:
        [answer] = parse_answers(values(make_client().begin(User()).authorize(Request(), unauthorized(server, now))))
        return answer

    def verify(self, server: ServerAuthenticator, answer: DigestAnswer, now: float = 0.0) -> tuple[str | None, bool]:
        verdict = server.verify("REGISTER", b"", [str(answer)], now)
        assert (verdict.username is None) == bool(verdict.reason)
        return verdict.username, verdict.stale

    def resign(self, answer: DigestAnswer, **changes: object) -> DigestAnswer:
        changed = replace(answer, **changes)  # type: ignore[arg-type]
        return replace(changed, response=sign(changed, "secret", "REGISTER"))

    def test_a_replay_is_stale(self) -> None:
        server = make_server()
        answer = self.answer(server)
        assert self.verify(server, answer) == ("alice", False)
        assert self.verify(server, answer) == (None, True)
        assert self.verify(server, self.resign(answer, nonce_count=2)) == ("alice", False)

    def test_a_nonce_expires(self) -> None:
        server = make_server(nonce_lifetime=60.0)
        answer = self.answer(server, now=100.0)
        assert self.verify(server, answer, now=161.0) == (None, True)
        assert self.verify(server, answer, now=159.0) == ("alice", False)

    @pytest.mark.parametrize("nonce", ["", "x", "ü", "A" * 44])
    def test_a_foreign_nonce_is_stale_when_the_password_is_right(self, nonce: str) -> None:
        server = make_server()
        answer = self.resign(self.answer(server), nonce=nonce)
        assert self.verify(server, answer) == (None, True)
        assert self.verify(server, replace(answer, response="0" * 64)) == (None, False)

    def test_forgotten_counts_make_their_nonces_stale(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(auth_server, "MAX_NONCES", 2)
        server = make_server()
        answers = [self.answer(server, now=float(second)) for second in range(3)]
        assert [self.verify(server, answer, 3.0) for answer in answers] == [("alice", False)] * 3
        assert self.verify(server, answers[0], 3.0) == (None, True)
        assert self.verify(server, self.resign(answers[2], nonce_count=2), 3.0) == ("alice", False)

    @pytest.mark.parametrize(
        "changes",
        [
            {"algorithm": "SHA-512-256"},
            {"algorithm": "AKAv1-MD5"},
            {"qop": None},
            {"qop": "auth-int"},
            {"cnonce": None},
            {"nonce_count": None},
            {"nonce_count": 0},
            {"username": "mallory"},
            {"response": ""},
            {"response": "ü"},
        ],
    )
    def test_other_answers_than_asked_for_are_refused(self, changes: dict[str, object]) -> None:
        server = make_server()
        answer = replace(self.answer(server), **changes)  # type: ignore[arg-type]
        assert self.verify(server, answer) == (None, False)

    def test_no_or_unreadable_credentials_are_refused(self) -> None:
        server = make_server()
        assert server.verify("REGISTER", b"", [], 0.0).reason == "no credentials for this realm"
        other = 'Digest username="alice", realm="other", nonce="n", uri="u", response="r"'
        assert server.verify("REGISTER", b"", [other], 0.0).reason == "no credentials for this realm"
        assert server.verify("REGISTER", b"", ["Digest ="], 0.0).username is None

    def test_an_unknown_algorithm_cannot_be_offered(self) -> None:
        with pytest.raises(ValueError, match="SHA-1"):
            make_server(algorithms=["SHA-1"])
        with pytest.raises(ValueError, match="choose from"):
            make_server(algorithms=[])

    @given(st.lists(st.text(), max_size=3))
    def test_any_text_gets_a_verdict(self, texts: list[str]) -> None:
        assert make_server().verify("REGISTER", b"", texts, 0.0).username is None
