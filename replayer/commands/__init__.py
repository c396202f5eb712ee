"""What the `replayer` command can be told to do, one module for each noun; heavy imports inside the commands."""
