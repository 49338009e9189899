"""How often cameras that run freely give an observation: by rates, phases, jitter and their count.

No time passes: stamps are drawn, and the alignment of the live node and of converting is asked.
Beside it the rule before: largest minus smallest stamp within max_skew_ms, whatever the rates.
"""

import sys

import numpy as np
from figures import bench_parser

from evo1_policy.perception.alignment import Aligned, align

MAX_SKEW_NS = 17_000_000  # of every robot file that ships
SECONDS, PHASES = 4.0, 40
LOADS = (
    ((30, 30), 0),
    ((30, 30), 3),
    ((30, 30, 30), 3),
    ((20, 20), 0),
    ((20, 20), 3),
    ((20, 20, 20), 3),
    ((15, 15), 0),
    ((15, 15), 3),
    ((15, 15, 15), 3),
    ((15, 60), 3),
    ((60, 15), 3),
    ((30, 15, 60), 3),
    ((10, 10), 3),
)


def main() -> int:
    """Print the table; there is nothing to measure, so no figure goes into the file."""
    phases = 4 if bench_parser(__doc__, quick="a few phases").parse_args().quick else PHASES
    rng = np.random.default_rng(0)
    print("| cameras [Hz] | jitter | usable before | worst phases | usable now | worst phases |")
    print("|---|---|---|---|---|---|")
    for rates, jitter_ms in LOADS:
        shares = np.array([_shares(rates, jitter_ms, rng) for _ in range(phases)])  # (P, 2)
        cells = [f"{x:.0%}" for k in (0, 1) for x in (shares[:, k].mean(), shares[:, k].min())]
        names = ", ".join(map(str, rates))
        print(f"| {names} | {jitter_ms} ms | {' | '.join(cells)} |")
    return 0


def _shares(rates: tuple[int, ...], jitter_ms: int, rng: np.random.Generator) -> list[float]:
    """Share of ticks that gave an observation, before and now, for phases drawn once."""
    cameras = []
    for rate in rates:
        times_s = (np.arange(SECONDS * rate) + rng.random()) / rate
        times_s += rng.uniform(-jitter_ms, jitter_ms, len(times_s)) / 1e3
        cameras.append(np.sort((1e9 * (1 + times_s)).astype(np.int64)))
    ticks = [int(t) for t in cameras[0] if 2e9 < t < min(c[-1] for c in cameras)]
    found = [
        align(
            tick_ns,
            cameras,
            [tick_ns],
            [np.zeros(1)],
            max_skew_ns=MAX_SKEW_NS,
            max_joint_age_ns=100_000_000,
        )
        for tick_ns in ticks
    ]
    before = [_spread(tick_ns, cameras) <= MAX_SKEW_NS for tick_ns in ticks]
    return [float(np.mean(before)), float(np.mean([isinstance(one, Aligned) for one in found]))]


def _spread(tick_ns: int, cameras: list[np.ndarray]) -> int:
    used = [int(stamps[np.argmin(np.abs(stamps - tick_ns))]) for stamps in cameras]
    return max(used) - min(used)


if __name__ == "__main__":
    sys.exit(main())
