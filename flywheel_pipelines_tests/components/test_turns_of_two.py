"""Two flywheels of one project, of which one writes about what the other publishes: tick by tick, who opens when."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import pytest

from flywheel_pipelines.paths import DATA_DIR_VARIABLE, DEFS_DIR
from flywheel_pipelines.recipe_book import recipe_named
from flywheel_pipelines.spec import FlywheelSpec, load_spec, parse_spec
from flywheel_pipelines_tests.components.test_turn_sensor import Clockwork
from flywheel_pipelines_tests.components.turning import START, Wheel
from flywheel_pipelines_tests.instances import new_instance

MONDAYS = [START + timedelta(weeks=number) for number in range(5)]
Turned = list[tuple[str, str, date]]


class Pair(NamedTuple):
    """The sensors of both, on one lake and one instance; nothing runs but what a test has run."""

    content: Clockwork
    posts: Clockwork

    def turn_all(self, day: date, hour: int, *, posts_first: bool = False) -> Turned:
        """Tick both in turn, and run what they request, until nothing is due; what was run, in order."""
        turned: Turned = []
        both = (self.posts, self.content) if posts_first else (self.content, self.posts)
        while True:
            requests = [(one, request) for one in both for request in one.tick(day, hour).run_requests or []]
            if not requests:
                return turned
            for one, request in requests:
                one.run(request)
                name, verb = str(request.job_name).split("__")
                turned.append((name, verb, date.fromisoformat(str(request.partition_key))))


def long_past(spec: FlywheelSpec, hour: int) -> FlywheelSpec:
    return parse_spec(spec.model_dump(mode="json") | {"start": START.isoformat(), "schedule": {"hour": hour}}, "test")


def pair(root: Path, patch: pytest.MonkeyPatch, instance: dg.DagsterInstance, *, hours: tuple[int, int]) -> Pair:
    patch.setenv(DATA_DIR_VARIABLE, str(root))
    specs = load_spec(DEFS_DIR / "content" / "defs.yaml"), recipe_named("social_posts").spec
    # Each patches the one clock of the sensors; `turn_all` sets both to the same instant.
    content, posts = (
        Clockwork(Wheel(root, long_past(spec, hour)), instance, patch) for spec, hour in zip(specs, hours, strict=True)
    )
    patch.setattr("flywheel_pipelines.components.automation.utc_now", lambda: max(content.now, posts.now))
    return Pair(content, posts)


@pytest.fixture
def same_hour(tmp_path: Path) -> Iterator[Pair]:
    with pytest.MonkeyPatch.context() as patch, new_instance() as instance:
        yield pair(tmp_path, patch, instance, hours=(6, 6))


def test_posts_wait_for_articles_and_say_so_then_open_by_themselves(same_hour: Pair) -> None:
    content, posts = same_hour
    said = posts.skipped(MONDAYS[0])
    assert "It waits until content has published in cycle 2020-01-06: its outputs are the briefs." in said
    opening = content.requested(MONDAYS[0])
    assert opening.job_name == "content__open"
    content.run(opening)
    request = posts.requested(MONDAYS[0])
    assert (request.job_name, request.partition_key) == ("social_posts__open", "2020-01-06")


@pytest.mark.parametrize("posts_first", [False, True])
def test_a_monday_turns_both_and_neither_is_late(same_hour: Pair, posts_first: bool) -> None:
    assert [turn[:2] for turn in same_hour.turn_all(MONDAYS[0], 6, posts_first=posts_first)] == [
        ("content", "open"), ("social_posts", "open"),
    ]  # fmt: skip
    turned = same_hour.turn_all(MONDAYS[1], 6, posts_first=posts_first)
    assert sorted(turned) == sorted(
        (name, verb, MONDAYS[n]) for name in ("content", "social_posts") for n, verb in enumerate(("close", "open"))
    )
    assert turned.index(("content", "open", MONDAYS[1])) < turned.index(("social_posts", "open", MONDAYS[1]))


def test_posts_close_on_their_own_clock_while_articles_stand_still(same_hour: Pair) -> None:
    _, posts = same_hour
    same_hour.turn_all(MONDAYS[0], 6)
    closing = posts.requested(MONDAYS[1])
    assert (closing.job_name, closing.partition_key) == ("social_posts__close", "2020-01-06")
    posts.run(closing)
    assert "It waits until content has published in cycle 2020-01-13" in posts.skipped()


def test_posts_keep_their_own_later_hour(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, new_instance() as instance:
        both = pair(tmp_path, patch, instance, hours=(6, 9))
        both.turn_all(MONDAYS[0], 9)
        assert {name for name, _, _ in both.turn_all(MONDAYS[1], 8)} == {"content"}
        assert {name for name, _, _ in both.turn_all(MONDAYS[1], 9)} == {"social_posts"}


@pytest.mark.parametrize("posts_first", [False, True])
def test_missed_weeks_are_caught_up_in_order_by_both(same_hour: Pair, posts_first: bool) -> None:
    turned = same_hour.turn_all(MONDAYS[3], 6, posts_first=posts_first)
    in_order = [(verb, cycle) for cycle in MONDAYS[:4] for verb in ("open", "close")][:-1]
    for name in ("content", "social_posts"):
        assert [(verb, cycle) for one, verb, cycle in turned if one == name] == in_order
    for cycle in MONDAYS[:4]:
        assert turned.index(("content", "open", cycle)) < turned.index(("social_posts", "open", cycle))


def test_posts_wait_for_the_run_that_writes_the_articles_anew(same_hour: Pair) -> None:
    content, posts = same_hour
    opening = content.requested(MONDAYS[0])
    content.run(opening)
    again = content.record(opening, dg.DagsterRunStatus.STARTED, {"turn": "by hand"})
    assert f"Run {again.run_id[:8]} (content__open) is under way" in posts.skipped(MONDAYS[0])
    content.instance.report_run_canceled(again)
    assert posts.requested().job_name == "social_posts__open"


def test_a_week_that_the_articles_skipped_is_not_waited_for_without_a_word(same_hour: Pair) -> None:
    content, posts = same_hour
    same_hour.turn_all(MONDAYS[0], 6)
    same_hour.posts.wheel.take("close", MONDAYS[0])
    content.wheel.take("open", MONDAYS[2])
    said = posts.skipped(MONDAYS[2])
    assert "that has gone on to 2020-01-20 without it. Open 2020-01-13 with the job content__open" in said
    # Either way out: the turns go on from there.
    content.wheel.take("open", MONDAYS[1])
    assert posts.requested().partition_key == "2020-01-13"
    posts.wheel.take("open", MONDAYS[2])
    assert "it closes at 2020-01-27" in posts.skipped()


def test_control_a_flywheel_with_a_feed_waits_for_no_other(same_hour: Pair) -> None:
    assert same_hour.content.requested(MONDAYS[0]).job_name == "content__open"
