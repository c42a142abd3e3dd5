"""Prices: the bundled table and AWS's price list."""
