"""Assumptions about AWS on which the embedded cloud is built, and checks of them against any cloud."""
