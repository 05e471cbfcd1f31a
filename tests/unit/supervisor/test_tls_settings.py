"""TLS by settings: both files or none, where HTTPS listens, and what ends a start."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from tests.faults.supervisor.harness import environment
from tests.support.certificates import Authority, Pair, self_signed
from waypost.settings import BadSettings
from waypost.supervisor import envoy
from waypost.supervisor.data_dir import DataDir
from waypost.supervisor.edge import edge_certificate, edge_program, secret_file, serves
from waypost.supervisor.environment import for_service
from waypost.supervisor.errors import CannotStart
from waypost.supervisor.settings import SupervisorSettings
from waypost.supervisor.up import up

TLS = {"WAYPOST_TLS_CERT": "/c.pem", "WAYPOST_TLS_KEY": "/k.pem"}


def settings_of(**more: str) -> SupervisorSettings:
    return SupervisorSettings.from_env({**TLS, **more})


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """The settings of a pair that is good."""
    pair = self_signed()
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_text(pair.chain)
    key.write_text(pair.key)
    return {"WAYPOST_TLS_CERT": str(cert), "WAYPOST_TLS_KEY": str(key)}


@pytest.mark.parametrize(("given", "missing"), [("CERT", "KEY"), ("KEY", "CERT")])
def test_one_file_without_the_other_is_refused(given: str, missing: str) -> None:
    with pytest.raises(BadSettings) as caught:
        SupervisorSettings.from_env({f"WAYPOST_TLS_{given}": "/x.pem"})
    assert str(caught.value) == f"WAYPOST_TLS_{given} is set, but WAYPOST_TLS_{missing} is not: set both or none"


def test_addresses_for_people_are_those_of_https() -> None:
    settings = settings_of(WAYPOST_HTTPS_PORT="9443", WAYPOST_HTTP_HOST="::")
    assert settings.http_address == settings.public_address == "https://[::1]:9443"
    assert settings.public_host == "::1"
    assert SupervisorSettings(https_port=9443).http_address == "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    ("public_url", "port"),
    [
        ("", 9443),
        ("https://go.example", 443),
        ("https://go.example:8444/s", 8444),
        ("https://[::1]:8444", 8444),
        ("http://go.example", 9443),
    ],
)
def test_others_are_sent_to_the_port_that_they_reach(public_url: str, port: int) -> None:
    assert settings_of(WAYPOST_HTTPS_PORT="9443", WAYPOST_PUBLIC_URL=public_url).public_https_port == port


def test_a_public_port_that_is_none_is_named() -> None:
    with pytest.raises(BadSettings, match="WAYPOST_PUBLIC_URL has a port that is no number from 0 to 65535"):
        SupervisorSettings.from_env({"WAYPOST_PUBLIC_URL": "https://go.example:99999"})


def test_https_is_a_listener_only_with_a_certificate() -> None:
    with_tls, without = settings_of(WAYPOST_HTTP_HOST="0.0.0.0"), SupervisorSettings()  # noqa: S104
    assert "WAYPOST_HTTPS_PORT" not in {listener.setting for listener in without.listeners()}
    (listener,) = (one for one in with_tls.listeners() if one.setting == "WAYPOST_HTTPS_PORT")
    assert (listener.host, listener.port) == ("0.0.0.0", 8443)  # noqa: S104


def test_services_are_told_the_public_address_and_never_of_the_key() -> None:
    names = {"WAYPOST_PUBLIC_URL", "WAYPOST_GATEWAY_WEB_PORT"}
    env = for_service("gateway", names, TLS, settings_of(), Path("/data"), {}, "pepper")
    assert env["WAYPOST_PUBLIC_URL"] == "https://127.0.0.1:8443"
    assert not [name for name in env if "TLS" in name]


def put(env: dict[str, str], pair: Pair) -> None:
    Path(env["WAYPOST_TLS_CERT"]).write_text(pair.chain)
    Path(env["WAYPOST_TLS_KEY"]).write_text(pair.key)


def test_what_cannot_be_served_ends_the_start_in_one_line(
    tmp_path: Path, files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: Path(files["WAYPOST_TLS_KEY"]).unlink(), "WAYPOST_TLS_KEY: "),
        (lambda: put(files, Pair(self_signed().chain, self_signed().key, 0)), "WAYPOST_TLS_KEY: the key in "),
        (
            lambda: put(files, self_signed(begins=datetime.now(UTC) - timedelta(days=9), days=8)),
            "WAYPOST_TLS_CERT: the certificate in ",
        ),
        (lambda: Path(files["WAYPOST_TLS_CERT"]).unlink(), "WAYPOST_TLS_CERT: "),
    ]
    for spoil, said in cases:
        spoil()
        assert up({**environment(data), **files}) == 2
        (line,) = (line for line in capsys.readouterr().err.splitlines() if not line.startswith("{"))
        assert line.startswith(f"waypost: {said}")
    assert not secret_file(DataDir(data)).exists()


def test_links_that_lead_through_a_redirect_are_said(
    tmp_path: Path, files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise CannotStart("enough")

    for public_url, said in (("http://go.example", True), ("https://go.example", False)):
        up({**environment(tmp_path / "data"), **files, "WAYPOST_PUBLIC_URL": public_url}, fail)  # type: ignore[arg-type]
        assert ("public_url_without_tls" in capsys.readouterr().err) is said


def test_a_taken_port_of_https_is_named(
    tmp_path: Path, files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert up({**environment(tmp_path / "data"), **files, "WAYPOST_HTTPS_PORT": port}) == 2
    assert f"port {port} (WAYPOST_HTTPS_PORT) is already in use" in capsys.readouterr().err


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    found = DataDir(tmp_path / "data")
    found.prepare()
    return found


@pytest.fixture
def envoy_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is started here."""
    monkeypatch.setattr(envoy, "find_envoy", lambda: Path("/usr/bin/envoy"))
    monkeypatch.setattr(envoy, "descriptor_set_path", lambda: Path("/waypost.pb"))


