"""Hosts behind the instances: simulated ones, processes and Docker containers."""
