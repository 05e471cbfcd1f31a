"""Short codes as they are given on the command line."""

from __future__ import annotations

import click
import pytest

from tests.unit.cli.conftest import Command, fresh
from waypost.cli.short_code import ShortCode

NEW = ("https://example.com/", "--alias")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("talk", "talk"),
        ("talk+", "talk"),
        ("http://127.0.0.1:8080/cli-1", "cli-1"),
        ("HTTPS://go.example/talk+", "talk"),
        ("https://go.example/deep/er/talk/", "talk"),
        ("https://go.example/talk?next=/other#/third", "talk"),
        ("https://[::1]:8080/talk", "talk"),
        # Without a scheme it may be anything: the server says what is wrong with it.
        ("a/b", "a/b"),
        ("", ""),
    ],
)
def test_a_whole_short_address_stands_for_its_code(text: str, code: str) -> None:
    assert ShortCode().convert(text, None, None) == code


@pytest.mark.parametrize("text", ["https://go.example", "https://go.example/", "https://go.example/?talk", "http://"])
def test_an_address_without_a_code_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="has no short code"):
        ShortCode().convert(text, None, None)


def test_every_command_takes_what_create_has_printed(links: Command) -> None:
    alias = fresh()
    address = links.said("create", *NEW, alias).strip()
    assert address.endswith(f"/{alias}")
    assert links.json("get", f"{address}+")["short_code"] == alias
    assert links.json("resolve", address)["short_code"] == alias
    assert links.said("update", address, "--title", "x") == f"updated {address}\n"
    assert links.said("delete", address) == f"deleted {address}\n"
    assert links.said("undelete", address) == f"undeleted {address}\n"
    assert links("get", "https://go.example/").exit_code == 2
