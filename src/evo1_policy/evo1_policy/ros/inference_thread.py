"""The policy of a node: loaded, and run by one thread that the executor never waits for.

Must not import message packages. Times are the node's clock; busy time is measured with the
monotonic clock, because a simulated clock may stand still.
"""

import gc
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from evo1_policy.control.inference import InferenceError, Policy
from evo1_policy.control.signals import (
    InferenceDone,
    InferenceFailed,
    InferenceRequest,
    StopCode,
)
from evo1_policy.node_parameters import PolicyParameters
from evo1_policy.perception.frames import DamagedImageError, decoded
from evo1_policy.robot_config import RobotConfig

DUTY_WINDOW_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Inferred:
    """A finished request with what came of it."""

    request: InferenceRequest
    outcome: InferenceDone | InferenceFailed


class InferenceThread:
    """Runs one request at a time; a newer one replaces a waiting one.

    Args:
        policy: used by this thread alone.
        now_ns: the node's clock.
        wake: called from this thread after each result, to take it.
    """

    def __init__(
        self, policy: Policy, *, now_ns: Callable[[], int], wake: Callable[[], None]
    ) -> None:
        self._policy = policy
        self._now_ns = now_ns
        self._wake = wake
        self._changed = threading.Condition()
        self._waiting: InferenceRequest | None = None
        self._results: deque[Inferred] = deque()
        self._busy: deque[tuple[float, float]] = deque(maxlen=100)  # monotonic start, end [s]
        self._busy_since: float | None = None
        self._void = False  # the result of the running inference is not wanted any more
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def submit(self, request: InferenceRequest) -> None:
        """Ask for a chunk; returns at once."""
        with self._changed:
            self._waiting = request
            self._changed.notify()

    def take(self) -> Inferred | None:
        """Return the oldest result not yet taken, or None."""
        with self._changed:
            return self._results.popleft() if self._results else None

    def forget(self) -> None:
        """Drop what waits, what came back, and the result of the inference that runs now."""
        with self._changed:
            self._waiting = None
            self._results.clear()
            self._void = self._busy_since is not None

    def duty(self) -> float:
        """Share of the last second spent inferring [0..1]."""
        now = time.monotonic()
        since = now - DUTY_WINDOW_S
        with self._changed:
            spans = list(self._busy)
            if self._busy_since is not None:
                spans.append((self._busy_since, now))
        return sum(max(0.0, end - max(start, since)) for start, end in spans) / DUTY_WINDOW_S

    def close(self, timeout_s: float = 2.0) -> None:
        """End the thread; one that is stuck in the policy is left behind as a daemon."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._policy.close()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (request := self._next()) is not None:
            outcome = self._infer(request)
            with self._changed:
                if self._busy_since is not None:
                    self._busy.append((self._busy_since, time.monotonic()))
                self._busy_since = None
                if self._closing:
                    return
                if not self._void:
                    self._results.append(Inferred(request=request, outcome=outcome))
                self._void = False
            self._wake()

    def _next(self) -> InferenceRequest | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._closing)
            if self._closing:
                return None
            request, self._waiting = self._waiting, None
            self._busy_since = time.monotonic()
            return request

    def _infer(self, request: InferenceRequest) -> InferenceDone | InferenceFailed:
        started_ns = self._now_ns()
        try:
            observation = decoded(request.observation)  # here, where nobody waits for messages
            chunk = self._policy.infer(observation, request.guidance)
        except DamagedImageError as damaged:
            return InferenceFailed(
                request_id=request.request_id, error=str(damaged), damaged=damaged
            )
        except Exception as error:  # noqa: BLE001  whatever it raises, the arm must hold
            message = f"{type(error).__name__}: {error}"
            failed = StopCode.INFERENCE_FAILED
            code = error.code if isinstance(error, InferenceError) else failed
            return InferenceFailed(request_id=request.request_id, error=message, code=code)
        return InferenceDone(
            request_id=request.request_id,
            chunk=chunk,
            started_ns=started_ns,
            finished_ns=self._now_ns(),
        )


PolicyFactory = Callable[[RobotConfig, PolicyParameters], Policy]


def load_policy(robot: RobotConfig, parameters: PolicyParameters) -> Policy:
    """Load the checkpoint that the parameters name, for a process that does nothing else.

    With `remote`, be its client; no torch is imported then.

    Raises:
        evo1_policy.checkpoint.CheckpointError: it cannot be read, or is for another robot.
        evo1_policy.serving.calling.RemoteError: nobody serves a policy for this robot there.
    """
    if parameters.remote:
        from evo1_policy.serving.calling import read_token
        from evo1_policy.serving.remote import RemotePolicy

        return RemotePolicy(
            parameters.remote,
            robot=robot,
            jpeg=parameters.remote_images == "jpeg",
            token=read_token(parameters.remote_token_file),
        )
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
        end_effector=parameters.end_effector or None,
        rate_hz=parameters.checkpoint_rate_hz or None,
        num_steps=parameters.num_steps or None,
        precision=parameters.precision,
        threads=parameters.threads or max(1, (os.cpu_count() or 2) // 2),
    )
    gc.collect()
    gc.freeze()  # a full collection over what torch imported would stall the node
    return policy
