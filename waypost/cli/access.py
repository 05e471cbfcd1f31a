"""As whom a command calls: by the environment's credentials, else the operator key of `waypost up` on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from waypost.cli.options import Target
from waypost.cli.settings import CliSettings, server_of
from waypost.client import Client
from waypost.client.channel import Server
from waypost.client.credentials import Credentials
from waypost.settings import BadSettings
from waypost.supervisor.environment import known_names
from waypost.supervisor.settings import SupervisorSettings

OPERATOR_KEY = "operator-key"
"""The file in the data directory."""

MAX_KEY_BYTES = 16_384

_GIVE = "give a key by WAYPOST_API_KEY or WAYPOST_API_KEY_FILE, or a token by WAYPOST_TOKEN"


@dataclass(frozen=True, slots=True)
class Access:
    """Where a command talks to, and as whom; `hint`: where its credentials come from, or how to give some."""

    server: Server
    credentials: Credentials
    insecure: bool
    hint: str

    def client(self, timeout: float = 10.0) -> Client:
        """A client of that server, with those credentials."""
        return Client(
            self.server,
            api_key=self.credentials.api_key,
            token=self.credentials.token,
            workspace=self.credentials.workspace,
            insecure_credentials=self.insecure,
            timeout=timeout,
        )


def access_of(env: Mapping[str, str], target: Target) -> Access:
    """What the command line and the environment say of it. Raises `BadSettings`."""
    server = server_of(env, target.server)
    settings = CliSettings.from_env(env, known_names())
    given, hint = _given(settings)
    if not given.secret:
        # To this machine alone: the key is worth all there is here, and nothing elsewhere.
        given, hint = _operators(env) if server.loopback else (given, _GIVE)
    if not settings.insecure_credentials and not given.safe_with(server):
        raise BadSettings(
            [
                f"no key or token is sent to {server.address} without TLS, where others could read it: give the server "
                "as https://…, or set WAYPOST_INSECURE_CREDENTIALS=true if the way there is safe by itself"
            ]
        )
    name, workspace = "WAYPOST_WORKSPACE", settings.workspace
    if target.workspace is not None:
        name, workspace = "--workspace", target.workspace
    whole = _checked(name, lambda: Credentials(given.api_key, given.token, workspace))
    return Access(server, whole, settings.insecure_credentials, hint)


def _given(settings: CliSettings) -> tuple[Credentials, str]:
    """What the environment names, and which setting does."""
    key, token = settings.api_key.get_secret_value(), settings.token.get_secret_value()
    values = {"WAYPOST_API_KEY": key, "WAYPOST_API_KEY_FILE": settings.api_key_file, "WAYPOST_TOKEN": token}
    names = [name for name, value in values.items() if value]
    if len(names) > 1:
        raise BadSettings([f"{' and '.join(names)} exclude each other: a call has one caller"])
    if not names:
        return Credentials(), ""
    (name,) = names
    if settings.api_key_file:
        key = _read(settings.api_key_file)
    return _checked(name, lambda: Credentials(key, token)), f"the credentials are those of {name}"


def _read(path: str) -> str:
    try:
        key = read_key(Path(path).expanduser())
    except OSError as error:
        raise BadSettings([f"WAYPOST_API_KEY_FILE: {path} cannot be read: {error.strerror or error}"]) from None
    if not key:
        raise BadSettings([f"WAYPOST_API_KEY_FILE: {path} is empty"])
    return key


def read_key(path: Path) -> str:
    """What a file says, without blanks and line breaks at its ends. Raises `OSError`."""
    with path.open("rb") as file:
        return file.read(MAX_KEY_BYTES).decode("utf-8", errors="replace").strip()


def _operators(env: Mapping[str, str]) -> tuple[Credentials, str]:
    """The key that `waypost up` with the same settings has left for this machine, if there is one for us."""
    path = SupervisorSettings.from_env(env, known_names()).data_path(env) / OPERATOR_KEY
    try:
        return Credentials(api_key=read_key(path)), f"the credentials are those of {path}"
    except FileNotFoundError:
        return Credentials(), _GIVE
    except OSError as error:
        return Credentials(), f"{path} cannot be read: {error.strerror or error}; {_GIVE}"
    except ValueError:
        return Credentials(), f"{path} has no key in it; {_GIVE}"


def _checked(name: str, make: Callable[[], Credentials]) -> Credentials:
    try:
        return make()
    except ValueError as error:
        # It begins with the parameter, and the user has written a setting.
        raise BadSettings([f"{name} {str(error).partition(' ')[2]}"]) from None
