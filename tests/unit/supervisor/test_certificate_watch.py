"""What becomes of files that change: taken up, left alone, or said to be bad."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.certificates import Authority, Pair
from waypost.supervisor.certificate_watch import LOOK_SECONDS, RETRY_SECONDS, SAY_SECONDS, CertificateWatch, Remark
from waypost.supervisor.certificates import BadCertificate, CertificateFiles

AUTHORITY = Authority()


class Shelf:
    """The operator's files, the watch over them, and a clock that both share."""

    def __init__(self, folder: Path, pair: Pair, host: str = "go.example") -> None:
        self.files = CertificateFiles(folder / "cert.pem", folder / "key.pem")
        self.secret = folder / "envoy" / "certificate.json"
        self.secret.parent.mkdir()
        self.now = datetime.now(UTC)
        self.at = 1000.0
        self.put(pair)
        self.watch = CertificateWatch(self.files, self.secret, host, self.now)
        self.watch.publish()

    def put(self, pair: Pair) -> None:
        """Writes both files in place."""
        self.files.cert.write_text(pair.chain)
        self.files.key.write_text(pair.key)

    def pass_time(self, seconds: float) -> list[Remark]:
        """Looks as often as the supervisor does; what was said meanwhile."""
        said = []
        for _ in range(round(seconds / LOOK_SECONDS)):
            self.at += LOOK_SECONDS
            self.now += timedelta(seconds=LOOK_SECONDS)
            said += self.watch.look(self.now, self.at)
        return said

    def served(self) -> str:
        """The chain in Envoy's file."""
        (secret,) = json.loads(self.secret.read_text())["resources"]
        chain: str = secret["tls_certificate"]["certificate_chain"]["inline_string"]
        return chain


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path, AUTHORITY.issue())


def events(said: list[Remark]) -> list[str]:
    return [remark.event for remark in said]


def in_place(shelf: Shelf, pair: Pair) -> None:
    shelf.put(pair)


def by_rename(shelf: Shelf, pair: Pair) -> None:
    for path, text in ((shelf.files.cert, pair.chain), (shelf.files.key, pair.key)):
        partial = path.with_suffix(".new")
        partial.write_text(text)
        partial.replace(path)


def by_link(shelf: Shelf, pair: Pair) -> None:
    """As Kubernetes does it: names are links into `..data`, and that is a link to a folder that is exchanged."""
    folder = shelf.files.cert.parent
    version = folder / f"..{pair.serial}"
    version.mkdir()
    (version / "cert.pem").write_text(pair.chain)
    (version / "key.pem").write_text(pair.key)
    swap = folder / "..data_tmp"
    swap.symlink_to(version.name)
    swap.replace(folder / "..data")
    for path in (shelf.files.cert, shelf.files.key):
        if not path.is_symlink():
            path.unlink()
            path.symlink_to(f"..data/{path.name}")


@pytest.mark.parametrize("exchange", [in_place, by_rename, by_link])
def test_a_new_pair_is_taken_up(shelf: Shelf, exchange: Callable[[Shelf, Pair], None]) -> None:
    for _ in range(3):
        pair = AUTHORITY.issue()
        exchange(shelf, pair)
        said = shelf.pass_time(2 * LOOK_SECONDS)
        assert events(said) == ["certificate_changed"]
        assert f"{pair.serial:X}" in said[0].text
        assert shelf.served() == pair.chain
        assert shelf.watch.served.serial == pair.serial


def test_envoys_file_is_for_our_eyes_and_the_only_one(shelf: Shelf) -> None:
    shelf.put(AUTHORITY.issue())
    shelf.pass_time(1)
    assert shelf.secret.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in shelf.secret.parent.iterdir()] == ["certificate.json"]


def test_a_leftover_of_a_crash_is_no_hindrance(shelf: Shelf) -> None:
    leftover = shelf.secret.with_name("certificate.json.new")
    leftover.write_text("half")
    leftover.chmod(0o644)
    pair = AUTHORITY.issue()
    shelf.put(pair)
    shelf.pass_time(1)
    assert shelf.served() == pair.chain
    assert shelf.secret.stat().st_mode & 0o777 == 0o600


def test_files_are_not_read_while_somebody_writes(shelf: Shelf) -> None:
    before, pair = shelf.served(), AUTHORITY.issue()
    for length in range(1, 8):
        shelf.files.cert.write_text(pair.chain[: length * 100])
        assert shelf.pass_time(LOOK_SECONDS) == []
    # A chain without its end would do with the key, and yet not do.
    own = pair.chain[: pair.chain.index("-----END CERTIFICATE-----") + 26]
    shelf.files.cert.write_text(own)
    shelf.files.key.write_text(pair.key)
    assert shelf.pass_time(LOOK_SECONDS) == []
    assert shelf.served() == before
    shelf.files.cert.write_text(pair.chain)
    assert events(shelf.pass_time(2 * LOOK_SECONDS)) == ["certificate_changed"]
    assert shelf.served() == pair.chain


def test_one_file_after_the_other_is_nothing_to_speak_of(shelf: Shelf) -> None:
    before, pair = shelf.served(), AUTHORITY.issue()
    shelf.files.cert.write_text(pair.chain)
    assert shelf.pass_time(SAY_SECONDS - LOOK_SECONDS) == []
    assert shelf.served() == before
    shelf.files.key.write_text(pair.key)
    assert events(shelf.pass_time(2)) == ["certificate_changed"]


