"""Where instances can be had: capacity pools, offerings, quotas."""
