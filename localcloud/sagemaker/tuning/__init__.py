"""Hyper-parameter tuning jobs, whose children are training jobs that really run."""
