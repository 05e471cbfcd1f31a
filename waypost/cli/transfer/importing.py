"""`waypost links import`: what it does with a file, what it says, and how it ends."""

from __future__ import annotations

import asyncio
import codecs
import json
import signal
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from waypost.cli.access import Access, access_of
from waypost.cli.options import Target
from waypost.cli.output import FAILED, NO_ANSWER, WRONG_USAGE, fail, fail_lines
from waypost.cli.refusals import no_answer
from waypost.cli.transfer import journal as journals
from waypost.cli.transfer import report as reports
from waypost.cli.transfer.batches import MAX_BATCH, Batch, batches
from waypost.cli.transfer.formats import FORMATS
from waypost.cli.transfer.importer import Importer, Interrupted, Pace, Stopped
from waypost.cli.transfer.journal import Counts, Job, Journal, JournalError
from waypost.cli.transfer.progress import ImportProgress
from waypost.cli.transfer.reading import LinkFile, inspect
from waypost.cli.transfer.records import Problem, Rules, UnusableFile
from waypost.cli.transfer.report import Report, sentence
from waypost.cli.transfer.whole_file import must_be_writable
from waypost.client import Unreachable
from waypost.errors import Unauthenticated
from waypost.settings import BadSettings

INTERRUPTED = 128 + signal.SIGINT
BATCH_TIMEOUT = 25.0
"""Seconds that a call may take, tries of the client's own among them."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What the command line says; the names are those of its options."""

    file: Path
    format: str | None = None
    encoding: str | None = None
    prefix: str = ""
    random_codes: bool = False
    batch_size: int = MAX_BATCH
    parallel: int = 4
    dry_run: bool = False
    restart: bool = False
    report: Path | None = None
    journal: Path | None = None

    @property
    def report_path(self) -> Path:
        """Where the records that are not imported are listed."""
        return self.report or self.file.with_name(self.file.name + reports.SUFFIX)

    @property
    def journal_path(self) -> Path:
        """Where is noted what is done."""
        return self.journal or self.file.with_name(self.file.name + journals.SUFFIX)


@dataclass(frozen=True, slots=True)
class _Ending:
    """Why an import ended before its file did; without a message it did not."""

    exit_code: int = 0
    message: str = ""


def import_links(env: Mapping[str, str], target: Target, options: ImportOptions, *, as_json: bool) -> int:
    """Imports a file; returns the exit code."""
    try:
        encoding = _encoding(options.encoding)
        if options.prefix and options.random_codes:
            raise _WrongUsage("--prefix and --random-codes exclude each other: random codes have no prefix")
        if str(options.file) == "-" and not options.file.exists():
            raise _WrongUsage("import needs a file, not standard input: it may be read more than once")
        access = None if options.dry_run else access_of(env, target)
        source = inspect(options.file, form=FORMATS[options.format] if options.format else None, encoding=encoding)
        if access is None:
            return _try_out(source, options, as_json)
        _must_report(options)
        job = Job(
            file_sha256=source.sha256,
            server=access.server.url,
            workspace=access.credentials.workspace,
            format=source.format.name,
            encoding=source.encoding,
            prefix=options.prefix,
            random_codes=options.random_codes,
            batch_size=options.batch_size,
        )
        with Journal.open(options.journal_path, job, datetime.now(UTC), restart=options.restart) as journal:
            return _import(source, options, access, journal, as_json)
    except (_WrongUsage, BadSettings, UnusableFile, JournalError) as error:
        return fail(WRONG_USAGE, str(error), as_json)
    except OSError as error:
        return fail(FAILED, f"{error.filename or 'standard output'} cannot be written: {error.strerror}", as_json)
    except KeyboardInterrupt:
        return fail(INTERRUPTED, "interrupted", as_json)


class _WrongUsage(Exception):
    pass


def _must_report(options: ImportOptions) -> None:
    """Raises `_WrongUsage` if what is not imported could not be listed: better known before anything is sent."""
    try:
        must_be_writable(options.report_path)
    except OSError as error:
        raise _WrongUsage(_unwritable(options, error.strerror or str(error))) from None


def _unwritable(options: ImportOptions, why: str) -> str:
    if options.report is not None:
        return f"--report {options.report} cannot be written: {why}"
    return f"the report {options.report_path} cannot be written: {why}: name another place with --report"


def _import(source: LinkFile, options: ImportOptions, access: Access, journal: Journal, as_json: bool) -> int:
    before = sum((outcome.counts for outcome in journal.outcomes()), Counts())
    ending = _Ending()
    with source.records() as records:
        progress = ImportProgress(source.size, lambda: records.position, quiet=as_json, counts=before)
        rules = Rules(journal.as_of, options.prefix, options.random_codes)
        with progress:
            try:
                asyncio.run(_send(access, journal, progress, options, batches(records, rules, options.batch_size)))
            except Interrupted:
                ending = _Ending(INTERRUPTED, "interrupted")
            except Stopped as error:
                ending = _Ending(FAILED if error.answered else NO_ANSWER, _why(error, access))
            except UnusableFile as error:
                ending = _Ending(WRONG_USAGE, str(error))
            except JournalError as error:
                ending = _Ending(FAILED, str(error))
    counts = Counts()
    with Report(options.report_path) as report:
        # In the order of the batches' ends, which is nearly that of the file.
        for outcome in journal.outcomes():
            counts += outcome.counts
            for problem in outcome.problems:
                report.add(problem)
    nothing_new = journal.resumed and counts == before and not ending.message
    return _conclude(source, options, counts, report, ending, as_json, resumed=journal.resumed, nothing_new=nothing_new)


