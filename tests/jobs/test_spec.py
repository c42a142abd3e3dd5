"""Reading a job.ini: values, names, and every mistake with its line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.config.access import Access
from orchestrator.config.disks import file_systems
from orchestrator.config.options import JobSettings
from orchestrator.config.settings import InstallSettings
from orchestrator.core.errors import ConfigError, UsageError
from orchestrator.install.steps import build_digest
from orchestrator.jobs import spec as jobs_spec
from tests.support.jobs.job_folder import DASK, write_container_job
from tests.support.paths import ROOT


def test_a_job_is_read_with_its_data_and_environment(job_folder: Path) -> None:
    spec = jobs_spec.load(job_folder, {})

    assert spec.name == "my_job"
    assert [(item.source, item.name, item.is_s3) for item in spec.data] == [
        ("scenes", "data", False),
        ("s3://bucket/more", "more", True),
    ]
    assert spec.excluded_names == ("scenes", "outputs")
    assert spec.env == {"LEVEL": "9"}


@pytest.mark.parametrize(
    ("line", "replacement", "message"),
    [
        ("framework = dask", "framework = dsak", "Did you mean dask?"),
        ("requirements = requirements.txt", "requirements = req.txt", "does not exist"),
        ("    scenes -> data", "    scenes -> ../../etc", "is outside the working directory"),
        ("    scenes -> data", "    nowhere -> data", "'nowhere -> data': "),
        ("    scenes -> data", "    nowhere -> data", "My Job/nowhere does not exist"),
        ("    scenes -> data", "    nowhere -> data\nsample = python make.py", "to create sample data: SampleData("),
        ("    s3://bucket/more -> more", "    s3://bucket/more", "has no destination"),
        ("    s3://bucket/more -> more", "    s3://bucket/more -> more, streem", "'streem' is none of copy, stream,"),
        ("    s3://bucket/more -> more", "    s3://bucket/more -> more, copy, mount", "more than one of copy, stream,"),
        (
            "    s3://bucket/more -> more",
            "    s3://bucket/more -> more, mount, shard",
            "cannot be sharded: write stream",
        ),
        (
            "    s3://bucket/more -> more",
            "    s3://bucket/more -> more, public, requester_pays",
            "nothing can be billed",
        ),
        ("    scenes -> data", "    scenes -> data, shard", "shard is for data on S3"),
        (
            "    scenes -> data",
            "    fs-0123456789abcdef0:/x",
            "has no destination: write fs-",
        ),
        ("    scenes -> data", "    fs-01234567:/x -> data, shard", "shard is for data on S3"),
        (
            "    scenes -> data",
            "    fs-0123:/x -> data",
            "is not a folder of a file system: write fs-",
        ),
        ("    scenes -> data", "    fs-01234567:/a/../b -> data", "is not a folder of a file system"),
        ("    scenes -> data", "    fs-01234567:x -> data", "is not a folder of a file system"),
        ("    scenes -> data", "    . -> data", "'. -> data' is the job's whole folder: write the name of a folder"),
        ("    scenes -> data", "    scenes/.. -> data", "is the job's whole folder"),
        ("    scenes -> data", "    .", "is the job's whole folder"),
        ("    scenes -> data", "    scenes -> more", "has the destination of 'scenes -> more', or inside it"),
        ("    scenes -> data", "    scenes -> more/sub", "has the destination of 'scenes -> more/sub', or inside"),
        ("    s3://bucket/more -> more", "    s3://bucket/more -> data/more", "write another name after ->"),
        ("    scenes -> data", "    empty -> data\nsample = python make.py", "My Job/empty is empty"),
        ("threads_per_worker = 3", "threads_per_worker = many", "is not a whole number"),
        ("[env]", "runtime = docker\n[env]", "It belongs under [job]"),
        ("LEVEL = 9", "LEV;touch x = 9", "is not a valid variable name"),
        ("LEVEL = 9", "STRATUS_RUN = 9", "is not a valid variable name"),
    ],
)
def test_a_mistake_in_job_ini_is_reported_with_its_line(
    job_folder: Path, line: str, replacement: str, message: str
) -> None:
    (job_folder / "job.ini").write_text(DASK.replace(line, replacement))
    (job_folder / "empty/folders").mkdir(parents=True)

    with pytest.raises(ConfigError) as caught:
        jobs_spec.load(job_folder, {})

    assert message in str(caught.value)
    assert f"{job_folder / 'job.ini'}:" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("state", "'state' is not of the form  folder -> s3://bucket/prefix"),
        ("state -> s3://bucket", "is not of the form  folder -> s3://bucket/prefix"),
        ("state -> s3://b/prefix", "a bucket has 3 to 63 lower-case letters"),
        ("state -> bucket/prefix", "is not of the form  folder -> s3://bucket/prefix"),
        ("../state -> s3://bucket/prefix", "is outside the working directory"),
        ("data/state -> s3://bucket/prefix", "is the place of data (data): write another name"),
    ],
)
def test_a_place_of_checkpoints_must_be_one(job_folder: Path, line: str, message: str) -> None:
    text = (job_folder / "job.ini").read_text()
    (job_folder / "job.ini").write_text(text.replace("[job]\n", f"[job]\ncheckpoints = {line}\n"))

    with pytest.raises(ConfigError) as caught:
        jobs_spec.load(job_folder, {})

    assert message in str(caught.value)


def test_a_place_of_checkpoints_is_read_and_not_uploaded(job_folder: Path) -> None:
    text = (job_folder / "job.ini").read_text()
    line = "checkpoints = out/state/ -> s3://bucket/a b/\n".replace(" b", "")
    (job_folder / "job.ini").write_text(text.replace("[job]\n", f"[job]\n{line}checkpoint_minutes = 2\n"))
    spec = jobs_spec.load(job_folder, {})

    assert spec.checkpoints is not None
    assert (spec.checkpoints.folder, spec.checkpoints.url, spec.checkpoints.every_s) == (
        "out/state",
        "s3://bucket/a",
        120,
    )
    assert "out/state" in spec.excluded_names
    assert spec.training_checkpoints == "out/state"


def test_a_job_may_be_another_ini_file_of_the_folder(job_folder: Path) -> None:
    """Its name differs, so that the two jobs share neither environment nor code on the hosts."""
    (job_folder / "small.ini").write_text(DASK.replace("LEVEL = 9", "LEVEL = 1"))
    small, default = jobs_spec.load(job_folder / "small.ini", {}), jobs_spec.load(job_folder, {})

    assert (small.name, default.name) == ("my_job_small", "my_job")
    assert (small.folder, small.env["LEVEL"]) == (job_folder, "1")


def test_data_of_jobs_with_the_same_name_has_places_of_its_own(tmp_path: Path) -> None:
    """Two projects may both have a job first_job with a folder data; an S3 URL is the same anywhere."""
    places = []
    for project in ("A", "B"):
        folder = tmp_path / project / "train"
        (folder / "in").mkdir(parents=True)
        (folder / "job.ini").write_text("[job]\nsingle = x\ndata =\n    in -> a\n    in -> b\n    s3://b/x -> c\n")
        spec = jobs_spec.load(folder, {})
        assert spec.name == "train"
        assert [link.partition("=")[2] for link in spec.data_links] == ["a", "b", "c"]
        places.append([spec.remote_path(item) for item in spec.data])

    assert len({*places[0], *places[1]}) == 5
    assert places[0][2] == places[1][2]
    (tmp_path / "link").symlink_to(tmp_path / "A")
    linked = jobs_spec.load(tmp_path / "link/train", {})
    assert [linked.remote_path(item) for item in linked.data] == places[0]
    moved = replace(linked, data=(replace(linked.data[2], source="s3://b/y"),))
    assert moved.remote_path(moved.data[0]) not in places[0]


@pytest.mark.parametrize("name", ["job.ini", "other.ini"])
def test_a_missing_file_is_one_mistake(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        jobs_spec.load(tmp_path / name if name != "job.ini" else tmp_path, {})

    assert [str(tmp_path / name) in str(problem) for problem in caught.value.problems] == [True]


def test_the_callers_runtime_is_checked_like_the_files(job_folder: Path) -> None:
    (job_folder / "Dockerfile").write_text("FROM scratch\n")

    assert jobs_spec.load(job_folder, {}, runtime="docker").runtime == "docker"
    (job_folder / "Dockerfile").unlink()
    with pytest.raises(ConfigError, match="no Dockerfile"):
        jobs_spec.load(job_folder, {}, runtime="docker")


@pytest.mark.parametrize(
    ("framework", "text", "message"),
    [
        ("horovod", "single = go\n", "[job] multi is missing: framework = horovod is for several VMs"),
        ("mpi", "single = go\n", "framework = mpi is for several VMs"),
        ("torchrun", "multi = go\n[resources]\nmin_hosts = 2\n", "min_hosts = '2' needs framework = horovod"),
        ("horovod", "multi = go\n[resources]\nslots_per_host = -1\n", "slots_per_host"),
    ],
)
def test_options_that_a_framework_does_not_support_are_one_mistake(
    job_folder: Path, framework: str, text: str, message: str
) -> None:
    (job_folder / "job.ini").write_text(f"[job]\nframework = {framework}\n{text}")

    with pytest.raises(ConfigError) as caught:
        jobs_spec.load(job_folder, {})

    assert len(caught.value.problems) == 1
    assert message in str(caught.value)
    assert f"{job_folder / 'job.ini'}:" in str(caught.value)


def test_a_built_image_has_a_new_name_when_the_input_of_its_build_changes(tmp_path: Path) -> None:
    """Dockerfile, the files that it names, arguments, certificates; not the code, which every run brings anew."""

    def tag(**options: str) -> str:
        digest = build_digest(InstallSettings(**options))  # type: ignore[arg-type]
        return replace(jobs_spec.load(folder, {}), build_digest=digest).built_image

    folder = write_container_job(tmp_path / "job", need__txt="a", extra__txt="b", code__py="1")
    (tmp_path / "ca").write_text("CERT")
    first = tag()
    (folder / "code.py").write_text("2")
    assert tag() == first
    others = [tag(build_args="A=1"), tag(build_args="A=2"), tag(pip_options="--pre")]
    others.append(tag(ca_bundle=str(tmp_path / "ca")))
    (folder / "extra.txt").write_text("c")
    others.append(tag())
    assert len({first, *others}) == 6


def test_the_reference_of_job_ini_is_up_to_date() -> None:
    """scripts/docs-tables writes it."""
    page = (ROOT / "docs/jobs.md").read_text(encoding="utf-8")
    assert jobs_spec.reference() in page


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("My Job (v2)", "my_job_v2_aad0a4"),
        ("\u00fcber", "uber_6d1447"),
        ("-rf", "rf_ab8baa"),
        ("_", "job_d2e2ad"),
        ("\u5929\u6c14", "job_x"),
        ("plain-name_2", "plain-name_2"),
        ("a" * 200, "a" * 60 + "_x"),
    ],
)
def test_the_name_of_any_folder_is_a_part_of_an_images_name(tmp_path: Path, folder: str, name: str) -> None:
    job = jobs_spec.job_name(tmp_path / folder / "job.ini")

    assert jobs_spec.IMAGE_NAME.fullmatch(job)
    assert job.rpartition("_")[0] == name.rpartition("_")[0]
    assert job == jobs_spec.job_name(tmp_path / "elsewhere" / folder / "job.ini")
    assert jobs_spec.job_name(tmp_path / "uber" / "job.ini") == "uber"


def refused(folder: Path, text: str, env: dict[str, str], access: Access | None = None) -> list[str]:
    """Return the mistakes in a job.ini; none if it is read."""
    (folder / "job.ini").write_text(f"[job]\nsingle = true\n{text}\n")
    try:
        jobs_spec.load(folder, env, access=access)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.fixture
def laptop(job_folder: Path) -> Path:
    """A folder beside the job's, with a file that is none of the job's business, and a link to it in the job's."""
    aws = job_folder.parent / ".aws"
    aws.mkdir()
    (aws / "credentials").write_text("secret")
    (job_folder / "link").symlink_to(aws)
    return aws


