"""Builds the distribution: an explicit list of packages, so that nothing lands in it by accident.

Metadata stands in pyproject.toml. The packages are top-level folders on purpose (`import gateway`): with
`package-dir = {"" = "."}` an editable install is one plain path, which type checkers follow.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.errors import CompileError, LinkError, SetupError

ROOT = Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in ROOT.joinpath("waypost", "__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)

DIRECTIVES = {
    "language_level": "3",
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "embedsignature": True,
    "auto_pickle": False,
    "autotestdict": False,
}
"""Of Cython, for every module of `native/`."""

PLAIN_C = {
    "_answers": ("h2", "rls"),
    "_health": ("h2", "rls"),
    "_plan": (),
    "_questions": ("h2", "rls"),
    "_server": ("h2",),
}
"""The modules of `native/` that are the hot port's, and the folders of C of our own that each is linked with.

Each has its own copy, of the same sources: what `_answers` has of it reads the calls that `_server` made. No copy has a
state of its own. `_plan` has none, but is of no use without the others.
"""

NGHTTP2 = "libnghttp2"
"""What those need, by the name that pkg-config knows it by."""

STRICT = ["-Wall", "-Wextra", "-Wshadow", "-Wconversion", *(["-Werror"] if os.environ.get("CI") else [])]
"""For C of our own; what Cython generates has warnings that are not ours."""


def extensions() -> list[Extension]:
    """The compiled core; none, said aloud, where there is nothing to compile it with: the plain twins serve then."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    missing = []
    if shutil.which(compiler) is None:
        missing.append(f"a C compiler ({compiler})")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        missing.append("Python.h")
    try:
        from Cython.Build import cythonize
    except ImportError:
        missing.append("Cython")
    if missing:
        left_out(f"there is no {' and no '.join(missing)}")
        return []
    tracing = bool(os.environ.get("WAYPOST_CYTHON_TRACE"))
    modules = [
        module
        for source in sorted(ROOT.joinpath("native").glob("*.pyx"))
        if (module := extension(source, [("CYTHON_TRACE_NOGIL", "1")] if tracing else [])) is not None
    ]
    generated = ROOT.joinpath("build", "cython", "native").glob("*.c")
    changed = ROOT.joinpath("setup.py").stat().st_mtime
    return list(
        cythonize(
            modules,
            build_dir="build/cython",
            compiler_directives=DIRECTIVES | {"linetrace": tracing},
            # It knows by itself when a source has changed, but not of this file.
            force=any(path.stat().st_mtime < changed for path in generated),
            quiet=True,
        )
    )


def extension(source: Path, macros: list[tuple[str, str | None]]) -> Extension | None:
    """The module that `source` becomes; None, said aloud, if it needs what is not there."""
    headers = sorted(path.relative_to(ROOT) for path in source.parent.rglob("*.h"))
    module = Extension(
        f"native.{source.stem}",
        [str(source.relative_to(ROOT))],
        include_dirs=["native"],
        depends=[str(path) for path in headers],
        define_macros=macros,
        extra_compile_args=["-O3", "-Wno-unreachable-code"],
        optional=True,
    )
    if source.stem in PLAIN_C:
        found = nghttp2()
        if found is None:
            return None
        compile_args, link_args = found
        sources = plain_c(module.name)
        module.extra_compile_args += compile_args
        module.extra_link_args = link_args if sources else []
        module.depends += sources
    return module


def plain_c(module: str) -> list[str]:
    """The files of C of our own that a module is linked with."""
    folders = PLAIN_C.get(module.removeprefix("native."), ())
    return [str(p.relative_to(ROOT)) for name in folders for p in sorted(ROOT.joinpath("native", name).glob("*.c"))]


@cache
def nghttp2() -> tuple[list[str], list[str]] | None:
    """What the compiler and the linker are told of it; None, said aloud, if it is not there."""
    try:
        compile_args, link_args = (
            subprocess.run(["pkg-config", what, NGHTTP2], check=True, capture_output=True, text=True).stdout.split()
            for what in ("--cflags", "--libs")
        )
    except (OSError, subprocess.CalledProcessError):
        left_out_hot_port(f"pkg-config finds no {NGHTTP2}")
        return None
    return compile_args, link_args


def left_out(cause: str) -> None:
    """Says that the build goes on without the compiled core, and how to get it."""
    print(
        f"waypost: {cause}: the compiled core is left out, and limits are decided by plain Python, slower. "
        "To have it: apt install gcc python3-dev, then install again",
        file=sys.stderr,
    )


def left_out_hot_port(cause: str) -> None:
    """Says that the build goes on without the hot port, and how to get it."""
    print(
        f"waypost: {cause}: the hot port is left out, and all calls go to the control ports, slower. "
        "To have it: apt install gcc python3-dev pkg-config libnghttp2-dev, then install again",
        file=sys.stderr,
    )


class BuildExt(build_ext):
    """Builds what can be built, and says so of the rest."""

    def build_extensions(self) -> None:
        # By their sources.
        self._objects: dict[str, str] = {}
        super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        try:
            ext.extra_objects = self._compile_strictly(ext, plain_c(ext.name))
            super().build_extension(ext)
        except (CompileError, LinkError) as error:
            left = left_out_hot_port if ext.name.removeprefix("native.") in PLAIN_C else left_out
            left(f"{ext.name} could not be compiled ({error})")

    def _compile_strictly(self, ext: Extension, sources: list[str]) -> list[str]:
        """The objects of C of our own, each compiled once."""
        for source in sources:
            if source not in self._objects:
                (self._objects[source],) = self.compiler.compile(
                    [source],
                    output_dir=self.build_temp,
                    include_dirs=ext.include_dirs,
                    # Hidden, so that no copy of a function stands in for another's.
                    extra_postargs=[*ext.extra_compile_args, *STRICT, "-std=gnu11", "-pthread", "-fvisibility=hidden"],
                    depends=ext.depends,
                )
        return [self._objects[source] for source in sources]


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
    cmdclass={"build_ext": BuildExt, "build_py": BuildPy},
    ext_modules=extensions(),
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
        "waypost.cli.limits",
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
        "ratelimiter.overrides",
        "workers",
        "native",
    ],
    package_data={
        "waypost": ["py.typed"],
        "waypost.api.v1": ["*.pyi"],
        "waypost.adapters": ["lua/*.lua", "sql/*.sql", "migrations/*.sql"],
        "ratelimiter": ["limits/*.yaml"],
        "native": ["py.typed", "*.pyi", "*.pyx", "*.pxd", "*.h", "h2/*", "rls/*"],
        "gateway": ["templates/*.html", "templates/*.css", "static/*", "static/swagger-ui/*"],
    },
)
