"""Geometry jobs that do what the file says, from `crash` to `stumble`; anything else is read as a part."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pgcad.errors import CadError
from pgcad.geometry.brep_graph import CURVE_POINTS, GRID, BrepGraph, pack_graph
from service_doubles.scripted import report

Answer = tuple[dict[str, Any], list[bytes]]
VIEW_PIXELS = bytes(range(48)) * 10
"""Ten views of 4 x 4 pixels, all the same."""


def misbehave(word: bytes) -> None:
    if word == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if word.startswith(b"crash once "):  # and leaves a mark, so that the next one lives
        mark = Path(word.removeprefix(b"crash once ").decode())
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGSEGV)
    if word == b"hang":
        time.sleep(3600)
    if word == b"slow":
        time.sleep(0.5)
    if word == b"eat":
        hoard = []
        while True:
            hoard.append(np.ones(1 << 20))
    if word == b"gulp":
        np.ones(1 << 36)
    if word == b"refuse":
        raise CadError("22023", "not a part", "Send a part.")
    if word == b"stumble":
        raise KeyError("a parser's own defect")


def analyse(header: Mapping[str, Any], payloads: Sequence[bytes]) -> Answer:
    misbehave(payloads[0])
    part = report({"name": payloads[0].decode(), **header["metadata"]})
    points, drawn = np.zeros((2048, 6), np.float32).tobytes(), [b"thumbnail", *[b"view"] * 10, VIEW_PIXELS]
    brep = pack_graph(graph_of_areas(1.0, 2.0)) if payloads[0] == b"with brep" else b""
    return {"report": {**part, "pid": os.getpid()}}, [b"mesh", points, b"silhouettes", *drawn, brep]


def graph_of_areas(*areas_mm2: float) -> BrepGraph:
    """Faces of these areas without form or neighbours."""
    n = len(areas_mm2)
    return BrepGraph(
        np.zeros(n, np.uint8),
        np.array(areas_mm2, np.float32),
        np.zeros(n, np.float32),
        np.zeros((n, 3), np.float32),
        np.zeros((n, GRID, GRID, 7), np.float32),
        np.zeros((0, 2), np.int32),
        np.zeros(0, np.uint8),
        np.zeros(0, np.float32),
        np.zeros((0, CURVE_POINTS, 3), np.float32),
    )


def shape_points(header: Mapping[str, Any], payloads: Sequence[bytes]) -> Answer:
    misbehave(payloads[0])
    return {}, [np.full((2048, 6), len(payloads[0]), np.float32).tobytes()]


def shape_brep(header: Mapping[str, Any], payloads: Sequence[bytes]) -> Answer:
    misbehave(payloads[0])
    return {}, [pack_graph(graph_of_areas(float(len(payloads[0])))), *shape_points(header, payloads)[1]]


def shape_views(header: Mapping[str, Any], payloads: Sequence[bytes]) -> Answer:
    misbehave(payloads[0])
    return {}, [VIEW_PIXELS]


def cloud_points(header: Mapping[str, Any], payloads: Sequence[bytes]) -> Answer:
    return {}, [np.full((2048, 6), len(payloads[0]), np.float32).tobytes()]


def fits(header: Mapping[str, Any], payloads: Sequence[bytes]) -> Answer:
    """1 for the same points, less the more they differ."""
    scan, *parts = (np.frombuffer(data, np.float32) for data in payloads)
    return {"fits": [1 / (1 + float(np.abs(scan - part).max())) for part in parts]}, []


def outline(header: Mapping[str, Any], payloads: Sequence[bytes]) -> Answer:
    """The picture `busy` has no plain background."""
    misbehave(payloads[0])
    return {}, [] if payloads[0] == b"busy" else [payloads[0]]


def overlaps(header: Mapping[str, Any], payloads: Sequence[bytes]) -> Answer:
    """The first byte of the silhouettes tells both."""
    return {"fits": [part[0] / 255 for part in payloads[1:]], "cameras": [[part[0]] for part in payloads[1:]]}, []


def refined_overlaps(header: Mapping[str, Any], payloads: Sequence[bytes]) -> Answer:
    """The camera and the points tell."""
    values = [float(np.frombuffer(points, np.float32)[0]) for points in payloads[1:]]
    return {"fits": [value + cameras[0] / 1000 for value, cameras in zip(values, header["cameras"], strict=True)]}, []


def decode_image(header: Mapping[str, Any], payloads: Sequence[bytes]) -> Answer:
    misbehave(payloads[0])
    if payloads[0] == b"view":
        return {"shape": [4, 4, 3]}, [VIEW_PIXELS[:48]]
    return {"shape": [1, len(payloads[0]), 1]}, [payloads[0]]


JOBS = {
    job.__name__: job
    for job in (
        *(analyse, shape_points, shape_brep, shape_views, cloud_points, decode_image),
        *(fits, outline, overlaps, refined_overlaps),
    )
}


class CountingJobs(dict[str, Any]):
    """The jobs, and how many payloads each call of one had."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, int]] = []
        for name, job in JOBS.items():
            self[name] = self._counted(name, job)

    def _counted(self, name: str, job: Any) -> Any:
        def run(header: Mapping[str, Any], payloads: Sequence[bytes]) -> Answer:
            self.calls.append((name, len(payloads)))
            answer: Answer = job(header, payloads)
            return answer

        return run


def warm() -> None:
    """Nothing to warm."""
