"""Documents that people wrote for people: Markdown, HTML and PDF, as headings and passages.

Here: what a file is, its text by parts, and cutting it into passages. Not here: which parts are briefs
(`feedback.feeds.document_briefs`). Nothing in a document is run, loaded or followed: text is all that is taken.
"""

from flywheel_pipelines.feedback.documents.cutting import Limits, Piece, pieces_of
from flywheel_pipelines.feedback.documents.opening import read_document
from flywheel_pipelines.feedback.documents.parts import Document, Part

__all__ = ["Document", "Limits", "Part", "Piece", "pieces_of", "read_document"]
