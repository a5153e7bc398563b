"""Layer 3, pure: scoring, the scoring model, the reference corpus and the prompt. Frames in, frames out; no Dagster."""
