"""Imports and exports through a real mesh: cut off, taken up again, and each link there exactly once."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.shell import DIRECT, DONE, FAILED, PROGRAMS, waypost
from tests.support.mesh import Mesh, mesh_running
from tests.support.waiting import until

RULES = """
domain: waypost
descriptors:
  - key: route_class
    value: create
    descriptors:
      - key: remote_address
        rate_limit: {algorithm: token_bucket, unit: second, requests_per_unit: 100000, burst: 100000}
"""


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh that lets one address make any number of links."""
    folder = tmp_path_factory.mktemp("limits")
    (folder / "roomy.yaml").write_text(RULES)
    with mesh_running(env={"WAYPOST_LIMITS_DIR": str(folder), **DIRECT}) as mesh:
        yield mesh


def kutt(folder: Path, name: str, count: int) -> Path:
    """A file of links to `https://example.com/{name}/0` and so on."""
    path = folder / f"{name}.csv"
    rows = "".join(f"{name}{i},https://example.com/{name}/{i}\n" for i in range(count))
    path.write_text(f"address,target\n{rows}")
    return path


def stored(mesh: Mesh, name: str) -> Counter[str]:
    """How many links lead to each URL of the file with this name."""
    code, out, err = waypost(mesh.env, "links", "export", "--format", "json")
    assert code == DONE, err
    urls = (json.loads(line)["original_url"] for line in out.splitlines())
    return Counter(url for url in urls if url.startswith(f"https://example.com/{name}/"))


def start(mesh: Mesh, *arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(PROGRAMS / "waypost"), "links", "import", *map(str, arguments)],
        env=mesh.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def batches_done(path: Path, count: int) -> None:
    """Waits until so many batches of the file are done."""
    journal = path.with_name(f"{path.name}.waypost-import")
    await until(lambda: journal.exists() and journal.read_bytes().count(b'{"done":') >= count, 30)


async def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = await asyncio.to_thread(process.communicate, timeout=60)
    return process.returncode, out, err


def sums(path: Path, read: int, *, imported: int, already: int = 0) -> str:
    return f"{path}: Kutt; read {read:,}: imported {imported:,}, already there {already:,}, skipped 0, failed 0\n"


@pytest.mark.parametrize("options", [[], ["--random-codes"]], ids=["codes", "random"])
async def test_killed_in_the_middle_and_run_again_it_makes_each_link_once(
    options: list[str], roomy: Mesh, tmp_path: Path
) -> None:
    name = f"kill{len(options)}"
    path = kutt(tmp_path, name, 3000)
    for done in (1, 10, 30):
        process = start(roomy, path, "--batch-size", "50", *options)
        await batches_done(path, done)
        process.kill()
        assert (await end(process))[0] == -signal.SIGKILL
    assert await end(start(roomy, path, "--batch-size", "50", *options)) == (DONE, sums(path, 3000, imported=3000), "")
    assert stored(roomy, name) == {f"https://example.com/{name}/{i}": 1 for i in range(3000)}


async def test_ctrl_c_ends_it_in_good_order(roomy: Mesh, tmp_path: Path) -> None:
    path = kutt(tmp_path, "stop", 3000)
    process = start(roomy, path, "--batch-size", "20")
    await batches_done(path, 5)
    process.send_signal(signal.SIGINT)
    code, out, err = await end(process)
    assert (code, err) == (130, "waypost: interrupted; run the same command again to go on\n")
    made = stored(roomy, "stop")
    assert out == sums(path, made.total(), imported=made.total())
    assert await end(start(roomy, path, "--batch-size", "20")) == (DONE, sums(path, 3000, imported=3000), "")
    assert stored(roomy, "stop") == {f"https://example.com/stop/{i}": 1 for i in range(3000)}


async def test_a_gateway_that_is_killed_meanwhile_costs_no_link(roomy: Mesh, tmp_path: Path) -> None:
    path = kutt(tmp_path, "crash", 3000)
    process = start(roomy, path, "--batch-size", "20", "--random-codes")
    await batches_done(path, 10)
    roomy.kill("gateway")
    assert await end(process) == (DONE, sums(path, 3000, imported=3000), "")
    assert stored(roomy, "crash") == {f"https://example.com/crash/{i}": 1 for i in range(3000)}


async def test_an_export_is_there_already_when_it_is_imported(roomy: Mesh, tmp_path: Path) -> None:
    path = tmp_path / "links.jsonl"
    for arguments in (("--title", "=1+1", "--tag", "a b"), ("--ttl", "7d", "--redirect-status", "301")):
        code, _, err = waypost(roomy.env, "links", "create", "https://münchen.de/ü", "--tag", "round", *arguments)
        assert code == DONE, err
    assert waypost(roomy.env, "links", "export", "--filter", "tag = round", "--format", "json", "-o", str(path)) == (
        DONE,
        f"exported 2 links to {path}\n",
        "",
    )
    said = f"{path}: Waypost; read 2: imported 0, already there 2, skipped 0, failed 0\n"
    assert await end(start(roomy, path)) == (DONE, said, "")


async def test_the_servers_own_reasons_are_told(roomy: Mesh, tmp_path: Path) -> None:
    path = tmp_path / "links.csv"
    path.write_text("address,target\nhealthz,https://example.com/\nuser1,https://a:b@example.com/\n")
    code, _, err = await end(start(roomy, path))
    assert code == FAILED
    first, second, _ = err.splitlines()
    assert first == "waypost: line 2 (healthz) failed: its alias is a reserved word: choose another alias"
    assert second.startswith("waypost: line 3 (user1) failed: its URL ")


async def test_a_limit_that_admits_no_batch_of_this_size_is_told(strict: Mesh, tmp_path: Path) -> None:
    path = kutt(tmp_path, "limit", 6)
    code, out, err = await end(start(strict, path))
    assert (code, out) == (FAILED, sums(path, 0, imported=0))
    assert "never admits so many links at once: use a smaller --batch-size" in err
