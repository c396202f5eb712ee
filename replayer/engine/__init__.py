"""Faust made fast and safe: batches, store, fencing. The one room that knows Faust's insides."""
