"""The four execution modes side by side, with 20 to 400 ms of inference latency and jitter.

Each trial runs the policy loop in the simulated cell on a simulated clock. Without --checkpoint
the chunks are the scripted expert's plan from where the arm is, each with an offset of its own
that grows along the chunk: chunks that disagree, as a policy's do. In mode rtc these stand-in
chunks take what was sent as given, weight by weight; what a real policy makes of its guidance
shows only with --checkpoint. Jerk and velocity steps are of what was commanded, at every control
period.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from figures import ROBOTS, ROOT, bench_parser, merge_figures

from evo1_policy.action_chunk import ActionChunk, Guidance
from evo1_policy.control.signals import ExecutionMode, LoopSettings
from evo1_policy.observation import Observation
from evo1_policy.policy import Policy
from evo1_policy.robot_config import RobotConfig, load_robot
from evo1_sim.env import STEP_NS, Evo1Env
from evo1_sim.experts import Expert
from evo1_sim.world import World
from evo1_training.evaluation.pilots import Infers, PolicyPilot
from evo1_training.evaluation.rollouts import START_NS, Glance

ARM, TASK = "xarm6", "can_into_box"
LATENCIES_MS = (20.0, 100.0, 200.0, 400.0)
JITTER = 0.25  # of the latency, either way
HORIZON = 50
SEED = 2_000_000
OFFSET_RAD = 0.02  # standard deviation at the end of a chunk
LAG_STEPS = 2  # from a command to the arm being there
LIMIT_S = 30.0


class ExpertChunks:
    """Stands in for a policy: the expert's plan from the state that is seen, and an error."""

    horizon = HORIZON

    def __init__(self, robot: RobotConfig, seed: int) -> None:
        self._robot = robot
        self._rng = np.random.default_rng(seed)
        gripper = robot.gripper.joint if robot.gripper else None
        self._arm = [k for k, name in enumerate(robot.joint_names) if name != gripper]

    def plan(self, world: World) -> None:
        """Look at the task once."""
        self._plan = np.asarray(Expert(world).plan(), dtype=np.float64)
        self._at, self._stamp_ns = 0, START_NS

    def infer(self, observation: Observation, guidance: Guidance | None = None) -> ActionChunk:
        """See evaluation.pilots.Infers."""
        first = self._progress(observation) + LAG_STEPS
        rows = np.minimum(first + 1 + np.arange(HORIZON), len(self._plan) - 1)
        growing = np.linspace(0.2, 1.0, HORIZON)[:, np.newaxis]
        offset = np.zeros(self._robot.width)
        offset[self._arm] = OFFSET_RAD * self._rng.standard_normal(self._robot.width)[self._arm]
        actions = self._plan[rows] + growing * offset
        if guidance is not None:
            count = min(len(guidance.actions), HORIZON)
            weights = guidance.weights[:count, np.newaxis]
            actions[:count] += weights * (guidance.actions[:count] - actions[:count])
        return ActionChunk(
            actions=actions,
            start_ns=observation.stamp_ns + self._robot.step_ns,
            step_ns=self._robot.step_ns,
            observation_stamp_ns=observation.stamp_ns,
            instruction=observation.instruction,
        )

    def _progress(self, observation: Observation) -> int:
        """Row of the plan where the arm looks most as it is; never more than the time that passed.

        Where the arm waits on purpose all rows look alike, and time alone tells them apart. The
        gripper is not looked at: what it holds keeps it from closing as far as the plan says, and
        an expert that waits for that closes it for ever.
        """
        passed = max(round((observation.stamp_ns - self._stamp_ns) / STEP_NS), 0)
        self._stamp_ns = observation.stamp_ns
        ahead = self._plan[self._at : self._at + passed + 1]
        far = np.abs((ahead - observation.state)[:, self._arm]).max(axis=1)
        self._at += int(np.flatnonzero(far <= far.min() + 1e-3)[-1])
        return self._at


@dataclass(frozen=True, kw_only=True)
class Run:
    """One trial.

    Attributes:
        velocity_step_ratio: largest velocity step of a control period, over what the acceleration
            limit allows in one.
        idle_fraction: share of the time at rest for want of a chunk.
        jerk_rms: of the arm's joints [rad/s^3].
        success: whether the task was done.
        velocities: (N, D) commanded [rad/s], for the plot.
    """

    velocity_step_ratio: float
    idle_fraction: float
    jerk_rms: float
    success: bool
    velocities: npt.NDArray[np.float64]


def main() -> int:
    """Run every mode at every latency, print the table, draw the plot, write the figures."""
    parser = bench_parser(__doc__, quick="one trial, 20 and 400 ms, 5 s each")
    parser.add_argument("--trials", type=int, default=3, help="of each mode and latency [3]")
    parser.add_argument("--checkpoint", type=Path, help="a trained policy in the expert's place")
    parser.add_argument("--plot", type=Path, default=ROOT / "out" / "execution_modes.png")
    arguments = parser.parse_args()
    trials = 1 if arguments.quick else arguments.trials
    latencies = (LATENCIES_MS[0], LATENCIES_MS[-1]) if arguments.quick else LATENCIES_MS
    limit_s = 5.0 if arguments.quick else LIMIT_S
    robot = load_robot(ROBOTS / f"{ARM}.yaml")
    env = Evo1Env(ARM, TASK, max_steps=round(limit_s * 1e9 / STEP_NS), with_images=False)
    policy = _load(arguments.checkpoint, robot)
    results: dict[ExecutionMode, dict[float, list[Run]]] = {}
    print(f"{'mode':<12}{'latency':>9}{'step':>7}{'idle':>8}{'jerk rms':>11}{'success':>9}")
    for mode in ExecutionMode:
        for latency_ms in latencies:
            runs = list(_runs(env, robot, policy, mode, latency_ms, trials))
            results.setdefault(mode, {})[latency_ms] = runs
            _print_row(mode, latency_ms, runs)
    env.close()
    _plot(arguments.plot, results, robot)
    merge_figures(arguments.json, _figures(results))
    return 0


