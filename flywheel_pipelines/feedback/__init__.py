"""Layer 2, pure: feeds, attribution, the metric view and quarantine. Frames in, frames out; no Dagster."""
