"""Figures: how much replayer does, how fresh and how large it is; its peers in the same run, on the same events."""
