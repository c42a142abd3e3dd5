"""The embedded cloud, put together from its parts."""
