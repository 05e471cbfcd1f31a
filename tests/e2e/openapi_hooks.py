"""What schemathesis has to know beyond the document, loaded by its own process.

A schema cannot say which hosts exist, what a page token is, or that two fields go together. Cases that are meant to be
valid are made so here, so that each that the API refuses is a bound that the document does not tell of.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, HookContext
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.core.transport import Response
from schemathesis.openapi.checks import RejectedPositiveData

HOSTS = ("example.com", "a.example", "xn--mnchen-3ya.example", "[2001:db8::1]", "192.0.2.7")
REPORTED = "reported-link"
"""The code of a link that is there."""
FILTERS = (
    "",
    "state = deleted",
    'tag = "spring sale"',
    'created_at >= "2026-01-31T00:00:00Z" AND text : "annual repo*"',
)

# Those above U+FFFF, for which a pattern would have to rely on flags that not every reader of the document sets.
_INVISIBLE = re.compile("[\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]")

_NOT_BLANK = re.compile(r"^\^\(\?=(?:\.|\[\\s\\S\])\*\\S\)")

_YEAR_2100 = "2100-01-01T00:00:00Z"

_TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="\\/?#@"),
    max_size=30,
)
_URLS = st.builds(
    "{}://{}{}/{}?{}#{}".format,
    st.sampled_from(("http", "https", "HTTPS")),
    st.sampled_from(HOSTS),
    st.sampled_from(("", ":1", ":65535")),
    *(_TEXT, _TEXT, _TEXT),
)
_FUTURE = st.datetimes(datetime(2100, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001

schemathesis.openapi.format("iri", _URLS)
schemathesis.openapi.format("date-time", _FUTURE.map(lambda time: time.isoformat().replace("+00:00", "Z")))


@schemathesis.hook
def before_load_schema(_: HookContext, raw_schema: dict[str, Any]) -> None:
    """Lets texts be made that are blank, which `map_case` mends.

    From a pattern that looks ahead, a long text comes only by many attempts: a minute for one of a thousand characters.
    """
    for name, schema in raw_schema["components"]["schemas"].items():
        if name.endswith("Request"):
            for field in schema.get("properties", {}).values():
                if "pattern" in field:
                    field["pattern"] = _NOT_BLANK.sub("^", field["pattern"])


@schemathesis.hook
def map_case(_: HookContext, case: Case[Any]) -> Case[Any]:
    """Mends what a case of valid data cannot know."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return case
    # Somebody else's, whichever it is.
    case.headers.pop("x-workspace", None)
    query: dict[str, Any] = case.query or {}
    query.pop("page_token", None)
    # Before `from` it would end before it begins.
    query.pop("until", None)
    for name in ("principal", "object"):
        if name in query:
            query[name] = _ascii(query[name])
    if "filter" in query:
        query["filter"] = FILTERS[len(query["filter"]) % len(FILTERS)]
    body: Any = case.body
    if isinstance(body, dict):
        case.body = body = _named(body)
        for name in ("name", "reason"):
            if isinstance(text := body.get(name), str) and text.isspace():
                body[name] = "x" + text[1:]
        if case.operation.label == "PATCH /api/v1/urls/{short_code}":
            body.setdefault("title", "")
            if body.get("update_mask"):
                body.setdefault("url", "https://example.com/")
        if case.operation.label == "POST /api/v1/ratelimit/overrides":
            _mend_override(body)
        for request in body.get("requests", [body]):
            _mend(request)
        if body.get("scopes"):
            # The only role that has each of them.
            body["role"] = "ROLE_OPERATOR"
        if "link" in body:
            body["link"] = REPORTED
    # The header and the field have to be equal.
    for place in (query, body if isinstance(body, dict) else {}):
        if place.get("request_id") and case.headers.get("idempotency-key"):
            place["request_id"] = case.headers["idempotency-key"]
    return case


@schemathesis.hook
def filter_failure(_: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """Forgives what is as it should be although a schema cannot say it."""
    if isinstance(failure, RejectedPositiveData):
        # A change of a deleted link or of the only owner: not the data is wrong but the moment.
        return not any(
            f'"ERROR_REASON_{reason}"'.encode() in response.content for reason in ("LINK_DELETED", "LAST_OWNER")
        )
    if isinstance(failure, AcceptedNegativeData):
        # The edge takes some values of another type for what they must mean: null for an absent field, "a" for ["a"].
        # An empty header is as good as none. A batch is answered, whatever becomes of the requests in it. Fields that a
        # mask leaves out are not looked at.
        return not (
            "Incorrect type" in failure.message
            or b'{"results":[{"error":' in response.content
            or case.headers.get("x-workspace") == ""
            or (isinstance(case.body, dict) and case.body.get("update_mask"))
        )
    return True


def _named(value: Any) -> Any:
    """The value without what has the empty name, for which proto3 JSON has no place."""
    if isinstance(value, dict):
        return {name: _named(item) for name, item in value.items() if name}
    return [_named(item) for item in value] if isinstance(value, list) else value


def _ascii(text: str) -> str:
    """The text with letters for what is counted in bytes or drawn as nothing."""
    return re.sub("[^ -~]", "x", text)


def _mend_override(override: dict[str, Any]) -> None:
    """Either a limit and its unit, or none."""
    if override.get("unlimited"):
        for name in ("requests_per_unit", "unit", "burst"):
            override.pop(name, None)
    elif override.get("unit", "LIMIT_UNIT_UNSPECIFIED") in ("LIMIT_UNIT_UNSPECIFIED", 0, None):
        override["unit"] = "LIMIT_UNIT_DAY"
    for entry in override.get("entries", ()):
        # For which nothing can be set.
        for name, text in entry.items():
            if isinstance(text, str):
                entry[name] = text.replace("\0", "x")


def _mend(request: dict[str, Any]) -> None:
    """Puts a host into an address that only looks like one, and letters for what no plain pattern can exclude.

    Times that came out of answers become times to come.
    """
    url = request.get("url")
    if url is not None and not any(f"://{host}" in url.lower() for host in HOSTS):
        request["url"] = "https://example.com/"
    if request.get("expires_at", _YEAR_2100) < _YEAR_2100:
        request["expires_at"] = _YEAR_2100
    for name in ("title", "name", "reason", "contact"):
        if name in request:
            request[name] = _INVISIBLE.sub("x", request[name])
    if "tags" in request:
        request["tags"] = [_INVISIBLE.sub("x", tag) for tag in request["tags"]]
