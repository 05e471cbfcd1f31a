"""Overrides end to end: set through the edge, in force within a second, in the log, and for operators alone."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.attacks import edge_client
from tests.support.credentials import headers_of
from tests.support.mesh import Mesh
from waypost.access.identity import Role
from waypost.model import DEFAULT_WORKSPACE

OVERRIDES = "/api/v1/ratelimit/overrides"


def soon(condition: Callable[[], bool]) -> None:
    """Asks until the answer is yes; the promise is a second, to which a busy machine adds the time of its answers."""
    ends = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < ends, "it does not hold in time"
        time.sleep(0.01)


def test_an_override_holds_soon_and_no_longer_than_it_is_there(besieged: Mesh) -> None:
    value = secrets.token_hex(8)
    entries = [{"key": "probe", "value": value}]
    with edge_client(besieged) as client:
        client.headers.update(headers_of(besieged.operator_key))

        def status() -> dict[str, Any]:
            body = {"domain": "shop", "descriptors": [{"entries": entries}]}
            explained = client.post("/api/v1/ratelimit/explain", json=body).json()
            (descriptor,) = explained["descriptors"]
            return dict(descriptor)

        def limit() -> int | None:
            limits = status()["limits"]
            return limits[0]["limit"] if limits else None

        assert limit() == 2
        numbers = {"requests_per_unit": 7, "unit": "LIMIT_UNIT_HOUR", "reason": "a launch"}
        made = client.post(OVERRIDES, json={"domain": "shop", "entries": entries, **numbers})
        assert made.status_code == 200, made.text
        override = made.json()
        soon(lambda: limit() == 7)
        assert status()["overridden"] is True

        replaced = client.post(OVERRIDES, json={"domain": "shop", "entries": entries, "unlimited": True}).json()
        assert replaced["override_id"] == override["override_id"]
        soon(lambda: limit() is None)
        (listed,) = [
            one
            for one in client.get(OVERRIDES, params={"domain": "shop"}).json()["overrides"]
            if one["entries"] == entries
        ]
        assert listed == replaced

        assert client.delete(f"{OVERRIDES}/{override['override_id']}").json() == replaced
        soon(lambda: limit() == 2)
        assert client.delete(f"{OVERRIDES}/{override['override_id']}").status_code == 404

        log = client.get(
            "/api/v1/audit",
            params={"object": override["override_id"]},
            headers={"x-workspace": str(DEFAULT_WORKSPACE)},
        ).json()["events"]
        assert [event["action"] for event in log] == ["override.delete", "override.set", "override.set"]
        assert log[2]["details"] == {
            "domain": "shop",
            "descriptor": f"probe={value}",
            "limit": "7 per hour",
            "reason": "a launch",
        }


@pytest.mark.parametrize("role", [Role.VIEWER, Role.EDITOR, Role.OWNER])
def test_overrides_are_for_operators(besieged: Mesh, role: Role) -> None:
    with edge_client(besieged) as client:
        client.headers.update(headers_of(besieged.key_blocking(role)))
        body = {"domain": "shop", "entries": [{"key": "probe", "value": "x"}], "unlimited": True}
        answers = [
            client.post(OVERRIDES, json=body),
            client.get(OVERRIDES),
            client.delete(f"{OVERRIDES}/x"),
            client.post("/api/v1/ratelimit/reset", json={"domain": "shop", "descriptors": [{"entries": []}]}),
        ]
        assert [answer.status_code for answer in answers] == [403] * 4
