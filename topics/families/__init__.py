"""The six families of events, one topic each, and the `data` of their version-1 types."""
