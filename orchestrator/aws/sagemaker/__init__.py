"""SageMaker: managed instances, their prices, quotas and roles."""
