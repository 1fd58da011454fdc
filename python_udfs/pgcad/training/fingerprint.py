"""What tells one training from another."""

from __future__ import annotations

import hashlib
import json


def fingerprint(*told: object) -> str:
    """What tells apart what a training depends on: data, options, starting weights; anything that JSON can write."""
    return hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
