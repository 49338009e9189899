"""What infers, the inference in flight, and how early the next must start. No ROS, no torch."""

import math
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Protocol

from evo1_policy.action_chunk import ActionChunk, Guidance, ToolError
from evo1_policy.control.signals import (
    SPLICE_LEAD_NS,
    InferenceDone,
    InferenceFailed,
    InferenceRequest,
    LoopSettings,
    StopCode,
)
from evo1_policy.observation import Missing, Observation
from evo1_policy.perception.buffers import MAX_OFFSET_NS


class Policy(Protocol):
    """What the node and replay need of a policy; evo1_policy.policy.Policy is one."""

    @property
    def horizon(self) -> int:
        """H, actions in a chunk."""
        ...

    @property
    def execute_actions(self) -> int | None:
        """Actions of a chunk to execute before the next one; None: half of them."""
        ...

    @property
    def model_hash(self) -> str:
        """First 12 hex digits of the SHA-256 of the weights."""
        ...

    @property
    def device(self) -> str:
        """Where it runs."""
        ...

    def infer(self, observation: Observation, guidance: Guidance | None = None) -> ActionChunk:
        """Return what to do from this observation on, beginning with `guidance`."""
        ...

    def warm_up(self, instruction: str = "", *, guided: bool = False) -> None:
        """Run what will run, with guidance too, so that no true inference is a cold one."""
        ...

    def close(self) -> None:
        """Let go of what it holds; an inference that runs may end with an error."""
        ...


class InferenceError(ValueError):
    """Why an inference gave no chunk, by a reason of its own: `code` is what to hold for."""

    def __init__(self, code: StopCode, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """`wanted` is False once the result must be dropped."""

    request: InferenceRequest
    asked_ns: int
    wanted: bool = True


class InferenceDesk:
    """Asks for inferences and takes their results.

    Attributes:
        tool_error: of the last chunk, where its actions are the end effector's.
    """

    def __init__(self, settings: LoopSettings) -> None:
        self._settings = settings
        self._lead = LeadModel(settings.default_lead_ns)
        self.tool_error: ToolError | None = None
        self._asked: _Asked | None = None
        self._request_id = 0
        self._used_stamp_ns: int | None = None
        self._damage = ""  # why nothing could be inferred from the last observation

    @property
    def lead_ns(self) -> int:
        """From asking until the chunk takes over, by the latencies measured so far [ns]."""
        return self._lead.lead_ns + SPLICE_LEAD_NS

    def ask(
        self,
        observation: Observation | Missing,
        now_ns: int,
        guide: Callable[[Observation], Guidance | None] = lambda _: None,
    ) -> InferenceRequest | None:
        """Start the next inference, if none is in flight and there is something new to see.

        `guide` says what the chunk from an observation shall begin with.
        """
        if self._asked is not None or not isinstance(observation, Observation):
            return None
        if observation.stamp_ns > now_ns + MAX_OFFSET_NS:  # of a clock that jumped back
            return None
        if self._used_stamp_ns is not None and observation.stamp_ns <= self._used_stamp_ns:
            return None
        self._request_id += 1
        request = InferenceRequest(
            request_id=self._request_id, observation=observation, guidance=guide(observation)
        )
        self._asked = _Asked(request=request, asked_ns=now_ns)
        self._used_stamp_ns = observation.stamp_ns
        return request

    def receive(
        self, result: InferenceDone | InferenceFailed | None
    ) -> InferenceDone | InferenceFailed | None:
        """The result that arrived, unless it is outdated."""
        asked = self._asked
        if result is None or asked is None or result.request_id != asked.request.request_id:
            return None
        self._asked = None
        self._damage = result.error if isinstance(result, InferenceFailed) else ""
        if isinstance(result, InferenceFailed) and result.damaged is not None:
            return None  # the next observation is as good
        if isinstance(result, InferenceDone):
            self.tool_error, request = result.chunk.tool_error, asked.request
            kind = (request.observation.instruction, request.guidance is not None)
            self._lead.add(result.finished_ns - result.started_ns, kind)
        return result if asked.wanted else None

    def outdate(self) -> None:
        """Drop the result of the inference in flight when it comes."""
        if self._asked is not None:
            self._asked = replace(self._asked, wanted=False)

    def leave_clock(self, now_ns: int) -> None:
        """The clock jumped back to `now_ns`: earlier stamps mean nothing."""
        self._used_stamp_ns = None
        if self._asked is not None:
            self._asked = replace(self._asked, wanted=False, asked_ns=now_ns)

    def overdue(self, now_ns: int) -> str | None:
        """Give up an inference that never came back; says so where its result was wanted."""
        asked = self._asked
        if asked is None or now_ns - asked.asked_ns <= self._settings.max_inference_ns:
            return None
        self._asked = None
        if not asked.wanted:
            return None
        return (
            f"an inference was given up after {(now_ns - asked.asked_ns) / 1e9:.1f} s; "
            "is the inference thread alive, and the device fast enough?"
        )

    def waiting_for(self, now_ns: int) -> str:
        """What the next chunk waits for, in words."""
        usual = f"usual: {self._lead.lead_ns / 1e6:.0f} ms"
        if self._asked is None:
            damage = f"; the last one could not be used: {self._damage}" if self._damage else ""
            return f"no new observation came in to infer from ({usual}){damage}"
        waited_ms = (now_ns - self._asked.asked_ns) / 1e6
        return f"the next inference has been running for {waited_ms:.0f} ms ({usual})"


KEPT = 50  # inferences remembered
KINDS = 8  # kinds remembered, as many as a policy keeps prompts


class LeadModel:
    """The 95th percentile of the last inference latencies, cold ones left out.

    An inference of a kind not seen yet (the first of all, of an instruction, with guidance) loads
    kernels, records graphs or embeds its prompt, and tells nothing about the next.
    """

    def __init__(self, default_ns: int) -> None:
        self._seen: deque[Hashable] = deque(maxlen=KINDS)
        self._latencies_ns: deque[int] = deque(maxlen=KEPT)
        self._lead_ns = default_ns

    def add(self, latency_ns: int, kind: Hashable = None) -> None:
        """Learn from one inference; the first of each kind is a cold one."""
        if kind not in self._seen:
            self._seen.append(kind)
        else:
            self._latencies_ns.append(max(latency_ns, 0))
            ordered = sorted(self._latencies_ns)
            self._lead_ns = ordered[math.ceil(0.95 * len(ordered)) - 1]

    @property
    def lead_ns(self) -> int:
        """How long the next inference is expected to take at most [ns]."""
        return self._lead_ns
