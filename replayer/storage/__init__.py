"""Object storage: artefacts by the hash of their content."""
