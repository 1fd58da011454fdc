"""pgcad: what the database's functions call. See docs/design.md."""

__version__ = "0.1.0"
