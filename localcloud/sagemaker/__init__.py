"""SageMaker: training, tuning and hosting that really run, in front of moto's records."""
