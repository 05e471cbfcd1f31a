"""Which link somebody means: by its short code, or by its whole short address as they have copied it. Pure."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from gateway.codes import is_code
from gateway.hosts import BadHost, parse_host
from gateway.intake import MAX_URL_BYTES
from waypost.errors import InvalidFields

_ADDRESS = re.compile(
    r"(?:https?://)?(?P<host>\[[^]/?#]*\]|[^][:/?#@\\\s]+)(?::[0-9]{1,5})?(?P<path>/[^?#\\\s]*)(?:[?#].*)?",
    re.IGNORECASE | re.DOTALL,
)


class ShortAddresses:
    """The short addresses under `public_url`."""

    def __init__(self, public_url: str) -> None:
        parts = urlsplit(public_url)
        host = parts.hostname or ""
        self._public_url = public_url.rstrip("/")
        self._host = parse_host(f"[{host}]" if ":" in host else host).name
        self._folder = parts.path.rstrip("/") + "/"

    def code_of(self, text: str) -> str:
        """The short code of `text`; raises `InvalidFields` for the field `link`.

        Of an address neither scheme nor port counts, nor what follows the code: a plus sign (the preview), a slash,
        a query or a fragment.
        """
        text = text.strip()
        if is_code(text):
            return text
        found = _ADDRESS.fullmatch(text) if len(text) <= MAX_URL_BYTES else None
        if found is not None and self._is_own(found["host"]) and found["path"].startswith(self._folder):
            code = found["path"].removeprefix(self._folder).removesuffix("/").removesuffix("+")
            if is_code(code):
                return code
        what = "is neither a short code nor a short address of this site" if text else "must not be empty"
        raise InvalidFields.one("link", f"{what}: give the code, or the address as in {self._public_url}/abc1234")

    def _is_own(self, host: str) -> bool:
        try:
            return parse_host(host).name == self._host
        except BadHost:
            return False
