"""Hosts of an attacker: SSH ports and answers to commands that attack the client."""
