"""A bad day as a value: its file, the kinds of faults it can bring, and when and where each of them strikes."""
