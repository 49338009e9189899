"""When the next inference starts, by execution mode. No ROS, no torch."""

from evo1_policy.action_chunk import ActionChunk
from evo1_policy.control.modes import ExecutionMode
from evo1_policy.control.signals import LoopSettings


def executed_actions(chunk: ActionChunk, settings: LoopSettings) -> int:
    """How many actions of a chunk are executed before the next one takes over."""
    return min(settings.execute_actions or max(chunk.horizon // 2, 1), chunk.horizon)


def used_up_ns(chunk: ActionChunk, settings: LoopSettings) -> int:
    """When a chunk has been executed as far as it shall be [ns]."""
    return chunk.start_ns + executed_actions(chunk, settings) * chunk.step_ns


def is_due(
    chunk: ActionChunk,
    settings: LoopSettings,
    *,
    now_ns: int,
    lead_ns: int,
    at_rest: bool,
    to_its_end: bool,
) -> bool:
    """Whether the next inference should start while a chunk is executed.

    Args:
        chunk: being executed.
        settings: of the loop.
        now_ns: the clock [ns].
        lead_ns: from asking until the chunk takes over [ns].
        at_rest: whether what was commanded is over.
        to_its_end: whether the next one is for another instruction and shall not come sooner.
    """
    if settings.mode is ExecutionMode.ENSEMBLE and not to_its_end:
        return True
    if settings.mode is ExecutionMode.SYNCHRONOUS:
        return at_rest
    return now_ns + lead_ns >= used_up_ns(chunk, settings)
