"""Contents of a docker host: its image, and the program that boots it. Standard library only."""
