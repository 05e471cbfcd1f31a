"""The compiled core: what every request passes through and must not wait for.

Imports the standard library and nothing of ours, so that it can be built, tested and fuzzed alone. Today it is the
rate limit algorithms (`native.limits`) and the bounded table of counters (`native.table`), both in plain Python. They
are the definition: a compiled twin must give the same answers to `tests/vectors`.
"""

COMPILED = False
"""Whether the compiled twins are in use. There are none yet: this version runs the definitions themselves."""
