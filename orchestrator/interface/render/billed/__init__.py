"""Text and JSON documents of costs besides running VMs: stopped ones, and managed resources."""
