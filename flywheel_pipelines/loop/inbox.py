"""The inbox: which files of a flywheel's feeds are new, and landing them one after the other within a limit of time.

Here: finding files, what makes a file ready, what is remembered of those that were landed, and what people are told.
Not here: reading a file (`feedback.landing`), or asking when to look (`components/inbox_sensor.py`).

Decisions:
- A file is ready when it has not been changed for a few seconds and its name is not that of a file in the making
  (hidden, or ending as browsers and copy programs end theirs). Whoever writes large files slowly should write them
  under such a name and rename them.
- Briefs and outputs are landed before what is measured and said about them; within a kind, the file changed first.
- What is remembered of a file is a hash of its path, size and time of change: a file that changes is read again. Files
  that could not be used are remembered with their feed's settings, so that they are read again when these change.
- Forgetting is harmless: the same content is one batch, so a file that is read twice changes nothing.
- A link that leads out of the inbox is refused: what is in the inbox is what was put there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from flywheel_pipelines.errors import FlywheelError, InputFileError
from flywheel_pipelines.feedback.feeds import FeedBatch
from flywheel_pipelines.feedback.landing import land_file, record_unusable_file
from flywheel_pipelines.feedback.releasing import matched_by
from flywheel_pipelines.feedback.sources import period_of
from flywheel_pipelines.lake.store import Lake, content_hash
from flywheel_pipelines.spec import AnySpec, FeedSpec

SETTLE_SECONDS = 5.0
"""How long a file must have been left alone."""
UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".crdownload", ".download", ".filepart", ".swp", "~")
"""Endings of files in the making."""
FIRST_KINDS = ("briefs", "outputs")


@dataclass(frozen=True)
class InboxFile:
    """One file of a feed, as it is now."""

    feed: str
    path: Path
    name: str
    size: int
    changed: float
    """Time of the last change, seconds since 1970."""

    def mark(self, how: str = "") -> str:
        """What is remembered of it (16 hex digits)."""
        return content_hash(self.feed, self.name, self.size, repr(self.changed), how)


@dataclass(frozen=True)
class Found:
    """The files that are ready, in the order of landing; those that are not yet; and refusals in words."""

    ready: list[InboxFile]
    waiting: list[InboxFile]
    refused: list[str]


@dataclass
class Landed:
    """What came of landing: a line per file, numbers over all of them, and what is to be remembered."""

    n_files: int = 0
    n_rows: int = 0
    n_quarantined: int = 0
    n_known: int = 0
    n_matched: int = 0
    """Rows of the quarantine whose output has become known."""
    unusable: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def add(self, other: Landed) -> None:
        """Add what another one counts."""
        self.n_files += other.n_files
        self.n_rows += other.n_rows
        self.n_quarantined += other.n_quarantined
        self.n_known += other.n_known
        self.n_matched += other.n_matched
        self.unusable += other.unusable
        self.names += other.names

    @property
    def words(self) -> str:
        """In one sentence or two; empty when nothing was landed."""
        said = []
        if self.n_files:
            names = ", ".join(self.names[:3]) + (", ..." if len(self.names) > 3 else "")
            quarantine = f", {self.n_quarantined:,} in quarantine" if self.n_quarantined else ""
            said.append(f"{counted(self.n_files, 'file')} landed ({names}): {self.n_rows:,} rows{quarantine}.")
        if self.n_known:
            said.append(f"{counted(self.n_known, 'file')} held nothing that was not landed before.")
        if self.n_matched:
            said.append(f"{counted(self.n_matched, 'row')} of the quarantine found their output.")
        said.extend(f"Not usable: {words}" for words in self.unusable)
        return " ".join(said)


def find_files(spec: AnySpec, inbox: Path, now: float) -> Found:
    """Every file of every feed of a flywheel.

    Args:
        spec: the flywheel.
        inbox: the folder; it need not exist.
        now: seconds since 1970.
    """
    ready, waiting, refused = [], [], []
    for feed, pattern in patterns(spec).items():
        if Path(pattern).is_absolute():
            refused.append(f"feed {feed}: its path {pattern} is not relative to the inbox, so nothing is looked for.")
            continue
        for path in _matching(inbox, pattern):
            if (words := _refusal(path, inbox, feed)) is not None:
                refused.append(words)
                continue
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # taken away since it was listed
            found = InboxFile(feed, path, path.relative_to(inbox).as_posix(), status.st_size, status.st_mtime)
            # A clock that runs ahead must not keep a file waiting for ever.
            (waiting if abs(now - found.changed) < SETTLE_SECONDS else ready).append(found)
    late = {feed: spec.feeds[feed].kind not in FIRST_KINDS for feed in spec.feeds}
    ready.sort(key=lambda one: (late[one.feed], one.changed, one.name))
    return Found(ready, waiting, refused)


def patterns(spec: AnySpec) -> dict[str, str]:
    """Where the files of each feed lie, relative to the inbox. A feed with a source of its own may be handed files."""
    return {name: feed.path or f"{spec.name}/{name}/*" for name, feed in spec.feeds.items()}


def feed_of(spec: AnySpec, path: Path) -> str:
    """The one feed whose pattern a path fits, read from its right end. Raises FlywheelError for none or several."""
    fitting = [name for name, pattern in patterns(spec).items() if path.resolve().match(pattern)]
    if len(fitting) != 1:
        known = ", ".join(f"{name} ({pattern})" for name, pattern in patterns(spec).items()) or "none"
        found = "more than one feed" if fitting else "no feed"
        raise FlywheelError(
            f"{path}: fits the pattern of {found} of {spec.name}; there are {known}. Say which one it belongs to with "
            "--feed."
        )
    return fitting[0]


def name_in(inbox: Path, path: Path) -> str:
    """What the books call a file that a command lands: as the inbox would, where it lies there; else its name."""
    file, folder = path.resolve(), inbox.resolve()
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else path.name


def is_new(file: InboxFile, spec: AnySpec, remembered: Collection[str]) -> bool:
    """Whether a file, as it is, has not been landed or tried yet."""
    return file.mark() not in remembered and file.mark(_settings(spec.feeds[file.feed])) not in remembered


def marks_of(files: Iterable[InboxFile], spec: AnySpec) -> set[str]:
    """Everything that could be remembered of the files that there are; the rest can be forgotten."""
    return {mark for file in files for mark in (file.mark(), file.mark(_settings(spec.feeds[file.feed])))}


def land(lake: Lake, spec: AnySpec, file: InboxFile, recorded_at: datetime, landed: Landed) -> str | None:
    """Land one file and add it to `landed`; what to remember of it.

    A file that cannot be used at all is recorded as a batch of its own, with one row in quarantine. One that the
    operating system does not let us read is not remembered: it is tried again.
    """
    try:
        return _land(lake, spec, file, recorded_at, landed)
    except OSError as error:
        landed.unusable.append(f"{file.path}: it cannot be read now ({error.strerror}); it is tried again.")
        return None


def _land(lake: Lake, spec: AnySpec, file: InboxFile, recorded_at: datetime, landed: Landed) -> str | None:
    period = period_of(spec.feeds[file.feed], file.path)
    try:
        batch, is_new_batch = land_file(
            lake, spec, file.feed, file.path, recorded_at=recorded_at, source=file.name, period=period
        )
    except InputFileError as error:
        record_unusable_file(lake, spec, file.feed, file.path, error, recorded_at=recorded_at, source=file.name)
        landed.unusable.append(str(error))
        return file.mark(_settings(spec.feeds[file.feed]))
    except FlywheelError as error:
        landed.unusable.append(f"{file.name}: {error}")
        return file.mark(_settings(spec.feeds[file.feed]))
    if is_new_batch:
        _count(landed, file, batch)
    else:
        landed.n_known += 1
    try:
        # Also for a file that is known: a kill may have come between its batch and this.
        landed.n_matched += matched_by(lake, spec, file.feed, recorded_at)
    except FlywheelError as error:
        # A person may have settled one of the rows at this very moment.
        landed.unusable.append(f"{file.name} landed; rows that wait for its outputs are tried again: {error}")
        return None
    return file.mark()


def counted(number: int, what: str) -> str:
    """A number with its noun: 1 file, 2 files."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _count(landed: Landed, file: InboxFile, batch: FeedBatch) -> None:
    landed.n_files += 1
    landed.n_rows += batch.n_rows
    landed.n_quarantined += batch.n_quarantined
    landed.names.append(file.name)


def _settings(feed: FeedSpec) -> str:
    return feed.identity


def _matching(inbox: Path, pattern: str) -> Iterator[Path]:
    for path in sorted(inbox.glob(pattern)):
        is_link_astray = path.is_symlink() and not path.exists()
        if (path.is_file() or is_link_astray) and not path.name.startswith(".") and not _is_unfinished(path):
            yield path


def _is_unfinished(path: Path) -> bool:
    return path.name.lower().endswith(UNFINISHED)


def _refusal(path: Path, inbox: Path, feed: str) -> str | None:
    try:
        target = path.resolve()
    except (OSError, RuntimeError):
        return f"{path.relative_to(inbox)} (feed {feed}) is a link that leads nowhere. Put the file itself there."
    if not target.is_relative_to(inbox.resolve()):
        return (
            f"{path.relative_to(inbox) if path.is_relative_to(inbox) else path} (feed {feed}) leads out of the inbox, "
            f"to {target}; it was not read. Put the file itself into the inbox."
        )
    if not target.exists():
        return f"{path.relative_to(inbox)} (feed {feed}) is a link to {target}, which is not there."
    return None
