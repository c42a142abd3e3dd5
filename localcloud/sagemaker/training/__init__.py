"""Training jobs: requests, records, and their life from Starting to the end."""
