"""Settings: complete, frozen, and every mistake named in one line without the value."""

from __future__ import annotations

import pytest
from pydantic import Field, SecretStr, ValidationError

from waypost.setting_names import SETTING_NAMES
from waypost.settings import (
    RESERVED,
    BadSettings,
    DatabaseUrl,
    Port,
    ServiceSettings,
    Settings,
    reserved_in_use,
    setting,
)


class Own(Settings):
    """Settings of a test."""

    port: Port = setting("WAYPOST_OWN_PORT", 80, "A port.")
    database_url: DatabaseUrl = setting("WAYPOST_OWN_URL", SecretStr(""), "A database.")
    flag: bool = setting("WAYPOST_OWN_FLAG", True, "A flag.")
    size: int = Field(5, ge=1, le=9, alias="WAYPOST_OWN_SIZE", description="A size.")


class Needy(Settings):
    """Settings with one that must be set."""

    name: str = setting("WAYPOST_NEEDY_NAME", ..., "A name.")


KNOWN = {info.env for info in Own.infos()} | {"WAYPOST_OTHER_NAME"}


def problems(env: dict[str, str], settings: type[Settings] = Own) -> list[str]:
    with pytest.raises(BadSettings) as raised:
        settings.from_env(env, KNOWN)
    assert "\n" not in str(raised.value)
    assert str(raised.value) == "; ".join(raised.value.problems)
    return raised.value.problems


def test_defaults_hold_where_nothing_is_set() -> None:
    assert Own.from_env({}, KNOWN) == Own()
    assert Own().port == 80


def test_values_come_from_the_environment() -> None:
    own = Own.from_env(
        {"WAYPOST_OWN_PORT": "81", "WAYPOST_OWN_FLAG": "false", "WAYPOST_OWN_SIZE": " 7 ", "HOME": "/"}, KNOWN
    )
    assert (own.port, own.flag, own.size) == (81, False, 7)


@pytest.mark.parametrize("value", ["", " ", "\t"])
def test_empty_is_not_set(value: str) -> None:
    assert Own.from_env({"WAYPOST_OWN_PORT": value}, KNOWN).port == 80
    assert problems({"WAYPOST_NEEDY_NAME": value}, Needy)


def test_by_field_name_in_tests() -> None:
    assert Own(port=0).port == 0
    with pytest.raises(ValidationError):
        Own(prot=0)  # type: ignore[call-arg]


def test_they_are_frozen() -> None:
    own = Own()
    with pytest.raises(ValidationError):
        own.port = 1  # type: ignore[misc]
    with pytest.raises(ValidationError):
        del own.port


def test_a_missing_one_is_named() -> None:
    (line,) = problems({}, Needy)
    assert line == "WAYPOST_NEEDY_NAME field required"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("WAYPOST_OWN_PORT", "x", "WAYPOST_OWN_PORT should be a valid integer"),
        ("WAYPOST_OWN_PORT", "-1", "WAYPOST_OWN_PORT should be greater than or equal to 0"),
        ("WAYPOST_OWN_SIZE", "10", "WAYPOST_OWN_SIZE should be less than or equal to 9"),
        ("WAYPOST_OWN_FLAG", "perhaps", "WAYPOST_OWN_FLAG should be a valid boolean"),
        ("WAYPOST_OWN_URL", "mysql://u:hunter2@h/d", "WAYPOST_OWN_URL must start with postgresql://"),
    ],
)
def test_a_wrong_one_is_named_with_what_is_right(name: str, value: str, said: str) -> None:
    (line,) = problems({name: value})
    assert line.startswith(said)
    assert "hunter2" not in line


def test_all_wrong_ones_are_named_together() -> None:
    found = problems({"WAYPOST_OWN_PORT": "x", "WAYPOST_OWN_SIZE": "0", "WAYPOST_NONSENSE": "1"})
    assert [line.split()[0] for line in found] == ["WAYPOST_NONSENSE", "WAYPOST_OWN_PORT", "WAYPOST_OWN_SIZE"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("WAYPOST_OWN_PROT", "WAYPOST_OWN_PROT is not a setting (did you mean WAYPOST_OWN_PORT?)"),
        ("WAYPOST_OWNPORT", "WAYPOST_OWNPORT is not a setting (did you mean WAYPOST_OWN_PORT?)"),
        ("WAYPOST_OTHER_NAMES", "WAYPOST_OTHER_NAMES is not a setting (did you mean WAYPOST_OTHER_NAME?)"),
        ("WAYPOST_zzzzzzzzzzzzzzz", "WAYPOST_zzzzzzzzzzzzzzz is not a setting"),
    ],
)
def test_a_slip_of_the_pen_is_refused_with_what_was_meant(name: str, said: str) -> None:
    assert problems({name: "1"}) == [said]


