"""The command `restate`: land a correction and close again what it touches, or say first what that would change."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flywheel_pipelines.cli.shared import FirstDay, Json, LastDay, app, days_of, err, out, print_json, spec_named
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.paths import DEFS_DIR, DataPaths

if TYPE_CHECKING:
    from flywheel_pipelines.feedback.feeds import FeedBatch
    from flywheel_pipelines.lake.store import Lake
    from flywheel_pipelines.loop.rejudging import Rejudged
    from flywheel_pipelines.loop.restating import Preview
    from flywheel_pipelines.spec import FlywheelSpec

TAG = "restate"


@dataclass(frozen=True)
class _Correction:
    """A file that is to land, and the days it is about when somebody said so."""

    file: Path
    feed: str
    period: tuple[date, date] | None

    def land(self, lake: Lake, spec: FlywheelSpec, inbox: Path) -> tuple[FeedBatch, bool, int]:
        """Land it, and what waited for an output that it makes known."""
        from flywheel_pipelines.feedback.landing import land_file
        from flywheel_pipelines.feedback.releasing import matched_by
        from flywheel_pipelines.loop.inbox import name_in

        now, source = datetime.now(UTC), name_in(inbox, self.file)
        batch, is_new = land_file(lake, spec, self.feed, self.file, recorded_at=now, source=source, period=self.period)
        return batch, is_new, matched_by(lake, spec, self.feed, now)


@app.command()
def restate(
    file: Annotated[Path | None, typer.Argument(help="The correction, in the format of its feed.")] = None,
    flywheel: Annotated[str, typer.Option("--flywheel", help="Name of the flywheel.")] = "",
    feed: Annotated[
        str | None, typer.Option("--feed", help="One of its feeds; needed when the path does not tell.")
    ] = None,
    cycles: Annotated[
        str | None, typer.Option("--cycles", help="Close these again: 2026-01-05, or 2026-01-05:2026-02-02.")
    ] = None,
    first: FirstDay = None,
    last: LastDay = None,
    threshold: Annotated[
        bool,
        typer.Option("--threshold", help="Judge the cycles (or all closed ones) by the floor as the YAML has it now."),
    ] = False,
    threshold_version: Annotated[
        str | None, typer.Option("--threshold-version", help="With --threshold: by this registered version instead.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change; write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Land a correction and close the cycles again that it touches; with --dry-run, say what would change."""
    if threshold_version is not None and not threshold:
        raise FlywheelError("restate: --threshold-version says by which threshold; write --threshold with it.")
    if threshold and file is not None:
        raise FlywheelError(
            "restate: a FILE and --threshold are two reasons for a decision to change. Land the file first, then judge "
            "by the other threshold, so that `restatements` tells them apart."
        )
    if file is None and cycles is None and not threshold:
        raise FlywheelError(
            "restate: name a FILE to land, or --cycles FIRST:LAST to close again, or both; or --threshold to judge by "
            "another floor."
        )
    spec = spec_named(flywheel)
    if file is not None and not file.is_file():
        raise FlywheelError(f"{file}: there is no such file.")
    if file is not None and feed is None:
        from flywheel_pipelines.loop.inbox import feed_of

        feed = feed_of(spec, file)
    period = days_of(first, last)
    if period is not None and file is None:
        raise FlywheelError("--from, --to: say which days FILE is about, and there is none; for cycles, use --cycles.")
    correction = None if file is None or feed is None else _Correction(file, feed, period)
    chosen = chosen_cycles(spec, cycles, DataPaths.from_environment()) if cycles else []
    if threshold:
        _rejudge(spec, chosen, threshold_version, dry_run=dry_run, as_json=as_json)
    elif dry_run:
        _preview(spec, correction, chosen, as_json=as_json)
    else:
        _restate(spec, correction, chosen, as_json=as_json)


