"""The authors' norm_stats.json, in its two forms. Must not import ROS or torch.

{arm: {"observation.state": {min, max}, "action": {min, max}}}                    main
{arm: {dataset: {"observation.state": {mean, std, min, max, q01, q99}, ...}}}     evo1-flash
"""

from collections.abc import Mapping
from typing import Any

from evo1_policy.normalization import Mode, NormStats, NormStatsError, feature_stats

FEATURES = ("observation.state", "action")


def is_nested(data: Mapping[str, Any]) -> bool:
    """Whether a dataset stands between arm and feature, as evo1-flash writes it."""
    return any(
        isinstance(value, Mapping) and not any(name in value for name in FEATURES)
        for value in data.values()
    )


def entries(data: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """All statistics of a file: 'arm' or 'arm/dataset' -> {feature: statistics}."""
    found: dict[str, Mapping[str, Any]] = {}
    for arm, below in data.items():
        if not isinstance(below, Mapping):
            continue
        if any(name in below for name in FEATURES):
            found[str(arm)] = below
        else:
            found |= {
                f"{arm}/{key}": item for key, item in below.items() if isinstance(item, Mapping)
            }
    return found


def choose_stats(
    data: Mapping[str, Any], *, key: str | None, embodiment: str, mode: Mode, source: str
) -> NormStats:
    """The statistics of one embodiment.

    Args:
        data: content of norm_stats.json.
        key: 'arm', 'dataset' or 'arm/dataset'; None takes the embodiment's, or the only one.
        embodiment: of the robot; the result carries it.
        mode: of the normalisation. Where the file lacks q01 and q99, 'bounds' stands in.
        source: stands in error messages.

    Raises:
        NormStatsError: none or several match; lists the keys that there are.
    """
    found = entries(data)
    asked = key or embodiment
    matching = [name for name in found if asked in (name, *name.split("/", 1))]
    if not matching and key is None and len(found) == 1:
        matching = list(found)
    if len(matching) != 1:
        problem = f"several match '{asked}'" if matching else f"none is for '{asked}'"
        raise NormStatsError(
            f"{source}: {problem}; choose one (--embodiment KEY) of: {', '.join(found) or 'none'}"
        )
    name = matching[0]
    features = found[name]
    for feature in FEATURES:
        if feature not in features:
            raise NormStatsError(f"{source}: {name}: missing key '{feature}'")
    state, action = (
        feature_stats(features[feature], source=source, path=f"{name}.{feature}")
        for feature in FEATURES
    )
    if mode == "quantiles" and any(
        item.q01 is None or item.q99 is None for item in (state, action)
    ):
        mode = "bounds"  # as evo1-flash does
    return NormStats(embodiment=embodiment, state=state, action=action, mode=mode)
