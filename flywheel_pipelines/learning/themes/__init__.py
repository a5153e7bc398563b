"""What customers write, sorted into themes that keep their ids: vectors, matching, clustering, library, trends, fixes.

Here: pure functions over texts, counts and decisions. Not here: reading tickets (`feedback.feeds.tickets`), asking a
model for names (`loop`), the page that people read (`report`).
"""
