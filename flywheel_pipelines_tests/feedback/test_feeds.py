"""Feeds: what a file of briefs or of metrics becomes, what is put aside, and that the lake takes it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flywheel_pipelines.cycles import Cadence, cycle_of
from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.feeds import FeedBatch, read_briefs, read_metrics
from flywheel_pipelines.feedback.performance import performance_view
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import (
    BATCHES,
    BRIEF_LEDGER,
    METRIC_LEDGER,
    METRIC_REPLACEMENTS,
    PUBLISHED_OUTPUTS,
    QUARANTINE,
)
from flywheel_pipelines.spec import FeedSpec, RateMetric

MONDAY = date(2026, 1, 5)
NOW = datetime(2026, 1, 12, tzinfo=UTC)
LEADS = FeedSpec(kind="briefs", path="leads/*.csv", columns={"brief_id": "lead", "segment": "industry"})
MAILER = FeedSpec(kind="metrics", path="mailer/*.csv", columns={"output_id": "Tag", "date": "Day", "sends": "Sent"})
MEASURES = ("sends", "replies")
OUTPUTS = {"aaaa": MONDAY, "bbbb": MONDAY}
REPLY_RATE = RateMetric(kind="rate", successes="replies", exposure="sends")


def write(folder: Path, *lines: str | bytes, name: str = "file.csv") -> Path:
    path = folder / name
    path.write_bytes(b"\n".join(line.encode() if isinstance(line, str) else line for line in lines) + b"\n")
    return path


def briefs(folder: Path, *rows: str | bytes, header: str = "lead,date,industry,locale,pain") -> FeedBatch:
    path = write(folder, header, *rows)
    return read_briefs(path, LEADS, flywheel="outreach", cadence=Cadence.WEEKLY, recorded_at=NOW)


def metrics(
    folder: Path, *rows: str | bytes, header: str = "Tag,Day,Sent,replies", recorded_at: datetime = NOW
) -> FeedBatch:
    path = write(folder, header, *rows)
    return read_metrics(path, MAILER, measures=MEASURES, outputs=OUTPUTS, recorded_at=recorded_at, metrics=[REPLY_RATE])


def put_aside(batch: FeedBatch) -> list[tuple[int, str]]:
    return [(problem.source_row, problem.field) for problem in batch.problems]


def only_reason(batch: FeedBatch) -> str:
    (problem,) = batch.problems
    return problem.reason


# -- briefs ----------------------------------------------------------------------------------------------------------
def test_a_brief_lands_in_the_cycle_of_its_date(tmp_path: Path) -> None:
    batch = briefs(tmp_path, "l1,2026-01-08,dental,en,no time")
    (row,) = batch.facts[BRIEF_LEDGER].to_pylist()
    assert (row["cycle"], row["brief_id"], row["segment"], row["locale"]) == (MONDAY, "l1", "dental", "en")


def test_columns_without_a_role_become_the_briefs_own_fields_in_the_order_of_the_file(tmp_path: Path) -> None:
    batch = briefs(
        tmp_path, 'l1,2026-01-08,dental,"no ""time""",Über 30%,', header="lead,date,industry,Pain,facts,link"
    )
    (row,) = batch.facts[BRIEF_LEDGER].to_pylist()
    assert list(json.loads(row["fields"]).items()) == [("Pain", 'no "time"'), ("facts", "Über 30%")]


def test_a_name_of_the_feed_that_is_no_role_renames_a_field(tmp_path: Path) -> None:
    path = write(tmp_path, "brief_id,date,Key phrase", "b1,2026-01-05,dog beds")
    feed = FeedSpec(kind="briefs", path="*", columns={"keyword": "Key phrase"})
    batch = read_briefs(path, feed, flywheel="content", cadence=Cadence.WEEKLY, recorded_at=NOW)
    assert json.loads(batch.facts[BRIEF_LEDGER].to_pylist()[0]["fields"]) == {"keyword": "dog beds"}


SHOP = """Handle,Title,Body (HTML),Type,Variant SKU
mug,A mug,<p>Holds tea</p>,Kitchen,M-1
mug,,,,M-2
lamp,A lamp,<p>Shines</p>,,L-1
"""


def shop(folder: Path, name: str = "2026-01-08 products.csv", text: str = SHOP) -> FeedBatch:
    feed = FeedSpec.model_validate({"preset": "shopify", "path": "shop/*"})
    path = write(folder, text.rstrip(), name=name)
    return read_briefs(path, feed, flywheel="shop", cadence=Cadence.WEEKLY, recorded_at=NOW)