@pytest.mark.usefixtures("envoy_installed")
def test_envoy_is_given_the_pair_and_where_to_send_people(data: DataDir, files: dict[str, str]) -> None:
    settings = SupervisorSettings.from_env(
        {**files, "WAYPOST_PUBLIC_URL": "https://go.example", "WAYPOST_HSTS_SECONDS": "60"}
    )
    program = edge_program(settings, {}, data, edge_certificate(settings, data))
    assert program.address == "https 8443, http 8080, admin 9901"
    assert secret_file(data).stat().st_mode & 0o777 == 0o600
    rendered = (data.envoy / "envoy.yaml").read_text()
    assert str(secret_file(data)) in rendered
    assert "max-age=60" in rendered
    assert "PRIVATE" not in rendered
    listeners = yaml.safe_load(rendered)["static_resources"]["listeners"]
    assert [one["address"]["socket_address"]["port_value"] for one in listeners] == [8443, 8080]


@pytest.mark.usefixtures("envoy_installed")
def test_a_run_without_tls_leaves_no_key_of_the_run_before(data: DataDir, files: dict[str, str]) -> None:
    settings = SupervisorSettings.from_env(files)
    edge_program(settings, {}, data, edge_certificate(settings, data))
    assert secret_file(data).exists()
    plain = SupervisorSettings()
    assert edge_certificate(plain, data) is None
    assert edge_program(plain, {}, data).address == "http 8080, admin 9901"
    assert not secret_file(data).exists()


async def test_an_envoy_that_is_away_is_no_verdict() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert await serves(nobody.getsockname()[1], 1) is None


def test_the_home_folder_may_be_written_short(tmp_path: Path, data: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Authority().issue()
    (tmp_path / "cert.pem").write_text(pair.chain)
    (tmp_path / "key.pem").write_text(pair.key)
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = SupervisorSettings(tls_cert="~/cert.pem", tls_key="~/key.pem")
    watch = edge_certificate(settings, data)
    assert watch is not None
    assert watch.served.serial == pair.serial
