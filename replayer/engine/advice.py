"""What somebody has to do before a table can be made anew."""

#: Another app id would do for the tables; what an earlier one has sent on would be folded into them all the same.
START_OVER = (
    "stop the workers, delete the changelogs, the offsets and the data directories of this REPLAYER_APP_ID and the "
    "topics it sends to for itself (template-usage, rekeyed-events), say `replayer topics create`, and start again."
)
AFTER_RECREATION = f"If it was recreated on purpose, {START_OVER}"
