"""Settings: environment variables with the prefix `WAYPOST_`, read once at start into a frozen object.

Each service declares one class with only its own variables; `from_env` is called in its `__main__` and nowhere else.
Tests write `Settings(control_port=0)`.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

PREFIX = "WAYPOST_"

RESERVED = {
    "WAYPOST_AMQP_URL": "RabbitMQ",
}
"""Names that are taken but do nothing in this version; set, they are passed over and said so."""


class BadSettings(Exception):
    """Settings are wrong or unknown; `str()` is one line that names each and says how to mend it."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


def setting(env: str, default: Any, description: str) -> Any:
    """A field of a settings class: its variable's name, its default (`...`: required) and a sentence for people."""
    return Field(default, alias=env, description=description)


def _database_url(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    if url and not url.startswith(("postgresql://", "postgres://")):
        raise ValueError("must start with postgresql://")
    # One or more of host:port. The driver takes them to pieces only when it connects, long after the start.
    for host in urlsplit(url).netloc.rpartition("@")[2].split(","):
        port = host.rpartition("]")[2].partition(":")[2]
        if port and not port.isdecimal():
            raise ValueError("has a port that is no number; in a password write / as %2F, # as %23, ? as %3F, @ as %40")
    return value


def _public_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be like https://go.example.com, with neither query nor fragment")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("must be printable ASCII without spaces; write an international host in its xn-- form")
    return value.rstrip("/")


PublicUrl = Annotated[str, AfterValidator(_public_url)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
Port = Annotated[int, Field(ge=0, le=65535)]


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """One setting, for `.env.example`, `waypost config` and the check of unknown names."""

    env: str
    field: str
    default: str
    description: str
    secret: bool


class Settings(BaseModel):
    """Base of every settings class: frozen, complete, validated."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)

    @classmethod
    def from_env(cls, env: Mapping[str, str], known: Collection[str] = ()) -> Self:
        """Reads this class's variables from `env`.

        `known` are the names of all services; a `WAYPOST_` name beyond them and beyond `RESERVED` is refused, so that a
        slip of the pen never passes for a default. An empty value means "not set". Raises `BadSettings`.
        """
        own = {info.env for info in cls.infos()}
        problems = list(_unknown_names(env, own | set(known))) if known else []
        # Kubernetes may inject an address under the very name of a setting (a Service called waypost-gateway-web).
        values = {name: value for name in own if (value := env.get(name, "").strip()) and not _injected(name, value)}
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            for e in error.errors():
                # What several fields together got wrong names them itself.
                problems.append(f"{e['loc'][0]} {_sentence(e['msg'])}" if e["loc"] else _bare(e["msg"]))
            raise BadSettings(problems) from None
        if problems:
            raise BadSettings(problems)
        return settings

    @classmethod
    def infos(cls) -> Iterator[SettingInfo]:
        """All settings of this class, in the order of their declaration."""
        for name, field in cls.model_fields.items():
            if field.alias is None:
                continue
            secret = "SecretStr" in str(field.annotation)
            default = "" if field.is_required() or field.default is None else _plain(field.default)
            yield SettingInfo(field.alias, name, default, field.description or "", secret)

    def effective(self) -> dict[str, str]:
        """The values in force by variable name; secrets masked."""
        result = {}
        for info in self.infos():
            value = getattr(self, info.field)
            if isinstance(value, SecretStr):
                result[info.env] = "********" if value.get_secret_value() else ""
            else:
                result[info.env] = _plain(value)
        return result


def reserved_in_use(env: Mapping[str, str]) -> list[str]:
    """A sentence for each reserved name that is set."""
    return [
        f"{name} has no effect in this version: it is kept for {what}"
        for name, what in RESERVED.items()
        if env.get(name)
    ]


def _unknown_names(env: Mapping[str, str], known: set[str]) -> Iterator[str]:
    for name in sorted(env):
        if not name.startswith(PREFIX) or name in known or name in RESERVED:
            continue
        # Kubernetes injects these for every service of the namespace.
        rest = name.removeprefix(PREFIX)
        if "_SERVICE_" in rest or "_PORT_" in rest or _injected(name, env[name]):
            continue
        near = difflib.get_close_matches(name, sorted(known), n=1)
        yield f"{name} is not a setting" + (f" (did you mean {near[0]}?)" if near else "")


def _injected(name: str, value: str) -> bool:
    return name.endswith("_PORT") and value.startswith(("tcp://", "udp://"))


def _plain(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _sentence(message: str) -> str:
    text = _bare(message)
    return text[:1].lower() + text[1:]


def _bare(message: str) -> str:
    return message.removeprefix("Value error, ").removeprefix("Input ")


LogLevel = Literal["debug", "info", "warning", "error"]


class ServiceSettings(Settings):
    """What every service can be told."""

    host: str = setting("WAYPOST_HOST", "127.0.0.1", "Address on which the services listen.")
    log_level: LogLevel = setting(
        "WAYPOST_LOG_LEVEL", "info", "Least severe log line to write: debug, info, warning, error."
    )
    default_deadline_ms: int = Field(
        5000,
        ge=1,
        le=600_000,
        alias="WAYPOST_DEFAULT_DEADLINE_MS",
        description="Time a call gets when its caller names none, in milliseconds.",
    )
    max_deadline_ms: int = Field(
        30_000,
        ge=1,
        le=600_000,
        alias="WAYPOST_MAX_DEADLINE_MS",
        description="Most time a call gets whatever its caller asks for, in milliseconds.",
    )
    max_in_flight: int = Field(
        1000,
        ge=1,
        le=1_000_000,
        alias="WAYPOST_MAX_IN_FLIGHT",
        description="Calls that one process works on at a time; more are refused with RESOURCE_EXHAUSTED.",
    )
    max_message_bytes: int = Field(
        65_536,
        ge=1024,
        le=16_777_216,
        alias="WAYPOST_MAX_MESSAGE_BYTES",
        description="Largest request message, in bytes.",
    )
    drain_seconds: float = Field(
        10.0,
        ge=0,
        le=300,
        alias="WAYPOST_DRAIN_SECONDS",
        description="Most time that calls in flight get to finish when a process is told to stop, in seconds.",
    )
    drain_delay_seconds: float = Field(
        0.0,
        ge=0,
        le=60,
        alias="WAYPOST_DRAIN_DELAY_SECONDS",
        description="Time for which a process that was told to stop serves on while it reports not ready, in seconds: "
        "what a balancer needs to notice.",
    )
