"""Storage services: S3."""
