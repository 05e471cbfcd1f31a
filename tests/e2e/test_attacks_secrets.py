"""Secrets are told to nobody: not by logs, metrics, health, admin pages, files that others read, or commands."""

from __future__ import annotations

import json
import secrets
import stat
from pathlib import Path

import httpx
import pytest

from tests.e2e.api import Api, status_of_json
from tests.e2e.attacks import BINDINGS, edge_client, request_of, ways_into
from tests.e2e.shell import DONE, WRONG_USAGE, waypost
from tests.e2e.test_attacks_injection import CASES, filled
from tests.support.leaks import PAGES, assert_nothing_is_told, bad_lines, leaks, own_secrets, told_in
from tests.support.mesh import Mesh
from tests.support.tokens import Issuer
from waypost.access.api_keys import new_key

GET_KEY, REVOKE_KEY = (f"/waypost.api.v1.KeyService/{name}Key" for name in ("Get", "Revoke"))


def a_secret() -> str:
    """What people would call one, of no form that anybody knows."""
    return f"s3cr3t-{secrets.token_hex(16)}"


def test_a_secret_in_whatever_field_is_in_no_log(besieged: Mesh) -> None:
    """A key, or a token, pasted where something else belongs."""
    token = Issuer().token()
    with ways_into(besieged) as ways:
        for method, path in CASES.values():
            for name in ("JSON", "gRPC"):
                if method not in BINDINGS and name == "JSON":
                    continue
                for pasted in (new_key().text, token):
                    besieged.secrets.add(pasted)
                    if path[0].name == "update_mask" and name == "JSON":
                        continue
                    message = filled(request_of(method), path, pasted)
                    ways[name](method, message, [("x-api-key", besieged.operator_key)])
    for name in ("x-correlation-id", "x-request-id", "x-workspace", "user-agent", "referer", "traceparent", "cookie"):
        for pasted in (new_key().text, token):
            besieged.secrets.add(pasted)
            with edge_client(besieged) as client:
                client.get("/api/v1/workspace", headers={name: pasted, "x-api-key": besieged.operator_key})
                client.get("/nothing", headers={name: pasted})
    assert_nothing_is_told(besieged)
    # Some of them came that far, and no further.
    assert ".***" in besieged.log_path("gateway").read_text()


def test_a_whole_key_is_not_taken_for_its_id(besieged: Mesh) -> None:
    """The answer says what is wrong, without the key: it stands in terminals and in the logs of programs."""
    key = new_key()
    besieged.secrets.add(key.text)
    with ways_into(besieged) as ways:
        for call in ways.values():
            for method in (GET_KEY, REVOKE_KEY):
                for text in (key.text, f"wp_{key.key_id}"):
                    answer = call(method, request_of(method, key_id=text), [("x-api-key", besieged.operator_key)])
                    assert (answer.code, "key_id" in answer.message) == (3, True), answer
                    assert key.secret not in answer.text


def test_a_query_is_in_no_log(besieged: Mesh) -> None:
    """Of a redirect or a call, well or failed, passed on or not."""
    with edge_client(besieged) as client:
        client.headers["x-api-key"] = besieged.operator_key
        api = Api(besieged, client)
        codes = [
            api.code(),
            api.code(forward_query=True),
            api.code(max_clicks=1),
            "nothere",
            api.code("https://a.example/?x=1"),
        ]
        for code in [*codes, *codes]:
            for name in ("token", "password", "key", "session"):
                besieged.secrets.add(text := a_secret())
                for path in (
                    f"/{code}",
                    f"/{code}+",
                    f"/{code}/",
                    f"/api/v1/urls/{code}",
                    "/api/v1/me",
                    "/readyz",
                    "/",
                ):
                    response = client.get(path, params={name: text})
                    assert response.status_code in (200, 302, 401, 404, 410), response.text
            client.get(f"/{code}", params={"x": a_secret() * 200})
    assert_nothing_is_told(besieged)


