"""Fixtures of all tests of jobs."""

from tests.support.jobs.job_folder import job_folder

__all__ = ["job_folder"]
