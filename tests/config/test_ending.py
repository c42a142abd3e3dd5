"""Mistakes in a config file that prevent ending VMs: those that leave open which VMs are meant, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config import settings
from orchestrator.core.errors import ConfigError

NAMED = "[cluster]\nname = lab\n[aws]\nregion = eu-west-1\n"

HARMLESS = {
    "a value": NAMED + "[disk]\nsize = many\n",
    "above all sections": "max_dollars = 0.30\n" + NAMED,
    "in another section": NAMED + "[ssh]\nmax_dollars = 0.30\n",
    "in the section above its own": NAMED + "max_hours = 2\n",
    "set twice": NAMED + "[disk]\nsize = 10\nsize = 20\n",
    "without an equals sign": NAMED + "[disk]\nsize 20\n",
    "continued": NAMED + "[disk]\nsize = 20\n    30\n",
    "indented": NAMED + "label = x\n  instance_profile = y\n",
    "a section that appears again": NAMED + "[cluster]\ncount = 2\n",
}
MISLEADING = {
    "a name above all sections": "name = lab\n[aws]\nregion = eu-west-1\n",
    "a name in another section": "[aws]\nregion = eu-west-1\nname = lab\n",
    "a misspelled name": "[cluster]\nnmae = lab\n",
    "a misspelled section": "[clustr]\nname = lab\n",
    "a misspelled section, indented": "[disk]\nsize = 20\n  [clustr]\nname = lab\n",
    "a name set twice": NAMED + "[cluster]\nname = other\n",
    "a name without an equals sign": "[cluster]\nname lab\n",
    "a name after a header": "[cluster] name = lab\n",
    "a broken header that appears again": NAMED + "[cluster] owner = ada\n",
    "a line of no setting": NAMED + "[disk]\nlab lab\n",
}


def load(folder: Path, text: str) -> settings.Settings:
    return settings.load(_written(folder, text), {}, files=False, only_ending=True)


@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS)
def test_a_mistake_in_another_setting_does_not_prevent_ending_vms(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        settings.load(_written(tmp_path, text), {}, files=False)

    loaded = load(tmp_path, text)

    assert (loaded.cluster.name, loaded.aws.region) == ("lab", "eu-west-1")


@pytest.mark.parametrize("text", MISLEADING.values(), ids=MISLEADING)
def test_a_mistake_that_leaves_open_which_vms_are_meant_prevents_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="Finding and ending VMs needs"):
        load(tmp_path, text)


def _written(folder: Path, text: str) -> Path:
    path = folder / "config.ini"
    path.write_text(text)
    return path
