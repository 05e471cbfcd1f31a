"""Keeps Envoy on the pair that lies in the operator's files: looks at them, and hands over what is good and new."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from waypost.supervisor import certificates
from waypost.supervisor.certificates import CERT_SETTING, BadCertificate, Certificate, CertificateFiles, Identity
from waypost.supervisor.envoy_tls import sds_document

LOOK_SECONDS = 0.5
"""Between two looks. Files are read once they were the same at two of them: nobody is writing."""
SAY_SECONDS = 2.0
"""For how long files may be no pair, as they are while they are exchanged one after the other, before it is said."""
RETRY_SECONDS = 30.0
"""After how long files that were no good are read again, untouched as they are: a certificate may since have become
valid, a folder readable."""
REMIND_BEFORE = timedelta(days=7)

FOLLOW_SECONDS = 10.0
"""How long Envoy may serve something else than what it was given before it is said. It takes milliseconds, but at the
start it answers before it serves."""

Serves = Callable[[int], Awaitable[bool | None]]
"""Whether Envoy serves the certificate of this serial number; None: it does not answer."""
Say = Callable[[str, str, str], None]
"""Takes what is to be said: a word for programs, a sentence for people, the level."""


@dataclass(frozen=True, slots=True)
class Remark:
    """Something to be said: a word for programs, a sentence for people."""

    event: str
    text: str
    level: str = "info"


def write_secret(certificate: Certificate, path: Path) -> None:
    """Hands a pair to Envoy: one file, for our eyes only, that is there whole or not at all. Raises `OSError`."""
    partial = path.with_name(f"{path.name}.new")
    partial.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
            file.write(sds_document(certificate.chain, certificate.key))
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


class CertificateWatch:
    """The pair that is served and the files that the next one comes from.

    Time comes in as values: `now` is the time of day, `at` seconds of a clock that never goes back.
    """

    def __init__(self, files: CertificateFiles, secret: Path, host: str, now: datetime) -> None:
        """Reads the first pair. `secret`: Envoy's file; `host`: what callers call. Raises `BadCertificate`."""
        self._files = files
        self._secret = secret
        self._host = host
        self._read = self._seen = files.identity()
        self.served = certificates.read(files, now)
        self._seen_at = 0.0
        self._read_at = 0.0
        self._problem = ""
        self._said = ""
        self._news: list[Remark] = self._about_host()
        self._days_said: int | None = None
        self._asked_for: Certificate | None = None
        self._taken: Certificate | None = None
        self._doubtful_since: float | None = None

    def publish(self) -> None:
        """Writes Envoy's file. Raises `OSError`."""
        write_secret(self.served, self._secret)

    def look(self, now: datetime, at: float) -> list[Remark]:
        """Looks at the files, and hands over what is new in them; what there is to say of it."""
        seen = self._files.identity()
        if seen != self._seen:
            self._seen, self._seen_at = seen, at
        elif seen != self._read or (self._problem and at - self._read_at >= RETRY_SECONDS):
            self._take(seen, now, at)
        if not self._problem:
            self._said = ""
        elif self._problem != self._said and at - self._seen_at >= SAY_SECONDS:
            self._said = self._problem
            until = f"the one before is served on, until {self.served.not_after:%Y-%m-%d %H:%M} UTC"
            self._news.append(Remark("certificate_refused", f"{self._problem}; {until}", "error"))
        self._remind(now)
        news, self._news = self._news, []
        return news

    async def run(self, serves: Serves, say: Say) -> None:
        """Looks until it is cancelled, and asks whether Envoy follows; `say` is told what there is to say."""
        while True:
            # Files may lie where reading takes its time.
            for remark in await asyncio.to_thread(self.look, datetime.now(UTC), time.monotonic()):
                say(remark.event, remark.text, remark.level)
            if self._asked_for is not self.served:
                verdict = self._hear(await serves(self.served.serial), time.monotonic())
                if verdict is not None:
                    say(verdict.event, verdict.text, verdict.level)
            await asyncio.sleep(LOOK_SECONDS)

    def _hear(self, follows: bool | None, at: float) -> Remark | None:
        """Takes Envoy's word on what it was given; if it will have none of it, it gets back what it took last."""
        if follows:
            self._asked_for = self._taken = self.served
            self._doubtful_since = None
            return None
        if follows is False and self._doubtful_since is None:
            self._doubtful_since = at
        if self._doubtful_since is None or at - self._doubtful_since < FOLLOW_SECONDS:
            return None
        text = f"Envoy does not serve the certificate {self.served.title}; its log says why"
        self._asked_for, self._doubtful_since = self.served, None
        if self._taken is not None:
            # It still serves that, and must find it again should it be started anew.
            self._asked_for = self.served = self._taken
            text += f"; the one before stays, {self.served.title}"
            with contextlib.suppress(OSError):
                self.publish()
        return Remark("certificate_not_served", text, "error")

    def _take(self, seen: Identity, now: datetime, at: float) -> None:
        try:
            found = certificates.read(self._files, now)
            if self._files.identity() != seen:
                return  # somebody has begun to write: what was read may be of two minds
            if found != self.served:
                write_secret(found, self._secret)
        except BadCertificate as error:
            self._problem = str(error)
        except OSError as error:
            self._problem = f"{CERT_SETTING}: {self._secret} cannot be written: {error.strerror or error}"
        else:
            if found != self.served:
                self.served, self._days_said, self._doubtful_since = found, None, None
                self._news += [Remark("certificate_changed", f"a new certificate is served: {found.title}")]
                self._news += self._about_host()
            elif self._said:
                self._news.append(Remark("certificate_kept", f"the files hold again what is served: {found.title}"))
            self._problem = ""
        self._read, self._read_at = seen, at

    def _about_host(self) -> list[Remark]:
        if self.served.covers(self._host):
            return []
        text = (
            f"the certificate in {CERT_SETTING} is {self.served.title}, and not for {self._host}, which short links "
            "begin with: set WAYPOST_PUBLIC_URL, or take one for that name"
        )
        return [Remark("certificate_names", text, "warning")]

    def _remind(self, now: datetime) -> None:
        """Once a day, in the last days of a certificate: a week, or a third of its life if that is less."""
        served = self.served
        left = served.not_after - now
        if left >= min(REMIND_BEFORE, (served.not_after - served.not_before) / 3) or left.days == self._days_said:
            return
        self._days_said = left.days
        end = f"{served.not_after:%Y-%m-%d %H:%M} UTC"
        if left <= timedelta(0):
            text, level = f"the certificate that is served has expired at {end}: nobody trusts it", "error"
        else:
            days = f"{left.days} day{'' if left.days == 1 else 's'}" if left.days else "less than a day"
            text, level = f"the certificate that is served ends in {days}, at {end}", "warning"
        self._news.append(Remark("certificate_expires", f"{text}; replace the files of {CERT_SETTING}", level))
