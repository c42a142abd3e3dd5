"""Checks of the assumptions in ``contract.toml`` against any cloud."""
