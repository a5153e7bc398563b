"""Feeds: files that keep coming in while a flywheel runs, with briefs to answer and with what was measured.

Here: one file of a feed read into facts that fit the lake; every row that cannot be used is put aside with the reason.
Not here: finding the files, appending the facts, or the latest-known view of them (`feedback.performance`).
"""

from flywheel_pipelines.feedback.feeds.batch import FeedBatch, Incoming, Release
from flywheel_pipelines.feedback.feeds.briefs import read_briefs
from flywheel_pipelines.feedback.feeds.metrics import read_metrics

__all__ = ["FeedBatch", "Incoming", "Release", "read_briefs", "read_metrics"]