def chosen_cycles(spec: FlywheelSpec, words: str, paths: DataPaths) -> list[date]:
    """The cycles of FIRST:LAST, or of one day. Raises FlywheelError for what is no range of closed cycles."""
    from flywheel_pipelines.cycles import cycle_range
    from flywheel_pipelines.lake import tables
    from flywheel_pipelines.lake.store import Lake

    first, _, last = words.partition(":")
    try:
        ends = date.fromisoformat(first), date.fromisoformat(last or first)
    except ValueError:
        raise FlywheelError(
            f"--cycles: found {words!r}; expected one day, 2026-01-05, or two, 2026-01-05:2026-02-02."
        ) from None
    found = list(cycle_range(*ends, spec.cadence))
    closed = Lake(paths.lake).cycles(tables.MOMENTUM, spec.name)
    missing = [cycle for cycle in found if cycle not in set(closed)]
    if missing or not found:
        known = f"closed are {closed[0]} to {closed[-1]}" if closed else "none was closed yet"
        listed = ", ".join(str(cycle) for cycle in missing[:5]) or words
        raise FlywheelError(
            f"--cycles: {listed} of {spec.name} cannot be closed again, since it was never closed; {known}. "
            f"Close a cycle for the first time with the job {spec.name}__close."
        )
    return found


def _preview(spec: FlywheelSpec, correction: _Correction | None, cycles: list[date], *, as_json: bool) -> None:
    from flywheel_pipelines.loop.flywheel import Flywheel
    from flywheel_pipelines.loop.restating import preview
    from flywheel_pipelines.terminal import restatement_tables

    landed: dict[str, Any] = {}
    paths = DataPaths.from_environment()

    def land(lake: Lake) -> None:
        if correction is not None:
            batch, is_new, matched = correction.land(lake, spec, paths.inbox)
            landed.update(rows=batch.n_rows, quarantined=batch.n_quarantined, is_new=is_new, matched=matched)

    found = preview(Flywheel(spec, DEFS_DIR / spec.name), paths, land, cycles)
    if as_json:
        print_json({"dry_run": True, "landed": landed or None, **_as_dict(found)})
        return
    if landed and correction is not None:
        known = "" if landed["is_new"] else " It was landed before."
        found_theirs = (
            f" {landed['matched']:,} row(s) of the quarantine would find their output." if landed["matched"] else ""
        )
        out.print(
            f"{correction.file} holds {landed['rows']:,} usable rows; {landed['quarantined']:,} would be put aside."
            f"{known}{found_theirs}"
        )
    out.print(restatement_tables(found, metrics=spec.metrics))
    out.print("Nothing was written.", style="bold")


def _rejudge(spec: FlywheelSpec, cycles: list[date], version: str | None, *, dry_run: bool, as_json: bool) -> None:
    from flywheel_pipelines.lake.store import Lake
    from flywheel_pipelines.loop.flywheel import Flywheel
    from flywheel_pipelines.loop.rejudging import rejudge_cycles
    from flywheel_pipelines.loop.restating import preview
    from flywheel_pipelines.terminal import restatement_tables

    paths, now = DataPaths.from_environment(), datetime.now(UTC)
    if not dry_run:
        lake = Lake(paths.lake)
        asked = rejudge_cycles(spec, lake, cycles, version, now)
        result = {"dry_run": False, "flywheel": spec.name, **_about(asked)}
        if asked.closing:
            result |= _close(spec, lake, paths, list(asked.closing))
        if as_json:
            print_json(result)
            return
        out.print(_rejudged_words(asked, "are judged by", lake, spec))
        if asked.closing:
            out.print(
                f"Cycles {asked.closing[0]} to {asked.closing[-1]} were closed again in one run: "
                f"{result['decisions_flipped']:,} decisions flipped. The table restatements holds each of them, with "
                "both thresholds."
            )
        return
    wish: list[Rejudged] = []
    words: list[str] = []

    def land(copy: Lake) -> list[date]:
        wish.append(rejudge_cycles(spec, copy, cycles, version, now))
        words.append(_rejudged_words(wish[0], "would be judged by", copy, spec))
        return list(wish[0].closing)

    found = preview(Flywheel(spec, DEFS_DIR / spec.name), paths, land)
    if as_json:
        print_json({"dry_run": True, **_about(wish[0]), **_as_dict(found)})
        return
    out.print(words[0])
    if wish[0].closing:
        out.print(restatement_tables(found, metrics=spec.metrics))
    out.print("Nothing was written.", style="bold")


