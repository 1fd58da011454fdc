"""What the shape and B-rep towers read of each prepared part, computed once: the part as it is, and as scanners and
other programs would give it.
"""

from __future__ import annotations

import hashlib
import inspect
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from random import Random
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pgcad.corpus.clouds import NOISE, facing, noisy, random_rotation
from pgcad.corpus.parts import Part
from pgcad.corpus.records import load_record
from pgcad.encoders import brep, log_grid, own_frame, shape, shape_signature
from pgcad.encoders.brep import BrepFeatures, brep_features
from pgcad.encoders.shape import ShapeFeatures, shape_features
from pgcad.geometry import points
from pgcad.geometry.analyse import cloud_points
from pgcad.geometry.brep_graph import NO_FACES

VARIANTS = 4
_NOISES = (0.2, 1.3)
_MADE_BY: tuple[ModuleType, ...] = (brep, log_grid, own_frame, shape, shape_signature, points)
_FEWEST_SEEN = 16


def cloud_variants(cloud: NDArray[np.float32], key: str) -> NDArray[np.float32]:
    """(VARIANTS, 2048, 6) of a cloud (2048, 6), fixed by `key`: itself; turned; turned, with noise and estimated
    normals; the same of what one sees from one side.
    """
    rng = Random(key)
    turned, scanned, one_sided = (_turned(cloud, rng) for _ in range(3))
    seen = facing(one_sided, rng)
    seen = seen if len(seen) >= _FEWEST_SEEN else one_sided[:, :3]
    return np.stack([
        cloud,
        turned,
        cloud_points(noisy(scanned[:, :3], rng, NOISE * rng.uniform(*_NOISES))),
        cloud_points(noisy(seen, rng, NOISE * rng.uniform(*_NOISES))),
    ])  # fmt: skip


def geometry_features(
    parts: Sequence[Part], store: Path, workers: int
) -> tuple[tuple[ShapeFeatures, ...], list[BrepFeatures]]:
    """Of n parts: the features of each variant of all clouds (in half precision), and of each B-rep, an empty
    one for a part that has none.

    Kept in `store`, one file a part; what earlier code computed there is left alone and computed anew.
    """
    folder = store / _code_sha256()
    jobs = [(part, folder / f"{part.key}.npz") for part in parts]
    missing = [job for job in jobs if not job[1].exists()]
    if missing:
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            for done, _ in enumerate(pool.imap_unordered(_compute, missing, chunksize=8), 1):
                if done % 500 == 0:
                    print(f"shapes {done}/{len(missing)}", flush=True)
    return _load([file for _, file in jobs])


def _code_sha256() -> str:
    """What tells apart the code that computes features, in twelve digits."""
    here = inspect.getsource(cloud_variants) + inspect.getsource(_compute)
    source = here + "".join(inspect.getsource(module) for module in _MADE_BY)
    return hashlib.sha256(source.encode()).hexdigest()[:12]


def _turned(cloud: NDArray[np.float32], rng: Random) -> NDArray[np.float32]:
    rotation = random_rotation(rng)
    return np.hstack([rotation.apply(cloud[:, :3]), rotation.apply(cloud[:, 3:])]).astype(np.float32)


@torch.inference_mode()
def _compute(job: tuple[Part, Path]) -> None:
    part, file = job
    torch.set_num_threads(1)
    record = load_record(part.folder, part.key)
    clouds = torch.from_numpy(cloud_variants(record.points, part.key))
    own, others = shape_features(clouds[:1]), shape_features(clouds[1:], first=1)
    joined = {name: torch.cat([getattr(own, name), getattr(others, name)]) for name in vars(own)}
    graph = vars(brep_features([record.brep or NO_FACES]))
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial.npz")
    arrays = {f"shape_{name}": _compact(tensor) for name, tensor in joined.items()}
    arrays |= {f"brep_{name}": _compact(tensor) for name, tensor in graph.items()}
    np.savez(partial, allow_pickle=False, **arrays)
    partial.rename(file)


def _compact(tensor: Tensor) -> NDArray[np.generic]:
    if tensor.is_floating_point():
        return tensor.half().numpy()
    fits = not tensor.numel() or int(tensor.max()) <= torch.iinfo(torch.int16).max
    return tensor.to(torch.int16 if fits else torch.int32).numpy()


def _load(files: Sequence[Path]) -> tuple[tuple[ShapeFeatures, ...], list[BrepFeatures]]:
    names = ShapeFeatures.__dataclass_fields__
    clouds: dict[str, list[Tensor]] = {name: [] for name in names}
    graphs = []
    for file in files:
        with np.load(file) as stored:
            for name, tensors in clouds.items():
                tensors.append(torch.from_numpy(stored[f"shape_{name}"]))
            graph = {name: torch.from_numpy(stored[f"brep_{name}"]) for name in BrepFeatures.__dataclass_fields__}
            graphs.append(BrepFeatures(**graph))
    stacked = {name: torch.stack(tensors) for name, tensors in clouds.items()}
    variants = tuple(
        ShapeFeatures(**{name: tensor[:, number] for name, tensor in stacked.items()}) for number in range(VARIANTS)
    )
    return variants, graphs
