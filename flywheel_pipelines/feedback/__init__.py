"""Layer 2, pure: feeds, attribution, the metric view and quarantine. Takes frames and specs, returns frames; no Dagster."""
