"""Verbs on SageMaker."""
