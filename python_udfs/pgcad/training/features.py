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

from pgcad.encoders.image import EfficientNetLite0, normalised
from pgcad.encoders.text import SentenceEncoder, TextFeatures, clean, with_terms
from pgcad.training.dataset import load_record, record_file

_TEXT_BATCH = 64


def image_file(folder: Path, key: str) -> Path:
    return folder / f"{key}.views.npy"


def prepare_images(keys: Sequence[str], folder: Path) -> None:
    """Write the backbone features (views, 1280) float16 of each prepared part that lacks them; resumable.

    The backbone runs in bfloat16 here: twice as fast, cosine to full precision above 0.999.
    """
    backbone = EfficientNetLite0.pretrained().bfloat16()
    todo = [key for key in keys if not image_file(folder, key).exists() and record_file(folder, key).exists()]
    started = time.monotonic()
    for done, key in enumerate(todo):
        with torch.inference_mode():
            views = backbone(normalised(load_record(folder, key).views()).bfloat16()).half().numpy()
        partial = folder / f"{key}.views.partial.npy"
        np.save(partial, views)
        partial.rename(image_file(folder, key))
        if done % 100 == 99:
            rate = (done + 1) / (time.monotonic() - started)
            print(f"pictures {done + 1}/{len(todo)}, {(len(todo) - done) / rate / 60:.0f} min left", flush=True)


def load_images(keys: Sequence[str], folder: Path) -> NDArray[np.float16]:
    """(n, views, 1280) of prepared parts."""
    return np.stack([np.load(image_file(folder, key)) for key in keys])


def text_features(texts: Sequence[str], store: Path, role: str = "query") -> TextFeatures:
    """Features of `texts`, read from the file `store` as far as it has them; the file then holds these too."""
    texts = [clean(text) for text in texts]
    encoder = SentenceEncoder()
    known = _load_sentences(store)
    missing = sorted(set(texts) - known.keys(), key=len)
    started = time.monotonic()
    for batch, start in enumerate(range(0, len(missing), _TEXT_BATCH)):
        lines = missing[start : start + _TEXT_BATCH]
        known.update(zip(lines, encoder.sentences(lines, role), strict=True))
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
