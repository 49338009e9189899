"""The policy: an observation in, a chunk of joint targets out. Must not import ROS.

transformers is imported when a policy is loaded, not before.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evo1_policy.action_chunk import ActionChunk, Guidance
from evo1_policy.checkpoint import (
    Checkpoint,
    CheckpointError,
    find_device,
    load_model,
    read_checkpoint,
)
from evo1_policy.feature_stats import Array
from evo1_policy.interface import Interface
from evo1_policy.kinematics.inverse import ToolSpace
from evo1_policy.kinematics.model import ModelError
from evo1_policy.model.finite import first_nonfinite
from evo1_policy.model.flow_matching import Prefix, sample_noise
from evo1_policy.model.preprocessing import (
    ModelInputs,
    PromptEncoder,
    TokenizerError,
    load_tokenizer,
    prepare_views,
)
from evo1_policy.normalization import NormStats, pad_width, width_mask
from evo1_policy.observation import Observation
from evo1_policy.robot_config import RobotConfig

if TYPE_CHECKING:
    from evo1_policy.model.evo1 import Evo1

_LOG = logging.getLogger(__name__)
_WARMED = 32  # learnt instructions, at most: others have the length of one of them
Image = npt.NDArray[np.uint8]


class PolicyError(ValueError):
    """An observation that cannot be used; names the camera or the state, and what was expected."""


class Policy:
    """One loaded checkpoint, for one robot or one benchmark.

    The noise of the denoising is drawn once, from the seed: equal observations give equal chunks,
    and consecutive chunks start from the same noise, which keeps the seams between them small.
    """

    def __init__(
        self,
        model: "Evo1",
        checkpoint: Checkpoint,
        *,
        device: torch.device,
        model_hash: str,
        seed: int,
        precision: str,
    ) -> None:
        from evo1_policy.model.engine import Engine  # lazily: imports transformers

        self._model = model
        self._engine = Engine.for_device(model, device, precision)
        self.interface, robot = checkpoint.interface, checkpoint.robot
        self._config = checkpoint.config
        self._stats, meaning = checkpoint.stats, checkpoint.stats.end_effector
        self._tool = ToolSpace(meaning, robot) if meaning and robot else None
        # A state that a warm-up can use; a benchmark has no home.
        self._rest = self._stats.state.min if robot is None else np.array(robot.home)
        self._width = self._stats.action.shape[0]  # A, numbers of an action
        self._device = device
        self._prompts = PromptEncoder(load_tokenizer(checkpoint.tokenizer_dir), checkpoint.config)
        self._noise = self._draw_noise(seed)
        self._blamed = False  # whether it was said where NaN came from: finding out is slow
        self.model_hash = model_hash
        self.instructions = checkpoint.training.instructions  # that it learnt; () where unknown

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        robot: RobotConfig | None = None,
        interface: Interface | None = None,
        device: str = "auto",
        seed: int = 0,
        threads: int | None = None,
        num_steps: int | None = None,
        precision: str = "auto",
        **reading: Any,
    ) -> "Policy":
        """Load a checkpoint directory: ours, official or LeRobot's.

        Args:
            path: the directory.
            robot: the robot that it shall move; None takes what the directory says.
            interface: likewise, what it shall see and answer where it moves no robot.
            device: 'auto' (CUDA where there is one), 'cpu', 'cuda' or 'cuda:1'.
            seed: of the denoising noise.
            threads: CPU threads of torch for the whole process; None leaves them.
            num_steps: Euler steps of the denoising; None takes the checkpoint's.
            precision: 'fp32', 'bf16', or 'auto': which of them is faster (engine.serving_dtype).
            reading: what else read_checkpoint is told.

        Raises:
            CheckpointError: the checkpoint is damaged or for another robot or benchmark, or the
                device is not there.
            ConfigError: fewer than one step.
        """
        checkpoint = read_checkpoint(path, robot=robot, interface=interface, **reading)
        for note in checkpoint.notes:
            _LOG.warning("%s: %s", path, note)
        checkpoint = _with_steps(checkpoint, num_steps)
        _ = checkpoint.tokenizer_dir  # missing: said before the weights are read
        target = find_device(device)
        if threads is not None:
            torch.set_num_threads(threads)
        model, digest = load_model(checkpoint), checkpoint.model_hash()
        try:
            return cls(
                model, checkpoint, device=target, model_hash=digest, seed=seed, precision=precision
            )
        except TokenizerError as error:
            raise CheckpointError(str(error)) from error
        except ModelError as error:
            space = checkpoint.stats.action_space
            raise CheckpointError(f"{path}: its action_space is {space}: {error}") from error

    @property
    def horizon(self) -> int:
        """H, actions of a chunk."""
        return self._config.horizon

    @property
    def views(self) -> int:
        """V, image slots of the model."""
        return self._config.views

    @property
    def action_width(self) -> int:
        """Columns of what predict answers: numbers of an action, padded."""
        return self._config.action_width

    @property
    def execute_actions(self) -> int | None:
        """Actions of a chunk to execute before the next one; None: half of them."""
        return self._config.execute_actions or None

    @property
    def device(self) -> str:
        """Where the model runs."""
        return str(self._device)

    def infer(self, observation: Observation, guidance: Guidance | None = None) -> ActionChunk:
        """Predict the actions that follow an observation.

        Args:
            observation: what was seen.
            guidance: what the chunk shall begin with (real-time chunking); None: nothing.

        Returns:
            A chunk (H, A) of what the interface names, for a robot its joints' targets [rad],
            whose first action is due one step after the observation. It is not checked: that is
            the safety check's business.

        Raises:
            PolicyError: a camera is missing, an image is no (H, W, 3) uint8, or the state has
                another width or is not finite.
        """
        inputs, state = self._inputs(observation), observation.state
        normalised = self._sample(inputs, self._prefix(guidance, state))[:, : self._width]
        wanted = self._stats.unnormalise_actions(normalised, state)  # (H, A)
        tool_error = None
        if self._tool is not None:
            wanted, tool_error = self._tool.joints(wanted, state)
        return ActionChunk(
            actions=wanted,
            tool_error=tool_error,
            start_ns=observation.stamp_ns + self.interface.step_ns,
            step_ns=self.interface.step_ns,
            observation_stamp_ns=observation.stamp_ns,
            instruction=observation.instruction,
        )

    def predict(
        self,
        images: Sequence[Image],
        state: npt.ArrayLike,
        instruction: str,
        *,
        stats: NormStats | None = None,
        image_mask: Sequence[bool] | None = None,
        action_mask: Sequence[bool] | None = None,
    ) -> Array:
        """Answer as the authors' servers do: numbers in and out, in the norm stats' units.

        No tool, unit or clock comes in between. Where their lines differ, the checkpoint's
        semantics decide: main normalises a state that it padded (what it padded becomes -1), flash
        normalises at the width that it got and pads with 0.

        Args:
            images: (H, W, 3) uint8 RGB each, in the order of the model's slots.
            state: (S',) at the width that was received: that of the norm stats, or more.
            instruction: what to do, in words.
            stats: of another embodiment of the checkpoint (checkpoint.stats_of).
            image_mask: which images count, of as many as there are; None: all.
            action_mask: (action width,) which numbers of an action are denoised; None: those of
                the norm stats.

        Returns:
            (H, action width) denormalised; what the norm stats do not know is 0.

        Raises:
            PolicyError: an image is no (H, W, 3) uint8, there are more than slots, a mask has
                another length, or the state is too short, too long or not finite.
        """
        stats, config = stats or self._stats, self._config
        stats = replace(stats, units=None)
        mask = [True] * len(images) if image_mask is None else [bool(one) for one in image_mask]
        if not len(mask) == len(images) <= config.views:
            raise PolicyError(
                f"images: expected at most {config.views} and a mask of as many, got "
                f"{len(images)} and a mask of {len(mask)}"
            )
        for place, image in enumerate(images):
            _check_image(f"image {place}", image)
        values, known = self._received(stats, state)
        width = stats.action.shape[0]
        used = width_mask(width, config.action_width)
        if action_mask is not None:
            used = np.asarray(action_mask, bool)
            if used.shape != (config.action_width,):
                raise PolicyError(
                    f"action_mask: expected {config.action_width} values, got {used.shape}"
                )
        inputs = self._model_inputs(images, mask, instruction, known, used)
        actions = np.zeros((self.horizon, config.action_width))
        normalised = self._sample(inputs)[:, :width]
        actions[:, :width] = stats.unnormalise_actions(normalised, values)
        return actions

    def warm_up(self, instruction: str = "", *, guided: bool = False) -> None:
        """Infer from an empty observation, so that the first real inference is not slow.

        On a GPU this captures graphs, which takes long: one for prompts of about this length and
        one for those of each instruction that the policy learnt, so that none is captured while
        the arm moves; with `guided` the same for chunks with guidance.
        """
        size = self._config.vision.image_size
        black: Image = np.zeros((size, size, 3), np.uint8)
        empty = Observation(
            images=dict.fromkeys(self.interface.cameras, black),
            state=self._rest,
            instruction=instruction,
            stamp_ns=0,
            received_ns=0,
            skew_ns=0,
        )
        learnt = self.instructions[:_WARMED] if self._engine.captures else ()
        rest = Guidance(actions=self._rest[None], weights=np.ones(1))
        for words, guidance in product((*learnt, instruction), (None, rest)[: 1 + guided]):
            self.infer(replace(empty, instruction=words), guidance)

    def close(self) -> None:
        """Nothing has to be let go of."""

    def _sample(self, inputs: ModelInputs, prefix: Prefix | None = None) -> Array:
        """Denoise one chunk: (H, action width) normalised."""
        with torch.inference_mode():
            actions = self._engine.sample_actions(inputs, self._noise, prefix=prefix)
            normalised = actions[0].double().cpu().numpy()  # (H, action width)
            if not np.isfinite(normalised).all():
                self._blame(inputs)
        return normalised

    def _inputs(self, observation: Observation) -> ModelInputs:
        """What the model takes of an observation."""
        cameras = self.interface.cameras
        missing = [name for name in cameras if name not in observation.images]
        if missing:
            raise PolicyError(f"the observation lacks the image of camera {missing[0]}")
        seen = [observation.images[name] for name in cameras]
        for name, image in zip(cameras, seen, strict=True):
            _check_image(f"camera {name}", image)
        return self._model_inputs(
            seen,
            [True] * len(seen),
            observation.instruction,
            self._state(observation.state),
            width_mask(self._width, self._config.action_width),
        )

    def _model_inputs(
        self,
        images: Sequence[Image],
        present: Sequence[bool],
        instruction: str,
        state: Array,
        used: npt.NDArray[np.bool_],
    ) -> ModelInputs:
        """What the model takes, from images in slot order, state and action mask at its widths."""
        config = self._config
        shown = [*present, *([False] * (config.views - len(present)))]
        black: Image = np.zeros((1, 1, 3), np.uint8)
        views = prepare_views(
            [image if seen else black for image, seen in zip(images, present, strict=True)],
            views=config.views,
            size=config.vision.image_size,
            channel_order=config.semantics.channel_order,
            dtype=config.semantics.image_dtype,
            device=self._device,
        )  # (V, 3, S, S)
        prompt = self._prompts.encode([instruction], [shown])
        return ModelInputs(
            images=views[None],  # (1, V, 3, S, S)
            input_ids=prompt.input_ids,
            image_slots=prompt.image_slots,
            token_mask=prompt.token_mask,
            state=torch.from_numpy(state.astype(np.float32))[None],
            action_mask=torch.from_numpy(used)[None],
        )

    def _prefix(self, guidance: Guidance | None, state: npt.NDArray[np.float64]) -> Prefix | None:
        """(K, D) rad -> (1, H, action width) normalised and padded, with its weights (1, H)."""
        if guidance is None:
            return None
        count = min(len(guidance.actions), self.horizon)
        shape = (1, self.horizon, self._config.action_width)
        actions, weights = torch.zeros(shape), torch.zeros(shape[:2])
        wanted = guidance.actions[:count]
        if self._tool is not None:
            wanted = self._tool.numbers(wanted, state)
        normalised = self._stats.normalise_actions(wanted, state)  # (K, A)
        actions[0, :count, : self._width] = torch.from_numpy(normalised.astype(np.float32))
        weights[0, :count] = torch.from_numpy(guidance.weights[:count].astype(np.float32))
        return Prefix(actions=actions, weights=weights)

    def _blame(self, inputs: ModelInputs) -> None:
        """Say once where NaN or Inf came from; the safety check is what stops the arm."""
        if not self._blamed:
            self._blamed = True
            run = self._engine.is_readable  # else only inputs and weights can be looked at
            where = first_nonfinite(self._model, inputs, self._noise, run=run)
            _LOG.error("the chunk is not finite; first at %s", where or "the inference itself")

    def _state(self, state: npt.NDArray[np.float64]) -> Array:
        """(S,) of the interface -> (state width,), normalised and padded."""
        width = self.interface.widths[0]
        if state.shape != (width,) or not np.isfinite(state).all():
            raise PolicyError(f"state: expected {width} finite numbers, got {state}")
        known = state if self._tool is None else self._tool.state(state)
        normalised = self._stats.state_normalizer.normalise(known)
        return pad_width(normalised, self._config.state_width, self._config.semantics.state_pad)

    def _received(self, stats: NormStats, state: npt.ArrayLike) -> tuple[Array, Array]:
        """(S',) as a client sends it -> the (S,) that are known, and (state width,) normalised."""
        config = self._config
        values, least = np.asarray(state, np.float64), stats.state.shape[0]
        if values.ndim != 1 or not least <= len(values) <= config.state_width:
            raise PolicyError(
                f"state: expected {least} numbers ({stats.embodiment}), or these padded to at "
                f"most {config.state_width}, got {values.shape}"
            )
        if not np.isfinite(values).all():
            raise PolicyError("state: holds NaN or infinity")
        padded = pad_width(
            stats.normalise_received(values), config.state_width, config.semantics.state_pad
        )
        return values[:least], padded

    def _draw_noise(self, seed: int) -> Tensor:
        # Drawn on the CPU so that a seed means the same noise on every device.
        generator = torch.Generator("cpu").manual_seed(seed)
        shape = (1, self._config.horizon, self._config.action_width)
        return sample_noise(shape, generator).to(self._device)


def _check_image(what: str, image: Image) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise PolicyError(f"{what}: expected (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")


def _with_steps(checkpoint: Checkpoint, num_steps: int | None) -> Checkpoint:
    """The checkpoint denoising in so many steps; None leaves its own."""
    if num_steps is None:
        return checkpoint
    config = replace(checkpoint.config, num_inference_steps=num_steps)
    return replace(checkpoint, config=config)
