"""Loads the policy that a node's parameters name."""

import gc
import os
from collections.abc import Callable

from evo1_policy.node_parameters import PolicyParameters
from evo1_policy.robot_config import RobotConfig
from evo1_policy.ros.inference_thread import Policy

PolicyFactory = Callable[[RobotConfig, PolicyParameters], Policy]


def load_policy(robot: RobotConfig, parameters: PolicyParameters) -> Policy:
    """Load the checkpoint that the parameters name, for a process that does nothing else.

    Raises:
        evo1_policy.checkpoint.CheckpointError: it cannot be read, or is for another robot.
    """
    from evo1_policy.checkpoint import shipped_checkpoint  # torch: seconds to import
    from evo1_policy.policy import Policy as Evo1Policy

    policy = Evo1Policy.load(
        parameters.checkpoint or shipped_checkpoint(robot.embodiment),
        robot=robot,
        device=parameters.device,
        seed=parameters.seed,
        embodiment=parameters.embodiment or None,
        semantics=parameters.semantics or None,
        tokenizer=parameters.tokenizer or None,
        units=parameters.units or None,
        rate_hz=parameters.checkpoint_rate_hz or None,
        num_steps=parameters.num_steps or None,
        threads=parameters.threads or max(1, (os.cpu_count() or 2) // 2),
    )
    gc.collect()
    gc.freeze()  # a full collection over what torch imported would stall the node
    return policy