def test_an_idempotency_key_is_in_no_log(besieged: Mesh) -> None:
    """Some are made of what nobody else may know."""
    with edge_client(besieged) as client:
        client.headers["x-api-key"] = besieged.operator_key
        api = Api(besieged, client)
        for how in ("field", "header"):
            besieged.secrets.add(text := a_secret())

            def make(url: str, how: str = how, text: str = text) -> httpx.Response:
                if how == "field":
                    return api.shorten(url, request_id=text)
                return api.send("POST", "/api/v1/shorten", {"url": url}, **{"idempotency-key": text})

            assert make("https://example.com/1").status_code == 200
            assert make("https://example.com/1").status_code == 200
            reused = status_of_json(make("https://example.com/2"), 409)
            assert "request_id" in reused.message
            besieged.secrets.add(wrong := f"{a_secret()} with spaces")
            assert api.shorten(request_id=wrong).status_code == 400
    assert_nothing_is_told(besieged)


def test_bad_credentials_are_in_no_log(besieged: Mesh) -> None:
    bad = [new_key().text, a_secret(), f"wp_{a_secret()}", Issuer().token(), f"Basic {a_secret()}"]
    with edge_client(besieged) as client:
        for text in bad:
            besieged.secrets.add(text)
            for name, value in (("x-api-key", text), ("authorization", text), ("authorization", f"Bearer {text}")):
                response = client.get("/api/v1/workspace", headers={name: value})
                assert response.status_code == 401
                assert text not in response.text
        # As bytes that are none of a key's.
        text = a_secret()
        besieged.secrets.add(text)
        for header in (b"x-api-key", b"authorization"):
            assert client.get("/api/v1/me", headers=[(header, text.encode() + b"\xff")]).status_code in (400, 401)
    assert_nothing_is_told(besieged)


def test_this_very_check_finds_what_is_told(besieged: Mesh) -> None:
    """Else it would be no check."""
    assert_nothing_is_told(besieged)
    known = own_secrets(besieged)
    assert {"the pepper", "the operator key", "the password of waypost_api"} <= known.keys()
    assert any("private key" in name for name in known)
    besieged.secrets.add(used := a_secret())
    planted = besieged.data / "logs" / "planted.log"
    try:
        for name, text in known.items():
            assert told_in(f"x{text}y", known) == [name]
        key, token = new_key().text, Issuer().token()
        for text in (key, token, "postgresql://someone:hunter2@db/x", "-----BEGIN PRIVATE KEY-----"):
            assert len(told_in(f"x {text} y", known)) == 1
        planted.write_text(json.dumps({"event": f"x{known['the pepper']}y{used}"}))
        assert len(told := leaks(besieged)) == 2
        assert all(one.startswith("planted.log tells ") for one in told)
        for line in ("text", '["a"]', '{"a":1}{"b":2}', '{"a":', '"a"', '{"a":"\x1b"}'):
            planted.write_text(f'{{"event":"x"}}\n{line}\n')
            assert [bad[:14] for bad in bad_lines(besieged)] == ["planted.log:2:"]
    finally:
        planted.unlink()


def test_files_with_secrets_are_for_their_owner_alone(besieged: Mesh) -> None:
    known = own_secrets(besieged)
    found = set()
    for path in besieged.data.rglob("*"):
        if not stat.S_ISREG(path.lstat().st_mode) or path.is_relative_to(besieged.data / "postgres" / "data"):
            continue
        text = path.read_bytes()
        held = {name for name, secret in known.items() if secret.encode() in text}
        found |= held
        if held:
            assert path.stat().st_mode & 0o077 == 0, path
    assert found == known.keys()
    assert (besieged.data / "logs").stat().st_mode & 0o077 == 0


def test_metrics_and_health_say_nothing_of_callers(besieged: Mesh) -> None:
    """No label is a caller's word: neither a key's id, nor a subject, a code or an address."""
    with edge_client(besieged) as client:
        client.headers["x-api-key"] = besieged.operator_key
        code = Api(besieged, client).code()
        client.get(f"/{code}")
        client.get("/some-code-that-nobody-has")
    with httpx.Client(trust_env=False) as pages:
        for name in ("gateway", "ratelimiter", "workers"):
            for page in PAGES:
                text = pages.get(f"http://127.0.0.1:{besieged.ports[name + '_metrics']}/{page}").text
                for told in (code, "some-code-that", besieged.operator_key.split(".")[0].removeprefix("wp_"), "user:"):
                    assert told not in text, (name, page)


