"""Capacity of EC2: pools, offerings, quotas."""
