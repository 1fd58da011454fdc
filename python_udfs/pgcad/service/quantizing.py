"""Codebooks learned from the vectors of a database, and the codes of its vectors by them; in workers, not in the front.

Vectors come as the database keeps them: float16, big-endian.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from pgcad.errors import CadError
from pgcad.index.product_quantizer import CENTROIDS, Matrix, deal
from pgcad.service.desk import Answer, Desk, Payloads

LONGEST = 4000
"""Dimensions, as many as a space may have."""


async def train_codebook(header: dict[str, Any], payloads: Payloads, desk: Desk) -> Answer:
    """Payload: a sample of vectors. Answer: the 256 centroids of each subvector, one after the other."""
    subvectors, seed = _whole(header, "subvectors", LONGEST), _whole(header, "seed", 2**31 - 1)
    dim = _whole(header, "dim", LONGEST)
    if len(payloads) != 1:
        raise CadError("22023", "train_codebook takes one sample of vectors")
    sample = _vectors(payloads[0], dim)
    if len(sample) < CENTROIDS:
        raise CadError("22023", f"{len(sample)} vectors cannot have {CENTROIDS} centroids", "Send a larger sample.")
    dealt = deal(sample, subvectors)
    width = dealt.shape[2]
    jobs = [({"width": width, "seed": seed + number}, [part.tobytes()]) for number, part in enumerate(dealt)]
    answers = await desk.backend.geometry("cluster", jobs)
    return {"n": CENTROIDS * subvectors, "dim": width}, [b"".join(body for _, [body] in answers)]


async def encode_vectors(header: dict[str, Any], payloads: Payloads, desk: Desk) -> Answer:
    """Payloads: centroids, subvector after subvector, and vectors. Answer: the codes, one vector after the other."""
    subvectors, dim = _whole(header, "subvectors", LONGEST), _whole(header, "dim", LONGEST)
    if len(payloads) != 2:
        raise CadError("22023", "encode_vectors takes centroids and vectors")
    centroids, vectors = _vectors(payloads[0], -(-dim // subvectors)), _vectors(payloads[1], dim)
    if len(centroids) != CENTROIDS * subvectors:
        raise CadError("22023", f"{len(centroids)} centroids are not {CENTROIDS} of each of {subvectors} subvectors")
    sizes = {"subvectors": subvectors, "dim": dim}
    [(_, [codes])] = await desk.backend.geometry("quantize", [(sizes, [centroids.tobytes(), vectors.tobytes()])])
    return {"n": len(vectors), "codes": base64.b64encode(codes).decode()}, []


def _whole(header: dict[str, Any], key: str, most: int) -> int:
    value = header.get(key)
    if type(value) is not int or not 1 <= value <= most:
        raise CadError("22023", f"{key} must be a whole number from 1 to {most}, not {value!r}")
    return value


def _vectors(payload: bytes, dim: int) -> Matrix:
    if len(payload) % (2 * dim):
        raise CadError("22023", f"a payload of {len(payload):,} bytes is not float16 (n, {dim})")
    matrix = np.frombuffer(payload, ">f2").astype(np.float32).reshape(-1, dim)
    if not np.isfinite(matrix).all():
        raise CadError(
            "22000", "the vectors hold numbers that are not finite", "Make them anew: call cad.reembed(space)."
        )
    return matrix
