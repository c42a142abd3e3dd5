"""Simulated EC2: launches, capacity, the lifecycle of instances, and the instance metadata service."""
