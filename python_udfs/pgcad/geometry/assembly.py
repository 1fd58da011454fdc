"""The assembly tree and the names as far as they are reported: an answer of the service holds a megabyte of them."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from typing import Any

MAX_TREE_BYTES = 512 * 2**10
MAX_NAMES_BYTES = 128 * 2**10


def cut_tree(tree: Sequence[dict[str, Any]], limit_bytes: int = MAX_TREE_BYTES) -> tuple[list[dict[str, Any]], int]:
    """The products of a tree (`StepModel.tree`), level by level from the top, as far as they fit; and their number.

    Bytes are those of the products as JSON.
    """
    top: dict[str, Any] = {"children": []}
    waiting = deque((entry, top) for entry in tree)
    kept = 0
    while waiting:
        entry, parent = waiting.popleft()
        product = {key: value for key, value in entry.items() if key != "children"}
        limit_bytes -= _json_bytes(product)
        if limit_bytes < 0:
            break
        parent.setdefault("children", []).append(product)
        kept += 1
        waiting.extend((child, product) for child in entry.get("children", ()))
    return top["children"], kept


def tree_size(tree: Sequence[dict[str, Any]]) -> int:
    """Products of a whole tree."""
    size, waiting = 0, list(tree)
    while waiting:
        size += 1
        waiting += waiting.pop().get("children", ())
    return size


def cut_names(names: Sequence[str], limit_bytes: int = MAX_NAMES_BYTES) -> list[str]:
    """The first of the names, as far as they fit."""
    kept = []
    for name in names:
        limit_bytes -= _json_bytes(name)
        if limit_bytes < 0:
            break
        kept.append(name)
    return kept


def _json_bytes(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")) + len(', "children": []')
