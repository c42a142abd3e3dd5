"""The networks of the job."""
