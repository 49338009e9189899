"""The model card of a policy that ships: what it was made from, and what it can do."""

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evo1_policy.model.config import Evo1Config
from shipped_policies.recipes import Recipe

_FOLDERS = re.compile(r"/(?:[\w.-]+/)+")  # of the machine that trained


def write_card(
    target: Path,
    recipe: Recipe,
    dataset: Path,
    results: Sequence[Mapping[str, Any]],
    seconds: Mapping[str, float],
) -> None:
    """Write README.md beside the weights.

    Args:
        target: the checkpoint.
        recipe: what it was made by.
        dataset: what it learnt from.
        results: JSON of `evaluate`, for each task.
        seconds: how long each step took.
    """
    config = Evo1Config.from_dict(json.loads((target / "config.json").read_text())["model"])
    info = json.loads((dataset / "meta" / "info.json").read_text())
    trained = (target / "README.md").read_text()
    (target / "README.md").write_text(_card(recipe, config, info, results, seconds, trained))


def _card(
    recipe: Recipe,
    config: Evo1Config,
    info: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    seconds: Mapping[str, float],
    trained: str,
) -> str:
    vision, language = config.vision, config.language
    took = ", ".join(f"{name} {value / 60:.0f}" for name, value in seconds.items())
    says = "clean chunk" if config.semantics.prediction == "sample" else "velocity"
    tasks = [f'`{one["task"]}`, "{one["instruction"]}"' for one in results]
    many = len(tasks) > 1
    does = "tasks that only the words tell apart" if many else "one task"
    stages = "train --stage 1, train --stage 2"
    if recipe.after:
        stages = f"train --stage 2 from {recipe.after} and with its demonstrations as well"
    paragraphs = [
        f"# {recipe.name}",
        f"A small Evo-1 that does {does} in simulation: {'; '.join(tasks)}.",
        *(_measured(recipe.name, one) for one in results),
        f"It has seen one kind of scene under one light, {'these' if many else 'one'} "
        f"instruction{'s' if many else ''} and simulated cameras. It will not work on a real arm, "
        "nor for another task.",
    ]
    facts = [
        f"Data: {info['total_episodes']} demonstrations ({info['total_frames']} frames at "
        f"{info['fps']} Hz) of the scripted expert in simulated time (`rehearse`), from seeds "
        "below 1,000,000; evaluation uses others. Half begin from a pushed arm, some of these "
        "after a missed grasp; most others sway on their way.",
        f"Made by `make policies`: rehearse, convert, {stages}, evaluate. "
        f"Minutes on a shared CPU: {took}.",
        f"Model: {vision.image_size} px, {vision.stem} stem, {vision.layers} vision and "
        f"{language.layers} language layers of width {language.width}, {config.head.layers} "
        f"blocks in the head, horizon {config.horizon} of which "
        f"{config.execute_actions or config.horizon // 2} are executed, "
        f"{config.num_inference_steps} Euler steps; predicts the {says}.",
        "An additional loss on the joint positions at the next grasp and release, taken from the "
        "demonstrations themselves; no simulator's knowledge.",
        *(_FOLDERS.sub("", line[2:]) for line in trained.splitlines() if line.startswith("- ")),
    ]
    wrapped = [textwrap.fill(text, 98) for text in paragraphs]
    bullets = [
        textwrap.fill(text, 98, initial_indent="- ", subsequent_indent="  ") for text in facts
    ]
    licence = "Licence: Apache-2.0, as the workspace."
    return "\n\n".join([*wrapped, "\n".join(bullets), licence]) + "\n"


def _measured(name: str, result: Mapping[str, Any]) -> str:
    condition = result["conditions"][0]
    low, high = condition["wilson_low"], condition["wilson_high"]
    lifted = condition.get("lifted_first")
    chose = (
        f" What it lifted first was what it was told in {lifted['told']} scenes, something else "
        f"in {lifted['another']}, nothing in {lifted['none']}."
        if lifted
        else ""
    )
    return (
        f"**{condition['successes']} of {condition['trials']} unseen scenes solved "
        f"({condition['success_rate']:.0%}; Wilson interval at 95 %: {low:.0%} to {high:.0%})**, "
        f"median time {condition['seconds_to_success_median'] or 0:.1f} s. Measured with "
        f"`evaluate --checkpoint {name} --task {result['task']} --trials {condition['trials']} "
        f"--seed {result['seed']}`.{chose}"
    )
