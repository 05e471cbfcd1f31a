"""What all services share: the model, its ports and adapters, the service template, the supervisor, the command."""

import os

# Before anything imports grpc, which reads it then: its core would write lines of its own between ours.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

__version__ = "0.1.0"
