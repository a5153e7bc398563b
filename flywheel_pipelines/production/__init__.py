"""Layer 1, pure: briefs, arms, generation and publishing. Frames and specs in, frames out; no Dagster, no files."""
