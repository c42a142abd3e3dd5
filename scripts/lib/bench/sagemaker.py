"""Seconds from TrainOnSageMaker() to the first line of the job, beside the same job by a few lines of boto3.

    scripts/bench sagemaker [--rounds 5] [--bar 1.0]

Both run on the embedded cloud, in turns, each in a process of its own. At the prompt the clock starts when the
libraries are loaded and the session is open; from a shell, where `stratus train-on-sagemaker` is measured beside the
script, with the process. Exits 1 if a difference of the medians is above the bar, in seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

import localcloud  # noqa: E402 - the path is set above

FIRST_LINE, START = "the first line", "the clock starts"
ROLE = "bench-sagemaker"
PAIRS = {"boto3": "TrainOnSageMaker()", "boto3, from a shell": "stratus train-on-sagemaker"}
"""Plain scripts -> what is measured beside them."""

CONFIG = """
[cluster]
name = bench
[aws]
region = us-west-2
endpoint_url = ${AWS_ENDPOINT_URL}
ssh_from = 127.0.0.1/32
[job]
run = job
[sagemaker]
role = bench-sagemaker
"""
JOB = f"[job]\nsingle = echo {FIRST_LINE}\n"
OURS = f'History(); print("{START}", flush=True); TrainOnSageMaker("job")'

# What a user writes without the toolkit: upload, create, wait for a line.
PLAIN = f"""
import sys, time
import boto3
print("{START}", flush=True)
sagemaker, s3, logs = (boto3.client(name) for name in ("sagemaker", "s3", "logs"))
name = f"plain-{{time.time_ns()}}"
s3.put_object(Bucket="bench-plain", Key=f"{{name}}/main.py", Body=b"print('{FIRST_LINE}')")
source = {{"S3DataType": "S3Prefix", "S3Uri": f"s3://bench-plain/{{name}}/"}}
image = "763104351884.dkr.ecr.us-west-2.amazonaws.com/pytorch-training:2.8.0-cpu-py312-ubuntu22.04-sagemaker"
entry = ["python", "/opt/ml/input/data/code/main.py"]
sagemaker.create_training_job(
    TrainingJobName=name,
    RoleArn=sys.argv[1],
    AlgorithmSpecification={{"TrainingImage": image, "TrainingInputMode": "File", "ContainerEntrypoint": entry}},
    InputDataConfig=[{{"ChannelName": "code", "DataSource": {{"S3DataSource": source}}}}],
    OutputDataConfig={{"S3OutputPath": "s3://bench-plain/out"}},
    ResourceConfig={{"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10}},
    StoppingCondition={{"MaxRuntimeInSeconds": 600}},
)
group, streams = "/aws/sagemaker/TrainingJobs", []
while not streams:
    time.sleep(0.2)
    try:
        streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=name)["logStreams"]
    except logs.exceptions.ResourceNotFoundException:
        pass
stream = streams[0]["logStreamName"]
while not (events := logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True)["events"]):
    time.sleep(0.2)
print(events[0]["message"], flush=True)
"""


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each")
    parser.add_argument("--bar", type=float, default=1.0, help="seconds that the toolkit may take longer")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        home = place / "cloud"
        env = {**os.environ, **localcloud.up(home, bound_to=os.getpid())}
        env |= {"STRATUS_HOME": str(place / "home"), "IPYTHONDIR": str(place / "ipython")}
        try:
            times = measure(place, env, options.rounds)
        finally:
            localcloud.down(home)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        print(f"{name:<26} {medians[name]:6.2f} s   ({', '.join(f'{value:.2f}' for value in values)})")
    longer_s = [medians[name] - medians[beside] for beside, name in PAIRS.items()]
    for place_name, difference in zip(("at the prompt", "from a shell"), longer_s, strict=True):
        print(f"{'longer ' + place_name:<26} {difference:6.2f} s   bar {options.bar:g} s")
    return int(max(longer_s) > options.bar)


def measure(place: Path, env: dict[str, str], rounds: int) -> dict[str, list[float]]:
    """Return the seconds to the first line, by both ways in turns."""
    (place / "config.ini").write_text(CONFIG)
    (place / "job").mkdir()
    (place / "job/job.ini").write_text(JOB)
    (place / "plain.py").write_text(PLAIN)
    role = prepare(env)
    program = [sys.executable, str(ROOT / "run_interface.py"), "--config", "config.ini"]
    plain = [sys.executable, "plain.py", role]
    ways = {
        "boto3": plain,
        "TrainOnSageMaker()": [*program, "-c", OURS],
        "boto3, from a shell": plain,
        "stratus train-on-sagemaker": [*program, "train-on-sagemaker", "job", "--yes"],
    }
    fresh = list(ways)[2:]
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, command in ways.items():
            times[name].append(seconds_to_first_line(command, place, env, fresh=name in fresh))
    return times


def seconds_to_first_line(command: list[str], place: Path, env: dict[str, str], *, fresh: bool) -> float:
    """Run a command; return the seconds from its start of the clock to the job's first line.

    :param fresh: the clock starts with the process.
    """
    began = time.monotonic() if fresh else 0.0
    process = subprocess.Popen(command, cwd=place, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = []
    with process:
        for line in process.stdout or ():
            lines.append(line)
            if START in line and not fresh:
                began = time.monotonic()
            elif FIRST_LINE in line and began:
                taken = time.monotonic() - began
                process.communicate()
                return taken
    raise SystemExit(f"{command[1]} printed no first line:\n{''.join(lines)}")


def prepare(env: dict[str, str]) -> str:
    """Create role and buckets; return the role's ARN."""
    import boto3

    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    session = boto3.Session(*(env[name] for name in names), region_name="us-west-2")
    iam, s3 = (session.client(name, endpoint_url=env["AWS_ENDPOINT_URL"]) for name in ("iam", "s3"))
    principal = {"Service": "sagemaker.amazonaws.com"}
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    arn: str = iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    iam.put_role_policy(RoleName=ROLE, PolicyName="data", PolicyDocument=json.dumps(allowed))
    for bucket in ("bench-plain", "sagemaker-us-west-2-123456789012"):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    return arn


if __name__ == "__main__":
    sys.exit(main())
