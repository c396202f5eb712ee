"""replayer: timelines of AI workflows and investigation replays, from Kafka."""
