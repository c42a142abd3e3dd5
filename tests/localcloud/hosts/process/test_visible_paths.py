"""Paths that process hosts may read."""

from __future__ import annotations

from pathlib import Path

from localcloud.hosts.process import visible_paths


def test_siblings_of_hidden_paths_are_visible(tmp_path: Path) -> None:
    for folder in ("home/me/.ssh", "home/you", "usr/bin", "opt"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "home/me")
    assert visible_paths.paths_without({tmp_path / "home/me"}, tmp_path) == [
        tmp_path / "home/you",
        tmp_path / "opt",
        tmp_path / "usr",
    ]


def test_the_home_folder_is_hidden_except_for_shared_and_pip_paths(
    tmp_path: Path,
) -> None:
    home, cloud = tmp_path / "me", tmp_path / "cloud"
    for folder in (home / "wheels", home / ".config/pip", home / ".ssh", home / "venv", cloud):
        folder.mkdir(parents=True)
    (home / "ca.pem").touch()
    config = home / ".config/pip/pip.conf"
    config.write_text(f"[global]\nfind-links = file://{home}/wheels\n  {home}\ncert = {home}/ca.pem\n")
    lent = f"{home}/venv:{home}:{home}/none"
    readable = visible_paths.readable_paths(cloud, {"HOME": str(home), "LOCALCLOUD_READABLE": lent})
    below_home = {path for path in readable if path.is_relative_to(home)}
    assert below_home == {config, home / "wheels", home / "ca.pem", home / "venv"}
    assert not any(place.is_relative_to(path) for path in readable for place in (home, cloud))
