"""The fold of events into timelines as native code: an option, never a condition (docs/decisions/004)."""
