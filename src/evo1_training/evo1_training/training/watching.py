"""What people see of a run (bar, metrics.jsonl, TensorBoard, W&B), and how they end it.

Must not import ROS.
"""

import importlib
import importlib.util
import json
import math
import signal
import sys
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn

from tqdm import tqdm

from evo1_policy.command_line import printable
from evo1_policy.untrusted import parse_json, read_text
from evo1_training.training.config_values import TrainConfigError
from evo1_training.training.run_folder import IDENTITY, METRICS
from evo1_training.training.train_config import WatchingConfig

_MOST_SAID = 4000  # characters of a line
_MOST_READ = 64 << 20  # bytes of numbers at a time
_BAR = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


class DecodingBar:
    """Frames as they enter the frame cache; silent where nothing has to be decoded."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._bar: tqdm[NoReturn] | None = None

    def __call__(self, what: str, frames: int, of: int) -> None:
        """So many more frames are there; `what` names the camera and the size it will have."""
        if self._enabled:
            if self._bar is None:
                title = f"decoding {printable(what)}, once"
                self._bar = tqdm(total=of, desc=title, unit="frame", mininterval=1.0)
            self._bar.update(frames)
            if self._bar.n >= of:
                self.close()

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Watcher:
    """Writes on the main process; the other ones have a silent one."""

    def __init__(
        self,
        folder: Path,
        config: WatchingConfig,
        *,
        title: str,
        steps: int,
        start: int,
        choices: dict[str, Any],
        enabled: bool = True,
    ) -> None:
        """Open everything.

        Args:
            folder: of the stage.
            config: what to write.
            title: before the bar.
            steps: of the stage in all.
            start: steps that are done already.
            choices: the whole config, for Weights & Biases.
            enabled: False is silent.
        """
        self._enabled = enabled
        self._folder = folder
        self._metrics = (folder / METRICS).open("a", encoding="utf-8") if enabled else None
        terminal = sys.stderr.isatty()
        self._bar = tqdm(
            desc=printable(title),
            total=steps,
            initial=start,
            bar_format=_BAR,
            disable=not enabled,
            mininterval=0.2 if terminal else 30.0,
            dynamic_ncols=terminal,
        )
        self._tensorboard = (
            self._open_tensorboard(start) if enabled and config.tensorboard else None
        )
        self._wandb = (
            self._open_wandb(choices, config.wandb_project) if enabled and config.wandb else None
        )

    def say(self, text: str) -> None:
        """A line above the bar."""
        if self._enabled:
            self._bar.write(printable(text, _MOST_SAID), file=sys.stderr)

    def step(self, loss: float, lr: float, samples_per_s: float) -> None:
        """One more step is done."""
        self._bar.set_postfix_str(
            f"loss {loss:.4f}, lr {lr:.1e}, {samples_per_s:.1f} samples/s", refresh=False
        )
        self._bar.update()

    def record(self, step: int, values: dict[str, Any]) -> None:
        """Numbers of a step; lists go into metrics.jsonl only."""
        if self._metrics is None:
            return
        self._metrics.write(json.dumps({"step": step, **values}) + "\n")
        self._metrics.flush()
        scalars = {name: value for name, value in values.items() if isinstance(value, int | float)}
        if self._tensorboard is not None:
            for name, value in scalars.items():
                self._tensorboard.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(scalars, step=step)

    def close(self) -> None:
        """Flush and close everything."""
        self._bar.close()
        if self._metrics is not None:
            self._metrics.close()
        if self._tensorboard is not None:
            self._tensorboard.close()
        if self._wandb is not None:
            self._wandb.finish()

    def _open_tensorboard(self, start: int) -> Any:
        if importlib.util.find_spec("tensorboard") is None:
            self.say(
                "TensorBoard is not installed, the numbers are in metrics.jsonl only; to see "
                "curves: pip install tensorboard (or be quiet: watching.tensorboard=false)"
            )
            return None
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(self._folder / "tensorboard", purge_step=start + 1 if start else None)

    def _open_wandb(self, choices: dict[str, Any], place: str) -> Any:
        if importlib.util.find_spec("wandb") is None:
            raise TrainConfigError(
                "watching.wandb: Weights & Biases is not installed; pip install wandb, or leave "
                "--wandb out: the numbers are in metrics.jsonl and TensorBoard, too"
            )
        wandb = importlib.import_module("wandb")
        identity = read_text(self._folder / IDENTITY, what="id of the run", max_bytes=100)
        entity, _, project = place.rpartition("/")
        return wandb.init(
            project=project,
            entity=entity or None,
            id=identity.strip(),
            name="-".join(self._folder.parts[-2:]),
            dir=str(self._folder),
            config=choices,
            resume="allow",
        )


def read_numbers(path: Path, *, after: int = 0) -> tuple[list[dict[str, float]], int]:
    """What Watcher.record wrote, while it goes on writing.

    Args:
        path: of metrics.jsonl.
        after: bytes of it that are known; where the file is shorter now, all of it is read.

    Returns:
        The finite numbers of each whole line, 'step' among them, and the `after` to go on with.
    """
    if not path.is_file():
        return [], 0
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(after if 0 <= after <= size else 0)
        begin = file.tell()
        data = file.read(_MOST_READ)
    end = data.rfind(b"\n") + 1  # the last line may be half there
    rows = []
    for line in data[:end].splitlines():
        try:
            row = parse_json(line.decode(), source=str(path))
            numbers = {k: float(v) for k, v in row.items() if isinstance(v, int | float)}
        except (ValueError, AttributeError):
            continue  # torn by a kill, or the rest of a line
        if "step" in numbers:
            rows.append({k: v for k, v in numbers.items() if math.isfinite(v)})
    return rows, begin + end


class Interrupted(Exception):  # noqa: N818  no error
    """A signal came while something ran that need not be finished."""


class Interruption:
    """SIGTERM and Ctrl-C as a wish that training fulfils between two steps.

    Within its block the first signal is remembered; a second Ctrl-C ends at once.
    """

    def __init__(self) -> None:
        self.signal_name = ""
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interruption":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raise where a signal came.

        Raises:
            Interrupted: one did.
        """
        if self.signal_name:
            raise Interrupted(self.signal_name)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal_name and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_name = signal.Signals(number).name
