"""replayer: timelines, prompt-template indexes and investigation replays of AI workflows, from Kafka."""
