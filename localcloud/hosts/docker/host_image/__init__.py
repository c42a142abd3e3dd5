"""What is inside a docker host: its image, and the program that boots it. Standard library only."""
