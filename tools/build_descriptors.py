"""Builds the descriptor set from which Envoy transcodes JSON: `python -m tools.build_descriptors [OUTPUT]`."""

from __future__ import annotations

import sys
import sysconfig
import tempfile
from pathlib import Path

from grpc_tools import protoc  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_OUTPUT = ROOT / "envoy" / "waypost.pb"

# Not imported by our own files, but carried inside every error: without them Envoy cannot print an error's details.
ERROR_TYPES = ("google/rpc/error_details.proto", "google/rpc/status.proto")


def build(output: Path) -> None:
    """Writes the descriptor set of the whole contract, imports included, to `output`.

    The file appears whole or not at all. Raises `RuntimeError` if protoc refuses; it has said why on stderr.
    """
    proto_root = ROOT / "proto"
    google_root = _google_root()
    inputs = sorted(str(path.relative_to(proto_root)) for path in proto_root.glob("waypost/api/v1/*.proto"))
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        written = Path(folder) / output.name
        status = protoc.main(
            [
                "protoc",
                f"--proto_path={proto_root}",
                f"--proto_path={google_root}",
                f"--proto_path={Path(protoc.__file__).parent / '_proto'}",
                "--include_imports",
                f"--descriptor_set_out={written}",
                *inputs,
                *ERROR_TYPES,
            ]
        )
        if status != 0:
            raise RuntimeError(f"protoc ended with status {status}")
        written.replace(output)


def _google_root() -> Path:
    """The folder that holds `google/rpc/*.proto`: where googleapis-common-protos was installed."""
    root = Path(sysconfig.get_paths()["purelib"])
    if not (root / ERROR_TYPES[0]).is_file():
        raise RuntimeError(f"{root / ERROR_TYPES[0]} is missing: install googleapis-common-protos")
    return root


def main() -> int:
    """Builds to the path given as the only argument, else to `envoy/waypost.pb`; returns the exit status."""
    if len(sys.argv) > 2:
        print("usage: python -m tools.build_descriptors [OUTPUT]", file=sys.stderr)
        return 2
    output = Path(sys.argv[1]) if len(sys.argv) == 2 else DEFAULT_OUTPUT
    try:
        build(output)
    except RuntimeError as error:
        print(f"build_descriptors: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
