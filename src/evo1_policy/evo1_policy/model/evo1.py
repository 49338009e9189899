"""Evo-1 from top to bottom: images, prompt and state in, a chunk of actions out.

Letters: B batch, V views, T prompt tokens, E width, H horizon, D action width, L blocks with a
context of their own (integration C). Must not import ROS. Importing it costs seconds
(transformers): do it where a model is made, not at the top.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evo1_policy.model import flow_matching
from evo1_policy.model.action_expert import ActionExpert, integrate
from evo1_policy.model.config import Evo1Config
from evo1_policy.model.preprocessing import ModelInputs
from evo1_policy.model.vision_language import VisionLanguage, grid_positions


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the head attends to: keys ((L,) B, T+1, E), and key_mask (B, T+1) bool or None."""

    keys: Tensor
    key_mask: Tensor | None


class Evo1(nn.Module):
    """The whole model. All tensors are normalised and padded (see normalization)."""

    def __init__(self, config: Evo1Config) -> None:
        super().__init__()
        self.config = config
        self.embedder = VisionLanguage(config)
        self.action_head = ActionExpert(config)

    def encode(self, inputs: ModelInputs) -> Context:
        """Everything that stays the same over the denoising steps."""
        context = self.embedder(
            inputs.images.to(self._dtype(self.embedder)),
            inputs.input_ids,
            inputs.image_slots,
            inputs.token_mask,
        )  # (B, T, E)
        dtype = self._dtype(self.action_head)
        state_token = self.action_head.encode_state(inputs.state.to(dtype))  # (B, 1, E)
        keys, key_mask = integrate(
            context.to(dtype),
            inputs.token_mask,
            state_token,
            self.config.semantics.context_mode,
        )  # (B, T+1, E), (B, T+1)
        return Context(keys=keys, key_mask=key_mask)

    def predict(self, chunk: Tensor, time_index: Tensor, context: Context) -> Tensor:
        """The head alone: (B, H, D) noisy chunk, (B,) rows of the time table -> (B, H, D)."""
        chunk = chunk.to(self._dtype(self.action_head))
        output: Tensor = self.action_head(chunk, time_index, context.keys, context.key_mask)
        return output

    def sample_actions(
        self,
        inputs: ModelInputs,
        noise: Tensor,
        *,
        steps: int | None = None,
        prefix: flow_matching.Prefix | None = None,
    ) -> Tensor:
        """Denoise: noise (B, H, D) fp32 -> normalised actions (B, H, D) fp32.

        This is the readable path; engine.Engine gives the same, sooner.

        Args:
            inputs: what was seen.
            noise: (B, H, D) fp32.
            steps: Euler steps; None takes the config's.
            prefix: what the chunks are guided to begin with.
        """
        context = self.encode(inputs)
        semantics = self.config.semantics

        def predict(chunk: Tensor, row: int) -> Tensor:
            rows = torch.full((len(chunk),), row, device=chunk.device)  # (B,)
            return self.predict(chunk, rows, context)

        return flow_matching.integrate_euler(
            predict,
            noise,
            inputs.action_mask,
            steps=steps or self.config.num_inference_steps,
            scale=semantics.time_scale,
            prediction=semantics.prediction,
            prefix=prefix,
        )

    @staticmethod
    def _dtype(module: nn.Module) -> torch.dtype:
        return next(module.parameters()).dtype


def new_model(config: Evo1Config, *, seed: int) -> Evo1:
    """A model with fresh weights from `seed`, fp32 on the CPU; the global RNG stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Evo1(config)
        embeddings = model.embedder.model.vision_tower.embeddings
        # transformers starts these at zero, meant to be loaded; from scratch they need a spread.
        nn.init.normal_(embeddings.cls_token, std=0.02)
        nn.init.normal_(embeddings.position_embeddings, std=0.02)
        if config.vision.stem == "convolutional":
            with torch.no_grad():
                embeddings.position_embeddings[0, 1:] = grid_positions(
                    config.vision.image_size // config.vision.patch_size, config.vision.width
                )
    return model


def empty_model(config: Evo1Config) -> Evo1:
    """A model on the meta device, to be filled by load_state_dict(assign=True).

    Buffers that no checkpoint carries (the rotary frequencies) are real already.
    """
    with torch.device("meta"):
        model = Evo1(config)
    language = model.embedder.model.language_model
    language.rotary_emb = type(language.rotary_emb)(config=language.config)
    return model
