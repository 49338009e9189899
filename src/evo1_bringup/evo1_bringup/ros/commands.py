"""What the `evo1` command asks a running policy: small service clients, and the status."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import rclpy
from evo1_msgs.msg import PolicyStatus
from evo1_msgs.srv import ResetTask, SetInstruction
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from std_srvs.srv import Trigger

STATES = {0: "IDLE", 1: "RUNNING", 2: "HOLDING", 3: "TAKEOVER", 4: "STOPPED"}


class NoAnswerError(RuntimeError):
    """Nobody offers the service or topic, or no answer came in time."""


_DISCOVERY_S = 1.0  # until a new node has heard of the others


@dataclass(frozen=True, kw_only=True)
class Target:
    """Which arm to talk to, and how long to wait [s]."""

    namespace: str = ""
    timeout_s: float = 10.0

    def name(self, relative: str) -> str:
        """The absolute name of `relative` in the arm's namespace."""
        return "/" + "/".join(part for part in (self.namespace.strip("/"), relative) if part)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back."""

    success: bool
    message: str


def instruct(target: Target, instruction: str, transition: str = "") -> Answer:
    """Change the policy's instruction by a transition; '' takes the node's.

    Raises:
        NoAnswerError: see the class; so for every function here.
    """
    request = SetInstruction.Request(instruction=instruction, transition=transition)
    return _call(target, SetInstruction, "policy/set_instruction", request)


def trigger(target: Target, name: str) -> Answer:
    """Call one of the policy's services without content, such as stop or take_over."""
    return _call(target, Trigger, f"policy/{name}", Trigger.Request())


def stop_all(target: Target) -> dict[str, Answer]:
    """Stop every policy of this ROS domain, in any namespace; returns name -> answer.

    Raises:
        NoAnswerError: there is no policy.
    """
    name = "policy/stop"
    with _node() as node:
        _spin(node, lambda: bool(_found(node, name)), target.timeout_s, f"any {name}")
        _spin_for(node, _DISCOVERY_S)  # the others are heard of a moment later
        clients = [node.create_client(Trigger, full) for full in _found(node, name)]
        futures = {
            client.srv_name: client.call_async(Trigger.Request())
            for client in clients
            if client.wait_for_service(timeout_sec=_DISCOVERY_S)
        }
        pending = futures.values()
        _spin_for(node, target.timeout_s, lambda: all(future.done() for future in pending))
        return {client.srv_name: _answer(futures.get(client.srv_name)) for client in clients}


def _answer(future: Future | None) -> Answer:
    if future is None or not future.done():
        return Answer(success=False, message="no answer")
    response = future.result()
    return Answer(success=response.success, message=response.message)


def reset(target: Target, task: str, seed: int) -> Answer:
    """Put the simulated scene into a start state; a negative seed takes the next one."""
    return _call(target, ResetTask, "sim_robot/reset", ResetTask.Request(task=task, seed=seed))


def unplug(target: Target, cameras: str) -> Answer:
    """Silence cameras of the simulation, names with commas between; '' plugs all in again."""
    value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=cameras)
    return _set_parameter(target, "sim_robot", Parameter(name="unplugged_cameras", value=value))


def plug_arm(target: Target, *, plugged: bool) -> Answer:
    """Plug the emulated SO-100's cable in, or pull it."""
    value = ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=plugged)
    return _set_parameter(target, "so100_emulator", Parameter(name="plugged", value=value))


def recover_arm(target: Target) -> Answer:
    """Have the arm's driver go on after a fault, holding the arm where it is."""
    names = [target.name(f"{node}/recover") for node in ("so100_driver", "xarm_monitor")]
    with _node() as node:
        _spin(
            node,
            lambda: any(_offered(node, name) for name in names),
            target.timeout_s,
            f"services {' and '.join(names)}",
        )
        there = next(name for name in names if _offered(node, name))
    return _call(
        target, Trigger, there.removeprefix(target.name("")).lstrip("/"), Trigger.Request()
    )


def _found(node: Node, relative: str) -> list[str]:
    """Full names of the services that end with `relative`."""
    known = node.get_service_names_and_types()
    return sorted(name for name, _ in known if name.endswith(f"/{relative}"))


def _tell_elsewhere(node: Node, target: Target, relative: str) -> None:
    """Raise where other namespaces than the target's offer the service."""
    name = target.name(relative)
    found = [other for other in _found(node, relative) if other != name]
    places = [other.removesuffix(relative).strip("/") for other in found]
    if places:
        given = ", ".join(f"--namespace {place or '/'}" for place in places)
        raise NoAnswerError(f"nobody offers {name}; here are: {given}")


def _offered(node: Node, name: str) -> bool:
    return any(name == known for known, _ in node.get_service_names_and_types())


