"""The service template: what every service does the same way.

`process.serve` runs one, `server.RpcServer` serves its `methods`, `chain` is the middleware around every call, `status`
turns errors into gRPC statuses, `health` knows its dependencies, `channel` calls other services.
"""
