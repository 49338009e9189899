"""The fast path: what Evo1.sample_actions gives, sooner.

    prompt (once an instruction)   embeddings, rotary table, rows and keys that no input changes
    inference                      present images -> visible tokens -> keys and values, once
    each denoising step            the head's blocks on those keys, used action dimensions only

On CUDA the whole inference is one graph, the same for all prompts of about one length. Letters as
in evo1.py. Must not import ROS.
"""

import copy
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor, nn

from evo1_policy.model.action_expert import CrossAttention
from evo1_policy.model.config import Precision
from evo1_policy.model.evo1 import Evo1
from evo1_policy.model.fast_context import FastContext, Prompt
from evo1_policy.model.fast_head import ActionColumns, FastHead, reduce_precision
from evo1_policy.model.flow_matching import Prefix, euler_time_index, integrate_euler
from evo1_policy.model.preprocessing import ModelInputs

_PLANS = 8  # prompts that are remembered
_GRAPHS = 8  # captured shapes that are remembered
_BUCKET = 16  # on CUDA tokens of a prompt are filled up to a multiple: a few shapes for all
_WARM_UPS = 2
_LOG = logging.getLogger(__name__)


def serving_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The type of a served model's matrices: 'fp32', 'bf16' or 'auto'.

    'auto' halves them on a GPU, and on a CPU only where that is faster: one with AMX multiplies
    bf16 several times as fast as fp32, one without is slower. A GPU before Ampere has no bf16
    and takes fp16 in its place.

    Raises:
        ValueError: another word.
    """
    if precision not in get_args(Precision):
        raise ValueError(f"precision '{precision}': expected auto, fp32 or bf16")
    if precision == "fp32":
        return torch.float32
    if device.type == "cuda":
        has_bf16 = torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if has_bf16 else torch.float16
    faster = torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if precision == "bf16" or faster else torch.float32


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is the same for all inferences with one prompt and one action mask."""

    prompt: Prompt
    constant: Sequence[Tensor | None]  # keys and values of prompt.hidden
    used: Tensor  # (d,) int64 action dimensions
    columns: ActionColumns

    def tensors(self) -> tuple[Tensor, ...]:
        """All that inferences read of it, in a fixed order."""
        prompt, columns = self.prompt, self.columns
        parts = (
            *(prompt.embedded, prompt.image_rows, *prompt.rotary, prompt.bias, self.used),
            *(columns.weight_in, columns.weight_out, columns.bias_out),
            *self.constant,
        )
        return tuple(part for part in parts if part is not None)


class _Graph:
    """One inference, captured once and replayed without the cost of its launches.

    It serves every prompt whose plan has the same shapes: graph and plan in it stay where they
    are, and another prompt's tensors are copied into them. The function must do all its work on
    the GPU, in shapes that do not change, and without waiting for the GPU.

    Args:
        run: gets a plan and `values`.
        plan: the first; copied.
        values: of the call; copied.
        pool: memory that all graphs share: they run one after the other.
    """

    def __init__(
        self, run: Callable[..., Tensor], plan: _Plan, values: Sequence[Tensor], pool: Any
    ) -> None:
        self._plan, self._held = plan, copy.deepcopy(plan)
        self._inputs = [value.clone() for value in values]
        self._device = values[0].device
        with torch.cuda.device(self._device):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # libraries allocate their workspaces before
                for _ in range(_WARM_UPS):
                    run(self._held, *self._inputs)
            torch.cuda.current_stream().wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            # Whoever else uses a GPU in this process must not break the capture.
            mode = "thread_local"
            with torch.cuda.graph(self._graph, pool, side, capture_error_mode=mode):
                self._output = run(self._held, *self._inputs)

    def __call__(self, plan: _Plan, values: Sequence[Tensor]) -> Tensor:
        """Run with a plan and values of the same shapes and types as the first."""
        with torch.cuda.device(self._device):
            if plan is not self._plan:
                for held, value in zip(self._held.tensors(), plan.tensors(), strict=True):
                    held.copy_(value, non_blocking=True)
                self._plan = plan
            for held, value in zip(self._inputs, values, strict=True):
                held.copy_(value, non_blocking=True)
            self._graph.replay()
            return self._output.clone()


