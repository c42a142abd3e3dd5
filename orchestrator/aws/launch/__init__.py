"""One launch: its plan, the RunInstances request, and the log that survives a crash."""