def test_products_are_wanted_in_the_cycle_of_the_day_in_the_name_of_their_file(tmp_path: Path) -> None:
    assert shop(tmp_path).facts[BRIEF_LEDGER].column("cycle").to_pylist() == [MONDAY] * 3


def test_the_row_of_a_variant_leaves_blank_what_stays(tmp_path: Path) -> None:
    rows = shop(tmp_path).facts[BRIEF_LEDGER].to_pylist()
    assert [(row["brief_id"], row["title"], row["segment"]) for row in rows] == [
        ("mug", "A mug", "Kitchen"),
        ("mug", "A mug", "Kitchen"),
        ("lamp", "A lamp", "all"),
    ]
    assert json.loads(rows[1]["fields"]) == {"body": "<p>Holds tea</p>", "Variant SKU": "M-2"} | {
        key: value for key, value in json.loads(rows[0]["fields"]).items() if key not in ("body", "Variant SKU")
    }


def test_control_another_brief_keeps_its_own_blanks(tmp_path: Path) -> None:
    batch = briefs(tmp_path, "l1,2026-01-08,dental,en,no time", "l2,2026-01-08,,,", "l1,2026-01-15,,,")
    assert [row["segment"] for row in batch.facts[BRIEF_LEDGER].to_pylist()] == ["dental", "all", "all"]


def test_a_file_whose_name_holds_no_day_needs_a_column_of_dates(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="no column for date"):
        shop(tmp_path, "products.csv")


def test_dates_of_the_rows_go_before_a_period(tmp_path: Path) -> None:
    path = write(tmp_path, "brief_id,date", "b1,2026-01-08")
    feed = FeedSpec(kind="briefs", path="*")
    days = (date(2026, 3, 2), date(2026, 3, 8))
    batch = read_briefs(path, feed, flywheel="content", cadence=Cadence.WEEKLY, recorded_at=NOW, period=days)
    assert batch.facts[BRIEF_LEDGER].column("cycle").to_pylist() == [MONDAY]


def test_briefs_are_dated_as_the_feed_says(tmp_path: Path) -> None:
    feed = FeedSpec(kind="briefs", path="*", dates=["%d.%m.%Y"])
    path = write(tmp_path, "brief_id,date", "b1,08.01.2026", "b2,2026-01-08")
    batch = read_briefs(path, feed, flywheel="content", cadence=Cadence.WEEKLY, recorded_at=NOW)
    assert (batch.n_rows, put_aside(batch)) == (1, [(2, "date")])


def test_a_file_may_call_a_field_like_one_of_our_names(tmp_path: Path) -> None:
    batch = briefs(tmp_path, "l1,2026-01-08,dental,mine", header="lead,date,industry,brief_id")
    (row,) = batch.facts[BRIEF_LEDGER].to_pylist()
    assert (row["brief_id"], json.loads(row["fields"])) == ("l1", {"brief_id": "mine"})


def test_without_segment_title_and_locale_a_brief_is_still_whole(tmp_path: Path) -> None:
    path = write(tmp_path, "brief_id,date", "l1,2026-01-08")
    feed = FeedSpec(kind="briefs", path="*")
    batch = read_briefs(path, feed, flywheel="content", cadence=Cadence.WEEKLY, recorded_at=NOW)
    (row,) = batch.facts[BRIEF_LEDGER].to_pylist()
    assert (row["segment"], row["title"], row["locale"]) == ("all", "l1", None)


@pytest.mark.parametrize(
    ("row", "field", "words"),
    [
        (",2026-01-08,dental,en,x", "lead", "empty"),
        ("l1,2026-02-31,dental,en,x", "date", "not a day"),
        ("l1,,dental,en,x", "date", "empty"),
        ("l1,2206-01-05,dental,en,x", "date", "year is outside"),
        ("l1,2026-01-08,dental,english please,x", "locale", "language tag"),
        (f"{'l' * 201},2026-01-08,dental,en,x", "lead", "longer than 200"),
        ("l1,2026-01-08,den\x07tal,en,x", "industry", "control characters"),
        ("l1,2026-01-08,dental,en,x\x00", "pain", "control characters"),
        ("l1,2026-01-08,dental,en", "(row)", "the row has 4 cells"),
        (b"l1,2026-01-08,dental,en,caf\xe9", "pain", "not UTF-8"),
        ('l1,2026-01-08,dental,en,"open', "(row)", "quote"),
    ],
)
def test_a_bad_brief_is_put_aside_and_the_rest_lands(tmp_path: Path, row: str | bytes, field: str, words: str) -> None:
    batch = briefs(tmp_path, "l0,2026-01-08,dental,en,x", row)
    assert put_aside(batch) == [(2, field)]
    assert words in only_reason(batch)
    assert batch.facts[BRIEF_LEDGER].column("brief_id").to_pylist() == ["l0"]


