"""The jobs that worker processes run: raw bytes in, raw bytes out, no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pgcad.errors import CadError

Answer = tuple[dict[str, Any], list[bytes]]
IMAGE_SIDE = 1024  # pixels: twice what the encoder looks at, and never more than 3 MiB on the way to it
Job = Callable[[Mapping[str, Any], Sequence[bytes]], Answer]


def analyse(header: Mapping[str, Any], payloads: Sequence[bytes]) -> Answer:
    """Payload: a file. Answer: report; mesh, points, silhouettes, thumbnail, ten view PNGs, the ten views as one uint8
    array, and the packed B-rep, which is empty where the format has none.
    """
    from pgcad.geometry.analyse import analyse as read_part
    from pgcad.geometry.brep_graph import pack_graph

    part = read_part(payloads[0], header["format"], header["metadata"])
    points, brep = part.points.astype("<f4").tobytes(), pack_graph(part.brep) if part.brep else b""
    silhouettes = part.silhouettes.astype("<u4").tobytes()
    pictures = [part.thumbnail_png, *part.view_pngs, part.views.tobytes()]
    return {"report": part.report}, [part.mesh_glb, points, silhouettes, *pictures, brep]


def shape_points(header: Mapping[str, Any], payloads: Sequence[bytes]) -> Answer:
    """Payload: a file. Answer: float32 (2048, 6) points with normals, mm."""
    from pgcad.geometry.analyse import shape_points as sample

    return {}, [sample(payloads[0], header["format"]).astype("<f4").tobytes()]


def shape_brep(header: Mapping[str, Any], payloads: Sequence[bytes]) -> Answer:
    """Payload: a file. Answer: its packed B-rep, and its points as of `shape_points`. Raises CadError 22023 where the
    format has none.
    """
    from pgcad.geometry.brep_graph import pack_graph
    from pgcad.geometry.reading import read

    part = read(payloads[0], header["format"], with_brep=True)
    if part.brep is None:
        hint = 'Give a STEP file, or search another space: options {"space": "cad"} reads every format.'
        raise CadError("22023", f"a file of format {header['format']!r} has no boundary representation", hint)
    return {}, [pack_graph(part.brep), part.points.astype("<f4").tobytes()]


def shape_views(header: Mapping[str, Any], payloads: Sequence[bytes]) -> Answer:
    """Payload: a file. Answer: the ten views of the part as one uint8 array. Raises CadError 0A000 for a cloud."""
    from pgcad.geometry.reading import read
    from pgcad.geometry.views import render

    part = read(payloads[0], header["format"])
    if part.kind == "points":
        hint = "Search the space cad with it, or give a STEP file or a mesh."
        raise CadError("0A000", "this space knows shapes by their pictures, and a point cloud has no surface", hint)
    return {}, [render(part.shape).tobytes()]


def cloud_points(header: Mapping[str, Any], payloads: Sequence[bytes]) -> Answer:
    """Payload: a cloud, float32 (n, 3). Answer: float32 (2048, 6) points with normals."""
    from pgcad.geometry.analyse import cloud_points as resample

    if len(payloads[0]) % 12:
        raise CadError("22023", f"a cloud of {len(payloads[0]):,} bytes is not n × 3 float32 numbers", "Send x, y, z.")
    cloud = np.frombuffer(payloads[0], dtype="<f4").reshape(-1, 3)
    return {}, [resample(cloud).astype("<f4").tobytes()]


def fits(header: Mapping[str, Any], payloads: Sequence[bytes]) -> Answer:
    """Payloads: points (2048, 6) of a scan, then those of parts. Answer: how well each fits, 0 to 1."""
    from pgcad.geometry.registration import fits as registered

    scan, *parts = (np.frombuffer(data, "<f4").reshape(-1, 6) for data in payloads)
    return {"fits": registered(scan, parts).tolist()}, []


def outline(header: Mapping[str, Any], payloads: Sequence[bytes]) -> Answer:
    """Payload: a PNG or JPEG file. Answer: its packed outline, or nothing where the background is not plain."""
    from pgcad.geometry.images import decode_image as decode
    from pgcad.geometry.outlines import outline as traced

    found = traced(decode(payloads[0]))
    return {}, [] if found is None else [found.tobytes()]


def overlaps(header: Mapping[str, Any], payloads: Sequence[bytes]) -> Answer:
    """Payloads: a packed outline, then silhouettes of parts. Answer: how well each agrees, 0 to 1, and with its
    silhouettes from which cameras.
    """
    from pgcad.geometry.outlines import SIDE, Outline
    from pgcad.geometry.silhouettes import overlaps as compared

    parts = [np.frombuffer(data, "<u4").reshape(-1, SIDE) for data in payloads[1:]]
    fits, cameras = compared(Outline.frombytes(payloads[0]), parts)
    return {"fits": fits.tolist(), "cameras": cameras.tolist()}, []


def refined_overlaps(header: Mapping[str, Any], payloads: Sequence[bytes]) -> Answer:
    """Payloads: a packed outline, then points (2048, 6) of parts; the header has the cameras of each. Answer: how well
    each agrees, 0 to 1.
    """
    from pgcad.geometry.outlines import Outline
    from pgcad.geometry.silhouettes import refined_overlap

    asked = Outline.frombytes(payloads[0])
    parts = [np.frombuffer(data, "<f4").reshape(-1, 6) for data in payloads[1:]]
    pairs = zip(parts, header["cameras"], strict=True)
    return {"fits": [refined_overlap(asked, points, np.array(cameras)) for points, cameras in pairs]}, []


def decode_image(header: Mapping[str, Any], payloads: Sequence[bytes]) -> Answer:
    """Payload: a PNG or JPEG file. Answer: its shape (height, width, 3) and the uint8 pixels, scaled down to fit."""
    from PIL import Image

    from pgcad.geometry.images import decode_image as decode

    picture = Image.fromarray(decode(payloads[0]))
    picture.thumbnail((IMAGE_SIDE, IMAGE_SIDE))
    return {"shape": [picture.height, picture.width, 3]}, [picture.tobytes()]


def cluster(header: Mapping[str, Any], payloads: Sequence[bytes]) -> Answer:
    """Payload: points, float32 (n, width). Answer: their 256 centroids, float32 (256, width)."""
    from pgcad.index.product_quantizer import cluster as clustered

    return {}, [clustered(np.frombuffer(payloads[0], "<f4").reshape(-1, header["width"]), header["seed"]).tobytes()]


def quantize(header: Mapping[str, Any], payloads: Sequence[bytes]) -> Answer:
    """Payloads: centroids, float32 (subvectors, 256, width), and vectors, float32 (n, dim). Answer: the codes, uint8
    (n, subvectors).
    """
    from pgcad.index.product_quantizer import CENTROIDS, encode

    centroids = np.frombuffer(payloads[0], "<f4").reshape(header["subvectors"], CENTROIDS, -1)
    return {}, [encode(np.frombuffer(payloads[1], "<f4").reshape(-1, header["dim"]), centroids).tobytes()]


JOBS: dict[str, Job] = {
    job.__name__: job
    for job in (
        *(analyse, shape_points, shape_brep, shape_views, cloud_points, decode_image),
        *(fits, outline, overlaps, refined_overlaps),
        *(cluster, quantize),
    )
}

# A tetrahedron: enough to import every library, open the renderer and draw once.
WARM_UP = b"OFF\n4 4 0\n0 0 0\n9 0 0\n0 9 0\n0 0 9\n3 0 2 1\n3 0 1 3\n3 1 2 3\n3 0 3 2\n"


def warm() -> None:
    """Import the geometry libraries and render once, so that the first job pays for neither."""
    analyse({"format": "off", "metadata": {}}, [WARM_UP])
