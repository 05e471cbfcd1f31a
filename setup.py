"""Builds the distribution: an explicit list of packages, so that nothing lands in it by accident.

Metadata stands in pyproject.toml. The packages are top-level folders on purpose (`import gateway`): with
`package-dir = {"" = "."}` an editable install is one plain path, which type checkers follow.
"""

from pathlib import Path

from setuptools import setup

VERSION = next(
    line.split('"')[1]
    for line in Path(__file__).with_name("waypost").joinpath("__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)

setup(
    version=VERSION,
    package_dir={"": "."},
    packages=[
        "waypost",
        "waypost.adapters",
        "waypost.api",
        "waypost.api.v1",
        "waypost.cli",
        "waypost.rpc",
        "waypost.supervisor",
        "gateway",
        "ratelimiter",
        "workers",
        "native",
    ],
    package_data={
        "waypost": ["py.typed"],
        "waypost.adapters": ["sql/*.sql", "migrations/*.sql"],
        "waypost.supervisor": ["envoy.yaml", "waypost.pb"],
        "ratelimiter": ["limits/*.yaml"],
        "gateway": ["pages/*.html"],
    },
)