def status(target: Target, *, follow: bool, printer: Callable[..., None]) -> int:
    """Print the policy's status once, or until Ctrl-C."""
    topic = target.name("policy/status")
    heard: list[PolicyStatus] = []
    with _node() as node:
        node.create_subscription(PolicyStatus, topic, heard.append, 10)
        try:
            _spin_for(node, _DISCOVERY_S, lambda: bool(heard))
            if not heard and not _offered(node, target.name("policy/stop")):
                _tell_elsewhere(node, target, "policy/stop")
            _spin(node, lambda: bool(heard), target.timeout_s, f"topic {topic}")
            printer(*status_lines(heard.pop()))
            while follow:
                _spin(node, lambda: bool(heard), target.timeout_s, f"topic {topic}")
                printer(status_line(heard.pop()))
                heard.clear()
        except KeyboardInterrupt:
            pass
    return 0


def status_line(message: PolicyStatus) -> str:
    """One line of status."""
    reason = f" {message.reason_code}: {message.reason}" if message.reason_code else ""
    return (
        f"{STATES.get(message.state, message.state)}{reason} | chunks {message.chunks_published} "
        f"| inference p50 {message.inference_ms_p50:.1f} ms "
        f"| overhead p95 {message.overhead_ms_p95:.1f} ms"
    )


def status_lines(message: PolicyStatus) -> list[str]:
    """The whole status."""
    lines = [
        status_line(message),
        f"robot {message.robot}, model {message.model_hash}, instruction '{message.instruction}'",
        f"mode {message.mode}, idle {100 * message.idle_fraction:.1f} %, "
        f"observation age {message.observation_age_ms:.1f} ms, "
        f"skew {message.observation_skew_ms:.1f} ms",
        f"chunks rejected {message.chunks_rejected}, "
        f"interventions {message.safety_interventions}, holds {message.holds}",
        f"take-overs {message.takeovers}, dead-man button {_dead_man(message)}",
    ]
    for stream in message.streams:
        problem = f"  ({stream.problem})" if stream.problem else ""
        lines.append(
            f"  {stream.name:14} {stream.rate_hz:6.1f} Hz  age {stream.age_ms:6.1f} ms "
            f"of {stream.max_age_ms:.0f}  {stream.topic}{problem}"
        )
    return lines


def _dead_man(message: PolicyStatus) -> str:
    if not message.dead_man_required:
        return "not required"
    return "held" if message.dead_man_held else "RELEASED"


def _set_parameter(target: Target, node: str, parameter: Parameter) -> Answer:
    request = SetParametersAtomically.Request(parameters=[parameter])
    name = f"{node}/set_parameters_atomically"
    result = _request(target, SetParametersAtomically, name, request).result
    return Answer(success=result.successful, message=result.reason or "done")


def _call(target: Target, kind: Any, relative: str, request: object) -> Answer:
    response = _request(target, kind, relative, request)
    return Answer(success=response.success, message=response.message or "done")


def _request(target: Target, kind: Any, relative: str, request: object) -> Any:
    name = target.name(relative)
    with _node() as node:
        client = node.create_client(kind, name)
        first_s = min(2 * _DISCOVERY_S, target.timeout_s)
        if not client.wait_for_service(timeout_sec=first_s):
            _tell_elsewhere(node, target, relative)  # at once: somebody may want to stop an arm
            if not client.wait_for_service(timeout_sec=max(target.timeout_s - first_s, 0.0)):
                raise NoAnswerError(
                    f"nobody offers {name} after {target.timeout_s:g} s; is the system running, "
                    "with this ROS_DOMAIN_ID and namespace?"
                )
        future: Future = client.call_async(request)
        _spin(node, future.done, target.timeout_s, f"service {name}")
        return future.result()


def _spin(node: Node, done: Callable[[], bool], timeout_s: float, what: str) -> None:
    if not _spin_for(node, timeout_s, done):
        raise NoAnswerError(f"{what}: no answer within {timeout_s:g} s")


def _spin_for(node: Node, timeout_s: float, done: Callable[[], bool] = lambda: False) -> bool:
    """Serve the node until `done`, or for `timeout_s`; returns whether it is done."""
    end_ns = _now_ns(node) + round(timeout_s * 1e9)
    while not done():
        if _now_ns(node) > end_ns:
            return False
        rclpy.spin_once(node, timeout_sec=0.1)
    return True


def _now_ns(node: Node) -> int:
    return int(node.get_clock().now().nanoseconds)


@contextmanager
def _node() -> Iterator[Node]:
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)  # Ctrl-C stays Python's
    node = rclpy.create_node("evo1_command")
    try:
        yield node
    finally:
        node.destroy_node()
        rclpy.shutdown()  # leaves a fresh context for the next command
