"""The workers: what happens behind the API, by the clock.

Ports: control 50053 (JobService, health, reflection), metrics 9103. Needs PostgreSQL; runs nothing while that is away.
"""