@pytest.mark.parametrize("source", ["{laptop}", "../.aws", "scenes/../../.aws/credentials", "link", "link/credentials"])
def test_a_job_reads_nothing_outside_its_folder_unless_the_users_config_allows_it(
    job_folder: Path, laptop: Path, source: str
) -> None:
    line = f"data = {source.format(laptop=laptop)} -> data"

    (problem,) = refused(job_folder, line, {})
    assert problem.startswith(f"{job_folder / 'job.ini'}:3: [job] data")
    assert "is outside the job's folder; to allow it: [job] allow_folders = " in problem
    # As printed:
    allowed = problem.partition("allow_folders = ")[2].partition(" in your config")[0]
    access = Access.of(JobSettings(allow_folders=(allowed,)))
    assert refused(job_folder, line, {}, access) == []


@pytest.mark.parametrize("option", ["requirements", "environment"])
def test_a_job_takes_its_requirements_from_its_folder(job_folder: Path, laptop: Path, option: str) -> None:
    (problem,) = refused(job_folder, f"{option} = {laptop}/credentials", {})

    assert "is outside the job's folder" in problem


@pytest.mark.parametrize(
    ("name", "is_refused"),
    [
        ("AWS_SECRET_ACCESS_KEY", True),
        ("AWS_SESSION_TOKEN", True),
        ("WANDB_API_KEY", True),
        ("PGPASSWORD", True),
        ("SSH_AUTH_SOCK", True),
        ("USER", False),
        ("AWS_REGION", False),
        ("LEVEL", False),
        ("KEYBOARD", False),
        *[
            (name, True)
            for name in ["DB_PASS", "MYSQL_PWD", "GH_PAT", "SSHPASS", "PGPASS", "DBPASS", "DB_PASS_2", "AWS_CREDS"]
        ],
        *[
            (name, False)
            for name in ["PWD", "OLDPWD", "PATH", "COMPASS", "BYPASS", "PATTERN", "PASSES", "SPATIAL", "FILE_PATH"]
        ],
    ],
)
def test_a_job_carries_no_credential_to_a_vm_unless_the_users_config_allows_it(
    job_folder: Path, name: str, is_refused: bool
) -> None:
    text = f"[env]\nX = ${{{name}}}\nY = ${{{name}:-default}}"

    problems = refused(job_folder, text, {name: "value"})
    assert bool(problems) == is_refused
    assert not any("value" in problem for problem in problems)
    assert all(f"{name} looks like a credential" in problem for problem in problems)
    assert refused(job_folder, text, {name: "value"}, Access.of(JobSettings(allow_variables=f"A, {name}"))) == []


