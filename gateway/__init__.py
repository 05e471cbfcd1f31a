"""The gateway: the public API (gRPC) and the short links themselves (HTTP).

Ports: control 50051 (LinkService, health, reflection), hot 50061 (the same, compiled to the socket), web 50071
(redirects, pages), metrics 9101. Needs PostgreSQL; uses the ratelimiter, and decides by itself while that is away.
"""
