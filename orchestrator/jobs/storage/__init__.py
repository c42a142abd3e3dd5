"""Data and checkpoints of jobs: inputs and state that outlive VMs."""
