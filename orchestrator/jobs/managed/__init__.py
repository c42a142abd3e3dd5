"""Runs on a managed service instead of hosts: their options in job.ini, and what job services need of them."""