def test_names_of_other_services_and_of_others_altogether_are_none_of_ours() -> None:
    Own.from_env({"WAYPOST_OTHER_NAME": "1", "WAYPOSTING": "1", "waypost_own_port": "1", "PATH": "/bin"}, KNOWN)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WAYPOST_GATEWAY_SERVICE_HOST", "10.0.0.1"),
        ("WAYPOST_GATEWAY_SERVICE_PORT", "80"),
        ("WAYPOST_GATEWAY_SERVICE_PORT_GRPC", "80"),
        ("WAYPOST_GATEWAY_PORT", "tcp://10.0.0.1:80"),
        ("WAYPOST_GATEWAY_PORT", "udp://10.0.0.1:80"),
        ("WAYPOST_GATEWAY_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("WAYPOST_GATEWAY_PORT_80_TCP_ADDR", "10.0.0.1"),
    ],
)
def test_what_kubernetes_injects_is_passed_over(name: str, value: str) -> None:
    Own.from_env({name: value}, KNOWN)


def test_a_port_that_kubernetes_did_not_inject_is_a_slip() -> None:
    (line,) = problems({"WAYPOST_GATEWAY_PORT": "80"})
    assert line.startswith("WAYPOST_GATEWAY_PORT is not a setting")


def test_without_the_names_of_all_nothing_is_unknown() -> None:
    Own.from_env({"WAYPOST_NONSENSE": "1"})


def test_reserved_names_are_passed_over_and_said_so() -> None:
    env = dict.fromkeys(RESERVED, "1")
    Own.from_env(env, KNOWN)
    assert len(reserved_in_use(env)) == len(RESERVED)
    assert reserved_in_use({}) == []
    assert reserved_in_use({"WAYPOST_AMQP_URL": ""}) == []


def test_secrets_are_masked_wherever_they_could_be_seen() -> None:
    own = Own.from_env({"WAYPOST_OWN_URL": "postgresql://u:hunter2@h/d"}, KNOWN)
    assert own.database_url.get_secret_value().endswith("hunter2@h/d")
    assert own.effective()["WAYPOST_OWN_URL"] == "********"
    for text in (repr(own), str(own), str(own.effective()), own.model_dump_json()):
        assert "hunter2" not in text
    assert Own().effective()["WAYPOST_OWN_URL"] == ""


def test_effective_has_every_setting_as_it_would_be_written() -> None:
    assert Own(port=81, flag=False).effective() == {
        "WAYPOST_OWN_PORT": "81",
        "WAYPOST_OWN_URL": "",
        "WAYPOST_OWN_FLAG": "false",
        "WAYPOST_OWN_SIZE": "5",
    }


def test_what_is_effective_reads_back_the_same() -> None:
    settings = ServiceSettings(max_in_flight=7, drain_seconds=0.5, log_level="debug")
    assert ServiceSettings.from_env(settings.effective(), SETTING_NAMES) == settings


def test_every_setting_is_described_for_people() -> None:
    for info in (*Own.infos(), *ServiceSettings.infos()):
        assert info.description.endswith(".")
        assert info.env.startswith("WAYPOST_")
    assert [info.secret for info in Own.infos()] == [False, True, False, False]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WAYPOST_MAX_IN_FLIGHT", "0"),
        ("WAYPOST_DEFAULT_DEADLINE_MS", "0"),
        ("WAYPOST_MAX_DEADLINE_MS", "600001"),
        ("WAYPOST_MAX_MESSAGE_BYTES", "1023"),
        ("WAYPOST_DRAIN_SECONDS", "-1"),
        ("WAYPOST_DRAIN_DELAY_SECONDS", "61"),
        ("WAYPOST_LOG_LEVEL", "INFO"),
    ],
)
def test_what_every_service_can_be_told_has_bounds(name: str, value: str) -> None:
    with pytest.raises(BadSettings, match=name):
        ServiceSettings.from_env({name: value}, SETTING_NAMES)


def test_an_address_that_kubernetes_injects_under_a_settings_name_is_no_value() -> None:
    class Port(Settings):
        port: int = setting("WAYPOST_GATEWAY_WEB_PORT", 50071, "A port.")

    assert Port.from_env({"WAYPOST_GATEWAY_WEB_PORT": "tcp://10.0.0.1:80"}, KNOWN).port == 50071
