"""Disks and shared file systems of a cluster's instances, from the request to the mount."""
