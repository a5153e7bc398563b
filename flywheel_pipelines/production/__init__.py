"""Layer 1, pure: briefs, arms, generation and publishing. Takes frames and specs, returns frames; no Dagster, no files."""
