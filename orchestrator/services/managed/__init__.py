"""Use cases on runs of SageMaker: training jobs, and tuning jobs with theirs."""
