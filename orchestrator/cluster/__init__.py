"""One EC2 cluster: launching, inspecting, stopping and terminating its instances."""
