"""A small vault, prepared once: parts with text, a mesh and a cloud without, and a file that cannot be read."""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from part_files import cloud_file, mesh_file
from pgcad.corpus.translation import GlossaryTranslator
from pgcad.training.dataset import Dataset
from pgcad.training.image_lessons import taught_image_tower
from pgcad.training.material import Material, load_material
from pgcad.training.towers import Towers
from pgcad.training.vault import vault_dataset

SAMPLES = Path(__file__).resolve().parents[3] / "samples" / "parts"
FAMILIES = ("washer", "large_washer", "o_ring", "bushing", "shaft_key")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Vault:
    """A folder of part files and the cache that holds what was prepared of them."""

    folder: Path
    cache: Path
    told: int
    """Parts that have a text."""


@pytest.fixture(scope="session")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Vault:
    folder = tmp_path_factory.mktemp("vault")
    with (SAMPLES / "parts.csv").open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["family"] in FAMILIES]
    for row in rows:
        (folder / row["family"]).mkdir(exist_ok=True)
        shutil.copy(SAMPLES / row["file"], folder / row["file"])
        row["name_zh"] = row["description_zh"] = ""
    with (folder / "parts.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    (folder / "block.stl").write_bytes(mesh_file(trimesh.creation.box((10, 20, 30)), "stl"))
    (folder / "ball.xyz").write_bytes(cloud_file(_ball(), "xyz"))
    (folder / "broken.step").write_text("ISO-10303-21; and nothing more")
    return Vault(folder, tmp_path_factory.mktemp("cache"), len(rows))


@pytest.fixture(scope="session")
def dataset(vault: Vault) -> Dataset:
    return vault_dataset(vault.folder, None, False, GlossaryTranslator(), vault.cache, workers=2)


@pytest.fixture(scope="session")
def material(dataset: Dataset, vault: Vault) -> Material:
    return load_material(dataset, _image_tower(dataset, vault), vault.cache, 1, CPU)


@pytest.fixture
def towers(dataset: Dataset, vault: Vault) -> Towers:
    """Untrained, always the same."""
    torch.manual_seed(1)
    return Towers(_image_tower(dataset, vault))


def _image_tower(dataset: Dataset, vault: Vault):  # type: ignore[no-untyped-def]
    return taught_image_tower(dataset.training, None, vault.cache, seed=1, minutes=0, workers=1)


def _ball() -> np.ndarray:
    return np.asarray(trimesh.creation.icosphere(3, radius=7.0).vertices)
