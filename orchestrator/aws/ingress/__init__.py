"""Access to the instances of a cluster: networks and ports of the settings, and the rules of its security group."""
