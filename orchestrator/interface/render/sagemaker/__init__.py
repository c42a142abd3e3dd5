"""Text and JSON documents of SageMaker."""
