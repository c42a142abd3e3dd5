"""Rows of a batch: which, cropped and flipped, held in memory or decoded when they are needed."""
