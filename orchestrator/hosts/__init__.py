"""Work on any host that SSH reaches; independent of where the host comes from."""
