"""hnswlib with its defaults (M 16, ef_construction 200). A filter is a function, called for each part it meets."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import hnswlib
import numpy as np
from drawn_parts import DrawnParts
from numpy.typing import NDArray

from contenders.contender import FIRST, Contender, Place, Setting


class Hnswlib(Contender):
    """An index in memory, and a file of it."""

    packages = ("hnswlib",)
    settings = tuple({"ef": ef} for ef in (10, 20, 40, 80, 160, 320, 640))
    filtered_settings = ({"ef": 2560},)

    def load(self, parts: DrawnParts) -> None:
        self._parts = parts
        np.save(self.place.folder / "masses.npy", parts.masses)

    def build(self) -> None:
        index = hnswlib.Index(space="ip", dim=self._parts.vectors.shape[1])
        index.init_index(max_elements=len(self._parts.vectors))
        index.add_items(self._parts.vectors, num_threads=1)
        index.save_index(str(self.place.folder / "index"))

    def open(self) -> None:
        self._masses = np.load(self.place.folder / "masses.npy")
        self._opened = hnswlib.Index(space="ip", dim=512)
        self._opened.load_index(str(self.place.folder / "index"))
        self._opened.set_num_threads(1)

    def use(self, setting: Setting) -> None:
        self._opened.set_ef(setting["ef"])

    def ask(self, question: NDArray[np.float32], share: float) -> Iterable[int]:
        matching = None
        if share < 1:
            matching = (self._masses < share).tolist().__getitem__
        try:
            found, _ = self._opened.knn_query(question, k=FIRST, filter=matching)
        except RuntimeError as error:
            if "contiguous 2D array" not in str(error):
                raise
            return []  # it met fewer than it was to find, and then tells none of them
        return found[0].tolist()


CONTENDERS: dict[str, Callable[[Place], Contender]] = {"hnswlib": Hnswlib}
