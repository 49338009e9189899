"""What the processors of a LeRobot folder do with numbers: honoured, or refused by name.

policy_preprocessor.json and policy_postprocessor.json are lists of steps that LeRobot runs before
and after the model. A step that is not known here would be missing from what we compute. Must
not import ROS or torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evo1_policy.checkpoint_layouts.contents import CheckpointError
from evo1_policy.checkpoint_layouts.own import mapping, number, read_json
from evo1_policy.interface import Interface
from evo1_policy.normalization import Mode
from evo1_policy.paths import confined

PREPROCESSOR, POSTPROCESSOR = "policy_preprocessor.json", "policy_postprocessor.json"
NORMALIZER, UNNORMALIZER = "normalizer_processor", "unnormalizer_processor"
ACTION_STEP, DEVICE = "evo1_action_processor", "device_processor"
PAD_STATE, PAD_ACTION = "evo1_pad_state_processor", "evo1_pad_action_processor"
RENAME, BATCH = "rename_observations_processor", "to_batch_processor"
STATE, ACTION, IMAGES = "observation.state", "action", "observation.images."
MODES: dict[str, Mode] = {"MIN_MAX": "bounds", "QUANTILES": "quantiles", "MEAN_STD": "mean_std"}
EPS = 1e-8


@dataclass(frozen=True, kw_only=True)
class Processing:
    """What the processors say.

    Attributes:
        mode: of the normalisation of state and action.
        state_file: statistics of the state.
        action_file: statistics of the action.
        action_width: numbers of an action that come out; None where nothing says it.
    """

    mode: Mode
    state_file: Path
    action_file: Path
    action_width: int | None


def read_processors(directory: Path, config: Mapping[str, Any]) -> Processing:
    """Read both processors of a folder.

    Args:
        directory: the folder.
        config: its config.json.

    Raises:
        CheckpointError: a step is unknown, lacking, there twice, or does what we cannot do.
    """
    before, after = directory / PREPROCESSOR, directory / POSTPROCESSOR
    first = _steps(before, (RENAME, BATCH, PAD_STATE, PAD_ACTION, NORMALIZER, DEVICE))
    last = _steps(after, (UNNORMALIZER, ACTION_STEP, DEVICE))
    for step, key in ((PAD_STATE, "max_state_dim"), (PAD_ACTION, "max_action_dim")):
        width = number(config, directory / "config.json", key, 24)
        padded = number(first.get(step, {}), before, key, width)
        if padded != width:
            raise CheckpointError(f"{before}: {step}: {key} is {padded}, in config.json {width}")
    renamed = mapping(first.get(RENAME, {}), before, "rename_map")
    wrong = [str(new) for new in renamed.values() if not str(new).startswith(IMAGES)]
    if wrong:
        raise CheckpointError(f"{before}: {RENAME}: only cameras can be renamed, not to {wrong}")
    gripper = bool(last.get(ACTION_STEP, {}).get("binarize_gripper"))
    if gripper or config.get("binarize_gripper"):
        raise CheckpointError(
            f"{after if gripper else directory / 'config.json'}: binarize_gripper: the gripper's "
            "numbers are a simulator's open and close here, no angle of a joint; such a policy "
            "cannot move this robot"
        )
    fallback = mapping(config, directory / "config.json", "normalization_mapping")
    state, state_file = _normalisation(before, NORMALIZER, first, STATE, fallback)
    action, action_file = _normalisation(after, UNNORMALIZER, last, ACTION, fallback)
    if state != action or state not in MODES:
        raise CheckpointError(
            f"{before}: norm_map: STATE is {state}, ACTION {action}; expected the same for both, "
            f"one of {', '.join(MODES)}"
        )
    default = number(config, directory / "config.json", "postprocess_action_dim", 0)
    return Processing(
        mode=MODES[state],
        state_file=state_file,
        action_file=action_file,
        action_width=number(last.get(ACTION_STEP, {}), after, "action_dim", default) or None,
    )


def check_features(
    config: Mapping[str, Any],
    path: Path,
    interface: Interface,
    processing: Processing,
    widths: tuple[int, int],
) -> tuple[bool, bool, tuple[str, ...]]:
    """Hold what a policy takes and gives against what it shall serve.

    Args:
        config: LeRobot's config.json.
        path: of it.
        interface: that it shall serve.
        processing: of its processors.
        widths: how many numbers state and action have.

    Returns:
        Whether the width of the state is said, and that of the action; what to tell a user.

    Raises:
        CheckpointError: other widths, another number of cameras, or those in another order.
    """
    state = _width(config, path, "input_features", STATE, "max_state_dim")
    action = _width(config, path, "output_features", ACTION, "max_action_dim")
    for key, name, width, known in (
        ("input_features", STATE, state, widths[0]),
        ("output_features", ACTION, action, widths[1]),
        (f"{POSTPROCESSOR}: {ACTION_STEP}", ACTION, processing.action_width, widths[1]),
    ):
        if width not in (None, known):
            raise CheckpointError(
                f"{path}: {key}: {name}: this policy has {width} numbers, {interface.name} has "
                f"{interface.names_of(name)}; expected {known} (where they are an end effector's, "
                "say what they mean with --end-effector)"
            )
    said_action = action is not None or processing.action_width is not None
    return state is not None, said_action, _check_cameras(config, path, interface)


def _check_cameras(config: Mapping[str, Any], path: Path, interface: Interface) -> tuple[str, ...]:
    features = mapping(config, path, "input_features")
    theirs = [
        str(key).removeprefix(IMAGES)
        for key, feature in features.items()
        if isinstance(feature, Mapping)
        and feature.get("type") == "VISUAL"
        and ".empty_camera_" not in str(key)
    ]
    ours = list(interface.cameras)
    if not theirs or theirs == ours:
        return ()
    if len(theirs) != len(ours) or set(theirs) & set(ours):
        raise CheckpointError(
            f"{path}: input_features: this policy sees {', '.join(theirs)}, {interface.name} "
            f"has the cameras {', '.join(ours)}; expected as many, and those of one name in one "
            "place"
        )
    pairs = ", ".join(f"{a} is shown as {b}" for a, b in zip(ours, theirs, strict=True))
    return (f"the policy's cameras have other names; by their order, {pairs}",)


def _width(config: Mapping[str, Any], path: Path, key: str, name: str, most: str) -> int | None:
    """The width of a feature; None where it is not said, or is that of the padded vector."""
    feature = mapping(mapping(config, path, key), path, name)
    if "shape" not in feature:
        return None
    shape = feature["shape"]
    if not isinstance(shape, list) or [type(size) for size in shape] != [int]:
        raise CheckpointError(f"{path}: {key}: {name}: expected a shape of one number")
    width = int(shape[0])
    return None if width == number(config, path, most, 24) else width


def _steps(path: Path, known: tuple[str, ...]) -> dict[str, Mapping[str, Any]]:
    """The configs of a processor's steps by name, with `state_file` where a step has one."""
    steps = read_json(path).get("steps")
    found: dict[str, Mapping[str, Any]] = {}
    for place, step in enumerate(steps if isinstance(steps, list) else []):
        entry = step if isinstance(step, Mapping) else {}
        name = str(entry.get("registry_name") or entry.get("class"))
        if name not in known:
            raise CheckpointError(
                f"{path}: steps[{place}]: '{name}' is a step that is not known here, and would "
                f"be missing from what is computed; known: {', '.join(known)}"
            )
        if name in found:
            raise CheckpointError(f"{path}: steps[{place}]: '{name}' stands there twice")
        found[name] = {**mapping(entry, path, "config"), "state_file": entry.get("state_file")}
    return found


