"""What happened is told once: each change leaves its event in the outbox, in the change's own transaction."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.e2e.api import Api, fresh_alias
from waypost.api.v1 import event_pb2
from waypost.api.v1 import link_service_pb2 as links

COLUMNS = "event_id, type, version, workspace_id, dedupe_key, correlation_id, occurred_at, payload, published_at"


def events(api: Api, code: str) -> list[event_pb2.Event]:
    """The events of a link by version; asserts that row and payload agree."""
    rows = api.sql(f"SELECT {COLUMNS} FROM outbox WHERE subject = $1 ORDER BY version", code)  # noqa: S608
    found = []
    for row in rows:
        event = event_pb2.Event.FromString(row["payload"])
        assert (event.id, event.version) == (str(row["event_id"]), row["version"])
        assert event_pb2.EventType.Name(event.type) == f"EVENT_TYPE_{row['type'].upper()}"
        assert (event.subject, event.workspace_id) == (code, str(row["workspace_id"]))
        assert (event.dedupe_key, event.correlation_id) == (row["dedupe_key"], row["correlation_id"])
        found.append(event)
    return found


def test_created_and_deleted_are_told_once_each(api: Api) -> None:
    headers = {"x-correlation-id": fresh_alias()}
    made = api.http.post("/api/v1/shorten", json={"url": "https://a.example/?é", "ttl_seconds": 600}, headers=headers)
    code = made.json()["short_code"]
    for _ in range(3):
        deleted = api.http.delete(f"/api/v1/urls/{code}")
    created_event, deleted_event = events(api, code)
    assert created_event.type == event_pb2.EVENT_TYPE_LINK_CREATED
    assert created_event.correlation_id == headers["x-correlation-id"]
    assert created_event.occurred_at.ToJsonString() == made.json()["created_at"]
    assert (created_event.link.original_url, created_event.link.short_url) == (
        "https://a.example/?é",
        made.json()["short_url"],
    )
    assert created_event.link.expires_at.ToJsonString() == made.json()["expires_at"]
    assert deleted_event.type == event_pb2.EVENT_TYPE_LINK_DELETED
    assert deleted_event.link.state == links.LINK_STATE_DELETED
    assert deleted_event.occurred_at.ToJsonString() == deleted.json()["updated_at"]
    assert created_event.id != deleted_event.id
    assert created_event.dedupe_key != deleted_event.dedupe_key


def test_what_did_not_happen_is_not_told(api: Api) -> None:
    alias = fresh_alias()
    api.make(alias=alias)
    before = api.sql("SELECT count(*) FROM links")[0][0]
    assert api.shorten(alias=alias.upper()).status_code == 409
    assert api.shorten("javascript:x", alias=fresh_alias()).status_code == 400
    assert api.http.delete("/api/v1/urls/nobody-has-this").status_code == 404
    assert len(events(api, alias)) == 1
    assert events(api, alias.upper()) == events(api, "nobody-has-this") == []
    assert api.sql("SELECT count(*) FROM links")[0][0] == before


def test_one_of_many_gets_the_alias(api: Api) -> None:
    alias = fresh_alias()

    def create(number: int) -> int:
        with httpx.Client(base_url=api.mesh.http_url, headers=api.http.headers, trust_env=False, timeout=30) as client:
            spelled = alias.upper() if number % 2 else alias
            body = {"url": f"https://a.example/{number}", "alias": spelled}
            return client.post("/api/v1/shorten", json=body).status_code

    with ThreadPoolExecutor(24) as pool:
        answers = sorted(pool.map(create, range(48)))
    assert answers == [200] + [409] * 47
    assert sum(len(events(api, spelled)) for spelled in (alias, alias.upper())) == 1


def test_every_link_has_its_event(api: Api) -> None:
    """Over all that the other tests have done: no link without an event, and no event without a link."""
    api.make()
    missing = """
        SELECT count(*) FROM links FULL JOIN (SELECT DISTINCT subject FROM outbox) AS o ON o.subject = links.short_code
        WHERE links.id IS NULL OR o.subject IS NULL
    """
    assert api.sql(missing)[0][0] == 0
    doubled = "SELECT dedupe_key FROM outbox GROUP BY dedupe_key HAVING count(*) > 1"
    assert api.sql(doubled) == []
