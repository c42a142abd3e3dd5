"""Stratus: machine-learning jobs on EC2, on one VM or on many."""

__version__ = "0.1.0"
