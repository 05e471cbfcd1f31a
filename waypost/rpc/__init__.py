"""The service template: what every service does the same way.

`process.run` starts one, `server.RpcServer` serves its servicers, `chain` is the middleware around every call, `status`
turns errors into gRPC statuses, `health` knows its dependencies, `channel` calls other services.
"""
