"""Whether it spins, pure: lift against the control arm and the audit. Frames in, frames out; no Dagster."""
