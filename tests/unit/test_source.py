"""The source tree itself: generated files are fresh, no workplace is named in it, the distribution is complete."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.support.missing import missing
from tools import env_example, proto

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("waypost", "gateway", "ratelimiter", "workers", "native")
# What the distribution of sources has besides: what a wheel is built of, and what `make run` needs.
FOLDERS = ("docs", "envoy", "proto", "requirements", "tools")
FILES = (".env.example", "MANIFEST.in", "Makefile", "README.md", "pyproject.toml", "setup.py")

# In two halves, so that this file does not hold what it forbids.
REGISTRIES = [
    ("pypi", "org"),
    ("pythonhosted", "org"),
    ("npmjs", "org"),
    ("npmjs", "com"),
    ("crates", "io"),
    ("proxy.golang", "org"),
    ("deb.debian", "org"),
    ("repo.maven.apache", "org"),
]
MACHINE_PATH = re.compile(r"(?<![\w.~$}>/-])/(?:work|root|opt/wheels)/")


@pytest.fixture(scope="module")
def sources() -> list[Path]:
    """Every file that is or would be committed."""
    git = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False) if shutil.which("git") else None
    if done is None or done.returncode:
        missing(f"cannot tell which files are source: {done.stderr.strip() if done else 'no git'}")
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_stubs_are_what_the_contract_generates() -> None:
    assert proto.stale() == [], "run `make proto`"


def test_settings_files_are_what_the_classes_say() -> None:
    assert env_example.stale() == [], "run `make settings`"


def test_nothing_names_a_registry_or_a_machine(sources: list[Path]) -> None:
    hosts = re.compile("|".join(re.escape(".".join(halves)) for halves in REGISTRIES))
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in sources
        if b"\0" not in (content := path.read_bytes())
        for pattern in (hosts, MACHINE_PATH)
        for match in pattern.finditer(content.decode(errors="replace"))
    ]
    assert found == []


def test_folders_of_tests_are_packages(sources: list[Path]) -> None:
    # Else two files of one name in different folders clash, and relative imports fail.
    folders = {path.parent for path in sources if path.suffix == ".py" and path.is_relative_to(ROOT / "tests")}
    assert [str(folder.relative_to(ROOT)) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_help_names_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^\.PHONY: (\S+)", makefile, re.MULTILINE))
    assert targets == set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    text = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    # `venv` is a part of `setup`.
    assert set(re.findall(r"^  (\S+)", text, re.MULTILINE)) == targets - {"venv"}


def test_workflow_pins_its_actions() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert {"check", "nightly"} == workflow["jobs"].keys()
    uses = re.findall(r"uses: (.+)", text)
    assert uses
    assert [line for line in uses if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []


def test_compiled_core_imports_only_the_standard_library() -> None:
    allowed = sys.stdlib_module_names | {"native", "cython"}
    found = []
    for path in sorted((ROOT / "native").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            found += [f"{path.name}: {name}" for name in names if name.split(".")[0] not in allowed]
    assert found == []


@pytest.mark.slow
def test_distributions_are_complete(sources: list[Path], tmp_path: Path) -> None:
    """That of the sources, and the wheel that is built of it.

    Made in a copy, since setuptools would take along whatever an earlier build left in `build/`.
    """
    copy = tmp_path / "source"
    for path in (*sources, ROOT / "envoy" / "waypost.pb"):
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    # What the compiler makes of it is not looked at: it need not take its time.
    compiler = tmp_path / "cc"
    compiler.write_text(f'#!/bin/sh\nexec {os.environ.get("CC") or "cc"} "$@" -O0\n')
    compiler.chmod(0o755)
    env = {**os.environ, "CC": str(compiler)}
    subprocess.run([sys.executable, "setup.py", "--quiet", "sdist"], check=True, cwd=copy, env=env)
    (packed,) = copy.joinpath("dist").iterdir()
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    names = {str(path.relative_to(ROOT)) for path in sources}
    made = {"PKG-INFO", "setup.cfg", "envoy/waypost.pb"}
    assert {
        name
        for path in unpacked.rglob("*")
        if path.is_file() and not (name := str(path.relative_to(unpacked))).startswith("waypost.egg-info/")
    } == {name for name in names if name in FILES or name.split("/")[0] in PACKAGES + FOLDERS} | made
    # What Cython generates takes its time, and is the same.
    shutil.copytree(copy / "build" / "cython", unpacked / "build" / "cython")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(unpacked)], check=True, env=env)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as zipped:
        inside = {name for name in zipped.namelist() if ".dist-info/" not in name}
    compiled = {name for name in inside if name.endswith((".so", ".pyd"))}
    assert {name.split(".")[0] for name in compiled} == {
        str(path.relative_to(ROOT).with_suffix("")) for path in sources if path.suffix == ".pyx"
    }
    expected = {name for name in names if name.split("/")[0] in PACKAGES}
    assert inside - compiled == expected | {"waypost/supervisor/envoy.yaml", "waypost/supervisor/waypost.pb"}