class Engine:
    """Fast inference with a model whose weights no longer change; it shares them.

    Absent views are taken to be black, as ModelInputs says; their images are not looked at.
    """

    def __init__(self, model: Evo1, *, graphs: bool = True, bucket: int | None = None) -> None:
        """Arrange a model.

        Args:
            model: its weights are shared.
            graphs: whether whole inferences on CUDA run as one graph.
            bucket: see FastContext; None takes 1 on the CPU.
        """
        self.config = model.config
        model.eval()
        self._head = FastHead(model.action_head)
        self._device = self._head.device
        self._graphs_on = graphs and self._device.type == "cuda"
        bucket = bucket or (_BUCKET if self._device.type == "cuda" else 1)
        self._context = FastContext(model.embedder, model.config, bucket=bucket)
        self._plans: OrderedDict[tuple[bytes, ...], _Plan] = OrderedDict()
        self._graphs: OrderedDict[tuple[Any, ...], _Graph] = OrderedDict()
        self._pool: Any = None
        self._time_biases: dict[int, dict[int, list[Tensor]]] = {}

    @property
    def is_readable(self) -> bool:
        """Whether the model can still run its readable path."""
        return self._device.type == "cpu" and self._context.dtype == torch.float32

    @property
    def captures(self) -> bool:
        """Whether what has shapes of its own is captured as a graph when it is first seen."""
        return self._graphs_on

    @classmethod
    def for_device(cls, model: Evo1, device: torch.device, precision: str = "auto") -> "Engine":
        """Move a model to where it serves, and prepare it.

        Its matrices get their serving_dtype in place; norms, softmax and residual of the head and
        the denoised chunk stay fp32. With half of the bits, or on CUDA, the readable path of this
        model is then gone. On CUDA the embedding table stays in host memory: a prompt is embedded
        once. On the CPU the order of the matrices in memory changes.
        """
        dtype = serving_dtype(precision, device)
        if dtype != torch.float32:
            model.embedder.to(dtype)
            reduce_precision(model.action_head, dtype)
        if device.type == "cuda":
            table = model.embedder.model.language_model.embed_tokens
            model.to(device)
            table.to("cpu")
        else:
            model.to(device)
            store_by_input(model)
        return cls(model)

    @torch.inference_mode()
    def sample_actions(
        self,
        inputs: ModelInputs,
        noise: Tensor,
        *,
        steps: int | None = None,
        prefix: Prefix | None = None,
    ) -> Tensor:
        """Denoise, as Evo1.sample_actions does.

        Args:
            inputs: what was seen; best on the CPU, because the prompt and the masks are looked
                at there (on a GPU that would wait for it).
            noise: (B, H, D) fp32.
            steps: Euler steps; None takes the config's.
            prefix: what the chunks are guided to begin with.

        Returns:
            (B, H, D) fp32 normalised actions, on the model's device; unused dimensions are 0.

        Raises:
            ValueError: a prompt has not one slot for each image token, or a view is visible in
                part; or rows differ in prompt, visible views or action dimensions.
        """
        steps = steps or self.config.num_inference_steps
        keys = {_key(inputs, row) for row in range(len(noise))}
        if len(keys) > 1:
            raise ValueError("rows differ in prompt, views or dimensions; call once for each")
        plan = self._plan(keys.pop(), inputs)
        if steps not in self._time_biases:
            table = [euler_time_index(k, steps, self._scale) for k in range(steps)]
            self._time_biases[steps] = self._head.time_biases(sorted(set(table)))
        images = inputs.images[:, list(plan.prompt.present)]  # (B, P, 3, S, S)
        guide = () if prefix is None else (prefix.actions, prefix.weights)
        values = tuple(
            value.to(self._device, non_blocking=True)
            for value in (images, inputs.state, noise, *guide)
        )
        if self._graphs_on:
            graph = self._graph(plan, steps, values)
            if graph is not None:
                return graph(plan, values)
        return self._run(steps, plan, *values)

    def _graph(self, plan: _Plan, steps: int, values: Sequence[Tensor]) -> _Graph | None:
        """The graph of these shapes; None where the GPU cannot capture it: never tried again."""
        shapes = tuple(tensor.shape for tensor in (*plan.tensors(), *values))
        key = (steps, plan.prompt.present, shapes)
        if key not in self._graphs:
            try:
                if self._pool is None:
                    self._pool = torch.cuda.graph_pool_handle()
                graph = _Graph(partial(self._run, steps), plan, values, self._pool)
            except RuntimeError as error:
                _LOG.warning("no CUDA graph, so inference is slower: %s", error)
                self._graphs_on = False
                self._graphs.clear()
                return None
            self._graphs[key] = graph
            if len(self._graphs) > _GRAPHS:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(key)
        return self._graphs[key]

    @property
    def _scale(self) -> int:
        return self.config.semantics.time_scale

    def _run(
        self,
        steps: int,
        plan: _Plan,
        images: Tensor,
        state: Tensor,
        noise: Tensor,
        *guide: Tensor,
    ) -> Tensor:
        """The inference itself: all on the device, shapes known, nothing waited for.

        `guide` is nothing, or a prefix's actions (B, H, D) and weights (B, H).
        """
        context = self._context.encode(images, plan.prompt)  # ((L,) B, T, E)
        keys = self._head.keys(context, state, plan.constant, plan.prompt.bias)
        biases = self._time_biases[steps]

        def predict(chunk: Tensor, row: int) -> Tensor:
            return self._head.predict(chunk, biases[row], keys, plan.columns)

        actions = integrate_euler(
            predict,
            noise[..., plan.used],  # (B, H, d)
            noise.new_ones(1, len(plan.used)),
            steps=steps,
            scale=self._scale,
            prediction=self.config.semantics.prediction,
            prefix=Prefix(actions=guide[0][..., plan.used], weights=guide[1]) if guide else None,
        )
        return torch.zeros_like(noise).index_copy(2, plan.used, actions)

    def _plan(self, key: tuple[bytes, ...], inputs: ModelInputs) -> _Plan:
        if key not in self._plans:
            self._plans[key] = self._make_plan(_row(inputs, 0).to("cpu"))
            if len(self._plans) > _PLANS:
                self._plans.popitem(last=False)
        self._plans.move_to_end(key)
        return self._plans[key]

    def _make_plan(self, inputs: ModelInputs) -> _Plan:
        prompt = self._context.prompt(
            inputs.input_ids[0], inputs.image_slots[0], inputs.token_mask[0]
        )
        used = inputs.action_mask[0].nonzero().flatten().to(self._device)
        return _Plan(
            prompt=prompt,
            constant=() if prompt.hidden is None else self._head.project(prompt.hidden),
            used=used,
            columns=self._head.columns(used),
        )


def store_by_input(model: nn.Module) -> None:
    """Store matrices column by column, which CPU libraries multiply 1.2 to 1.5 times faster.

    Shapes and values stay. seq_pool_proj meets one row at a time, for which rows are better.
    """
    weights = [
        module.weight
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not name.endswith("seq_pool_proj")
    ]
    weights += [
        module.in_proj_weight for module in model.modules() if isinstance(module, CrossAttention)
    ]
    for weight in weights:
        weight.data = weight.data.t().contiguous().t()


def _row(inputs: ModelInputs, row: int) -> ModelInputs:
    return ModelInputs(
        **{item.name: getattr(inputs, item.name)[row : row + 1] for item in fields(inputs)}
    )


def _key(inputs: ModelInputs, row: int) -> tuple[bytes, ...]:
    """What tells one prompt and action mask from another."""
    parts = (inputs.input_ids, inputs.image_slots, inputs.token_mask, inputs.action_mask)
    return tuple(part[row].cpu().numpy().tobytes() for part in parts)
