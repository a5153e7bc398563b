"""Presets: what they fill in, that the feed's own keys win, and the words when a header does not fit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.feeds.day_formats import check_day_formats
from flywheel_pipelines.feedback.feeds.rows import headers_of, read_rows
from flywheel_pipelines.feedback.files import file_period
from flywheel_pipelines.spec import FeedSpec
from flywheel_pipelines.spec.presets import CERTAINTIES, presets
from flywheel_pipelines_tests.shared_data import shared_file

PLATFORMS = {
    "search_console", "ga4", "universal_analytics", "mailchimp", "sendgrid_events", "hubspot", "zendesk", "shopify"
}  # fmt: skip


def feed(preset: str, **keys: object) -> FeedSpec:
    return FeedSpec.model_validate({"preset": preset, "path": "x/*", **keys})


def write(folder: Path, text: str, name: str = "2026-01-05_2026-01-11 Pages.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_every_platform_has_one() -> None:
    assert set(presets()) >= PLATFORMS


@pytest.mark.parametrize("name", presets())
def test_a_preset_is_a_whole_feed_but_for_where_files_are(name: str) -> None:
    made = feed(name)
    assert made.kind == presets()[name].feed["kind"]
    check_day_formats(tuple(made.dates))


@pytest.mark.parametrize("name", presets())
def test_a_preset_maps_columns_that_its_header_has(name: str) -> None:
    found = presets()[name]
    assert set(found.feed["columns"].values()) <= set(found.header)


@pytest.mark.parametrize("name", presets())
def test_a_feed_that_was_filled_in_is_the_same_after_a_round_trip(name: str) -> None:
    made = feed(name, columns={"clicks": "Mine"})
    assert FeedSpec.model_validate_json(made.model_dump_json()) == made
    assert FeedSpec.model_validate(made.model_dump()) == made


@pytest.mark.parametrize("name", presets())
def test_the_yaml_to_paste_is_the_feed_also_with_its_comments_taken_in(name: str) -> None:
    text = presets()[name].yaml_to_paste(name)
    pasted = yaml.safe_load(text)["feeds"][name]
    assert pasted == {"preset": name, "path": f"{name}/*"}
    written_out = yaml.safe_load(re.sub(r"^    # (?!The preset)", "    ", text, flags=re.MULTILINE))["feeds"][name]
    assert FeedSpec.model_validate(written_out) == FeedSpec.model_validate(pasted)


def test_the_keys_of_the_feed_win() -> None:
    made = feed("search_console", columns={"url": "Häufigste Seiten"}, numbers="1.234,5", file_date="([0-9]{8})")
    assert (made.columns, made.numbers, made.file_date) == (
        {"url": "Häufigste Seiten", "clicks": "Clicks", "impressions": "Impressions"},
        "1.234,5",
        "([0-9]{8})",
    )


def test_events_are_filled_in_one_by_one() -> None:
    made = feed("sendgrid_events", events={"open": "any_opens"})
    assert (made.events["open"], made.events["click"], made.aggregate) == ("any_opens", "clicks", "count")


def test_control_without_a_preset_nothing_is_filled_in() -> None:
    assert FeedSpec(kind="metrics", path="x").columns == {}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"preset": "search_consol"}, "Did you mean search_console.*There are: ga4, .*zendesk"),
        ({"preset": "search_console", "kind": "briefs"}, "is of kind metrics"),
        ({"kind": "metrics", "dates": ["%Y-%m"]}, "does not say year, month and day"),
        ({"kind": "metrics", "events": {"open": "opens"}}, "events and aggregate: count or sessions go together"),
        ({}, "kind"),
    ],
)
def test_what_cannot_be_filled_in_is_refused(keys: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        FeedSpec.model_validate({"path": "x/*", **keys})


def test_a_schema_does_not_ask_for_the_kind_that_a_preset_gives() -> None:
    assert "required" not in FeedSpec.model_json_schema()


# -- headers that do not fit -------------------------------------------------------------------------------------------
def refusal(path: Path, spec: FeedSpec, *required: str) -> str:
    with pytest.raises(InputFileError) as raised:
        headers_of(path, spec, required=required)
    return str(raised.value)


def test_a_header_in_another_language_is_answered_with_the_columns_to_write(tmp_path: Path) -> None:
    path = write(tmp_path, "Häufigste Seiten,Klicks,Impressionen,CTR,Position\nhttps://a.example/,1,2,50%,1\n")
    text = refusal(path, feed("search_console"), "url", "clicks", "impressions")
    assert "The header found is: Häufigste Seiten, Klicks, Impressionen, CTR, Position" in text
    assert "preset search_console is read in documentation or public code (B, 2026-11-26)" in text
    columns = yaml.safe_load(text.partition("columns:\n")[2])
    assert columns == {"url": "Häufigste Seiten", "clicks": "Klicks", "impressions": "Impressionen"}


def test_the_columns_to_write_make_the_file_fit(tmp_path: Path) -> None:
    path = write(tmp_path, "Häufigste Seiten,Klicks,Impressionen,CTR,Position\nhttps://a.example/,1,2,50%,1\n")
    names = ("url", "clicks", "impressions")
    columns = yaml.safe_load(refusal(path, feed("search_console"), *names).partition("columns:\n")[2])
    headers, others = headers_of(path, feed("search_console", columns=columns), required=names)
    assert (list(headers.values()), others) == (["Häufigste Seiten", "Klicks", "Impressionen"], ["CTR", "Position"])


def test_an_unverified_header_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, "Email,Sent,Opens\nx,1,1\n")
    text = refusal(path, feed("hubspot"), "external_id", "sends", "opens")
    assert f"The header of the preset hubspot is {CERTAINTIES['C']} (C," in text
    assert "opens: Opens  # the nearest by name" in text


def test_what_nothing_resembles_is_left_to_fill_in(tmp_path: Path) -> None:
    text = refusal(write(tmp_path, "alpha,beta\n1,2\n"), feed("hubspot"), "clicks")
    assert "clicks: THEIR HEADER  # Click is not there" in text


# -- exports, by their presets -----------------------------------------------------------------------------------------
def test_the_real_export_of_queries_fits_its_preset() -> None:
    spec = feed("search_console_queries")
    path = shared_file("search_console", "Queries.csv")
    headers, _ = headers_of(path, spec, required=("external_id", "clicks", "impressions"))
    rows = list(read_rows(path, headers))
    assert (len(rows), rows[0].cells["external_id"], rows[0].cells["clicks"]) == (21, "scanner", "45613")


def test_days_of_a_search_console_export_stand_in_its_name(tmp_path: Path) -> None:
    first, last = file_period(write(tmp_path, "Top pages,Clicks\na,1\n"), feed("search_console")) or (None, None)
    assert (str(first), str(last)) == ("2026-01-05", "2026-01-11")


def test_mailchimp_reports_are_spread_over_columns(tmp_path: Path) -> None:
    report = (
        '{"id": "42694e9e57", "emails_sent": 100, "unsubscribed": 1, "abuse_reports": 0, '
        '"send_time": "2026-01-06T09:00:00+00:00", "opens": {"unique_opens": 60, "proxy_excluded_unique_opens": 31}, '
        '"clicks": {"clicks_total": 9, "unique_subscriber_clicks": 7}}'
    )
    names = ("external_id", "date", "sends", "opens", "clicks")
    path = write(tmp_path, report + "\n", "reports.jsonl")
    headers, _ = headers_of(path, feed("mailchimp"), required=names)
    (row,) = read_rows(path, headers)
    assert [row.cells[name] for name in names] == ["42694e9e57", "2026-01-06T09:00:00+00:00", "100", "31", "7"]