def test_every_wrong_cell_of_a_row_is_named_and_the_row_is_counted_once(tmp_path: Path) -> None:
    batch = briefs(tmp_path, ",never,dental,en,x")
    assert put_aside(batch) == [(1, "date"), (1, "lead")]
    assert batch.n_quarantined == 1


def test_a_missing_column_is_named_with_what_to_write(tmp_path: Path) -> None:
    path = write(tmp_path, "id,date", "b1,2026-01-05")
    feed = FeedSpec(kind="briefs", path="*")
    with pytest.raises(InputFileError, match=r"no column for brief_id.*id, date.*columns: \{brief_id:"):
        read_briefs(path, feed, flywheel="content", cadence=Cadence.WEEKLY, recorded_at=NOW)


def test_a_column_that_the_feed_names_and_the_file_lacks_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "Lead,date,industry", "b1,2026-01-05,dental")
    with pytest.raises(InputFileError, match=r"column lead is missing \(did you mean Lead"):
        read_briefs(path, LEADS, flywheel="outreach", cadence=Cadence.WEEKLY, recorded_at=NOW)


def test_one_header_with_two_meanings_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "lead,date", "b1,2026-01-05")
    feed = FeedSpec(kind="briefs", path="*", columns={"brief_id": "lead", "segment": "lead"})
    with pytest.raises(InputFileError, match="lead more than one meaning"):
        read_briefs(path, feed, flywheel="outreach", cadence=Cadence.WEEKLY, recorded_at=NOW)


# -- metrics ---------------------------------------------------------------------------------------------------------
def test_a_row_becomes_one_fact_per_measure_in_the_cycle_of_its_output(tmp_path: Path) -> None:
    batch = metrics(tmp_path, "aaaa,2026-01-12,40,2")
    rows = batch.facts[METRIC_LEDGER].to_pylist()
    assert [(row["measure"], row["value"], row["measured_on"]) for row in rows] == [
        ("sends", 40.0, date(2026, 1, 12)),
        ("replies", 2.0, date(2026, 1, 12)),
    ]
    assert {row["cycle"] for row in rows} == {MONDAY}


@pytest.mark.parametrize(
    ("row", "field", "words"),
    [
        ("zzzz,2026-01-06,40,2", "Tag", "no published output"),
        (",2026-01-06,40,2", "Tag", "empty"),
        ("aaaa,2026-01-06,-1,0", "Sent", "negative"),
        ("aaaa,2026-01-06,many,0", "Sent", "not a number"),
        ("aaaa,2026-01-06,,0", "Sent", "empty"),
        ('aaaa,2026-01-06,"1,000",0', "Sent", "separator"),
        ("aaaa,2026-01-06,40,41", "replies", "more replies than Sent"),
        ("aaaa,2026-13-06,40,2", "Day", "not a day"),
        ("aaaa,2026-01-04,40,2", "Day", "before 2026-01-05"),
        ("aaaa,2026-01-14,40,2", "Day", "in the future"),
        ("aaaa,2026-01-06,40", "(row)", "the row has 3 cells"),
    ],
)
def test_a_bad_measurement_is_put_aside_and_the_rest_lands(tmp_path: Path, row: str, field: str, words: str) -> None:
    batch = metrics(tmp_path, "bbbb,2026-01-06,40,2", row)
    assert put_aside(batch) == [(2, field)]
    assert words in only_reason(batch)
    assert set(batch.facts[METRIC_LEDGER].column("output_id").to_pylist()) == {"bbbb"}


def test_without_the_rate_more_successes_than_trials_is_no_error(tmp_path: Path) -> None:
    """The control of the rule: it is the spec's rate that says which count is out of which."""
    path = write(tmp_path, "Tag,Day,Sent,replies", "aaaa,2026-01-06,40,41")
    batch = read_metrics(path, MAILER, measures=MEASURES, outputs=OUTPUTS, recorded_at=NOW)
    assert batch.n_quarantined == 0


def test_a_measure_without_a_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="no column for replies"):
        metrics(tmp_path, "aaaa,2026-01-06,40", header="Tag,Day,Sent")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["aaaa", "bbbb", "zzzz", ""]),
            st.sampled_from(["2026-01-05", "2026-01-12", "2025-01-01", "soon"]),
            st.sampled_from(["0", "7", "70", "-1", "x", "1.5"]),
            st.sampled_from(["0", "3", "71", ""]),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_no_row_is_lost_or_counted_twice(tmp_path: Path, cells: list[tuple[str, ...]]) -> None:
    batch = metrics(tmp_path, *(",".join(row) for row in cells))
    landed = set(batch.facts[METRIC_LEDGER].column("source_row").to_pylist())
    aside = set(batch.facts[QUARANTINE].column("source_row").to_pylist())
    assert len(aside) == batch.n_quarantined
    assert batch.n_rows + batch.n_quarantined == len(cells)
    assert not landed & aside
    # A row that is neither is one that a lower row of its output and day corrects.
    good = [row for number, row in enumerate(cells, start=1) if number not in aside]
    last = {row[:2]: number for number, row in enumerate(cells, start=1) if row in good and number not in aside}
    assert landed == set(last.values())


