"""engine.sh and gpu.sh: a Docker engine, and drivers; nvidia-smi is a stand-in with NVIDIA's documented output."""

from __future__ import annotations

from tests.support.host_tools import HostWithTools, fix_of, host
from tests.support.script_host import states

__all__ = ["host"]


def test_an_engine_cannot_be_installed_without_sudo(host: HostWithTools) -> None:
    host.tool("sudo", "exit 1\n")
    host.tool("docker", "exit 1\n")
    _, lines = host.install([["engine", "engine.sh"]])

    assert "no Docker engine here, and no sudo to install one" in lines
    assert fix_of(lines).startswith("set runtime = venv")


def test_an_engine_that_is_stopped_is_started_and_nothing_installed(host: HostWithTools) -> None:
    host.tool("docker", f"[ -e {host.home}/awake ]\n")
    host.tool("dockerd", "exit 0\n")
    host.tool("usermod", f'echo "$@" >{host.home}/joined\n')
    for tool in ("systemctl", "service"):
        host.tool(tool, f"touch {host.home}/awake\n")
    host.tool("apt-get", "exit 1\n")
    status, lines = host.install([["engine", "engine.sh"]])
    _, again = host.install([["engine", "engine.sh"]])

    assert (status, states(lines), states(again)) == (0, ["engine done"], ["engine unchanged"])
    assert (host.home / "joined").read_text().startswith("-aG docker ")


def with_gpu(host: HostWithTools) -> HostWithTools:
    """Return the host with an NVIDIA card on its bus."""
    card = host.home / "pci/0000:00:1e.0"
    card.mkdir(parents=True)
    (card / "vendor").write_text("0x10de\n")
    (card / "class").write_text("0x030200\n")
    return HostWithTools(host.home, {"STRATUS_PCI": str(host.home / "pci")})


def test_nvidia_smi_does_not_run_without_a_gpu(host: HostWithTools) -> None:
    host.tool("nvidia-smi", f"touch {host.home}/asked; exit 1\n")
    (host.home / "pci").mkdir()
    _, lines = HostWithTools(host.home, {"STRATUS_PCI": str(host.home / "pci")}).install([["gpu", "gpu.sh"]])

    assert states(lines) == ["gpu unchanged"]
    assert not (host.home / "asked").exists()


def test_a_gpu_without_a_driver_or_without_the_toolkit(host: HostWithTools) -> None:
    """Each is one line, and the advice is an image that has both."""
    gpu_host = with_gpu(host)
    gpu_host.tool("nvidia-smi", "exit 9\n")
    _, no_driver = gpu_host.install([["gpu", "gpu.sh"]])
    gpu_host.tool("nvidia-smi", "exit 0\n")
    for tool in ("nvidia-ctk", "nvidia-container-cli"):
        gpu_host.tool(tool, "exit 1\n")
    _, no_toolkit = gpu_host.install([["gpu", "gpu.sh"]])
    gpu_host.tool("nvidia-ctk", "echo NVIDIA Container Toolkit CLI version 1.17.8\n")
    _, complete = gpu_host.install([["gpu", "gpu.sh"]])

    assert "there is an NVIDIA GPU here, and no driver that works: nvidia-smi does not run" in no_driver
    assert "there is an NVIDIA GPU here, and no NVIDIA container toolkit: containers cannot use it" in no_toolkit
    assert "[cluster] image = deep-learning-ubuntu-24.04" in fix_of(no_driver)
    assert states(complete) == ["gpu unchanged"]