@pytest.mark.parametrize(
    ("value", "is_refused"),
    [
        ("postgres://ada:pw@db.example.org/x", True),
        ("redis://:pw@db:6379", True),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", True),
        ("https://example.org:8443/a@b", False),
        ("ssh://git@example.org/x", False),
    ],
)
def test_a_variable_with_a_password_in_its_value_is_refused_by_any_name(
    job_folder: Path, value: str, is_refused: bool
) -> None:
    problems = refused(job_folder, "[env]\nX = ${DATABASE}", {"DATABASE": value})

    assert ["DATABASE looks like a credential" in problem for problem in problems] == [True] * is_refused
    assert refused(job_folder, "[env]\nX = ${DATABASE}", {"DATABASE": value}, Access(variables=("DATABASE",))) == []


@pytest.mark.parametrize("source", [".aws", ".aws/credentials", "certs/host.pem", "keys/.ssh/id_rsa", "disguise"])
def test_a_job_uploads_no_credentials_as_data_unless_the_users_config_allows_it(job_folder: Path, source: str) -> None:
    for name in (".aws/credentials", "certs/host.pem", "keys/.ssh/id_rsa"):
        (job_folder / name).parent.mkdir(parents=True)
        (job_folder / name).write_text("secret")
    (job_folder / "disguise").symlink_to(".aws")
    line = f"data = {source} -> data"

    (problem,) = refused(job_folder, line, {})
    assert "looks like a credential, which would be stored on the VMs; to allow it: [job] allow_files = " in problem
    # As printed:
    allowed = problem.partition("allow_files = ")[2].partition(" in your config")[0]
    assert refused(job_folder, line, {}, Access.of(JobSettings(allow_files=(allowed,)))) == []


