"""Tuning jobs, whose children really run."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.localcloud.clients import error_of, wait_until
from tests.support.localcloud.training_lab import IMAGE, TrainingLab, channel

TRAIN = """
python - <<'END'
import json, sys
parameters = json.load(open("/opt/ml/input/config/hyperparameters.json"))
if parameters["kind"] == "bad":
    sys.exit(3)
print("loss=" + str(abs(int(parameters["step"]) - 5)))
END
"""


def request(lab: TrainingLab, name: str, **config: Any) -> dict[str, Any]:
    lab.put({"tuning/train.sh": TRAIN})
    training = lab.request("unused", "")
    definition = {member: training[member] for member in ("RoleArn", "OutputDataConfig", "StoppingCondition")}
    algorithm = {
        "TrainingImage": IMAGE,
        "TrainingInputMode": "File",
        "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
    }
    ranges = {"CategoricalParameterRanges": [{"Name": "step", "Values": ["1", "4", "9"]}]}
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Grid",
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "loss"},
            "ResourceLimits": {"MaxParallelTrainingJobs": 2},
            "ParameterRanges": ranges,
            **config,
        },
        "TrainingJobDefinition": {
            **definition,
            "AlgorithmSpecification": algorithm,
            "StaticHyperParameters": {"kind": "good"},
            "InputDataConfig": [channel("code", "tuning/")],
            "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1},
        },
        "Tags": [{"Key": "owner", "Value": "lab"}],
    }


def wait(lab: TrainingLab, name: str) -> dict[str, Any]:
    def described() -> dict[str, Any]:
        answer: dict[str, Any] = lab.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        return answer

    wait_until(lambda: described()["HyperParameterTuningJobStatus"] in ("Completed", "Failed", "Stopped"))
    return described()


@pytest.mark.slow
def test_a_grid_runs_every_combination_some_at_a_time_and_finds_the_best(lab: TrainingLab) -> None:
    ranges = {
        "CategoricalParameterRanges": [
            {"Name": "step", "Values": ["1", "4"]},
            {"Name": "kind", "Values": ["good", "bad"]},
        ]
    }
    parameters = request(lab, "lab-grid", ParameterRanges=ranges)
    del parameters["TrainingJobDefinition"]["StaticHyperParameters"]
    lab.sagemaker.create_hyper_parameter_tuning_job(**parameters)
    tuning = wait(lab, "lab-grid")
    assert tuning["HyperParameterTuningJobStatus"] == "Completed"
    counters = {"Completed": 2, "InProgress": 0, "RetryableError": 0, "NonRetryableError": 2, "Stopped": 0}
    assert tuning["TrainingJobStatusCounters"] == counters
    assert tuning["ObjectiveStatusCounters"] == {"Succeeded": 2, "Pending": 0, "Failed": 2}
    best = tuning["BestTrainingJob"]
    assert best["TunedHyperParameters"] == {"step": "4", "kind": "good"}
    assert best["FinalHyperParameterTuningJobObjectiveMetric"] == {
        "Type": "Minimize",
        "MetricName": "loss",
        "Value": 1.0,
    }
    children = lab.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName="lab-grid", SortBy="FinalObjectiveMetricValue"
    )["TrainingJobSummaries"]
    assert [child["TunedHyperParameters"]["step"] for child in children] == ["4", "1"]
    job = lab.describe(best["TrainingJobName"])
    assert job["TuningJobArn"] == tuning["HyperParameterTuningJobArn"]
    assert job["HyperParameters"]["_tuning_objective_metric"] == "loss"
    assert lab.sagemaker.list_tags(ResourceArn=job["TrainingJobArn"])["Tags"] == parameters["Tags"]
    described = [lab.describe(child["TrainingJobName"]) for child in children]
    assert all(job["BillableTimeInSeconds"] > 0 for job in described)


@pytest.mark.slow
def test_a_stopped_tuning_job_stops_its_children(lab: TrainingLab) -> None:
    parameters = request(lab, "lab-stopped")
    lab.put({"endless/train.sh": "echo begins; exec sleep 60"})
    parameters["TrainingJobDefinition"]["InputDataConfig"] = [channel("code", "endless/")]
    lab.sagemaker.create_hyper_parameter_tuning_job(**parameters)
    lab.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="lab-stopped")
    tuning = wait(lab, "lab-stopped")
    assert tuning["HyperParameterTuningJobStatus"] == "Stopped"
    assert tuning["TrainingJobStatusCounters"]["Stopped"] == 2


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"Strategy": "Random"}, "ResourceLimits must have MaxNumberOfTrainingJobs or MaxRuntimeInSeconds."),
        (
            {"ResourceLimits": {"MaxParallelTrainingJobs": 1, "MaxNumberOfTrainingJobs": 2}},
            "MaxNumberOfTrainingJobs must be equal to the number of combinations of the grid, 3.",
        ),
        (
            {"HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "other"}},
            "The objective metric other is not one of the MetricDefinitions: ['loss']",
        ),
        (
            {"Strategy": "Hyperband", "ResourceLimits": {"MaxParallelTrainingJobs": 1, "MaxNumberOfTrainingJobs": 2}},
            "Hyperband cannot infer MaxResource.",
        ),
        ({"Strategy": "Guess"}, "Member must satisfy enum value set: [Bayesian, Random, Hyperband, Grid]"),
    ],
)
def test_combinations_are_refused_with_their_rule(lab: TrainingLab, config: dict[str, Any], message: str) -> None:
    refused = request(lab, "lab-refused", **config)
    code, _, text = error_of(lab.sagemaker.create_hyper_parameter_tuning_job, **refused)
    assert code == "ValidationException"
    assert message in text
