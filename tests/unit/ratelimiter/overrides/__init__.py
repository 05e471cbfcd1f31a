"""Tests of `ratelimiter.overrides`."""
