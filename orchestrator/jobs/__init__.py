"""A job, from its job.ini to the record of a run; independent of any cloud."""
