"""Faust agents: loop, call core, obey its outcome."""
