"""Generates the stubs in waypost/api/v1 from the contract; `--check` says whether they are what it makes."""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONTRACT = ROOT / "proto"
STUBS = ROOT / "waypost" / "api" / "v1"
GENERATED = "*_pb2*.py*"


def generate() -> None:
    """Replaces all stubs; those of a contract that does not compile stay."""
    fresh = _generated()
    for old in STUBS.glob(GENERATED):
        old.unlink()
    for name, content in fresh.items():
        (STUBS / name).write_bytes(content)


def stale() -> list[str]:
    """The stubs that differ from what the contract generates, each with what is wrong with it."""
    fresh = _generated()
    present = {path.name: path.read_bytes() for path in STUBS.glob(GENERATED)}
    return [
        f"{STUBS.relative_to(ROOT) / name} {_difference(present.get(name), fresh.get(name))}"
        for name in sorted(fresh.keys() | present.keys())
        if present.get(name) != fresh.get(name)
    ]


def _generated() -> dict[str, bytes]:
    """What protoc makes of the contract, by file name."""
    site_packages = Path(sysconfig.get_path("purelib"))
    protos = sorted(CONTRACT.rglob("*.proto"))
    scripts = Path(sysconfig.get_path("scripts"))
    with tempfile.TemporaryDirectory() as out:
        command = [
            *(sys.executable, "-m", "grpc_tools.protoc", f"-I{CONTRACT}", f"-I{site_packages}"),
            *(f"--plugin={name}={scripts / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")),
            *(f"--{plugin}_out={out}" for plugin in ("python", "grpc_python")),
            *(f"--{plugin}_out=quiet:{out}" for plugin in ("mypy", "mypy_grpc")),
            *(str(path.relative_to(CONTRACT)) for path in protos),
        ]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{done.stderr.strip()}\nproto: the contract does not compile")
        # The gRPC plugins write a file for each proto, also where there is no service: nobody imports those.
        without_service = {path.stem for path in protos if "\nservice " not in path.read_text()}
        return {
            path.name: path.read_bytes()
            for path in sorted((Path(out) / STUBS.relative_to(ROOT)).iterdir())
            if path.name.split(".")[0].removesuffix("_pb2_grpc") not in without_service
        }


def _difference(present: bytes | None, fresh: bytes | None) -> str:
    if present is None:
        return "is missing"
    return "has no proto" if fresh is None else "differs from its proto"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; end with 1 if a stub is stale")
    if not parser.parse_args().check:
        generate()
        return 0
    problems = stale()
    if problems:
        print("; ".join(problems) + ": run `make proto`", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