@pytest.mark.parametrize("option", ["data", "requirements", "environment"])
@pytest.mark.parametrize("path", ["x" * 400, "x/" * 3000, "loop"])
def test_a_path_that_no_file_can_have_is_a_mistake_with_its_line(job_folder: Path, option: str, path: str) -> None:
    (job_folder / "loop").symlink_to("loop")

    (problem,) = refused(job_folder, f"{option} = {path}", {})

    assert problem.startswith(f"{job_folder / 'job.ini'}:3: [job] {option}")


def test_a_folder_of_a_file_system_is_linked_where_the_vms_have_it(tmp_path: Path) -> None:
    (tmp_path / "job.ini").write_text(
        "[job]\nsingle = x\ndata =\n    fs-01234567:/a/b/ -> in\n    fs-89abcdef:/ -> all\n"
    )
    spec = jobs_spec.load(tmp_path, {})
    config = [file_systems.parse("lab", "efs fs-01234567 at /lab"), file_systems.parse("own", "efs at /own")]
    both = [*config, file_systems.parse("fast", "lustre fs-89abcdef at ~/fast")]

    assert [item.file_system for item in spec.data] == [("fs-01234567", "/a/b"), ("fs-89abcdef", "/")]
    assert spec.excluded_names == ("outputs",)
    assert spec.mounted(both).data_links == ("data/.mounts/lab/a/b=in", "data/.mounts/fast=all")
    with pytest.raises(UsageError, match="the VMs do not have the file system fs-89abcdef") as caught:
        _ = spec.mounted(config).data_links
    assert "[file_systems] shared = efs fs-89abcdef at /shared" in str(caught.value.fix)
