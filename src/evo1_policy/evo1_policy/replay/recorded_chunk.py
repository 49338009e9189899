"""A chunk as the policy node told of it, and what it was made from. Must not import ROS or torch.

Letters: H horizon, D joints, K guided actions.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import Guidance
from evo1_policy.perception.messages import stamp_ns
from evo1_policy.replay.bag import Bag, ReplayError

_GUIDED_MODE = "rtc"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordedChunk:
    """One evo1_msgs/ActionChunk.

    Attributes:
        chunk_id: the node's number of it.
        stamp_ns: capture time of the observation [ns].
        instruction: what it was made for.
        mode: how it was executed.
        embodiment: of the robot file.
        model_hash: of the checkpoint's weights.
        joint_names: D of them.
        actions: (H, D) [rad], before any check.
        seed: of the policy's noise; None where the message does not tell.
        denoising_steps: 0: as many as the checkpoint says.
        device: where the model ran; '' where the message does not tell.
        source_stamps_ns: of the frames used, then of the newest joint sample [ns]; () where the
            message does not tell.
        state: (D,) [rad]; None where the message does not tell.
        guidance: what it was made to begin with; None: nothing.
        unknown: why it cannot be made again whatever the bag holds; '' where it can.
    """

    chunk_id: int
    stamp_ns: int
    instruction: str
    mode: str
    embodiment: str
    model_hash: str
    joint_names: tuple[str, ...]
    actions: Floats
    seed: int | None
    denoising_steps: int
    device: str
    source_stamps_ns: tuple[int, ...]
    state: Floats | None
    guidance: Guidance | None
    unknown: str = ""


def read_chunks(bag: Bag, topic: str) -> list[RecordedChunk]:
    """Read every chunk of a topic, in the order of arrival.

    Raises:
        ReplayError: a message is damaged, or the clock was set back between two chunks.
    """
    chunks = [read_chunk(bag.deserialize(message)) for message in bag.messages([topic])]
    for before, after in pairwise(chunks):
        if after.stamp_ns < before.stamp_ns:
            raise ReplayError(
                f"{bag.path}: the clock was set back by "
                f"{(before.stamp_ns - after.stamp_ns) / 1e9:.1f} s between chunk "
                f"{before.chunk_id} and chunk {after.chunk_id}; only a bag on one clock can be "
                "replayed: cut it there (ros2 bag convert)"
            )
    return chunks


def read_chunk(message: Any) -> RecordedChunk:
    """Read an ActionChunk of any version, of rosbags or rclpy.

    Raises:
        ReplayError: its points differ in width.
    """
    names = tuple(message.proposed.joint_names)
    rows = [np.asarray(point.positions, np.float64) for point in message.proposed.points]
    if not rows or any(row.shape != (len(names),) for row in rows):
        raise ReplayError(
            f"chunk {message.chunk_id}: {len(rows)} proposed points for {len(names)} joints that "
            "do not all have one position each; the bag is damaged"
        )
    told = hasattr(message, "seed")
    guidance = _guidance(message, len(names)) if told else None
    unknown = ""
    if message.mode == _GUIDED_MODE and not told:
        unknown = "mode rtc, and the message does not tell what the chunk had to begin with"
    return RecordedChunk(
        chunk_id=int(message.chunk_id),
        stamp_ns=stamp_ns(message.header.stamp),
        instruction=message.instruction,
        mode=message.mode,
        embodiment=getattr(message, "embodiment", "") or message.header.frame_id,  # older bags
        model_hash=message.model_hash,
        joint_names=names,
        actions=np.stack(rows),
        seed=int(message.seed) if told else None,
        denoising_steps=int(message.denoising_steps) if told else 0,
        device=message.device if told else "",
        source_stamps_ns=tuple(map(stamp_ns, message.source_stamps)) if told else (),
        state=_state(message, len(names)) if told else None,
        guidance=guidance,
        unknown=unknown,
    )


def _state(message: Any, width: int) -> Floats | None:
    state = np.array(message.state, np.float64)
    return state if state.shape == (width,) else None


def _guidance(message: Any, width: int) -> Guidance | None:
    weights = np.array(message.guidance_weights, np.float64)
    if not weights.size:
        return None
    actions = np.array(message.guidance, np.float64)
    if actions.size != weights.size * width:
        raise ReplayError(
            f"chunk {message.chunk_id}: guidance has {actions.size} values; expected "
            f"{weights.size} points of {width} joints: the bag is damaged"
        )
    return Guidance(actions=actions.reshape(-1, width), weights=weights)