SECRET_SETTINGS = {
    "WAYPOST_KEY_PEPPER": "{}",
    "WAYPOST_DATABASE_URL": "postgresql://someone:{}@127.0.0.1:1/waypost",
    "WAYPOST_DATABASE_API_URL": "postgresql://someone:{}@127.0.0.1:1/waypost",
    "WAYPOST_DATABASE_REDIRECT_URL": "postgresql://someone:{}@127.0.0.1:1/waypost",
    "WAYPOST_DATABASE_IDENTITY_URL": "postgresql://someone:{}@127.0.0.1:1/waypost",
    "WAYPOST_DATABASE_OPERATOR_URL": "postgresql://someone:{}@127.0.0.1:1/waypost",
    "WAYPOST_DATABASE_LIMITER_URL": "postgresql://someone:{}@127.0.0.1:1/waypost",
    "WAYPOST_DATABASE_SWEEPER_URL": "postgresql://someone:{}@127.0.0.1:1/waypost",
    "WAYPOST_API_KEY": "wp_0123456789abcdef.{}",
    "WAYPOST_TOKEN": "eyJ0.{}.x",
}


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_the_settings_are_shown_without_their_secrets(tmp_path: Path, besieged: Mesh, form: tuple[str, ...]) -> None:
    texts = {name: a_secret() for name in SECRET_SETTINGS}
    env = {name: value for name, value in besieged.env.items() if not name.startswith("WAYPOST_")}
    env |= {
        "WAYPOST_DATA_DIR": str(tmp_path),
        **{name: SECRET_SETTINGS[name].format(text) for name, text in texts.items()},
    }
    code, out, err = waypost(env, "config", *form)
    assert (code, err) == (DONE, "")
    for name, text in texts.items():
        assert name in out
        assert text not in out, name
    assert not any(secret in out for secret in own_secrets(besieged).values())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WAYPOST_KEY_PEPPER", "short-{}"),
        ("WAYPOST_KEY_PEPPER", "{0}{0},short-x"),
        ("WAYPOST_DATABASE_URL", "mysql://someone:{}@127.0.0.1/waypost"),
        ("WAYPOST_DATABASE_URL", "postgresql://someone:{}@[::1/waypost"),
        ("WAYPOST_DATABASE_URL", "{}"),
        ("WAYPOST_DATABASE_API_URL", "postgresql:/someone:{}@h"),
    ],
)
def test_a_bad_setting_is_refused_without_its_secret(tmp_path: Path, besieged: Mesh, name: str, value: str) -> None:
    """Whoever starts a service has its words in a log."""
    text = secrets.token_hex(4)
    env = {key: one for key, one in besieged.env.items() if not key.startswith("WAYPOST_")}
    env |= {"WAYPOST_DATA_DIR": str(tmp_path), name: value.format(text)}
    for command in (("config",), ("up",), ("config", "--json")):
        code, out, err = waypost(env, *command)
        assert code == WRONG_USAGE, (command, out, err)
        assert name in out + err
        assert text not in out + err


def test_a_command_does_not_print_the_key_that_it_was_refused_with(tmp_path: Path, besieged: Mesh) -> None:
    env = {**besieged.env, "WAYPOST_DATA_DIR": str(tmp_path)}
    for name, value in (
        ("WAYPOST_API_KEY", new_key().text),
        ("WAYPOST_API_KEY", a_secret()),
        ("WAYPOST_TOKEN", Issuer().token()),
    ):
        for command in (("links", "list"), ("links", "list", "--json"), ("-v", "links", "list")):
            code, out, err = waypost({**env, name: value}, *command)
            assert code != DONE
            assert value.split(".")[-1] not in out + err
