"""Descriptors in a file, for clients that are told of services by one: `python -m tests.support.protoset FILE`.

It has Envoy's rate limit service, ours, links, and the details of errors, with all that they import.
"""

from __future__ import annotations

import sys
from pathlib import Path

from envoy.service.ratelimit.v3 import rls_pb2
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.rpc import error_details_pb2, status_pb2

from waypost.api.v1 import link_service_pb2, rate_limit_service_pb2

_FILES = (rls_pb2, rate_limit_service_pb2, link_service_pb2, error_details_pb2, status_pb2)


def write(path: Path) -> Path:
    """Writes the file; each one's imports stand before it."""
    found: dict[str, FileDescriptor] = {}
    for module in _FILES:
        _add(module.DESCRIPTOR, found)
    protoset = FileDescriptorSet()
    for file in found.values():
        file.CopyToProto(protoset.file.add())
    path.write_bytes(protoset.SerializeToString())
    return path


def _add(file: FileDescriptor, found: dict[str, FileDescriptor]) -> None:
    if file.name not in found:
        for one in file.dependencies:
            _add(one, found)
        found[file.name] = file


if __name__ == "__main__":
    write(Path(sys.argv[1]))
