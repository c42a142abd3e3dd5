"""User interface: the only package that prints, asks questions and decides exit codes."""
