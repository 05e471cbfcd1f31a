"""The `waypost` command against a mesh: what it prints, and the exit codes that scripts go by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import native
from tests.e2e.api import Api, fresh_alias
from tests.e2e.shell import DONE, FAILED, NO_ANSWER, WRONG_USAGE, one_line, waypost
from tests.support.mesh import Mesh, without_settings
from tests.support.ports import free_ports
from tests.support.postgres import Server, run
from waypost import __version__
from waypost.adapters.migrate import migrations, status
from waypost.client import Client, Link, LinkState, NewLink, link_filter
from waypost.errors import EtagMismatch, InvalidFields, LinkGone, LinkNotFound


def test_make_show_and_delete_a_link(api: Api) -> None:
    env, alias = api.mesh.env, fresh_alias()
    short_url = f"{api.mesh.http_url}/{alias}"
    url = "https://аpple.com/?é"
    made = waypost(env, "links", "create", url, "--alias", alias, "--ttl", "7d", "--redirect-status", "308")
    assert made == (DONE, f"{short_url}\n", "")
    assert api.http.get(f"/{alias}").status_code == 308

    code, said, _ = waypost(env, "links", "get", alias)
    rows = dict(line.split(maxsplit=1) for line in said.splitlines())
    link = api.link(alias)
    assert code == DONE
    assert rows == {
        # What says nothing is not shown.
        **{name: str(value) for name, value in link.items() if value},
        "state": "active",
        "destination_flags": "international_host, mixed_script, confusable",
    }
    # Columns line up.
    assert len({line.index(line.split(maxsplit=1)[1]) for line in said.splitlines()}) == 1

    assert waypost(env, "links", "delete", alias) == (DONE, f"deleted {short_url}\n", "")
    assert waypost(env, "links", "delete", alias) == (DONE, f"deleted {short_url}\n", "")
    assert "deleted" in waypost(env, "links", "get", alias)[1]
    assert api.http.get(f"/{alias}").status_code == 410

    assert waypost(env, "links", "undelete", alias) == (DONE, f"undeleted {short_url}\n", "")
    assert "active" in waypost(env, "links", "get", alias)[1]


def test_change_a_link(api: Api) -> None:
    env, alias = api.mesh.env, fresh_alias()
    create = [
        "links",
        "create",
        "https://old.example/",
        "--alias",
        alias,
        "--title",
        "Old",
        "--tag",
        "a",
        "--ttl",
        "1d",
    ]
    first = json.loads(waypost(env, *create, "--max-clicks", "5", "--json")[1])

    changes = ["--url", "https://new.example/", "--title", "New", "--tag", "b", "--no-expiry", "--forward-query"]
    code, said, errors = waypost(env, "links", "update", alias, *changes, "--no-max-clicks", "--etag", first["etag"])
    assert (code, said, errors) == (DONE, f"updated {first['short_url']}\n", "")
    link = api.link(alias)
    assert (link["original_url"], link["title"], link["tags"]) == ("https://new.example/", "New", ["b"])
    assert ("expires_at" in link, link["max_clicks"], link["forward_query"]) == (False, 0, True)

    # Somebody else has read the first state, and is told so.
    said = one_line(waypost(env, "links", "update", alias, "--no-tags", "--etag", first["etag"]), FAILED)
    assert "has changed meanwhile" in said
    assert waypost(env, "links", "update", alias, "--no-tags", "--title", "")[0] == DONE
    link = api.link(alias)
    assert (link["title"], link["tags"]) == ("", [])


def test_find_links(api: Api) -> None:
    env, tag = api.mesh.env, f'{fresh_alias()} "quoted"'
    made = [fresh_alias() for _ in range(3)]
    for alias, title in zip(made, ("The annual report", "Minutes", "Gone"), strict=True):
        create = ["links", "create", "https://example.com/", "--alias", alias, "--title", title, "--tag", tag]
        assert waypost(env, *create)[0] == DONE
    assert waypost(env, "links", "delete", made[2])[0] == DONE

    def found(*options: str) -> list[str]:
        code, said, errors = waypost(env, "links", "list", "--tag", tag, "--json", *options)
        assert (code, errors) == (DONE, "")
        return [link["short_code"] for link in json.loads(said)]

    assert found() == [made[1], made[0]]
    assert found("--order-by", "created_at") == made[:2]
    assert found("--text", "ANNUAL repo*") == [made[0]]
    assert found("--state", "deleted") == [made[2]]
    assert found("--filter", 'created_at < "2020-01-01T00:00:00Z"') == []
    assert found("--limit", "1") == [made[1]]

    code, said, errors = waypost(env, "links", "list", "--tag", tag, "--all", "--json")
    assert (code, errors) == (DONE, "")
    assert [json.loads(line) for line in said.splitlines()] == [api.link(alias) for alias in (made[1], made[0])]
    code, said, errors = waypost(env, "links", "list", "--tag", tag)
    assert (code, errors, [line.split()[0] for line in said.splitlines()[1:]]) == (DONE, "", [made[1], made[0]])
    assert one_line(waypost(env, "links", "list", "--filter", "x = y"), FAILED).startswith("--filter at position 1: ")


def test_what_a_visit_would_get(api: Api) -> None:
    env, alias = api.mesh.env, api.code("https://example.com/resolved", redirect_status=307)
    code, said, _ = waypost(env, "links", "resolve", alias, "--json")
    answer = json.loads(said)
    assert (code, answer["http_status"], answer["location"]) == (DONE, 307, "https://example.com/resolved")
    code, said, _ = waypost(env, "links", "resolve", "nobody-has-this")
    assert (code, said.split()[-3:]) == (DONE, ["no", "such", "link"])


def test_many_links_from_a_file(api: Api, tmp_path: Path) -> None:
    env, alias, file = api.mesh.env, fresh_alias(), tmp_path / "links.txt"
    file.write_text(f'https://a.example/\n{{"url": "https://b.example/", "alias": "{alias}"}}\njavascript:x\n')
    own_id = fresh_alias()
    code, said, errors = waypost(env, "links", "batch", str(file), "--request-id", own_id)
    first, second = said.splitlines()
    assert code == FAILED
    assert second == f"{api.mesh.http_url}/{alias}"
    assert api.link(first.rpartition("/")[2])["original_url"] == "https://a.example/"
    assert [line.split(":")[1] for line in errors.splitlines()] == [" line 3", " 1 of 3 links was not made"]
    # Again, nothing is made twice.
    assert waypost(env, "links", "batch", str(file), "--request-id", own_id) == (code, said, errors)


def test_asking_again_makes_nothing_twice(api: Api) -> None:
    create = ["links", "create", "https://a.example/", "--request-id", fresh_alias()]
    first = waypost(api.mesh.env, *create)
    assert first[0] == DONE
    assert waypost(api.mesh.env, *create) == first


async def test_the_client_goes_the_same_way(api: Api, owner_key: str) -> None:
    async with Client(api.mesh.http_url, api_key=owner_key, channels=2) as client:
        alias = fresh_alias()
        made, refused = await client.batch_create(
            [NewLink(url="https://example.com/", alias=alias, tags=[alias]), NewLink(url="x")]
        )
        assert isinstance(made, Link)
        assert isinstance(refused, InvalidFields)
        assert [link async for link in client.list(filter=link_filter(tags=[alias]))] == [made]
        changed = await client.update(alias, title="New", tags=None, etag=made.etag)
        assert (changed.title, changed.tags) == ("New", ())
        with pytest.raises(EtagMismatch) as raised:
            await client.delete(alias, etag=made.etag)
        assert raised.value.etag == changed.etag
        assert (await client.delete(alias)).state is LinkState.DELETED
        with pytest.raises(LinkGone):
            await client.update(alias, title="x")
        assert (await client.undelete(alias)).state is LinkState.ACTIVE
        assert (await client.resolve(alias)).location == "https://example.com/"
        with pytest.raises(LinkNotFound):
            await client.get("nobody-has-this")


def test_the_same_as_json(api: Api) -> None:
    env = api.mesh.env
    code, said, errors = waypost(env, "links", "create", "https://a.example/", "--json")
    link = json.loads(said)
    assert (code, errors, link) == (DONE, "", api.link(link["short_code"]))
    code, said, _ = waypost(env, "links", "get", "--json", link["short_code"])
    assert (code, json.loads(said)) == (DONE, link)
    code, said, _ = waypost(env, "links", "delete", "--json", link["short_code"])
    assert (code, json.loads(said)["state"]) == (DONE, "LINK_STATE_DELETED")


def test_when_a_link_ends(api: Api) -> None:
    ends = "2098-01-01T00:00:00Z"
    code, said, _ = waypost(api.mesh.env, "links", "create", "https://a.example/", "--expires-at", ends, "--json")
    assert (code, json.loads(said)["expires_at"]) == (DONE, ends)


def test_refusals(mesh: Mesh) -> None:
    assert one_line(waypost(mesh.env, "links", "get", "nobody-has-this"), FAILED) == (
        "no link has the short code 'nobody-has-this'"
    )
    # Each field on a line of its own, by the name that it has here.
    code, said, errors = waypost(
        mesh.env, "links", "create", "javascript:x", "--alias", "api", "--ttl", "0", "--redirect-status", "301"
    )
    assert (code, said) == (FAILED, "")
    assert sorted(line.split()[:2] for line in errors.splitlines()) == [
        ["waypost:", "--alias"],
        ["waypost:", "--ttl"],
        ["waypost:", "URL"],
    ]


def test_refusals_as_json(mesh: Mesh) -> None:
    code, said, errors = waypost(mesh.env, "links", "create", "javascript:x", "--json")
    error = json.loads(errors)
    assert (code, said, error["code"]) == (FAILED, "", "INVALID_ARGUMENT")
    assert error["message"].startswith("url: ")
    assert [detail["@type"].rpartition(".")[2] for detail in error["details"]] == ["ErrorInfo", "BadRequest"]
    code, _, errors = waypost(mesh.env, "links", "delete", "nobody-has-this", "--json")
    assert (code, json.loads(errors)["code"]) == (FAILED, "NOT_FOUND")


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_another_server(mesh: Mesh, scheme: str) -> None:
    elsewhere = {**without_settings(mesh.env), "WAYPOST_HTTP_PORT": "1"}
    for port in ("http", "gateway_control"):
        server = f"{scheme}127.0.0.1:{mesh.ports[port]}"
        assert waypost(elsewhere, "links", "create", "https://a.example/", "--server", server)[0] == DONE
        assert waypost({**elsewhere, "WAYPOST_SERVER": server}, "links", "create", "https://a.example/")[0] == DONE
        # The option is nearer than the environment.
        env = {**elsewhere, "WAYPOST_SERVER": "127.0.0.1:1"}
        assert waypost(env, "links", "create", "https://a.example/", "--server", server)[0] == DONE


def test_a_proxy_for_the_way_out_is_not_asked_for_this_machine(mesh: Mesh) -> None:
    env = {**mesh.env, "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    assert waypost(env, "links", "create", "https://a.example/")[0] == DONE


def test_nobody_answers(mesh: Mesh) -> None:
    (port,) = free_ports(1)
    for server in (f"127.0.0.1:{port}", f"127.0.0.1:{mesh.ports['gateway_metrics']}", "no-such-host.invalid:8080"):
        said = one_line(waypost(mesh.env, "links", "get", "x", "--server", server), NO_ANSWER)
        assert said.startswith(f"no Waypost answers at {server}")
    code, said, errors = waypost(mesh.env, "links", "get", "x", "--json", "--server", f"127.0.0.1:{port}")
    assert (code, said, json.loads(errors)["code"]) == (NO_ANSWER, "", "UNAVAILABLE")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["links", "create"], "Missing argument 'URL'"),
        (["links", "create", "https://a.example/", "--ttl", "soon"], "7d"),
        (["links", "create", "https://a.example/", "--redirect-status", "303"], "'302'"),
        (["links", "make"], "No such command 'make'"),
        (["lniks"], "No such command 'lniks'"),
        (["config", "--yaml"], "--yaml"),
        (["up", "now"], "now"),
    ],
)
def test_wrong_usage(mesh: Mesh, arguments: list[str], hint: str) -> None:
    code, said, errors = waypost(mesh.env, *arguments)
    assert (code, said) == (WRONG_USAGE, "")
    assert errors.startswith("Usage: waypost")
    assert hint in errors


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--ttl", "1h", "--expires-at", "2098-01-01T00:00:00Z"], "--expires-at"),
        (["--expires-at", "tomorrow"], "2030-01-31T12:00:00Z"),
        (["--server", "ftp://x"], "--server"),
        (["--server", "https://x/path"], "--server"),
        (["--server", "host"], "host:port"),
    ],
)
def test_options_that_make_no_sense(mesh: Mesh, arguments: list[str], hint: str) -> None:
    assert hint in one_line(waypost(mesh.env, "links", "create", "https://a.example/", *arguments), WRONG_USAGE)


BAD = [
    pytest.param({"WAYPOST_HTTP_PORT": "http"}, "WAYPOST_HTTP_PORT", id="no number"),
    pytest.param({"WAYPOST_HTTP_PORT": "65536"}, "WAYPOST_HTTP_PORT", id="no port"),
    pytest.param({"WAYPOST_HTP_PORT": "8080"}, "did you mean WAYPOST_HTTP_PORT?", id="a slip of the pen"),
    pytest.param({"WAYPOST_DATABASE_URL": "mysql://u:secret@h/d"}, "WAYPOST_DATABASE_URL", id="another database"),
]


@pytest.mark.parametrize(("bad", "hint"), BAD)
@pytest.mark.parametrize("words", [["up"], ["config"], ["migrate"], ["links", "get", "x"]], ids=" ".join)
def test_bad_settings(mesh: Mesh, words: list[str], bad: dict[str, str], hint: str) -> None:
    said = one_line(waypost({**mesh.env, **bad}, *words), WRONG_USAGE)
    assert hint in said
    assert "secret" not in said


def test_several_bad_settings_are_all_named(mesh: Mesh) -> None:
    env = {**mesh.env, "WAYPOST_HTTP_PORT": "x", "WAYPOST_DRAIN_SECONDS": "-1", "WAYPOST_NOPE": "1"}
    code, said, errors = waypost(env, "config", "--json")
    assert (code, said) == (WRONG_USAGE, "")
    problems = json.loads(errors)["problems"]
    assert [problem.split()[0] for problem in sorted(problems)] == [
        "WAYPOST_DRAIN_SECONDS",
        "WAYPOST_HTTP_PORT",
        "WAYPOST_NOPE",
    ]


def test_config(mesh: Mesh) -> None:
    code, said, errors = waypost(mesh.env, "config", "--json")
    assert (code, errors) == (DONE, "")
    shown: dict[str, dict[str, str]] = json.loads(said)
    assert list(shown) == ["waypost up", "gateway", "ratelimiter", "workers", "waypost commands"]
    assert shown["waypost up"]["WAYPOST_DATA_DIR"] == str(mesh.data)
    assert shown["gateway"]["WAYPOST_PUBLIC_URL"] == mesh.http_url
    limiter = mesh.ports["ratelimiter_hot" if native.HOT_PORT else "ratelimiter_control"]
    assert shown["gateway"]["WAYPOST_RATELIMITER_ADDRESS"] == f"127.0.0.1:{limiter}"
    assert shown["workers"]["WAYPOST_SWEEP_INTERVAL_SECONDS"] == "1"

    code, said, _ = waypost(mesh.env, "config")
    assert code == DONE
    lines = said.splitlines()
    assert [line.removeprefix("# ") for line in lines if line.startswith("# ")] == list(shown)
    assert f"WAYPOST_HTTP_PORT={mesh.ports['http']}    # set" in lines
    assert "WAYPOST_LOG_LEVEL=info" in lines
    flat = [line.removesuffix("    # set") for line in lines if line and not line.startswith("#")]
    assert flat == [f"{name}={value}" for values in shown.values() for name, value in values.items()]


def test_config_shows_no_secret(mesh: Mesh) -> None:
    url = "postgresql://waypost:pa55word@db.example:5432/waypost"
    env = {**mesh.env, "WAYPOST_DATABASE_URL": url, "WAYPOST_DATABASE_API_URL": url.replace("pa55word", "an0ther")}
    for arguments in (["config"], ["config", "--json"]):
        code, said, errors = waypost(env, *arguments)
        assert (code, errors) == (DONE, "")
        assert "pa55word" not in said
        assert "an0ther" not in said
        assert "********" in said
    # Nor that of the embedded database, which nobody has set.
    assert "postgresql://" not in waypost(mesh.env, "config")[1]


def test_config_says_what_has_no_effect(mesh: Mesh) -> None:
    code, said, _ = waypost({**mesh.env, "WAYPOST_AMQP_URL": "amqp://x"}, "config")
    assert code == DONE
    assert "# WAYPOST_AMQP_URL has no effect in this version" in said


def test_version(mesh: Mesh) -> None:
    # Not even a bad setting keeps anyone from asking which version it is that refuses it.
    for env in (mesh.env, {**mesh.env, "WAYPOST_HTTP_PORT": "x"}):
        assert waypost(env, "version") == (DONE, f"waypost {__version__}\n", "")
        code, said, _ = waypost(env, "version", "--json")
        assert (code, json.loads(said)) == (DONE, {"version": __version__})


@pytest.fixture
def own(postgres: Server) -> dict[str, str]:
    """An environment that names an empty database."""
    url = postgres.make_database(empty=True).url()
    return {"WAYPOST_DATABASE_URL": url}


def test_migrate(own: dict[str, str]) -> None:
    ids = [step.id for step in migrations()]
    assert waypost(own, "migrate") == (DONE, "".join(f"applied {one}\n" for one in ids), "")
    assert all(one.applied_at for one in run(status(own["WAYPOST_DATABASE_URL"])))
    assert waypost(own, "migrate") == (DONE, "nothing to do\n", "")
    code, said, _ = waypost(own, "migrate", "--json")
    assert (code, json.loads(said)) == (DONE, {"applied": []})


def test_migrate_as_json(own: dict[str, str]) -> None:
    code, said, _ = waypost(own, "migrate", "--json")
    assert (code, json.loads(said)) == (DONE, {"applied": [step.id for step in migrations()]})


def test_migrate_without_a_database(own: dict[str, str]) -> None:
    env = without_settings(own)
    assert "WAYPOST_DATABASE_URL must be set" in one_line(waypost(env, "migrate"), WRONG_USAGE)


def test_migrate_where_nobody_answers(own: dict[str, str]) -> None:
    (port,) = free_ports(1)
    env = {**own, "WAYPOST_DATABASE_URL": f"postgresql://u:secret@127.0.0.1:{port}/d"}
    assert one_line(waypost(env, "migrate"), NO_ANSWER) == (
        "the database of WAYPOST_DATABASE_URL does not answer: Connection refused"
    )
    code, said, errors = waypost(env, "migrate", "--json")
    assert (code, said, "Connection refused" in json.loads(errors)["message"]) == (NO_ANSWER, "", True)


def test_migrate_with_a_wrong_password_or_name(own: dict[str, str], postgres: Server) -> None:
    url = own["WAYPOST_DATABASE_URL"]
    secret = postgres.cluster.url().split(":")[2].partition("@")[0]
    cases: list[tuple[str, Any]] = [
        (url.replace(secret, "wr0ng"), "authentication failed"),
        (url.replace("/test_", "/no_such_"), "does not exist"),
        ("postgresql://h/d?sslmode=x", "does not lead into a database"),
        ("postgresql://u:wr0ng/@h:5432/d", "port"),
    ]
    for wrong, hint in cases:
        said = one_line(waypost({**own, "WAYPOST_DATABASE_URL": wrong}, "migrate"), WRONG_USAGE)
        assert hint in said
        assert "wr0ng" not in said


def test_migrate_of_a_newer_database(own: dict[str, str]) -> None:
    assert waypost(own, "migrate")[0] == DONE

    async def age() -> None:
        connection = await asyncpg.connect(own["WAYPOST_DATABASE_URL"])
        try:
            await connection.execute("INSERT INTO schema_migrations VALUES (9999, 'later', 'x')")
        finally:
            await connection.close()

    run(age())
    assert "newer Waypost" in one_line(waypost(own, "migrate"), WRONG_USAGE)
