"""Checks the contract with buf: its style, and that it breaks nothing of the contract last released.

The released contract is `proto/released.binpb`; `--release` makes today's the released one.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONTRACT = ROOT / "proto"
RELEASED = CONTRACT / "released.binpb"
WORKSPACE = ROOT / "build" / "proto"

_IMPORT = re.compile(r'^import (?:public )?"(google/(?!protobuf/)[^"]+)";', re.MULTILINE)
_FINDING = re.compile(r"^(?=waypost/.*?:\d+:\d+:)", re.MULTILINE)


def assemble() -> None:
    """Lays out `WORKSPACE`: our protos and Google's that they import, which buf would otherwise fetch."""
    shutil.rmtree(WORKSPACE, ignore_errors=True)
    shutil.copytree(CONTRACT, WORKSPACE, ignore=shutil.ignore_patterns(RELEASED.name))
    site_packages = Path(sysconfig.get_path("purelib"))
    wanted = [name for path in sorted(CONTRACT.rglob("*.proto")) for name in _IMPORT.findall(path.read_text())]
    while wanted:
        name = wanted.pop()
        source, target = site_packages / name, WORKSPACE / name
        # An import that is nowhere is left to buf, which says who asks for it.
        if target.exists() or not source.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        wanted += _IMPORT.findall(source.read_text())


def style() -> str:
    """What `buf lint` finds; empty if nothing."""
    return _buf("lint")


def breaks() -> str:
    """What today's contract breaks of the released one; empty if nothing."""
    return _buf("breaking", "--against", str(RELEASED))


def release() -> None:
    """Writes today's contract as the released one."""
    # Under another name first: a release that fails half way must not cost the promise.
    image = WORKSPACE / "image.binpb"
    if failure := _buf("build", "--path", "waypost", "--exclude-source-info", "--output", str(image)):
        raise SystemExit(failure)
    image.replace(RELEASED)


def _buf(*arguments: str) -> str:
    buf = Path(sysconfig.get_path("scripts")) / "buf"
    env = os.environ | {"BUF_CACHE_DIR": str(ROOT / "build" / "buf-cache")}
    done = subprocess.run([buf, *arguments], cwd=WORKSPACE, env=env, capture_output=True, text=True, check=False)
    output = (done.stdout + done.stderr).strip()
    if done.returncode and not output:
        raise SystemExit(f"buf {arguments[0]} ended with {done.returncode} and said nothing")
    return _FINDING.sub("proto/", output) if done.returncode else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--release", action="store_true", help="make today's contract the released one")
    arguments = parser.parse_args()

    assemble()
    if findings := style():
        print(findings, "buf: the style of the contract is set in proto/buf.yaml", sep="\n", file=sys.stderr)
        return 1
    if RELEASED.exists():
        if findings := breaks():
            advice = "keep what clients use and add beside it, or begin waypost.api.v2"
            print(findings, f"buf: this breaks clients of the released contract: {advice}", sep="\n", file=sys.stderr)
            return 1
    elif not arguments.release:
        print(f"{RELEASED.relative_to(ROOT)} is missing: nothing says what clients rely on", file=sys.stderr)
        return 1
    if arguments.release:
        release()
    return 0


if __name__ == "__main__":
    sys.exit(main())
