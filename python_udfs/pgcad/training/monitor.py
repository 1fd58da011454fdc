"""What a training tells while it goes on: a bar with the time left, a line for each validation, TensorBoard's logs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from types import TracebackType
from typing import TYPE_CHECKING

import torch
from pgcad_load.display import console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor

from pgcad.errors import CadError
from pgcad.training.validation import Validation

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_SPEED_PERIOD_S = 60.0


class Monitor:
    """Shows progress on the terminal between `__enter__` and `__exit__`; `logs`: folder of the logs, if any.

    `losses` holds the sum of the losses of each step that was seen. Raises CadError 55000 where logs are wanted and the
    package tensorboard is missing.
    """

    def __init__(self, logs: Path | None = None) -> None:
        self.losses: list[float] = []
        self._told = 0
        self._logs = _writer(logs) if logs else None
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}"),
            TimeRemainingColumn(),
            console=console,
            speed_estimate_period=_SPEED_PERIOD_S,
        )
        self._bar_of: dict[str, TaskID] = {}
        self._bar: TaskID | None = None

    def __enter__(self) -> Monitor:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        self._bars.stop()
        if self._logs:
            self._logs.close()

    def phase(self, name: str, steps: int, done: int) -> None:
        """The steps to come belong to the phase `name`, which has `steps` in all, `done` of them already."""
        if name not in self._bar_of:
            self._bar_of[name] = self._bars.add_task(name, total=steps, completed=done, loss=0.0)
        self._bar = self._bar_of[name]

    def step(self, step: int, losses: Mapping[str, Tensor], rate: float, log_scale: Tensor) -> None:
        """Step number `step` is done, with these losses of pairs of modalities, this learning rate and temperature."""
        values = torch.stack([loss.detach() for loss in losses.values()]).tolist()  # one wait for the device
        self.losses.append(sum(values))
        if self._bar is not None:
            self._bars.update(self._bar, advance=1, loss=self.losses[-1])
        if self._logs:
            for name, value in zip(losses, values, strict=True):
                self._logs.add_scalar(f"loss/{name}", value, step)
            self._logs.add_scalar("loss/all", self.losses[-1], step)
            self._logs.add_scalar("learning rate", rate, step)
            self._logs.add_scalar("temperature", (-log_scale.detach()).exp().item(), step)

    def validated(self, epoch: int, found: Validation, best: Validation, fusion: Mapping[str, float]) -> None:
        """After `epoch` epochs validation gives `found`; `best` is the best so far."""
        since, self._told = self.losses[self._told :], len(self.losses)
        loss = f"loss {fmean(since):.3f}, " if since else ""
        weights = ", ".join(f"{name} {weight:g}" for name, weight in fusion.items())
        figures = ", ".join(f"{name} {figure:.3f}" for name, figure in found.figures().items())
        line = f"after epoch {epoch}: {loss}{figures} (best score {best.score:.3f}); fusion {weights}"
        console.print(line, soft_wrap=True)
        if self._logs:
            for name, figure in found.figures().items():
                self._logs.add_scalar(f"validation/{name}", figure, epoch)


def _writer(folder: Path) -> SummaryWriter:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise CadError(
            "55000", "--logs needs the package tensorboard", "pip install 'pgcad[train]', or leave out --logs."
        ) from error
    return SummaryWriter(str(folder))
