"""What an `Accept` header prefers, HTML or JSON. Source: RFC 9110, section 12.5.1, for these types alone."""

from __future__ import annotations

_HTML = "text/html"
# A problem of RFC 9457 is asked for beside or instead of plain JSON.
_JSON = ("application/json", "application/problem+json")


def wants_html(accept: str) -> bool:
    """Whether HTML is preferred, as by browsers; where neither is named, as in `*/*`, it is a program's request."""
    return _preference(accept, (_HTML,)) > _preference(accept, _JSON)


def wants_json(accept: str) -> bool:
    """Whether JSON is asked for by name, and not less than HTML; not where neither is named."""
    return _preference(accept, _JSON)[0] > 0 and not wants_html(accept)


def _preference(accept: str, kinds: tuple[str, ...]) -> tuple[float, int]:
    """The best quality of any of the kinds, 0 if there is none, and minus its place: of equals the first is greater."""
    best = (0.0, 0)
    for place, item in enumerate(accept.lower().split(",")):
        kind, *parameters = (part.strip() for part in item.split(";"))
        if kind not in kinds:
            continue
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        if quality > best[0]:
            best = (quality, -place)
    return best
