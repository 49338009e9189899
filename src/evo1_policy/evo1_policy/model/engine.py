"""The fast path: what Evo1.sample_actions gives, sooner.

    prompt (once an instruction)   embeddings, rotary table, rows and keys that no input changes
    inference                      present images -> visible tokens -> keys and values, once
    each denoising step            the head's blocks on those keys, used action dimensions only

On CUDA the whole inference is one graph. Letters as in evo1.py. Must not import ROS.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor, nn

from evo1_policy.model.action_expert import CrossAttention
from evo1_policy.model.evo1 import Evo1
from evo1_policy.model.fast_context import FastContext, Prompt
from evo1_policy.model.fast_head import ActionColumns, FastHead, reduce_precision
from evo1_policy.model.flow_matching import Prefix, euler_time_index, integrate_euler
from evo1_policy.model.preprocessing import ModelInputs

_PLANS = 8  # prompts that are remembered
_WARM_UPS = 2


class GraphedCall:
    """Captures a function once, then replays it without the cost of its launches.

    The function must do all its work on the GPU, in shapes that do not change, and without
    waiting for the GPU. What it reads besides its arguments must stay where it is.
    """

    def __init__(self, function: Callable[..., Tensor], *examples: Tensor) -> None:
        self._inputs = [example.clone() for example in examples]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # libraries allocate their workspaces before the capture
            for _ in range(_WARM_UPS):
                function(*self._inputs)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._output = function(*self._inputs)

    def __call__(self, *values: Tensor) -> Tensor:
        """Run on other values, of the same shapes and types as the examples."""
        for held, value in zip(self._inputs, values, strict=True):
            held.copy_(value, non_blocking=True)
        self._graph.replay()
        return self._output.clone()


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is the same for all inferences with one prompt and one action mask.

    The key of a graph: steps, B, whether the chunks are guided.
    """

    prompt: Prompt
    constant: Sequence[Tensor | None]  # keys and values of prompt.hidden
    log_counts: Tensor | None  # (U,)
    used: Tensor  # (d,) int64 action dimensions
    columns: ActionColumns
    graphs: dict[tuple[int, int, bool], GraphedCall] = field(default_factory=dict)


class Engine:
    """Fast inference with a model whose weights no longer change; it shares them.

    Absent views are taken to be black, as ModelInputs says; their images are not looked at.
    """

    def __init__(self, model: Evo1, *, graphs: bool = True) -> None:
        """Arrange a model; `graphs` lets whole inferences on CUDA run as one graph."""
        self.config = model.config
        self._graphs = graphs
        model.eval()
        self._context = FastContext(model.embedder, model.config)
        self._head = FastHead(model.action_head)
        self._device = self._context.device
        self._plans: OrderedDict[tuple[bytes, ...], _Plan] = OrderedDict()
        self._time_biases: dict[int, dict[int, list[Tensor]]] = {}

    @classmethod
    def for_device(cls, model: Evo1, device: torch.device) -> "Engine":
        """Move a model to where it serves, and prepare it.

        On CUDA its matrices become bf16 in place (norms, softmax, residual of the head and the
        denoised chunk stay fp32), and the embedding table stays in host memory: a prompt is
        embedded once. The readable path of this model is then gone. On the CPU only the order of
        the matrices in memory changes.
        """
        if device.type == "cuda":
            table = model.embedder.model.language_model.embed_tokens
            model.embedder.to(torch.bfloat16)
            reduce_precision(model.action_head, torch.bfloat16)
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
        if self._device.type != "cuda" or not self._graphs:
            return self._run(plan, steps, *values)
        key = (steps, len(noise), prefix is not None)
        graph = plan.graphs.get(key)
        if graph is None:
            graph = GraphedCall(lambda *tensors: self._run(plan, steps, *tensors), *values)
            plan.graphs[key] = graph
        return graph(*values)

    @property
    def _scale(self) -> int:
        return self.config.semantics.time_scale

    def _run(
        self,
        plan: _Plan,
        steps: int,
        images: Tensor,
        state: Tensor,
        noise: Tensor,
        *guide: Tensor,
    ) -> Tensor:
        """The inference itself: all on the device, shapes known, nothing waited for.

        `guide` is nothing, or a prefix's actions (B, H, D) and weights (B, H).
        """
        context = self._context.encode(images, plan.prompt)  # ((L,) B, T, E)
        keys = self._head.keys(context, state, plan.constant, plan.log_counts)
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
            log_counts=None if prompt.counts is None else prompt.counts.log(),
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