def _about(asked: Rejudged) -> dict[str, Any]:
    return {"threshold_version": asked.version, "rejudged": list(asked.cycles)}


def _rejudged_words(asked: Rejudged, verb: str, lake: Lake, spec: FlywheelSpec) -> str:
    from flywheel_pipelines.lake import tables

    if not asked.cycles:
        return f"Threshold {asked.version} judges these cycles already."
    rules = {row["threshold_version"]: row["rule"] for row in lake.read(tables.THRESHOLDS, spec.name).to_pylist()}
    first, last = asked.cycles[0], asked.cycles[-1]
    which = f"Cycle {first}" if first == last else f"{len(asked.cycles)} cycles from {first} to {last}"
    return f"{which} {verb} threshold {asked.version}: {rules[asked.version]}."


def _as_dict(found: Preview) -> dict[str, Any]:
    return {**asdict(found), "n_promotions": len(found.promotions), "n_demotions": len(found.demotions)}


def _restate(spec: FlywheelSpec, correction: _Correction | None, cycles: list[date], *, as_json: bool) -> None:
    from flywheel_pipelines.lake.store import Lake
    from flywheel_pipelines.loop.corrections import correction_due, cycles_of

    paths = DataPaths.from_environment()
    lake = Lake(paths.lake)
    result: dict[str, Any] = {"dry_run": False, "flywheel": spec.name}
    if correction is not None:
        batch, is_new, matched = correction.land(lake, spec, paths.inbox)
        counts = {"rows": batch.n_rows, "quarantined": batch.n_quarantined, "is_new": is_new, "matched": matched}
        result["landed"] = counts
        if not as_json:
            state = "landed" if is_new else "was landed before"
            out.print(f"{correction.file} {state}: {batch.n_rows:,} rows; {batch.n_quarantined:,} in quarantine.")
            for problem in batch.problems[:5]:
                err.print(f"  row {problem.source_row}, {problem.field}: {problem.reason}", markup=False)
            if matched:
                out.print(f"{matched:,} row(s) of the quarantine found their output.")
    due = correction_due(lake, spec)
    chosen = cycles or (cycles_of(spec, due.first, due.last) if due else [])
    result |= _close(spec, lake, paths, chosen) if chosen else {"first": None, "last": None}
    if as_json:
        print_json(result)
    elif not chosen:
        out.print("No closed cycle is touched, so none was closed again.")
    else:
        out.print(
            f"Cycles {chosen[0]} to {chosen[-1]} were closed again in one run: {result['values_changed']:,} values "
            f"changed, {result['decisions_flipped']:,} decisions flipped. The table restatements holds each of them."
        )


def _close(spec: FlywheelSpec, lake: Any, paths: DataPaths, cycles: list[date]) -> dict[str, Any]:
    """Run the flywheel's own job over a range, in the instance that the UI shows; what the ledger says of it after."""
    from flywheel_pipelines.instance import open_instance
    from flywheel_pipelines.simulation.dagster_runs import execute_job, load_definitions

    before = _restated(spec, lake, cycles)
    with open_instance(paths) as instance:
        job = load_definitions().resolve_job_def(f"{spec.name}__close")
        execute_job(job, instance, cycles, {}, TAG)
    after = _restated(spec, lake, cycles)
    return {
        "first": cycles[0],
        "last": cycles[-1],
        "values_changed": after["metric"] - before["metric"],
        "decisions_flipped": after["decision"] - before["decision"],
    }


def _restated(spec: FlywheelSpec, lake: Any, cycles: list[date]) -> dict[str, int]:
    from flywheel_pipelines.lake import tables
    from flywheel_pipelines.lake.store import CycleWindow

    window = CycleWindow(cycles[0], cycles[-1])
    subjects = lake.read(tables.RESTATEMENTS, spec.name, window, columns=["subject"])["subject"].to_pylist()
    return {subject: subjects.count(subject) for subject in ("metric", "decision")}
