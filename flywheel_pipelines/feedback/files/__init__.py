"""Files that other people made, read as rows of text.

Here: opening a file however it is packed, finding its table and header, and turning rows into columns of text with
every broken row put aside.
Not here: what a column means. Archives give it a meaning in `feedback.archive`.

Rows are read by Python's `csv` and not by DuckDB's `read_csv(store_rejects=true)`: on a ten-row file with a ragged row,
an unclosed quote and one byte that is not UTF-8, DuckDB 1.5.6 dies of an internal error and takes its connection along,
and where it does not, the accepted rows no longer know which rows of the file they were.
"""

from flywheel_pipelines.feedback.files.cells import RowProblem, shown
from flywheel_pipelines.feedback.files.opening import check_file
from flywheel_pipelines.feedback.files.reading import TextTable, file_period, read_header, read_table

__all__ = ["RowProblem", "TextTable", "check_file", "file_period", "read_header", "read_table", "shown"]
