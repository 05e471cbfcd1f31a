"""Keeps Envoy on the keys that lie in the issuer's JWKS file: looks at it, and hands over what is good and new."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from waypost.access.jwks import BadJwks, KeySet, VerifyingKey, parse_jwks
from waypost.access.jwks_fetch import CannotRead, FileReader
from waypost.supervisor import dev_issuer
from waypost.supervisor.certificate_watch import Say
from waypost.supervisor.data_dir import DataDir
from waypost.supervisor.envoy_jwt import Jwt, filter_document
from waypost.supervisor.errors import CannotStart
from waypost.supervisor.postgres_credentials import write_private
from waypost.supervisor.settings import SupervisorSettings

LOOK_SECONDS = 0.5
SETTING = "WAYPOST_JWT_JWKS_FILE"
SAY_LOOKS = 4
"""At how many looks in a row a file must be no good before it is said: it may be half written."""


class JwksWatch:
    """The keys that Envoy checks tokens with, and the file that the next ones come from."""

    def __init__(self, issuer: str, audiences: tuple[str, ...], path: Path, filter_file: Path) -> None:
        """`path`: the issuer's JWKS; `filter_file`: what Envoy follows."""
        self._issuer = issuer
        self._audiences = audiences
        self._path = path
        self._reader = FileReader(path)
        self._document = b""
        self._bad_looks = 0
        self.jwt = Jwt(filter_file)

    def publish(self) -> None:
        """Reads the keys and writes Envoy's file. Raises `CannotStart`."""
        try:
            document = self._reader.read_now()
            self._write(parse_jwks(document))
        except (BadJwks, CannotRead, OSError) as error:
            raise CannotStart(self._problem(error)) from None
        self._document = document

    async def look(self) -> tuple[str, str, str] | None:
        """Looks at the file once; what there is to say of it: a word for programs, a sentence, the level."""
        try:
            document = await self._reader.read()
            if document == self._document:
                self._bad_looks = 0
                return None
            keys = parse_jwks(document)
            await asyncio.to_thread(self._write, keys)
        except (BadJwks, CannotRead, OSError) as error:
            self._bad_looks += 1
            if self._bad_looks != SAY_LOOKS:
                return None
            return "jwks_refused", f"{self._problem(error)}; the keys that it had before stay in force", "error"
        self._document, self._bad_looks = document, 0
        return "jwks_changed", f"tokens are checked with new keys: {', '.join(map(repr, keys.keys)) or 'none'}", "info"

    async def run(self, say: Say) -> None:
        """Looks until it is cancelled; `say` is told what there is to say."""
        while True:
            if (news := await self.look()) is not None:
                say(*news)
            await asyncio.sleep(LOOK_SECONDS)

    def _problem(self, error: Exception) -> str:
        if isinstance(error, BadJwks):
            return f"{SETTING}: {self._path} {error}"
        if isinstance(error, CannotRead):
            return f"{SETTING}: {self._path} cannot be read: {error}"
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        return f"{self.jwt.filter_file} cannot be written: {reason}"

    def _write(self, keys: KeySet) -> None:
        # Not the file as it is: Envoy would take keys from it that are not fit for this, shared secrets among them.
        jwks = keys.document() if keys.keys else _nobodys()
        write_private(self.jwt.filter_file, filter_document(self._issuer, self._audiences, jwks))


def watch_for(settings: SupervisorSettings, data: DataDir) -> JwksWatch | None:
    """What keeps the edge on the keys of these settings; None: it checks no tokens, the services alone do."""
    filter_file = data.envoy / "jwt.json"
    if settings.dev_tokens:
        return JwksWatch(dev_issuer.ISSUER, (dev_issuer.AUDIENCE,), dev_issuer.jwks_file(data.path), filter_file)
    path = settings.jwks_path()
    if path is None:
        return None
    return JwksWatch(settings.jwt_issuer, settings.jwt_audiences, path, filter_file)


def _nobodys() -> str:
    """A key that nobody has the private half of: with a JWKS without any Envoy would keep the keys before."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return KeySet({"nobody": VerifyingKey(key, frozenset({"ES256"}))}).document()
