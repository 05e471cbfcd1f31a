"""Builds the distribution: an explicit list of packages, so that nothing lands in it by accident.

Metadata stands in pyproject.toml. The packages are top-level folders on purpose (`import gateway`): with
`package-dir = {"" = "."}` an editable install is one plain path, which type checkers follow.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.errors import SetupError

ROOT = Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in ROOT.joinpath("waypost", "__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)


class BuildPy(build_py):
    """Puts what Envoy needs into the supervisor's package: a wheel has no `envoy/` folder beside it."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for name, cause in {
            "envoy.yaml": "is not part of this source tree",
            "waypost.pb": "has not been built: run `make setup`",
        }.items():
            source = ROOT / "envoy" / name
            if not source.exists():
                raise SetupError(f"envoy/{name} {cause}")
            self.copy_file(str(source), str(Path(self.build_lib, "waypost", "supervisor", name)))


setup(
    version=VERSION,
    cmdclass={"build_py": BuildPy},
    package_dir={"": "."},
    packages=[
        "waypost",
        "waypost.access",
        "waypost.adapters",
        "waypost.api",
        "waypost.api.v1",
        "waypost.cli",
        "waypost.cli.abuse",
        "waypost.cli.audit",
        "waypost.cli.identity",
        "waypost.cli.transfer",
        "waypost.cli.transfer.formats",
        "waypost.client",
        "waypost.rpc",
        "waypost.supervisor",
        "gateway",
        "gateway.abuse",
        "gateway.accounts",
        "gateway.accounts.handlers",
        "ratelimiter",
        "workers",
        "native",
    ],
    package_data={
        "waypost": ["py.typed"],
        "waypost.api.v1": ["*.pyi"],
        "waypost.adapters": ["sql/*.sql", "migrations/*.sql"],
        "ratelimiter": ["limits/*.yaml"],
        "gateway": ["templates/*.html", "templates/*.css", "static/*", "static/swagger-ui/*"],
    },
)
