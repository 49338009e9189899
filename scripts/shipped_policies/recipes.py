"""Which policies ship, and what each is made of."""

from dataclasses import dataclass

from evo1_sim.tasks import PAPER_TASKS


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One policy in the making.

    Attributes:
        name: of the checkpoint's folder.
        robot: 'xarm6' or 'so100'.
        tasks: that it is shown and measured on; where there are several, the words tell which.
        episodes: demonstrations of each task.
        after: name of the policy that it begins as, in stage 2, learning from its data as well;
            empty: from nothing, in both stages.
        first_seed: of the demonstrations.
        trials: of each task, on scenes that no demonstration shows.
        choices: of training, `key=value`.
        varied: whether its demonstrations have scenes of their own looks and heights
            (`rehearse --vary`).
        batch: episodes of a task that lie on the disk at a time, since images are recorded raw;
            it decides the seeds, and how much a kill can cost.
    """

    name: str
    robot: str
    tasks: tuple[str, ...]
    episodes: int
    after: str = ""
    first_seed: int = 0
    trials: int = 100
    choices: tuple[str, ...] = ()
    varied: bool = False
    batch: int = 40


RECIPES = (
    Recipe(name="xarm6_tiny", robot="xarm6", tasks=("can_into_box",), episodes=360),
    Recipe(name="so100_tiny", robot="so100", tasks=("cube_into_box",), episodes=360),
    Recipe(
        name="xarm6_colours",
        robot="xarm6",
        tasks=("red_can_into_box", "blue_can_into_box"),
        episodes=120,
        after="xarm6_tiny",
        first_seed=200_000,  # the same scenes for both: only the words differ
        trials=50,
        choices=("steps=12000",),
    ),
    Recipe(
        name="xarm6_four",
        robot="xarm6",
        tasks=(*PAPER_TASKS, "red_can_into_box", "blue_can_into_box"),
        episodes=200,
        first_seed=300_000,
        choices=("steps=20000",),
        varied=True,
        batch=20,
    ),
    Recipe(
        name="so100_varied",
        robot="so100",
        tasks=("cube_into_box",),
        episodes=400,
        first_seed=300_000,
        choices=("steps=12000",),
        varied=True,
        batch=20,
    ),
)
