"""Which published output a row of a feed is about.

Here: the three ways in which a feed may say it (`FeedSpec.join`), and looking it up in the lake. Not here: what else a
row says (`feeds`), or handing rows in again once their output has become known (`releasing`).

- output_id: the tracking tag, as it stands in the outbox.
- url: an address whose parameter `url_parameter` is the tag (upper and lower case and percent-encoding do not
  matter); else the whole address, as a feed of kind outputs names it.
- external_id: a campaign, variant or other id, as a feed of kind outputs names it.

Of several links of an external id those of the newest batch that names it count, so that a later export corrects a
mistyped one. A row that fits no output, or more than one, is nobody's.

An output is looked for in the cycles around the days of the rows first: nearly all of them are there, and history is
long. Only for ids that are left over are the other cycles read, newest first. An id is published in one cycle (its
hash holds the cycle), so the result is the same in whatever order cycles are read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.cycles import cycle_of, shift_cycle
from flywheel_pipelines.feedback.files.cells import AGAIN, shown
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import OUTPUT_LINKS, PUBLISHED_OUTPUTS
from flywheel_pipelines.spec import FeedSpec, FlywheelSpec

CYCLES_AT_ONCE = 16
ID_LIMIT = 200
"""Characters of an id."""
ADDRESS_LIMIT = 4_000
"""Characters of an address."""

# As `feeds.formats.BLANKS`; the feeds import this module.
BLANKS = " \t\r\n\f\v\u00a0\u200b\ufeff"
_CONTROL_OR_BREAK = re.compile(r"[\x00-\x1f\x7f]")
_NOT_THE_PAGE = re.compile(r"utm_.*|gclid|gbraid|wbraid|fbclid|msclkid|mc_[ce]id|_hs.*", re.IGNORECASE)
"""Parameters that say where a visitor came from and not which page it is."""


@dataclass(frozen=True, slots=True)
class Output:
    """A published output and the cycle that published it."""

    output_id: str
    cycle: date


@dataclass(frozen=True, slots=True)
class Nobody:
    """Why a text names no output: it cannot (invalid), there is none (unmatched), or more than one (ambiguous)."""

    code: Literal["invalid", "unmatched", "ambiguous"]
    reason: str


Found = Output | Nobody


def attribute(
    lake: Lake, spec: FlywheelSpec, feed: FeedSpec, texts: Iterable[str], days: tuple[date, date] | None = None
) -> dict[str, Found]:
    """The output of each text that a feed has in the column of its `join`.

    Args:
        lake: where published outputs and links are.
        spec: the flywheel.
        feed: says how outputs are named.
        texts: the distinct cells of that column, as they stand.
        days: first and last day that the rows are about; None: unknown.
    """
    texts = list(texts)
    found: dict[str, Found] = {}
    if feed.join == "output_id":
        # Nearly all texts are ids as they stand; only the others are looked at one by one.
        exact = find_cycles(lake, spec, texts, days, only_near=True)
        found.update({text: Output(text, cycle) for text, cycle in exact.items()})
        texts = [text for text in texts if text not in exact]
    stripped = {text: text.strip(BLANKS) for text in texts}
    names: dict[str, tuple[str, ...]] = {}
    links = _links(lake, spec.name, feed.join == "url") if feed.join != "output_id" else {}
    linked: dict[str, frozenset[str]] = {}
    limit = ADDRESS_LIMIT if feed.join == "url" else ID_LIMIT
    for text, value in stripped.items():
        if wrong := _why_no_name(value, feed.join, limit):
            found[text] = Nobody("invalid", wrong)
            continue
        names[text] = _tags(value, feed)
        linked[text] = links.get(_address(value) if feed.join == "url" else value, frozenset())
    wanted = {name for of_text in names.values() for name in of_text}
    wanted.update(output_id for of_text in linked.values() for output_id in of_text)
    cycles = find_cycles(lake, spec, wanted, days)
    for text, tags in names.items():
        outputs = {tag: cycles[tag] for tag in tags if tag in cycles}
        outputs = outputs or {output_id: cycles[output_id] for output_id in linked[text] if output_id in cycles}
        found[text] = _decided(outputs, feed)
    return found


def named_by_id(text: str, cycles: Mapping[str, date]) -> Found:
    """The output whose id stands in a cell, among those of `cycles` (id: cycle)."""
    value = text.strip(BLANKS)
    if wrong := _why_no_name(value, "output_id", ID_LIMIT):
        return Nobody("invalid", wrong)
    return Output(value, cycles[value]) if value in cycles else Nobody("unmatched", _UNMATCHED["output_id"])


def find_cycles(
    lake: Lake,
    spec: FlywheelSpec,
    ids: Collection[str],
    days: tuple[date, date] | None = None,
    *,
    only_near: bool = False,
) -> dict[str, date]:
    """The cycle of each of some outputs; ids that nothing was published under are left out.

    Reads the cycles around `days` first, then the others only as long as an id is left over (or not at all).
    """
    found: dict[str, date] = {}
    for is_near, group in _in_order(lake, spec, days):
        if len(found) == len(ids) or (only_near and not is_near):
            break
        wanted = pa.array([one for one in ids if one not in found], pa.string())
        published = [lake.values(PUBLISHED_OUTPUTS, spec.name, cycle, "output_id").unique() for cycle in group]
        if not published:
            continue
        everything = pa.concat_arrays(published)
        places = pc.call_function("index_in", [wanted], pc.SetLookupOptions(everything))
        ends = np.cumsum([len(of_cycle) for of_cycle in published])
        here = places.is_valid()
        cycles = np.searchsorted(ends, places.drop_null().to_numpy(), side="right").tolist()
        names = wanted.filter(here).to_pylist()
        found.update({name: group[number] for name, number in zip(names, cycles, strict=True)})
    return found


def now_known(lake: Lake, spec: FlywheelSpec, feed_name: str, cells: Sequence[Mapping[str, str | None]]) -> list[bool]:
    """Which rows that were put aside as unmatched or ambiguous are about exactly one output by now.

    Args:
        lake: where published outputs and links are.
        spec: the flywheel.
        feed_name: the feed that the rows came by.
        cells: the cells of each row by their headers, as the quarantine keeps them.
    """
    feed = spec.feeds[feed_name]
    header = feed.columns.get(feed.join, feed.join)
    texts = [row.get(header) or "" for row in cells]
    found = attribute(lake, spec, feed, set(texts))
    return [isinstance(found[text], Output) for text in texts]


def _in_order(lake: Lake, spec: FlywheelSpec, days: tuple[date, date] | None) -> Iterator[tuple[bool, list[date]]]:
    """Whether they are near, and some cycles: first those around the days, then the others, newest first."""
    cycles = lake.cycle_folders(PUBLISHED_OUTPUTS, spec.name)
    near: list[date] = []
    if days is not None:
        # What is measured late is measured about a cycle whose window has passed; as long again is near enough.
        first = shift_cycle(cycle_of(days[0], spec.cadence), spec.cadence, -2 * spec.measurement_window)
        near = [cycle for cycle in cycles if first <= cycle <= days[1]]
        yield True, near
    others = [cycle for cycle in reversed(cycles) if cycle not in set(near)]
    for start in range(0, len(others), CYCLES_AT_ONCE):
        yield False, others[start : start + CYCLES_AT_ONCE]


def _links(lake: Lake, flywheel: str, are_addresses: bool) -> dict[str, frozenset[str]]:
    """Per external id the outputs of the newest batch that names it."""
    rows = lake.read(OUTPUT_LINKS, flywheel, columns=["external_id", "output_id", "recorded_at", "batch_id"])
    newest: dict[str, tuple[object, set[str]]] = {}
    columns = (rows[name].to_pylist() for name in ("external_id", "output_id", "recorded_at", "batch_id"))
    for external_id, output_id, recorded_at, batch_id in zip(*columns, strict=True):
        name = _address(external_id) if are_addresses else external_id
        batch = (recorded_at, batch_id)
        known = newest.get(name)
        if known is None or known[0] < batch:  # pyright: ignore[reportOperatorIssue]
            newest[name] = (batch, {output_id})
        elif known[0] == batch:
            known[1].add(output_id)
    return {name: frozenset(outputs) for name, (_, outputs) in newest.items()}


def _why_no_name(value: str, join: str, limit: int) -> str | None:
    what = {
        "output_id": "the id of the output that was measured",
        "url": "the address of the output that was measured",
        "external_id": "the id that the platform gave the output",
    }[join]
    if not value:
        return f"empty; expected {what}. {AGAIN}"
    if _CONTROL_OR_BREAK.search(value):
        return f"holds control characters or line breaks, which a name cannot have. {AGAIN}"
    if len(value) > limit:
        return f"longer than {limit:,} characters; expected {what}. {AGAIN}"
    return None


def _tags(value: str, feed: FeedSpec) -> tuple[str, ...]:
    """The ids of outputs that a cell itself names."""
    if feed.join == "output_id":
        return (value,)
    if feed.join == "external_id":
        return ()
    try:
        parameters = parse_qsl(urlsplit(value).query)
    except ValueError:
        return ()
    named = [text for name, text in parameters if name.casefold() == feed.url_parameter.casefold()]
    return tuple(dict.fromkeys(form for text in named for form in (text.strip(), text.strip().lower())))


def _address(value: str) -> str:
    """One spelling for all spellings of an address; texts that are no address stay as they are.

    Scheme, port, `www.`, fragment, a slash at the end and parameters of tracking do not matter, nor the case of the
    host, percent-encoding, and the order of the parameters.
    """
    text = value.strip(BLANKS)
    try:
        parts = urlsplit(text if "//" in text or text.startswith("/") else f"//{text}")
        host = (parts.hostname or "").removeprefix("www.")
        kept = sorted(pair for pair in parse_qsl(parts.query, True) if not _NOT_THE_PAGE.fullmatch(pair[0]))
    except ValueError:
        return text
    path = quote(unquote(parts.path), safe="/").rstrip("/")
    return f"{host}{path}" + (f"?{urlencode(kept)}" if kept else "")


def _decided(outputs: Mapping[str, date], feed: FeedSpec) -> Found:
    if len(outputs) == 1:
        ((output_id, cycle),) = outputs.items()
        return Output(output_id, cycle)
    if outputs:
        names = ", ".join(shown(name, 40) for name in sorted(outputs)[:5])
        return Nobody(
            "ambiguous",
            f"fits {len(outputs)} outputs ({names}{', ...' if len(outputs) > 5 else ''}), so it is unknown which one "
            "was measured. Hand in a file of outputs that gives it to one; the row is then tried again by itself.",
        )
    return Nobody("unmatched", _UNMATCHED[feed.join].format(parameter=feed.url_parameter))


_UNMATCHED = {
    "output_id": "no published output has this id; expected the tracking tag of one, as it stands in the outbox. "
    "Correct the tag, or wait: the row is tried again by itself once the output is published.",
    "url": "no published output has this address; expected its tracking tag in the parameter {parameter}, or an "
    "address that a file of outputs names. Hand in such a file; the row is then tried again by itself.",
    "external_id": "no file of outputs has named this id; expected one that it gives a published output. "
    "Hand in such a file; the row is then tried again by itself.",
}
