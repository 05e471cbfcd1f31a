"""Where figures were measured: the machine, and the versions of everything that took part."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import psutil

import native
from bench import programs
from bench.cores import apart
from bench.results import ROOT

LOAD_AT_START = os.getloadavg()[0]
"""What the machine did besides in the minute before."""
QUIET_LOAD = 0.5

_PACKAGES = ("cython", "grpcio", "hiredis", "protobuf", "redis", "uvloop", "xds-protos")


def environment() -> dict[str, str]:
    """The facts by name, in the order to show them; what is not on this machine is left out."""
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "processor": _processor(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "cores": "server on one, generator and Redis on the other"
        if apart()
        else "one for everything: figures say little",
        "load average before": f"{LOAD_AT_START:.1f}" + ("" if LOAD_AT_START < QUIET_LOAD else ": not a quiet machine"),
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "counters": "compiled (Cython)" if getattr(native, "COMPILED", False) else "pure Python: not compiled",
        "hot port": "compiled" if native.HOT_PORT else "not built",
        "nghttp2": _first_match(["pkg-config", "--modversion", "libnghttp2"], r"(\S+)"),
        "Redis": _first_match(["redis-server", "--version"], r"v=(\S+)"),
        "Go": programs.go_version().removeprefix("go"),
        "envoyproxy/ratelimit": programs.peer_version(),
    }
    for package in _PACKAGES:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {name: fact for name, fact in facts.items() if fact}


def _commit() -> str:
    """The commit, with a word if the tree is not quite that; empty without git."""
    if shutil.which("git") is None:
        return ""
    git = ["git", "-c", "safe.directory=*", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode:
        return ""
    # This page is written by the run itself.
    changes = [*git, "status", "--porcelain", "--", ".", ":!docs/benchmarks.md"]
    changed = subprocess.run(changes, capture_output=True, text=True, check=False).stdout.strip()
    return head.stdout.strip() + (" with changes" if changed else "")


def _processor() -> str:
    names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def _first_match(command: list[str], pattern: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    found = re.search(pattern, subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    return found[1] if found else ""
