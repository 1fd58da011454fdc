"""What the frozen parts of the encoders say about each prepared part, computed once.

Training then touches only the projections and the shape network.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pgcad.corpus.parts import Part
from pgcad.corpus.records import VIEWS_PER_LOOK, load_record
from pgcad.encoders.image import EfficientNetLite0, normalised
from pgcad.encoders.precision import short_numbers
from pgcad.encoders.text import SentenceEncoder, TextFeatures, clean, with_terms
from pgcad.geometry.views import VIEWS

FEATURE_VIEWS = (*range(len(VIEWS)), *range(len(VIEWS), len(VIEWS) + 4 * VIEWS_PER_LOOK, VIEWS_PER_LOOK))
"""The canonical views and the first random one of each look."""
_TEXT_BATCH = 64
_CPU = torch.device("cpu")


def image_features(
    backbone: EfficientNetLite0, parts: Sequence[Part], store: Path, device: torch.device = _CPU
) -> NDArray[np.float16]:
    """Backbone features (n, FEATURE_VIEWS, 1280) of each prepared part; kept in `store`, one file a part."""
    started = time.monotonic()
    short = short_numbers(device)
    backbone = backbone.to(device)
    features = []
    for done, part in enumerate(parts):
        file = store / f"{part.key}.npy"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            views = load_record(part.folder, part.key).views()
            chosen = normalised([views[index] for index in FEATURE_VIEWS])
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=short):
                np.save(file, backbone(chosen.to(device)).half().cpu().numpy())
        features.append(np.load(file))
        if done % 500 == 499:
            print(f"pictures {done + 1}/{len(parts)}, {time.monotonic() - started:.0f} s", flush=True)
    return np.stack(features)


def text_features(texts: Sequence[str], store: Path, role: str = "query", device: torch.device = _CPU) -> TextFeatures:
    """Features of `texts`, read from the file `store` as far as it has them; the file then holds these too."""
    texts = [clean(text) for text in texts]
    encoder = SentenceEncoder(device)
    known = _load_sentences(store)
    missing = sorted(set(texts) - known.keys(), key=len)
    started = time.monotonic()
    for batch, start in enumerate(range(0, len(missing), _TEXT_BATCH)):
        lines = missing[start : start + _TEXT_BATCH]
        # As they will be read from the store, so that this run and a later one learn from the same numbers.
        vectors = encoder.sentences(lines, role).astype(np.float16).astype(np.float32)
        known.update(zip(lines, vectors, strict=True))
        if batch % 25 == 24:
            print(f"texts {start}/{len(missing)}, {time.monotonic() - started:.0f} s", flush=True)
            _save_sentences(store, known)
    if missing:
        _save_sentences(store, known)
    return with_terms(texts, torch.from_numpy(np.stack([known[text] for text in texts])))


def _load_sentences(store: Path) -> dict[str, NDArray[np.float32]]:
    if not store.exists():
        return {}
    with np.load(store) as stored:
        texts = stored["texts"].tobytes().decode().split("\n")
        return dict(zip(texts, stored["vectors"].astype(np.float32), strict=True))


def _save_sentences(store: Path, known: dict[str, NDArray[np.float32]]) -> None:
    if not known:
        return
    store.parent.mkdir(parents=True, exist_ok=True)
    partial = store.with_suffix(".partial.npz")
    np.savez(
        partial,
        texts=np.frombuffer("\n".join(known).encode(), np.uint8),
        vectors=np.stack(list(known.values())).astype(np.float16),
    )
    partial.replace(store)
