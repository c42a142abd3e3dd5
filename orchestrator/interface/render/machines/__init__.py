"""Text and JSON documents of machines."""
