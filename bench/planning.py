"""What it costs to turn one chunk of the policy into a checked trajectory; and poses into joints.

Plans chunks one after the other as the policy node does (splice, limits, safety check), with the
caches emptied in between, as inference does: smooth ones within the limits, and rough ones that
the limits slow down and bend; then rough ones once more, checked against collisions, and with the
tool's speed bounded too. Last, the inverse kinematics of a chunk of end-effector deltas.
"""

import time
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from figures import ROBOTS, bench_parser, merge_figures

from evo1_policy.action_chunk import ActionChunk, ToolError
from evo1_policy.control.chunks import Accepted, Chunks
from evo1_policy.control.motion import Motion
from evo1_policy.control.signals import LoopSettings
from evo1_policy.kinematics.end_effector import KNOWN
from evo1_policy.kinematics.inverse import ToolSpace
from evo1_policy.observation import JointSample
from evo1_policy.robot_config import RobotConfig, load_robot

HORIZON = 50
REDUCED_M_S = 0.25  # what ISO 10218 calls reduced speed
BETWEEN_CHUNKS_NS = 800_000_000
LEAD_NS = 140_000_000  # from asking for a chunk until it takes over
START_NS = 1_000_000_000_000


def main() -> int:
    """Measure both kinds of chunks, print the table, write the figures."""
    parser = bench_parser(__doc__, quick="10 chunks each")
    parser.add_argument("--robot", default="xarm6", choices=("xarm6", "so100"))
    arguments = parser.parse_args()
    robot = load_robot(ROBOTS / f"{arguments.robot}.yaml")
    count = 10 if arguments.quick else 100
    figures: dict[str, float] = {}
    print(f"{'chunks':<17}{'p50':>9}{'p95':>9}{'stretch':>10}{'points':>8}")
    free = replace(robot, safety=replace(robot.safety, collision=None))
    assert robot.safety.collision is not None
    slow = replace(robot.safety.collision, tool_speed=REDUCED_M_S)
    kinds = (
        ("smooth", free, 0.0),
        ("rough", free, 0.02),
        ("with_collision", robot, 0.02),
        ("with_tool_speed", replace(robot, safety=replace(robot.safety, collision=slow)), 0.02),
    )
    for kind, checked, noise_rad in kinds:
        times_ms, last = _measure(checked, count, noise_rad)
        p50, p95 = np.percentile(times_ms, [50, 95])
        points = len(last.command.trajectory.positions)
        print(
            f"{kind:<17}{p50:>6.1f} ms{p95:>6.1f} ms{last.seam.stretch:>10.2f}{points:>8}",
            flush=True,
        )
        figures[f"planning.{kind}_ms_p50"] = p50
        figures[f"planning.{kind}_ms_p95"] = p95
    times_ms, error = _solve(robot, count)
    p50, p95 = np.percentile(times_ms, [50, 95])
    off = f"{1e3 * error.position_m:.4f} mm, {1e3 * error.rotation_rad:.4f} mrad off at most"
    print(f"{'deltas':<10}{p50:>6.1f} ms{p95:>6.1f} ms  of CPU: inverse kinematics, {off}")
    figures["planning.deltas_ms_p50"], figures["planning.deltas_ms_p95"] = p50, p95
    merge_figures(arguments.json, figures)
    return 0


def _solve(robot: RobotConfig, count: int) -> tuple[list[float], ToolError]:
    """Chunks of LIBERO's deltas, each from another state, and the last one's error."""
    space = ToolSpace(KNOWN["libero"], robot)
    rng, home = np.random.default_rng(0), np.array(robot.home)
    phase, seconds = np.arange(robot.width), np.arange(1, HORIZON + 1)[:, None] / robot.rate_hz
    times_ms: list[float] = []
    for _ in range(count + 1):
        begin = rng.uniform(0.0, 2.0 * np.pi)
        path = home + 0.3 * (np.sin(2.0 * seconds + phase + begin) - np.sin(phase + begin))
        numbers = space.numbers(np.clip(path, robot.position_min, robot.position_max), home)
        start = time.process_time()  # what else runs on the machine does not count
        _, error = space.joints(numbers, home)
        times_ms.append((time.process_time() - start) * 1e3)
    return times_ms[1:], error  # the first imports the solver


def _measure(robot: RobotConfig, count: int, noise_rad: float) -> tuple[list[float], Accepted]:
    motion = Motion(robot)
    chunks = Chunks(robot, LoopSettings(), motion, HORIZON)
    middle = (robot.position_min + robot.position_max) / 2.0
    middle = middle + 0.3 * (np.array(robot.home) - middle)
    now_ns, position = START_NS, middle
    times_ms: list[float] = []
    rng = np.random.default_rng(0)
    while True:
        noise = noise_rad * rng.standard_normal((HORIZON, robot.width))
        chunk = _chunk(robot, middle, noise, now_ns)
        measured = JointSample(positions=position, stamp_ns=now_ns)
        for earlier_ns in (100_000_000, 0):  # until it is sure where the arm is
            motion.look(replace(measured, stamp_ns=now_ns - earlier_ns), None, now_ns)
        _empty_caches()
        start = time.perf_counter()
        verdict = chunks.execute(chunk, measured, now_ns, lead_ns=LEAD_NS)
        times_ms.append((time.perf_counter() - start) * 1e3)
        if not isinstance(verdict, Accepted):
            raise SystemExit(f"a chunk was refused: {verdict.message}")
        if len(times_ms) == count:
            return times_ms, verdict
        now_ns += BETWEEN_CHUNKS_NS
        position = verdict.command.trajectory.sample(now_ns)[0]


def _chunk(
    robot: RobotConfig,
    middle: npt.NDArray[np.float64],
    noise: npt.NDArray[np.float64],
    now_ns: int,
) -> ActionChunk:
    """A slow sway of every joint, begun at START_NS, and noise (H, D) [rad] on every action."""
    times_s = (now_ns - START_NS) / 1e9 + np.arange(HORIZON)[:, np.newaxis] / robot.rate_hz
    sway = 0.1 * np.sin(times_s * np.linspace(0.3, 0.9, robot.width)) * (1.0 - np.exp(-times_s))
    return ActionChunk(
        actions=middle + sway + noise,
        start_ns=now_ns,
        step_ns=robot.step_ns,
        observation_stamp_ns=now_ns - robot.step_ns,
        instruction="sway",
    )


def _empty_caches() -> None:
    np.random.default_rng(0).random(4_000_000).sum()


if __name__ == "__main__":
    raise SystemExit(main())
