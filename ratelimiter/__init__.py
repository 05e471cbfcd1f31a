"""The rate limiter: decides whether a request may be served now.

Ports: control 50052 (RateLimitService, Envoy's own, LimitOverrideService, health, reflection), hot 50062, metrics
9102. Needs a folder of rules and nothing else; with Redis all replicas count together, with PostgreSQL operators set
overrides.
"""
