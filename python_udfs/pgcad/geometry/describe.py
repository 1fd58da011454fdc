"""Descriptions made from the geometry, in English and Chinese: only what was measured."""

from __future__ import annotations
