"""What all services share: the model, its ports and adapters, the service template, the supervisor, the command."""

__version__ = "0.1.0"
