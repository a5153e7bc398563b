"""Which columns of a file of metrics mean what, and which days a file without a date column is about.

Not here: what the cells of these columns must say (`metric_rows`), or finding days in names and comments
(`files.periods`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.feeds.batch import Days
from flywheel_pipelines.feedback.feeds.rows import headers_of
from flywheel_pipelines.feedback.files import file_period, read_header
from flywheel_pipelines.spec import REVIEW_MEASURES, FeedSpec, FlywheelSpec, Metric, RateMetric

OUTPUT_ID, DATE, EVENT, COUNT, SESSION = "output_id", "date", "event", "count", "session"
ROLES = (OUTPUT_ID, "url", "external_id", DATE, EVENT, COUNT, SESSION)
"""Names in a feed's columns that are no measures."""


@dataclass(frozen=True)
class MetricColumns:
    """The columns of one file.

    Attributes:
        headers: our name and their header of every column that is read, in that order: the one that names the output,
            then date, event, session and count where there are such, then the measures.
        key: our name of the column that names the output.
        measures: what the file counts; with events, what the events are counted as.
        whole: measures that must be whole, non-negative numbers, since a metric counts them.
        least: the smallest number that some other measures may be.
        paired: measures that a row must hold where it counts what they are of (or per), with the name of that.
        rates: rates of which the file has both measures in each row.
        period: the days that the file is about, where its rows do not say, or where somebody said so.
    """

    headers: dict[str, str]
    key: str
    measures: tuple[str, ...]
    whole: frozenset[str]
    least: Mapping[str, float]
    paired: Mapping[str, str]
    rates: tuple[RateMetric, ...]
    period: Days | None

    @property
    def has_dates(self) -> bool:
        """Whether each row says its day."""
        return DATE in self.headers


def measures_of(spec: FlywheelSpec) -> list[str]:
    """Everything that the flywheel's metrics count in files, in alphabetical order; reviews are no such file."""
    return sorted(spec.measures.difference(REVIEW_MEASURES))


def measures_in(feed: FeedSpec, spec: FlywheelSpec) -> list[str]:
    """What a feed's files count: events, or the columns that are named and no role, or what the metrics count."""
    if feed.counts_events:
        return list(feed.event_measures)
    return [name for name in feed.columns if name not in ROLES] or measures_of(spec)


def metric_columns(
    path: Path, feed: FeedSpec, measures: Sequence[str], metrics: Collection[Metric], period: Days | None, today: date
) -> MetricColumns:
    """The columns of a file.

    Args:
        path: the file.
        feed: how its columns are named.
        measures: what it counts.
        metrics: the flywheel's metrics.
        period: the days that the file is about, when somebody said so.
        today: the day on which it became known.

    Raises:
        InputFileError: a column is missing, or neither the rows nor anything else says which days they are about.
    """
    counts_events = feed.counts_events
    of_event = [EVENT, *([SESSION] if feed.sessions else [])]
    required = [feed.join, *(of_event if counts_events else measures)]
    has_dates = DATE in feed.columns or DATE in read_header(path, [feed.columns.get(name, name) for name in required])
    optional = [COUNT] if counts_events else []
    if feed.sessions and feed.columns.get(COUNT) not in read_header(path, [*feed.columns.values()]):
        # In JSON lines a key stands where there is something to say: on a day on which nobody took anything, nowhere.
        feed = feed.model_copy(update={"columns": {name: of for name, of in feed.columns.items() if name != COUNT}})
    required[1:1] = [DATE] if has_dates else []
    headers, _ = headers_of(path, feed, required=required, optional=optional)
    ordered = [feed.join, DATE, EVENT, SESSION, COUNT, *([] if counts_events else measures)]
    period = period or (None if has_dates else file_period(path, feed))
    if not has_dates:
        _check_period(path, period, today)
    counted = {name for metric in metrics for name in metric.whole}
    # Events are counted one by one, so that no row of them can hold too many or too few of anything.
    held = [] if counts_events else [metric for metric in metrics if set(metric.measures) <= set(measures)]
    return MetricColumns(
        headers={name: headers[name] for name in ordered if name in headers},
        key=feed.join,
        measures=tuple(measures),
        whole=frozenset(measures if counts_events else counted.intersection(measures)),
        least={}
        if counts_events
        else {name: least for metric in metrics for name, least in metric.least.items() if name in measures},
        paired={
            name: other
            for metric in held
            if metric.denominator is not None
            for name, other in ((metric.numerator, metric.denominator), (metric.denominator, metric.numerator))
            if name not in counted
        },
        rates=tuple(metric for metric in held if isinstance(metric, RateMetric)),
        period=period,
    )


def _check_period(path: Path, period: Days | None, today: date) -> None:
    if period is None:
        raise InputFileError(
            f"{path}: has no column for the day, and nothing else says which days it is about. Do one of three: name "
            "its column of dates in the feed's columns (columns: {date: THEIR HEADER}); write file_date into the feed, "
            "a regular expression that finds the day in the file's name; or hand the file in with its period."
        )
    if (period[1] - today).days > 1:
        raise InputFileError(
            f"{path}: is about {period[0]} to {period[1]}, but arrived on {today}, before these days were over. Hand "
            "it in with the days it is about, or export it again."
        )
