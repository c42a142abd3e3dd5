"""The only user of the cryptography library."""