def _normalisation(
    path: Path,
    step: str,
    steps: Mapping[str, Mapping[str, Any]],
    feature: str,
    fallback: Mapping[str, Any],
) -> tuple[str, Path]:
    """How a (un)normaliser treats a feature, and the file of its statistics.

    Where it does not say how, config.json's word counts.
    """
    if step not in steps:
        raise CheckpointError(f"{path}: no step '{step}', so nothing says how to normalise")
    config, kind = steps[step], "ACTION" if feature == ACTION else "STATE"
    keys = config.get("normalize_observation_keys")
    is_left_out = kind == "STATE" and isinstance(keys, list) and feature not in keys
    if is_left_out or ("features" in config and feature not in mapping(config, path, "features")):
        raise CheckpointError(f"{path}: {step}: {feature} is not normalised; expected that it is")
    if config.get("eps", EPS) != EPS:
        raise CheckpointError(
            f"{path}: {step}: eps: only {EPS:g} is supported, got {config['eps']!r}"
        )
    try:
        file = confined(path.parent, str(config["state_file"] or ""), f"{path}: {step}")
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    if not file.is_file():
        raise CheckpointError(f"{path}: {step}: its statistics {file.name} are missing")
    if "norm_map" in config:
        return str(mapping(config, path, "norm_map").get(kind, "IDENTITY")), file
    return str(fallback.get(kind, "MIN_MAX")), file
