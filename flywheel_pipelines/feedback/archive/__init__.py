"""Archives: piles of outputs that were published and measured before there was a flywheel.

Here: the mapping that says what an archive's columns mean, and reading an archive into tables that fit the lake.
Not here: replaying it cycle by cycle (`simulation`), or choosing among its candidates (`production.archive`).
"""

from flywheel_pipelines.feedback.archive.batch import ArchiveBatch
from flywheel_pipelines.feedback.archive.mapping import (
    ArchiveMapping,
    builtin_mappings,
    find_mapping,
    load_mapping,
)
from flywheel_pipelines.feedback.archive.reading import read_archive

__all__ = ["ArchiveBatch", "ArchiveMapping", "builtin_mappings", "find_mapping", "load_mapping", "read_archive"]
