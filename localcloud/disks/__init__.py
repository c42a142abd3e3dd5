"""Disks of the embedded cloud besides root disks: EBS volumes, and the file systems of EFS and FSx for Lustre."""
