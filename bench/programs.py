"""The programs of the benchmark that are built: generator and reference server in Go, the hot port's transport in C."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from bench.results import BUILD, ROOT

_GO = ROOT / "bench" / "go"
_PEER = "github.com/envoyproxy/ratelimit"


class NoProgram(Exception):
    """A program cannot be had on this machine; `str()` says why."""


def generator() -> Path:
    """The load generator, built if its source changed. Raises `NoProgram`."""
    return _built("generator", ".", "generator")


def peer() -> Path:
    """envoyproxy/ratelimit at the version that bench/go/peer/go.mod pins. Raises `NoProgram`."""
    return _built("peer", f"{_PEER}/src/service_cmd", "ratelimit")


def transport() -> Path:
    """The hot port's transport without Python, as a server that says back what it is sent. Raises `NoProgram`."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise NoProgram("there is no C compiler here (`apt install gcc`)")
    found = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "libnghttp2"], capture_output=True, text=True, check=False
    )
    if found.returncode:
        raise NoProgram("there is no libnghttp2 here to build with (`apt install libnghttp2-dev pkg-config`)")
    BUILD.mkdir(parents=True, exist_ok=True)
    program, folder = BUILD / "transport", ROOT / "native" / "h2"
    sources = [ROOT / "bench" / "transport.c", *sorted(folder.glob("*.c"))]
    command = [compiler, "-std=c11", "-D_GNU_SOURCE", "-O2", f"-I{folder}", *map(str, sources), "-o", str(program)]
    done = subprocess.run(
        [*command, *found.stdout.split(), "-lpthread"], stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise NoProgram(f"the transport cannot be built: {done.stderr.strip().splitlines()[-1]}")
    return program


def peer_version() -> str:
    """The version of the reference server."""
    found = re.search(rf"{re.escape(_PEER)} (\S+)", (_GO / "peer" / "go.mod").read_text())
    if found is None:
        raise NoProgram(f"bench/go/peer/go.mod does not name {_PEER}")
    return found[1]


def go_version() -> str:
    """The Go toolchain's version; empty if there is none."""
    if shutil.which("go") is None:
        return ""
    done = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=False, cwd=_GO)
    return done.stdout.strip()


def _built(module: str, package: str, name: str) -> Path:
    if shutil.which("go") is None:
        raise NoProgram(f"there is no Go here to build {name} with: install Go 1.24 or later")
    BUILD.mkdir(parents=True, exist_ok=True)
    program = BUILD / name
    # Go itself knows what has changed. -mod=readonly: what go.sum does not pin is not built.
    command = ["go", "build", "-mod=readonly", "-trimpath", "-o", str(program), package]
    env = os.environ | {"GOWORK": "off", "GOFLAGS": "", "CGO_ENABLED": "0"}
    done = subprocess.run(command, cwd=_GO / module, env=env, stderr=subprocess.PIPE, text=True, check=False)
    if "SECURITY ERROR" in done.stderr:
        raise SystemExit(f"{done.stderr.strip()}\nbench: what was fetched is not what go.sum pins")
    if done.returncode:
        raise NoProgram(f"{name} cannot be built: {done.stderr.strip().splitlines()[-1]}")
    return program
