"""Frameworks: how a job's command becomes tasks on one host or on many, a module and a record for each."""
