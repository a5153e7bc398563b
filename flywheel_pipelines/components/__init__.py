"""Wiring: from a spec to Dagster assets, checks and jobs. No logic lives here."""
