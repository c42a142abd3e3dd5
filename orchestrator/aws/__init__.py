"""The way in to AWS: whatever boto3 is needed for lies here, and nowhere else."""
