"""Which trials an evaluation makes: conditions and seeds. Must not import ROS or torch.

Seeds of scenes below EVALUATION_SEEDS belong to demonstrations, those from there on to
evaluations, so that no policy is judged on a start state that it was shown.
"""

from dataclasses import dataclass

from evo1_sim.tasks import DISTURBANCES, UNDISTURBED

EVALUATION_SEEDS = 1_000_000
MAX_TRIALS = 10_000  # of one condition; the seeds of two values of --seed never meet
MAX_SEED = (2**31 - 1 - EVALUATION_SEEDS) // MAX_TRIALS - 1
ALL = "all"


class TrialError(ValueError):
    """Trials that cannot be made; the message says what was expected."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One start state: a disturbance by name, and the seed of the scene."""

    disturbance: str
    seed: int


def plan_trials(
    count: int, *, seed: int = 0, disturb: str = UNDISTURBED.name
) -> tuple[Trial, ...]:
    """List the trials of an evaluation; every condition has the same seeds.

    Args:
        count: trials of each condition.
        seed: which set of start states: two numbers have none in common.
        disturb: a name in DISTURBANCES, several with commas between, or 'all'.

    Raises:
        TrialError: the count or the seed is out of range, or a disturbance unknown.
    """
    if not 1 <= count <= MAX_TRIALS:
        raise TrialError(f"--trials {count}: expected 1 to {MAX_TRIALS}")
    if not 0 <= seed <= MAX_SEED:
        raise TrialError(f"--seed {seed}: expected 0 to {MAX_SEED}")
    names = list(DISTURBANCES) if disturb == ALL else disturb.split(",")
    for name in names:
        if name not in DISTURBANCES:
            known = ", ".join(DISTURBANCES)
            raise TrialError(f"--disturb {name}: expected {ALL}, or of {known}")
    first = EVALUATION_SEEDS + seed * MAX_TRIALS
    return tuple(
        Trial(disturbance=name, seed=first + k)
        for name in dict.fromkeys(names)
        for k in range(count)
    )
