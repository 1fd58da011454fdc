"""faiss: all vectors compared, HNSW with its defaults, and IVF. A filter is a bitmap, made for each question."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable

import faiss
import numpy as np
from drawn_parts import DrawnParts
from numpy.typing import NDArray

from contenders.contender import FIRST, Contender, Place, Setting

LINKS = 32  # what faiss's own examples take; the constructor has no default


class Faiss(Contender):
    """An index in memory, and a file of it."""

    packages = ("faiss-cpu",)

    def load(self, parts: DrawnParts) -> None:
        faiss.omp_set_num_threads(1)
        self._parts = parts
        np.save(self.place.folder / "masses.npy", parts.masses)

    def build(self) -> None:
        index = self._index(self._parts.vectors.shape[1])
        vectors = np.ascontiguousarray(self._parts.vectors)
        index.train(vectors)
        index.add(vectors)
        faiss.write_index(index, str(self.place.folder / "index"))

    def open(self) -> None:
        faiss.omp_set_num_threads(1)
        self._opened = faiss.read_index(str(self.place.folder / "index"))
        self._masses = np.load(self.place.folder / "masses.npy")

    def ask(self, question: NDArray[np.float32], share: float) -> Iterable[int]:
        selector = None
        if share < 1:
            bitmap = np.packbits(self._masses < share, bitorder="little")
            selector = faiss.IDSelectorBitmap(bitmap)
        _, found = self._opened.search(question[None], FIRST, params=self._parameters(selector))
        return [number for number in found[0].tolist() if number >= 0]

    @abstractmethod
    def _index(self, dim: int) -> faiss.Index:
        """An empty index."""

    @abstractmethod
    def _parameters(self, selector: faiss.IDSelector | None) -> faiss.SearchParameters:
        """What a search is told besides the question."""


class FaissFlat(Faiss):
    settings = ({},)

    def use(self, setting: Setting) -> None:
        pass

    def _index(self, dim: int) -> faiss.Index:
        return faiss.IndexFlatIP(dim)

    def _parameters(self, selector: faiss.IDSelector | None) -> faiss.SearchParameters:
        return faiss.SearchParameters(sel=selector)


class FaissHnsw(Faiss):
    settings = tuple({"efSearch": ef} for ef in (10, 20, 40, 80, 160, 320, 640))
    filtered_settings = ({"efSearch": 2560},)

    def use(self, setting: Setting) -> None:
        self._ef_search = setting["efSearch"]

    def _index(self, dim: int) -> faiss.Index:
        return faiss.IndexHNSWFlat(dim, LINKS, faiss.METRIC_INNER_PRODUCT)

    def _parameters(self, selector: faiss.IDSelector | None) -> faiss.SearchParameters:
        return faiss.SearchParametersHNSW(efSearch=self._ef_search, sel=selector)


class FaissIvf(Faiss):
    """Four times the root of the number of parts: the least that faiss's guidelines recommend."""

    settings = tuple({"nprobe": lists} for lists in (1, 2, 4, 8, 16, 32, 64))

    def use(self, setting: Setting) -> None:
        self._lists = setting["nprobe"]

    def _index(self, dim: int) -> faiss.Index:
        lists = int(4 * len(self._parts.vectors) ** 0.5)
        return faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)

    def _parameters(self, selector: faiss.IDSelector | None) -> faiss.SearchParameters:
        return faiss.SearchParametersIVF(nprobe=self._lists, sel=selector)


CONTENDERS: dict[str, Callable[[Place], Contender]] = {
    "faiss flat": FaissFlat,
    "faiss HNSW": FaissHnsw,
    "faiss IVF": FaissIvf,
}
