"""Everything at once on one machine: what `make demo` shows."""
