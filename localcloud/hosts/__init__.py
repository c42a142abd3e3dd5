"""Hosts behind the instances: simulated hosts, processes, and Docker containers."""
