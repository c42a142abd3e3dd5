"""What the user sees and types: the only place that prints, asks and decides exit codes."""
