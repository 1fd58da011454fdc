"""The one error type that crosses rooms: geometry and encoders raise it, the service sends it, SQL shows it."""

from __future__ import annotations


class CadError(Exception):
    """A failure the user can act on.

    `sqlstate` is a standard five-character code, `message` says what was wrong and `hint` what to do next.
    """

    def __init__(self, sqlstate: str, message: str, hint: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.message = message
        self.hint = hint
        self.detail = detail

    def __reduce__(self) -> tuple[type[CadError], tuple[str, str, str, str]]:
        return type(self), (self.sqlstate, self.message, self.hint, self.detail)
