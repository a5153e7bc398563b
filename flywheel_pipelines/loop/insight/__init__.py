"""The steps of an insight flywheel: sort (open) -> keep the library, trends, effects of fixes, report (close).

Here: reading, calling `learning.themes`, asking for names, writing. Not here: the statistics, or Dagster.
"""
