"""Jobs without a job.ini: a script or a command, and the job.ini that stands for it."""
