"""`waypost limits check` and `explain` of a folder, without anything that runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from waypost.cli.root import cli

RULES = """
domain: d
compat: envoyproxy
descriptors:
  - {key: k, shadow_mode: true, rate_limit: {unit: minute, requests_per_unit: 5, name: five}}
  - {key: free, rate_limit: {unlimited: true, replaces: [{name: five}]}}
"""
OURS = """
domain: ours
descriptors:
  - key: k
    rate_limit: {unit: minute, requests_per_unit: 5, algorithm: token_bucket, burst: 7, on_store_failure: deny}
    limits: [{unit: day, requests_per_unit: 9, consistency: local, count_rejected: true}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.yaml").write_text(RULES)
    (tmp_path / "b.yaml").write_text(OURS)
    return tmp_path


def limits(*words: str, **env: str) -> Result:
    """`waypost limits …`"""
    result = CliRunner(env=env).invoke(cli, ["limits", *words], prog_name="waypost")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def said(*words: str, **env: str) -> str:
    result = limits(*words, **env)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def told(*words: str, **env: str) -> Any:
    return json.loads(said(*words, "--json", **env))


def test_check(folder: Path) -> None:
    name = folder.name
    assert said("check", str(folder)) == (
        f"{folder}: 2 domains, 3 rules\n"
        f"  d: 2 rules in {name}/a.yaml, counted as envoyproxy/ratelimit does\n"
        f"  ours: 1 rule in {name}/b.yaml\n"
    )
    assert told("check", str(folder)) == {
        "problems": [],
        "folder": str(folder),
        "domains": [
            {"domain": "d", "rules": 2, "compat": "envoyproxy", "files": [f"{name}/a.yaml"]},
            {"domain": "ours", "rules": 1, "compat": "", "files": [f"{name}/b.yaml"]},
        ],
    }


def test_the_folder_is_that_of_the_settings(folder: Path) -> None:
    assert said("check", WAYPOST_LIMITS_DIR=str(folder)).startswith(f"{folder}: 2 domains")
    assert [domain["domain"] for domain in told("check")["domains"]] == ["waypost"]


def test_domains_are_merged_as_the_service_would(folder: Path) -> None:
    (folder / "c.yaml").write_text("domain: ours\n")
    refused = limits("check", str(folder))
    assert refused.exit_code == 2
    assert "'ours' is in" in refused.stderr
    assert "  ours: 1 rule in " in said("check", str(folder), WAYPOST_LIMITS_MERGE_DOMAINS="true")


def test_problems_are_told_by_file_and_place(folder: Path) -> None:
    (folder / "b.yaml").write_text("domain: ours\ndescriptors: [{value: v}]\nspec: 1\n")
    problems = [
        f"{folder.name}/b.yaml: unknown key 'spec' (domain, descriptors, compat)",
        f"{folder.name}/b.yaml: descriptors[0].key: is missing",
    ]
    refused = limits("check", str(folder))
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.splitlines() == [f"waypost: {problem}" for problem in problems]
    refused = limits("check", str(folder), "--json")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert json.loads(refused.stderr)["problems"] == problems
    assert limits("explain", "--rules", str(folder), "ours", "k=v").exit_code == 2


def test_no_folder_and_no_such_setting(tmp_path: Path) -> None:
    refused = limits("check", str(tmp_path / "absent"))
    assert refused.exit_code == 2
    assert refused.stderr.endswith("absent: the folder of rules cannot be read (No such file or directory)\n")
    refused = limits("check", WAYPOST_LIMIT_DIR="x")
    assert refused.exit_code == 2
    assert "did you mean WAYPOST_LIMITS_DIR" in refused.stderr


def test_what_a_terminal_would_obey_is_not_printed(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text('domain: "\\e[31m"\n')
    assert "\x1b" not in said("check", str(tmp_path))
    assert told("check", str(tmp_path))["domains"][0]["domain"] == "\x1b[31m"


def test_explain_a_rule(folder: Path) -> None:
    assert said("explain", "--rules", str(folder), "ours", "k=a=b") == (
        "meets the rule ours.k, with 2 limits\n"
        "  k=a=b: descriptor k, for any value that has none of its own\n"
        "  5 each 60 s, token_bucket of 7, strict, on_store_failure deny\n"
        "  9 each 86400 s, fixed_window, local, count_rejected\n"
        "  counter of k a=b\n"
    )
    shown = told("explain", "--rules", str(folder), "ours", "k=x")
    assert (shown["rule"], shown["counter"]) == ("ours.k", ["k", "x"])
    assert shown["limits"][0] == {
        "algorithm": "token_bucket",
        "limit": 5,
        "window_seconds": 60,
        "burst": 7,
        "consistency": "strict",
        "on_store_failure": "deny",
        "count_rejected": False,
        "says": "5 each 60 s, token_bucket of 7, strict, on_store_failure deny",
    }


def test_explain_modes(folder: Path) -> None:
    shown = told("explain", "--rules", str(folder), "d", "k")
    assert shown["path"] == [
        {
            "key": "k",
            "value": "",
            "found": "default",
            "descriptor": "k",
            "says": "descriptor k, for any value that has none of its own",
        }
    ]
    assert shown["modes"] == ["shadow_mode", "counted as envoyproxy/ratelimit does", "name five"]
    assert said("explain", "--rules", str(folder), "d", "free=x") == (
        "meets the rule d.free, which is unlimited\n"
        "  free=x: descriptor free, for any value that has none of its own\n"
        "  counted as envoyproxy/ratelimit does\n"
        "  replaces five\n"
    )


def test_explain_why_there_is_none(folder: Path) -> None:
    assert said("explain", "--rules", str(folder), "d", "k=x", "l=y") == (
        "no rule: d.k nests no descriptors, so nothing is for l=y; a rule applies at its own depth\n"
        "  k=x: descriptor k, for any value that has none of its own\n"
        "  l=y: no descriptor for it here\n"
    )
    assert told("explain", "--rules", str(folder), "e", "k=x")["rule"] is None


def test_nothing_that_lies_where_it_is_called_is_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = folder / "stranger"
    stranger.mkdir()
    for name in ("ratelimiter.py", "json.py"):
        (stranger / name).write_text("raise SystemExit('a stranger ran')\n")
    monkeypatch.chdir(stranger)
    assert said("check", str(folder)).startswith(f"{folder}: 2 domains")
