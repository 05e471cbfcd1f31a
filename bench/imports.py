"""An import in a mesh of its own: `python -m bench.imports [--rows 100000] [--format csv]`.

Prints how long it took and the most memory (resident, sampled ten times a second) that the command and the gateway had.
The mesh runs on core 0, the command on core 1.
"""

from __future__ import annotations

import argparse
import subprocess
import time

import psutil

from bench.import_file import write_csv, write_json
from bench.private_mesh import WAYPOST, private_mesh


def main() -> None:
    """Runs the benchmark and prints its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--format", choices=["csv", "json"], default="csv")
    options = parser.parse_args()
    with private_mesh() as mesh:
        file = mesh.folder / f"links.{options.format}"
        (write_csv if options.format == "csv" else write_json)(file, options.rows)
        gateway = next(
            process for process in psutil.Process(mesh.pid).children(recursive=True) if "gateway" in process.cmdline()
        )
        before = gateway.memory_info().rss
        began = time.perf_counter()
        command = psutil.Popen(
            [WAYPOST, "links", "import", file, "--server", f"127.0.0.1:{mesh.port('WAYPOST_HTTP_PORT')}"],
            env=mesh.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        most = most_gateway = 0
        while command.poll() is None:
            most_gateway = max(most_gateway, gateway.memory_info().rss)
            try:
                most = max(most, command.memory_info().rss)
            except psutil.NoSuchProcess:
                break
            time.sleep(0.1)
        said, _ = command.communicate()
        seconds = time.perf_counter() - began
        print(said.strip())
        print(
            f"{options.rows:,} rows in {seconds:.1f} s ({options.rows / seconds:,.0f} a second), "
            f"exit code {command.returncode}; most memory: command {most / 2**20:.0f} MiB, "
            f"gateway {most_gateway / 2**20:.0f} MiB ({before / 2**20:.0f} before)"
        )


if __name__ == "__main__":
    main()
