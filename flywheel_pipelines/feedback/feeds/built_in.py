"""Feeds that every flywheel has without declaring them, and finding a feed by its name.

Not here: feeds that a flywheel declares (its YAML), or reading them.
"""

from __future__ import annotations

from collections.abc import Mapping

from flywheel_pipelines.spec import AnySpec, FeedSpec

REVIEW_SHEET = "review_sheet"
"""The feed by which review sheets come back; a flywheel that declares a feed of this name has its own."""
BUILT_IN_FEEDS: Mapping[str, FeedSpec] = {REVIEW_SHEET: FeedSpec(kind="reviews", path="review_sheet/*")}


def feed_named(spec: AnySpec, name: str) -> FeedSpec | None:
    """The feed of a flywheel, declared or built in; None when there is neither."""
    return spec.feeds.get(name) or BUILT_IN_FEEDS.get(name)
