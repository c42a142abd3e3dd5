"""Hosting on SageMaker: endpoints, their invocations and scaling, batch transforms."""
