"""Building blocks on the standard library alone."""
