"""Containers of SageMaker as processes with the /opt/ml layout."""