def test_a_bad_pair_is_said_once_and_again_when_it_is_bad_in_another_way(shelf: Shelf) -> None:
    before = shelf.served()
    shelf.files.key.write_text(AUTHORITY.issue().key)
    (first,) = shelf.pass_time(100)
    assert (first.event, first.level) == ("certificate_refused", "error")
    assert first.text.startswith("WAYPOST_TLS_KEY: the key in")
    assert "the one before is served on, until 2" in first.text
    shelf.files.key.write_text(AUTHORITY.issue().key)
    assert shelf.pass_time(100) == []
    shelf.files.key.unlink()
    (second,) = shelf.pass_time(100)
    assert "cannot be read: No such file" in second.text
    assert shelf.served() == before


def test_files_that_come_back_as_they_were_are_said_to_be_right(shelf: Shelf) -> None:
    before = shelf.served()
    inode = shelf.secret.stat().st_ino
    key = shelf.files.key.read_text()
    shelf.files.key.write_text("")
    assert events(shelf.pass_time(4)) == ["certificate_refused"]
    shelf.files.key.write_text(key)
    assert events(shelf.pass_time(4)) == ["certificate_kept"]
    shelf.files.key.write_text("")
    assert events(shelf.pass_time(4)) == ["certificate_refused"]
    assert (shelf.served(), shelf.secret.stat().st_ino) == (before, inode)


def test_files_that_were_only_touched_are_no_news(shelf: Shelf) -> None:
    inode = shelf.secret.stat().st_ino
    os.utime(shelf.files.cert)
    assert shelf.pass_time(5) == []
    assert shelf.secret.stat().st_ino == inode


def test_an_expired_pair_does_not_take_the_place_of_a_good_one(shelf: Shelf) -> None:
    before = shelf.served()
    shelf.put(AUTHORITY.issue(begins=shelf.now - timedelta(days=10), days=5))
    (said,) = shelf.pass_time(10)
    assert "has expired at" in said.text
    assert shelf.served() == before


def test_a_pair_that_lies_ready_is_taken_up_when_its_time_comes(shelf: Shelf) -> None:
    pair = AUTHORITY.issue(begins=shelf.now + timedelta(seconds=60))
    shelf.put(pair)
    assert events(shelf.pass_time(50)) == ["certificate_refused"]
    assert events(shelf.pass_time(10 + 1 + RETRY_SECONDS)) == ["certificate_changed"]
    assert shelf.served() == pair.chain


def test_a_file_for_envoy_that_cannot_be_written_is_said_and_tried_again(shelf: Shelf) -> None:
    away = shelf.secret.parent.with_name("away")
    shelf.secret.parent.rename(away)
    pair = AUTHORITY.issue()
    shelf.put(pair)
    (said,) = shelf.pass_time(10)
    assert "certificate.json cannot be written: No such file or directory" in said.text
    away.rename(shelf.secret.parent)
    assert events(shelf.pass_time(RETRY_SECONDS)) == ["certificate_changed"]
    assert shelf.served() == pair.chain


def test_the_last_week_is_counted_down_day_by_day(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, AUTHORITY.issue(begins=datetime.now(UTC), days=90))
    said = []
    for _ in range(2 * 92):
        shelf.now += timedelta(hours=12)
        said += shelf.watch.look(shelf.now, shelf.at)
    assert {remark.event for remark in said} == {"certificate_expires"}
    assert [remark.text.partition(", at ")[0].rpartition(" in ")[2] for remark in said[:7]] == [
        *(f"{days} day{'s' if days > 1 else ''}" for days in range(6, 0, -1)),
        "less than a day",
    ]
    assert "has expired at" in said[7].text
    assert [remark.level for remark in said] == ["warning"] * 7 + ["error"] * (len(said) - 7)
    pair = AUTHORITY.issue(begins=shelf.now)
    shelf.put(pair)
    assert events(shelf.pass_time(5)) == ["certificate_changed"]


def test_a_certificate_of_a_short_life_is_not_counted_from_its_first_day(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, AUTHORITY.issue(begins=datetime.now(UTC), days=6))
    shelf.now += timedelta(days=3, hours=23)
    assert shelf.watch.look(shelf.now, shelf.at) == []
    shelf.now += timedelta(hours=2)
    assert events(shelf.watch.look(shelf.now, shelf.at)) == ["certificate_expires"]


def test_a_certificate_for_somebody_else_is_said(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, AUTHORITY.issue(), host="links.example")
    (said,) = shelf.pass_time(5)
    assert (said.event, said.level) == ("certificate_names", "warning")
    assert "not for links.example" in said.text
    shelf.put(AUTHORITY.issue(names=("links.example",)))
    assert events(shelf.pass_time(5)) == ["certificate_changed"]
    shelf.put(AUTHORITY.issue())
    assert events(shelf.pass_time(5)) == ["certificate_changed", "certificate_names"]


def test_the_first_pair_must_be_good(tmp_path: Path) -> None:
    files = CertificateFiles(tmp_path / "cert.pem", tmp_path / "key.pem")
    with pytest.raises(BadCertificate, match="WAYPOST_TLS_CERT"):
        CertificateWatch(files, tmp_path / "certificate.json", "go.example", datetime.now(UTC))
