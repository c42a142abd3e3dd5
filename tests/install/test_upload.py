"""Uploads of folders to hosts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.install.upload import (
    MAX_CHANGED_BYTES,
    MAX_CHANGED_FILES,
    Change,
    Upload,
    list_files,
    measure,
    scan,
)


def names(upload: Upload) -> list[str]:
    """Return the names of the files of an upload."""
    return [file.name for file in upload.files]


def test_a_single_file_can_be_uploaded(tmp_path: Path) -> None:
    """Under its own name."""
    (tmp_path / "scene.h5").write_bytes(b"data")

    (tmp_path / "link.h5").symlink_to("scene.h5")
    single, link = scan("p", tmp_path / "scene.h5", "x"), scan("p", tmp_path / "link.h5", "x")

    assert names(single) == ["scene.h5"]
    # Alone on the host, a link would lead nowhere.
    assert names(link) == ["link.h5"]
    assert (link.files[0].digest, link.files[0].link) == (single.files[0].digest, "")


def test_links_in_a_folder_stay_links(tmp_path: Path) -> None:
    """A folder brings nothing from outside."""
    (tmp_path / "secret").write_text("key")
    (tmp_path / "job").mkdir()
    (tmp_path / "job/link").symlink_to("../secret")

    (file,) = scan("p", tmp_path / "job", "x").files
    assert (file.link, file.size_bytes) == ("../secret", 0)


def test_caches_and_excluded_names_are_not_uploaded(tmp_path: Path) -> None:
    """Excluded names apply to the top of the folder only."""
    for name in ("run.py", "__pycache__/run.pyc", "data/scene.h5", "outputs/old.json", "sub/data/included"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")

    assert names(scan("p", tmp_path, "x", excluded=("data", "outputs"))) == ["run.py", "sub/data/included"]
    assert names(scan("p", tmp_path, "x", excluded=("data", "outputs", "sub/data"))) == ["run.py"]


def test_a_file_whose_content_is_a_credential_is_left_out_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("[default]\naws_access_key_id = AKIA" + "A" * 16)
    os.link(tmp_path / "notes.md", tmp_path / "hard_link")
    (tmp_path / "run.py").write_text("print(1)")

    upload = scan("p", tmp_path, "x")
    assert names(upload) == ["run.py"]
    assert upload.left_out == ("hard_link", "notes.md")
    assert names(scan("p", tmp_path, "x", allowed=("notes.md",))) == ["notes.md", "run.py"]


def test_files_of_this_computer_are_withheld_without_a_line_unless_they_are_allowed(tmp_path: Path) -> None:
    for name in ("config/config.ini", "config/model.ini", "run.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    withheld = {(tmp_path / "config/config.ini").resolve()}

    upload = scan("p", tmp_path, "x", withheld=withheld)
    assert names(upload) == ["run.py", "config/model.ini"]
    assert upload.left_out == ()
    allowed = scan("p", tmp_path, "x", withheld=withheld, allowed=("config/config.ini",))
    assert names(allowed) == ["run.py", "config/config.ini", "config/model.ini"]


CREDENTIALS = (
    *(".aws", ".config/gcloud", ".docker/config.json", ".env", ".env.local", ".git-credentials", ".kube", ".netrc"),
    *(".pypirc", ".ssh", "sub/.env", "sub/HOST.PEM", "sub/application_default_credentials.json", "sub/id_ed25519"),
    *("sub/server.key", "sub/stratus-ml-0a1b-us-west-2.ed25519"),
)


def test_credentials_are_left_out_and_named(tmp_path: Path) -> None:
    files = [name + "/x" * (name in (".aws", ".ssh", ".kube", ".config/gcloud")) for name in CREDENTIALS]
    for name in (*files, "run.py", ".env.example", "id_rsa.pub", "environment.yml", ".docker/Dockerfile"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")

    upload = scan("p", tmp_path, "x")
    assert names(upload) == [".env.example", "environment.yml", "id_rsa.pub", "run.py", ".docker/Dockerfile"]
    assert sorted(upload.left_out) == sorted(CREDENTIALS)
    assert measure(tmp_path).files == len(upload.files)
    allowed = scan("p", tmp_path, "x", allowed=(".aws", "sub/*.key"))
    assert set(names(allowed)) - set(names(upload)) == {".aws/x", "sub/server.key"}
    assert set(upload.left_out) - set(allowed.left_out) == {".aws", "sub/server.key"}


@pytest.mark.parametrize("size_bytes", [3, 6 << 20])
def test_the_digest_depends_on_content_and_not_on_time(tmp_path: Path, size_bytes: int) -> None:
    """A touched file is unchanged, an edited one of the same size is not; large ones, too."""
    file = tmp_path / "a"
    file.write_bytes(b"1" * size_bytes)
    before = scan("p", tmp_path, "x").digest
    os.utime(file, (1, 1))
    touched = scan("p", tmp_path, "x").digest
    file.write_bytes(b"2" * size_bytes)

    assert touched == before
    assert scan("p", tmp_path, "x").digest != before


def test_a_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    """Not an empty upload."""
    with pytest.raises(FileNotFoundError):
        scan("p", tmp_path / "nowhere", "x")


def test_environments_caches_and_patterns_are_not_uploaded(tmp_path: Path) -> None:
    """Whatever an environment is called; a pattern applies at any depth."""
    for name in (
        "run.py",
        "env3/pyvenv.cfg",
        "env3/lib/x.py",
        ".git/HEAD",
        "node_modules/m.js",
        "a/big.ckpt",
        "a/b.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")

    assert [name for _, name in list_files(tmp_path, ("*.ckpt",))] == ["run.py", "a/b.py"]


def test_the_size_of_an_upload_is_known_without_reading_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "run.py").write_text("12345")
    with (tmp_path / "data/huge").open("wb") as file:
        file.truncate(10 << 30)

    size = measure(tmp_path)
    assert (size.files, size.total_bytes, dict(size.by_name)) == (2, (10 << 30) + 5, {"run.py": 5, "data": 10 << 30})


def test_a_small_edit_is_noted_with_the_upload_before_it(tmp_path: Path) -> None:
    """However often the folder is scanned until the next edit."""

    def scanned() -> tuple[str, str, list[str]]:
        upload = scan("p", tmp_path / "job", "x", hashes_folder=tmp_path / "hashes")
        assert upload.change
        return upload.digest, upload.change.base, [file.name for file in upload.change.files]

    (tmp_path / "job").mkdir()
    for name in ("a.py", "b.py"):
        (tmp_path / "job" / name).write_text("1")
    first, *nothing = scanned()
    assert nothing == ["", []]
    assert scanned()[1:] == ("", [])

    (tmp_path / "job/a.py").write_text("2")
    (tmp_path / "job/c.py").write_text("new")
    second, *change = scanned()
    assert change == [first, ["a.py", "c.py"]]
    assert scanned() == (second, *change)

    (tmp_path / "job/b.py").chmod(0o755)
    assert scanned()[1:] == (second, ["b.py"])
    assert scan("p", tmp_path / "job", "x").change is None


@pytest.mark.parametrize("edit", ["removal", "size", "number", "link", "name"])
def test_other_edits_are_requested_by_the_hosts(tmp_path: Path, edit: str) -> None:
    job = tmp_path / "job"
    job.mkdir()
    (job / "a.py").write_text("1")
    scan("p", job, "x", hashes_folder=tmp_path / "hashes")
    match edit:
        case "removal":
            (job / "a.py").rename(job / "b.py")
        case "size":
            (job / "a.py").write_bytes(bytes(MAX_CHANGED_BYTES + 1))
        case "number":
            for number in range(MAX_CHANGED_FILES + 1):
                (job / f"{number}.py").touch()
        case "link":
            (job / "link").symlink_to("a.py")
        case _:
            (job / "two\nlines.py").touch()

    assert scan("p", job, "x", hashes_folder=tmp_path / "hashes").change == Change()


@pytest.mark.parametrize("text", ["[]", '{"lists": 3}', '{"lists": [3, [], ["a"], ["a", 3], [1, {}]]}', "{damaged"])
def test_damaged_lists_of_files_are_no_error(tmp_path: Path, text: str) -> None:
    job, hashes = tmp_path / "job", tmp_path / "hashes"
    job.mkdir()
    (job / "a.py").write_text("1")
    whole = scan("p", job, "x", hashes_folder=hashes)
    for path in hashes.glob("*.list.json"):
        path.write_text(text)

    assert scan("p", job, "x", hashes_folder=hashes) == whole