def _load(checkpoint: Path | None, robot: RobotConfig) -> Policy | None:
    return None if checkpoint is None else Policy.load(checkpoint, robot=robot, threads=1)


def _runs(
    env: Evo1Env,
    robot: RobotConfig,
    policy: Policy | None,
    mode: ExecutionMode,
    latency_ms: float,
    trials: int,
) -> Iterator[Run]:
    for trial in range(trials):
        rng = np.random.default_rng([trial, round(latency_ms)])
        source = policy or ExpertChunks(robot, trial)
        pilot = PolicyPilot(
            source,
            robot,
            latency_ns=_latency(rng, latency_ms),
            settings=LoopSettings(
                mode=mode, execute_actions=policy.execute_actions if policy else None
            ),
        )
        yield _run(env, robot, source, pilot, SEED + trial)


def _latency(rng: np.random.Generator, latency_ms: float) -> Callable[[], int]:
    return lambda: round(latency_ms * 1e6 * rng.uniform(1.0 - JITTER, 1.0 + JITTER))


def _run(env: Evo1Env, robot: RobotConfig, source: Infers, pilot: PolicyPilot, seed: int) -> Run:
    frame, _ = env.reset(seed=seed)
    if isinstance(source, ExpertChunks):
        source.plan(env.world)
    pilot.begin(env.world, env.instruction)
    solved, over, steps = False, False, 0
    velocities: list[npt.NDArray[np.float64]] = []
    while not (solved or over or pilot.stopped[0]):
        now_ns = START_NS + steps * STEP_NS
        target = pilot.act(Glance(env), frame["state"], now_ns)
        if pilot.executing is not None:
            velocities += [
                pilot.executing.sample(now_ns + part * robot.step_ns // 2)[1] for part in (0, 1)
            ]
        frame, _, solved, over, _ = env.step(target)
        steps += 1
    return _judge(np.array(velocities), robot, pilot, bool(solved))


def _judge(
    velocities: npt.NDArray[np.float64], robot: RobotConfig, pilot: PolicyPilot, solved: bool
) -> Run:
    step_s = robot.step_ns / 2e9
    steps = np.abs(np.diff(velocities, axis=0)) / (robot.acceleration_max * step_s)
    arm = [
        joint
        for joint, name in enumerate(robot.joint_names)
        if robot.gripper is None or name != robot.gripper.joint
    ]
    jerk = np.diff(velocities[:, arm], n=2, axis=0) / step_s**2
    return Run(
        velocity_step_ratio=float(steps.max()),
        idle_fraction=pilot.status.idle_fraction if pilot.status else 0.0,
        jerk_rms=float(np.sqrt(np.mean(jerk**2))),
        success=solved,
        velocities=velocities,
    )


def _print_row(mode: ExecutionMode, latency_ms: float, runs: list[Run]) -> None:
    solved = sum(run.success for run in runs)
    print(
        f"{mode.value:<12}{latency_ms:>6.0f} ms{max(r.velocity_step_ratio for r in runs):>7.3f}"
        f"{100 * np.mean([r.idle_fraction for r in runs]):>6.1f} %"
        f"{np.mean([r.jerk_rms for r in runs]):>11.1f}{solved:>5}/{len(runs)}",
        flush=True,
    )


def _figures(results: dict[ExecutionMode, dict[float, list[Run]]]) -> dict[str, float]:
    figures = {}
    for mode, by_latency in results.items():
        runs = [run for some in by_latency.values() for run in some]
        name = f"execution.{mode.value}"
        figures[f"{name}.velocity_step_ratio_max"] = max(r.velocity_step_ratio for r in runs)
        figures[f"{name}.idle_fraction"] = float(np.mean([r.idle_fraction for r in runs]))
        figures[f"{name}.jerk_rms"] = float(np.mean([r.jerk_rms for r in runs]))
        figures[f"{name}.success"] = float(np.mean([r.success for r in runs]))
    return figures


def _plot(
    path: Path, results: dict[ExecutionMode, dict[float, list[Run]]], robot: RobotConfig
) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(results), 2, figsize=(11, 9), squeeze=False)
    for row, (mode, by_latency) in zip(axes, results.items(), strict=True):
        latencies = list(by_latency)
        shown = by_latency[latencies[-1]][0].velocities
        row[0].plot(np.arange(len(shown)) * robot.step_ns / 2e9, shown[:, 0])
        row[0].set(title=f"{mode.value}, {latencies[-1]:.0f} ms", ylabel="joint 1 [rad/s]")
        jerk = [np.mean([run.jerk_rms for run in by_latency[ms]]) for ms in latencies]
        idle = [100 * np.mean([run.idle_fraction for run in by_latency[ms]]) for ms in latencies]
        row[1].plot(latencies, jerk, "o-", label="jerk rms [rad/s^3]")
        row[1].plot(latencies, idle, "s--", label="idle [%]")
        row[1].set(ylim=(0, None))
    axes[0][1].legend()
    axes[-1][0].set(xlabel="time [s]")
    axes[-1][1].set(xlabel="inference latency [ms]")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    print(f"plot: {path}")


if __name__ == "__main__":
    raise SystemExit(main())
