"""AWS in general: request chain, callers, error responses, and tables of images, prices and quotas."""
