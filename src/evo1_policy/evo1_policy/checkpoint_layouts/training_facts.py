"""What a checkpoint says of its training: where its data came from, and which words it saw.

training.json beside the weights, in any layout; it changes nothing that a policy computes. Must
not import ROS or torch.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from evo1_policy.untrusted import UntrustedError, read_json

TRAINING = "training.json"
MOST_INSTRUCTIONS = 100
TrainedIn = Literal["simulation", "real", "unknown"]
_PLACES = get_args(TrainedIn)


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """What is known of a checkpoint's training.

    Attributes:
        trained_in: where the demonstrations were recorded; unknown where nobody said.
        instructions: the sentences that it learnt, sorted; empty where unknown, or too many.
    """

    trained_in: TrainedIn = "unknown"
    instructions: tuple[str, ...] = ()


UNKNOWN = TrainingFacts()


def few_instructions(texts: Iterable[str]) -> tuple[str, ...]:
    """The sentences to keep: none where they are too many to be a list of what is known."""
    found = sorted({text.strip() for text in texts if text.strip()})
    return tuple(found) if len(found) <= MOST_INSTRUCTIONS else ()


def read_training(directory: Path | str) -> TrainingFacts:
    """The facts of a checkpoint's folder; unknown where it has none that can be read."""
    try:
        data = read_json(Path(directory) / TRAINING, what="facts of a training")
    except UntrustedError:
        return UNKNOWN
    if not isinstance(data, Mapping):
        return UNKNOWN
    place: TrainedIn = data["trained_in"] if data.get("trained_in") in _PLACES else "unknown"
    texts = data.get("instructions")
    known = texts if isinstance(texts, list) else []
    sentences = few_instructions(text for text in known if isinstance(text, str))
    return TrainingFacts(trained_in=place, instructions=sentences)


def write_training(directory: Path, facts: TrainingFacts) -> None:
    """Write the facts, where there are any."""
    if facts != UNKNOWN:
        text = json.dumps(asdict(facts), indent=2, ensure_ascii=False)
        (directory / TRAINING).write_text(text + "\n", encoding="utf-8")
