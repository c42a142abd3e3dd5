"""Building blocks that depend on the standard library only."""
