"""EC2: instances, images, networks, key pairs, security groups."""
