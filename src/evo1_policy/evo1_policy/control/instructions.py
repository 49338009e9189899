"""Notices that the instruction changed, and how the change shall go. No ROS, no torch."""

from collections.abc import Sequence

from evo1_policy.control.modes import Transition
from evo1_policy.control.signals import LoopInput
from evo1_policy.observation import Observation


class InstructionWatch:
    """The instruction that chunks must be for.

    Attributes:
        words: it; None before it is known.
        transition: of its last change.
    """

    def __init__(self, default: Transition) -> None:
        """`default` is the transition where a change does not say."""
        self._default = default
        self.words: str | None = None
        self.transition = default

    def changed(self, inputs: LoopInput) -> bool:
        """Whether these inputs replace an instruction by another one."""
        words = inputs.instruction
        if words is None and isinstance(inputs.observation, Observation):
            words = inputs.observation.instruction
        if words is None or words == self.words:
            return False
        before, self.words = self.words, words
        self.transition = inputs.transition or self._default
        return before is not None


def unseen(words: str, learnt: Sequence[str]) -> str:
    """Warn of an instruction that is none of those a policy learnt; '' where it is one.

    Args:
        words: the instruction.
        learnt: all that the policy was trained with; empty where that is not known.
    """
    if not learnt or _plain(words) in map(_plain, learnt):
        return ""
    return (
        f"the policy never saw '{words}' in training and may do anything; it learnt "
        f"{len(learnt)} instructions, such as '{learnt[0]}'"
    )


def _plain(words: str) -> str:
    return " ".join(words.lower().replace(".", " ").split())