# -- batches in the lake ---------------------------------------------------------------------------------------------
def test_the_lake_takes_a_batch_once_however_often_it_is_read(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    batch = briefs(tmp_path, "l1,2026-01-08,dental,en,x", "l2,2026-01-15,dental,en,x", ",2026-01-15,dental,en,x")
    again = briefs(tmp_path, "l1,2026-01-08,dental,en,x", "l2,2026-01-15,dental,en,x", ",2026-01-15,dental,en,x")
    assert lake.append_batch("outreach", batch.header, batch.facts)
    assert not lake.append_batch("outreach", again.header, again.facts)
    assert lake.read(BRIEF_LEDGER, "outreach").num_rows == 2
    assert lake.read(QUARANTINE, "outreach").column("field").to_pylist() == ["lead"]
    (header,) = lake.read(BATCHES, "outreach").to_pylist()
    assert (header["n_rows"], header["n_quarantined"], header["last_cycle"]) == (2, 1, date(2026, 1, 12))


def test_a_file_without_one_good_row_lands_as_quarantine(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    batch = metrics(tmp_path, "zzzz,2026-01-06,40,2")
    assert lake.append_batch("outreach", batch.header, batch.facts)
    assert lake.read(METRIC_LEDGER, "outreach").num_rows == 0
    assert lake.read(QUARANTINE, "outreach").num_rows == 1


@pytest.mark.parametrize("change", ["content", "feed", "flywheel", "cadence"])
def test_what_decides_how_a_file_is_read_decides_its_batch(tmp_path: Path, change: str) -> None:
    path = write(tmp_path, "lead,date,industry", "l1,2026-01-08,dental")

    def batch_id(**changed: object) -> str:
        given = {"feed": LEADS, "flywheel": "outreach", "cadence": Cadence.WEEKLY, **changed}
        return read_briefs(path, recorded_at=NOW, **given).batch_id  # pyright: ignore[reportArgumentType]

    before = batch_id()
    assert batch_id() == before
    other = {
        "feed": FeedSpec(kind="briefs", path="x", columns={"brief_id": "lead"}),
        "flywheel": "other",
        "cadence": Cadence.MONTHLY,
    }
    if change == "content":
        write(tmp_path, "lead,date,industry", "l2,2026-01-08,dental")
        assert batch_id() != before
    else:
        assert batch_id(**{change: other[change]}) != before


def test_a_correction_that_is_recorded_later_wins(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    later = NOW + timedelta(weeks=2)
    for sent, replies, recorded_at in ((40, 1, NOW), (38, 3, later)):
        batch = metrics(tmp_path, f"aaaa,2026-01-06,{sent},{replies}", recorded_at=recorded_at)
        assert lake.append_batch("outreach", batch.header, batch.facts)
    row = dict.fromkeys(PUBLISHED_OUTPUTS.columns, "x") | {"output_id": "aaaa"}
    row |= {"predicted": 0.0, "weight": 1.0, "probability": 1.0}  # pyright: ignore[reportAssignmentType]
    published = PUBLISHED_OUTPUTS.schema.empty_table().from_pylist([row], schema=PUBLISHED_OUTPUTS.schema)

    def known(cutoff: datetime) -> list[tuple[float, float]]:
        view = performance_view(
            lake.read(METRIC_LEDGER, "outreach", MONDAY),
            lake.read(METRIC_REPLACEMENTS, "outreach", MONDAY),
            published,
            {"reply_rate": REPLY_RATE},
            knowledge_cutoff=cutoff,
            matures_at=NOW,
            latest_batch=None,
        )
        return [(row["numerator"], row["exposure"]) for row in view.to_pylist()]

    assert known(later) == [(3.0, 38.0)]
    assert known(NOW) == [(1.0, 40.0)]


def test_cycles_follow_the_cadence(tmp_path: Path) -> None:
    path = write(tmp_path, "lead,date,industry", "l1,2026-03-19,dental")
    for cadence in Cadence:
        batch = read_briefs(path, LEADS, flywheel="outreach", cadence=cadence, recorded_at=NOW)
        assert batch.cycles == [cycle_of(date(2026, 3, 19), cadence)]
