"""Whether what a process holds grows: samples over time, slopes, a table and a plot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

METRICS = {"rss_mb": "memory [MB]", "threads": "threads", "fds": "files", "shm": "shared memory"}
WARM_UP_S = 300.0
WARM_UP_FRACTION = 0.2  # of a run that is too short for that
FLAT_MB = 10.0  # a rise below is noise: caches, and pages that the kernel takes and gives
FLAT_COUNT = 1.0
JUDGED_S = 1200.0  # a shorter stretch after warm-up tells nothing: a slope of it is noise


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What one process holds at one time.

    Attributes:
        time_s: since the start of the run.
        rss_mb: resident memory.
        threads: of the process.
        fds: open file descriptors.
        shm: shared-memory segments that it has mapped or open.
    """

    time_s: float
    rss_mb: float
    threads: int
    fds: int
    shm: int


@dataclass(frozen=True, kw_only=True)
class Trend:
    """How one metric of one process went after the warm-up.

    Attributes:
        first: its fitted value there.
        last: its fitted value at the end.
        per_hour: slope by least squares.
        limit: a rise beyond it counts as growth.
    """

    first: float
    last: float
    per_hour: float
    limit: float

    @property
    def grows(self) -> bool:
        """Whether it rose by more than noise."""
        return self.last - self.first > self.limit


def warm_up_s(seconds: float) -> float:
    """How much of a run does not count [s]."""
    return WARM_UP_S if 0.5 * seconds > WARM_UP_S else WARM_UP_FRACTION * seconds


def trend(samples: Sequence[Sample], metric: str) -> Trend:
    """Fit a line to a metric after the warm-up.

    Args:
        samples: in order of time.
        metric: a key of METRICS.

    Raises:
        ValueError: fewer than two samples after the warm-up.
    """
    times = np.array([one.time_s for one in samples])
    values = np.array([getattr(one, metric) for one in samples], np.float64)
    kept = times >= warm_up_s(float(times[-1])) if len(times) else np.zeros(0, bool)
    if kept.sum() < 2:
        raise ValueError(f"{metric}: {int(kept.sum())} samples after warm-up; a line needs 2")
    slope, offset = np.polyfit(times[kept], values[kept], 1)
    ends = times[kept][[0, -1]]
    return Trend(
        first=float(offset + slope * ends[0]),
        last=float(offset + slope * ends[1]),
        per_hour=float(slope * 3600),
        limit=FLAT_MB if metric == "rss_mb" else FLAT_COUNT,
    )


def trends(runs: Mapping[str, Sequence[Sample]]) -> dict[str, dict[str, Trend]]:
    """Trend of every metric of every process."""
    return {name: {key: trend(samples, key) for key in METRICS} for name, samples in runs.items()}


def table(found: Mapping[str, Mapping[str, Trend]]) -> str:
    """One line a process: each metric after the warm-up, at the end, and its growth an hour."""
    head = "".join(f"{title:>32}" for title in METRICS.values())
    lines = [f"{'process':<24}{head}", f"{'':<24}" + f"{'from':>10}{'to':>9}{'an hour':>13}" * 4]
    for name, metrics in found.items():
        cells = ""
        for one in metrics.values():
            mark = "!" if one.grows else " "
            cells += f"{one.first:>10.1f}{one.last:>9.1f}{one.per_hour:>+12.1f}{mark}"
        lines.append(f"{name:<24}{cells}")
    return "\n".join(lines)


def plot(runs: Mapping[str, Sequence[Sample]], path: Path, title: str) -> None:
    """One panel a metric, one line a process, the warm-up in grey."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(METRICS), 1, figsize=(10, 11), sharex=True)
    end_s = max(samples[-1].time_s for samples in runs.values())
    for axis, (key, label) in zip(axes, METRICS.items(), strict=True):
        axis.axvspan(0, warm_up_s(end_s) / 60, color="0.93", linewidth=0)
        for name, samples in runs.items():
            minutes = [one.time_s / 60 for one in samples]
            axis.plot(minutes, [getattr(one, key) for one in samples], label=name)
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
        axis.set_ylim(bottom=0)
    axes[0].legend(fontsize=8, ncols=4, loc="lower right")
    axes[0].set_title(title)
    axes[-1].set_xlabel("time [min]")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
