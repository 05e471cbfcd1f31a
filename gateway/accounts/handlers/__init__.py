"""What the gateway does with accounts: use cases that know neither gRPC nor a driver, one module for each service."""
