"""What all services share: the model, its ports and adapters, the service template, the supervisor, the command.

For programs that use a running Waypost: `waypost.Client`; see `waypost.client`.
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from waypost.client import Client

__all__ = ["Client", "__version__"]

# Before anything imports grpc, which reads it then: its core would write lines of its own between ours.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

__version__ = "0.1.0"

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        # Only who uses the client waits for gRPC.
        if name == "Client":
            from waypost.client import Client

            return Client
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