async def _send(
    access: Access, journal: Journal, progress: ImportProgress, options: ImportOptions, todo: Iterable[Batch]
) -> None:
    async with access.client(timeout=BATCH_TIMEOUT) as client:
        importer = Importer(client, journal, progress, Pace(parallel=options.parallel))
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def interrupted() -> None:
            # The second time, nothing is awaited any more: the journal knows what was sent.
            loop.remove_signal_handler(signal.SIGINT)
            loop.add_signal_handler(signal.SIGINT, task.cancel if task is not None else importer.stop)
            importer.stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupted)
        try:
            await importer.run(todo)
        except asyncio.CancelledError:
            raise Interrupted from None
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def _why(stopped: Stopped, access: Access) -> str:
    match stopped.__cause__:
        case Unreachable() as cause:
            return no_answer(cause, access.server)
        case Unauthenticated():
            return f"{stopped} ({access.hint})"
        case _:
            return str(stopped)


def _try_out(source: LinkFile, options: ImportOptions, as_json: bool) -> int:
    counts = Counts()
    rules = Rules(datetime.now(UTC), options.prefix, options.random_codes)
    ending = _Ending()
    with Report(options.report_path) as report, source.records() as records:
        try:
            for batch in batches(records, rules, options.batch_size):
                skipped = sum(problem.kind == "skipped" for problem in batch.problems)
                counts += Counts(
                    read=batch.read,
                    imported=len(batch.candidates),
                    skipped=skipped,
                    failed=len(batch.problems) - skipped,
                    tidied=sum(candidate.tidied for candidate in batch.candidates),
                )
                for problem in batch.problems:
                    report.add(problem)
        except UnusableFile as error:
            ending = _Ending(WRONG_USAGE, str(error))
    return _conclude(source, options, counts, report, ending, as_json)


def _conclude(
    source: LinkFile,
    options: ImportOptions,
    counts: Counts,
    report: Report,
    ending: _Ending,
    as_json: bool,
    *,
    resumed: bool = False,
    nothing_new: bool = False,
) -> int:
    unreported = report.failure
    if not report.total and options.report is None:
        # One from before would now say what is no longer so.
        try:
            options.report_path.unlink(missing_ok=True)
        except OSError as error:
            unreported = error.strerror or str(error)
    if unreported:
        unreported = _unwritable(options, unreported)
    exit_code = ending.exit_code or (FAILED if counts.skipped or counts.failed or unreported else 0)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "file": str(source.path),
                    "format": source.format.name,
                    "dry_run": options.dry_run,
                    "complete": not ending.message,
                    "message": "; ".join(filter(None, (ending.message, unreported))),
                    "resumed": resumed,
                    **_sums(counts, dry_run=options.dry_run),
                    "problems": [_plain(problem) for problem in report.first],
                    "report": str(report.path) if report.written else None,
                },
                indent=2,
                ensure_ascii=False,
            )
        )
        return exit_code
    click.echo(f"{source.path}: {source.format.system}; {sentence(counts, dry_run=options.dry_run)}")
    fail_lines(0, list(_remarks(options, counts, nothing_new=nothing_new)))
    fail_lines(0, [*report.lines(), *filter(None, [unreported])])
    if ending.message:
        again = "" if options.dry_run or exit_code == WRONG_USAGE else "; run the same command again to go on"
        if ending.message.endswith("?"):
            again = again.replace("; run", " Run")
        fail_lines(exit_code, [f"{ending.message}{again}"])
    return exit_code


def _sums(counts: Counts, *, dry_run: bool) -> dict[str, int]:
    sums = asdict(counts)
    if dry_run:
        # Nothing was imported, and what is there already only the server knows.
        del sums["already_there"]
        sums = {"to_import" if name == "imported" else name: value for name, value in sums.items()}
    return sums


def _remarks(options: ImportOptions, counts: Counts, *, nothing_new: bool) -> Iterator[str]:
    if options.dry_run:
        yield "nothing was sent: this is as far as can be told without the server"
    if nothing_new:
        yield "all of it was imported before, and nothing was sent now; to import it once more: --restart"
    if counts.tidied:
        yield f"tidied {counts.tidied:,}: titles or tags were shortened or cleaned of control characters to fit"


def _plain(problem: Problem) -> dict[str, Any]:
    return {
        problem.place.kind: problem.place.number,
        "result": problem.kind,
        "code": problem.code,
        "url": problem.url,
        "reason": problem.reason,
    }


def _encoding(name: str | None) -> str | None:
    if name is None:
        return None
    try:
        found = codecs.lookup(name)
        "".encode(found.name)
    except (LookupError, ValueError):
        raise _WrongUsage(f"--encoding {name!r} is unknown: give utf-8, utf-16, windows-1252 or another") from None
    return "utf-8" if found.name == "utf-8-sig" else found.name
