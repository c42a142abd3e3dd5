"""Disks besides the root disk: volumes of single VMs, and file systems that all VMs of a cluster share."""
