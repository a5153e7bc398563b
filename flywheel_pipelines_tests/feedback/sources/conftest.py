"""A PostgreSQL for the tests of this folder."""

from flywheel_pipelines_tests.postgres import postgres

__all__ = ["postgres"]
