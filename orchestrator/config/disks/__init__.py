"""Sections of disks: ``[volumes]`` of each VM, and ``[file_systems]`` that all VMs share, one per line."""
