"""Puts the files of Swagger UI that /docs needs into gateway/static/swagger-ui/; to update, set the version and run.

npm fetches the package and checks it against `INTEGRITY`, which no mirror can change. `npm pack` runs no script of the
package and fetches none of its dependencies (one of them reports installations to its makers).
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "swagger-ui-dist"
VERSION = "5.35.0"
INTEGRITY = "sha512-U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0wCDNsXdGarTNNHC3sU8yVUQ=="

TARGET = Path(__file__).resolve().parent.parent / "gateway" / "static" / "swagger-ui"
FILES = ("LICENSE", "NOTICE", "swagger-ui-bundle.js", "swagger-ui-bundle.js.LICENSE.txt", "swagger-ui.css")


def vendor() -> None:
    """Replaces the files. Raises `SystemExit` if the package is not what `INTEGRITY` says or cannot be had."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", f"{PACKAGE}@{VERSION}", "--silent", "--pack-destination", folder]
        try:
            subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SystemExit(f"vendor_swagger_ui: npm cannot fetch {PACKAGE}@{VERSION}: {error}") from None
        (package,) = Path(folder).glob("*.tgz")
        found = "sha512-" + base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
        if found != INTEGRITY:
            raise SystemExit(f"vendor_swagger_ui: {PACKAGE}@{VERSION} is {found}, not {INTEGRITY}")
        with tarfile.open(package) as archive:
            fresh = {name: _content(archive, f"package/{name}") for name in FILES}
    TARGET.mkdir(parents=True, exist_ok=True)
    for old in TARGET.iterdir():
        old.unlink()
    for name, content in fresh.items():
        (TARGET / name).write_bytes(content)
    (TARGET / "VERSION").write_text(f"{PACKAGE} {VERSION}\n")


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise SystemExit(f"vendor_swagger_ui: {name} is no file of {PACKAGE}@{VERSION}")
    return file.read()


if __name__ == "__main__":
    vendor()
    sys.exit()
