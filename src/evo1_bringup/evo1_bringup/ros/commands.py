"""What the `evo1` command asks of whoever moves an arm: service clients, `stop`, and the status.

A command acts on what is there as soon as it is there. That nobody is there is said only when
discovery had all of `timeout_s`: a packet of it that is lost comes again after 3 s.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import rclpy
from evo1_msgs.msg import PolicyStatus
from evo1_msgs.srv import ResetTask, SetInstruction, SetSpeed
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.node import Node
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from evo1_policy.command_line import Redrawn
from evo1_policy.ros.qos import STOP_ANSWER_TOPIC, STOP_TOPIC, fault_qos, report_qos, words_qos
from evo1_policy.ros.starting import NO_LOG, start_ros

STATES = {0: "IDLE", 1: "RUNNING", 2: "HOLDING", 3: "TAKEOVER", 4: "STOPPED"}
MOVERS = ("policy", "teleop_relay")  # a namespace has one of them

_DISCOVERY_S = 1.0  # in which a new node has nearly always heard of the others
_REPEAT_S = 0.25  # of a stop
_LATE_DISCOVERY_S = 3.5  # in which it has heard of them though a packet was lost
_AT_REST = "at rest; evo1 resume starts it"
_SETTLE_S = 0.5  # of an arm before and after it is put elsewhere


class NoAnswerError(RuntimeError):
    """Nobody offers the service or topic, or no answer came in time."""


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
    return _call(target, SetInstruction, ["policy/set_instruction"], request)


def speed(target: Target, percent: float) -> Answer:
    """Change the pace of the policy's chunks, in percent of its own."""
    request = SetSpeed.Request(speed=percent / 100.0)
    return _call(target, SetSpeed, ["policy/set_speed"], request)


def trigger(target: Target, name: str) -> Answer:
    """Call a service without content, such as pause, of whoever moves the arm."""
    return _call(target, Trigger, [f"{mover}/{name}" for mover in MOVERS], Trigger.Request())


def stop(target: Target, *, everywhere: bool = False) -> Answer:
    """Say `stop` in the arm's namespace, or in every one, until all who move an arm confirm it."""
    stops: dict[str, _Stop] = {}
    begun_s = time.monotonic()
    suffix = f"/{STOP_TOPIC}"

    def said() -> bool:
        """Say it to whoever is known by now; whether everybody who can be known has confirmed."""
        known = (name for name, _ in node.get_topic_names_and_types() if name.endswith(suffix))
        for topic in known if everywhere else [target.name(STOP_TOPIC)]:
            if topic not in stops:
                stops[topic] = _Stop(node, topic.removesuffix(suffix))
            stops[topic].say()
        waited_s = time.monotonic() - begun_s
        if waited_s > _LATE_DISCOVERY_S:
            return any(item.listeners for item in stops.values())
        confirmed = any(item.answers for item in stops.values()) and not any(
            item.missing for item in stops.values()
        )
        return confirmed and waited_s > _DISCOVERY_S and not everywhere

    with command_node() as node:
        if not spin_for(node, target.timeout_s, said):
            raise NoAnswerError(_absence(node, target, [STOP_TOPIC], "nobody hears"))
        answers = [text for item in stops.values() for text in item.answers.values()]
        missing = [f"{n} that hear {topic}" for topic, s in stops.items() if (n := s.missing)]
    if missing or not answers:
        answers.append(
            f"NOT CONFIRMED by {', '.join(missing) or 'anybody'}: they hang, or were killed a "
            "moment ago; say it again, or press the emergency stop"
        )
        return Answer(success=False, message="\n".join(answers))
    return Answer(success=True, message="\n".join(answers))


class _Stop:
    """`stop` in one namespace, and who has confirmed it there."""

    def __init__(self, node: Node, place: str) -> None:
        self._node, self._place, self._said_s = node, place, 0.0
        self.listeners = 0
        self.answers: dict[str, str] = {}  # by who gave it
        self._topic = node.create_publisher(Bool, f"{place}/{STOP_TOPIC}", words_qos())
        node.create_subscription(
            String, f"{place}/{STOP_ANSWER_TOPIC}", self._on_answer, report_qos()
        )

    @property
    def missing(self) -> int:
        """How many have not confirmed."""
        known = self._node.count_publishers(f"{self._place}/{STOP_ANSWER_TOPIC}")
        return int(max(known - len(self.answers), 0))

    def say(self) -> None:
        """Say it where somebody new listens, and now and then."""
        before, self.listeners = self.listeners, self._topic.get_subscription_count()
        now_s = time.monotonic()
        if self.listeners > before or now_s > self._said_s + _REPEAT_S:
            self._topic.publish(Bool(data=True))
            self._said_s = now_s

    def _on_answer(self, message: String) -> None:
        self.answers[message.data.partition(": ")[0]] = message.data


def clear_stop(target: Target) -> Answer:
    """Leave the latched stop: drivers by the topic, whoever moves the arm by its service."""
    with command_node() as node:
        topic = node.create_publisher(Bool, target.name(STOP_TOPIC), words_qos())
        try:
            there = _await(node, target, Trigger, [f"{mover}/clear_stop" for mover in MOVERS])
        finally:  # a driver without a policy is told too
            spin_for(node, _DISCOVERY_S)
            topic.publish(Bool(data=False))
        freed = _answer(node, target, Trigger, there, Trigger.Request())
    idle = freed.message == STATES[PolicyStatus.IDLE]
    return replace(freed, message=f"{freed.message}: {_AT_REST}") if idle else freed


def reset(target: Target, task: str, seed: int) -> Answer:
    """Put the simulated scene into a start state; a negative seed takes the next one.

    A policy that runs, and a relay, pause meanwhile: the arm is put elsewhere.
    """
    policy: list[PolicyStatus] = []
    relay: list[str] = []
    request = ResetTask.Request(task=task, seed=seed)
    with command_node() as node:
        _follow(node, target, policy.append, relay.append)
        _await(node, target, ResetTask, ["sim_robot/reset"])
        spin_for(node, _DISCOVERY_S, lambda: bool(policy or relay))
        runs = bool(policy and policy[-1].state == PolicyStatus.RUNNING)
        names = ["policy"] * runs + ["teleop_relay"] * (bool(relay) and _moves(relay[-1]))
        _ask(node, target, Trigger, [f"{name}/pause" for name in names], Trigger.Request())
        spin_for(node, _SETTLE_S if names else 0.0)
        answers = _ask(node, target, ResetTask, ["sim_robot/reset"], request)
        spin_for(node, _SETTLE_S if names else 0.0)
        resumed = _ask(node, target, Trigger, [f"{n}/resume" for n in names], Trigger.Request())
    lines = [answer.message for answer in answers]
    lines += [f"{answer.message}; evo1 resume goes on" for answer in resumed if not answer.success]
    if policy and policy[-1].reason_code and not runs:
        lines.append(f"policy {status_line(policy[-1]).partition(' |')[0]}; evo1 resume goes on")
    return Answer(
        success=all(answer.success for answer in [*answers, *resumed]), message="\n".join(lines)
    )


def unplug(target: Target, what: str) -> Answer:
    """Silence cameras of the simulation, names with commas between, or pull the 'arm'."""
    if what == "arm":
        return plug_arm(target, plugged=False)
    value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=what)
    return _set_parameter(target, "sim_robot", Parameter(name="unplugged_cameras", value=value))


def plug(target: Target, what: str = "") -> Answer:
    """Plug every simulated camera in again, or the 'arm'."""
    return plug_arm(target, plugged=True) if what == "arm" else unplug(target, "")


def plug_arm(target: Target, *, plugged: bool) -> Answer:
    """Plug the emulated SO-100's cable in, or pull it."""
    value = ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=plugged)
    return _set_parameter(target, "so100_emulator", Parameter(name="plugged", value=value))


def recover_arm(target: Target) -> Answer:
    """Have the arm's driver go on after a fault, holding the arm where it is."""
    names = ["so100_driver/recover", "xarm_monitor/recover"]
    return _call(target, Trigger, names, Trigger.Request())


def status(target: Target, *, follow: bool, printer: Callable[..., None]) -> int:
    """Print what the policy or the relay does, once or until Ctrl-C."""
    heard: list[list[str]] = []
    with command_node() as node:
        _follow(
            node,
            target,
            lambda message: heard.append(status_lines(message)),
            lambda text: heard.append([f"relay: {text}"]),
        )
        with suppress(KeyboardInterrupt):
            names = [f"{mover}/status" for mover in MOVERS]
            if not spin_for(node, target.timeout_s, lambda: bool(heard)):
                raise NoAnswerError(_absence(node, target, names))
            screen = Redrawn(printer)
            screen.show(heard.pop())
            while follow:
                heard.clear()
                spin_for(node, target.timeout_s, lambda: bool(heard))
                screen.show((heard or [["nothing heard"]])[-1])
    return 0


def status_line(message: PolicyStatus) -> str:
    """One line of status."""
    reason = f" {message.reason_code}: {message.reason}" if message.reason_code else ""
    if message.state == PolicyStatus.IDLE and not reason:
        reason = f": {_AT_REST}"
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
        f"mode {message.mode}, speed {100 * message.speed:.0f} %, "
        f"idle {100 * message.idle_fraction:.1f} %, "
        f"observation age {message.observation_age_ms:.1f} ms, "
        f"skew {message.observation_skew_ms:.1f} ms",
        f"chunks rejected {message.chunks_rejected}, "
        f"interventions {message.safety_interventions}, holds {message.holds}",
        f"take-overs {message.takeovers}, dead-man button {_dead_man(message)}",
        f"collisions {message.collisions or 'not told: an older policy node'}",
    ]
    for stream in message.streams:
        problem = f"  ({stream.problem})" if stream.problem else ""
        age = "none" if math.isnan(stream.age_ms) else f"{stream.age_ms:.1f}"
        lines.append(
            f"  {stream.name:14} {stream.rate_hz:6.1f} Hz  age {age:>6} ms "
            f"of {stream.max_age_ms:.0f}  {stream.topic}{problem}"
        )
    return lines


def _dead_man(message: PolicyStatus) -> str:
    if not message.dead_man_required:
        return "not required"
    return "held" if message.dead_man_held else "RELEASED"


def _moves(relay: str) -> bool:
    return not relay.startswith(("holding", "STOPPED"))


def _follow(
    node: Node,
    target: Target,
    on_policy: Callable[[PolicyStatus], object],
    on_relay: Callable[[str], object],
) -> None:
    """Hear what the policy and the relay say that they do."""
    node.create_subscription(PolicyStatus, target.name("policy/status"), on_policy, report_qos())
    node.create_subscription(
        String,
        target.name("teleop_relay/status"),
        lambda message: on_relay(message.data),
        fault_qos(),
    )


def _set_parameter(target: Target, name: str, parameter: Parameter) -> Answer:
    request = SetParametersAtomically.Request(parameters=[parameter])
    with command_node() as node:
        names = [f"{name}/set_parameters_atomically"]
        _await(node, target, SetParametersAtomically, names)
        (response,) = _ask(node, target, SetParametersAtomically, names, request)
    return Answer(success=response.result.successful, message=response.result.reason or "done")


def _call(target: Target, kind: Any, relatives: Sequence[str], request: object) -> Answer:
    """Call whichever of the services are there."""
    with command_node() as node:
        there = _await(node, target, kind, relatives)
        return _answer(node, target, kind, there, request)


def _answer(
    node: Node, target: Target, kind: Any, relatives: Sequence[str], request: object
) -> Answer:
    """What services that are there answer, as one."""
    answers = _ask(node, target, kind, relatives, request)
    lines = [answer.message or "done" for answer in answers]
    lines += [
        f"{count} nodes offer {name} and one answered; end one of them"
        for name in map(target.name, relatives)
        if (count := node.count_services(name)) > 1
    ]
    return Answer(success=all(answer.success for answer in answers), message="\n".join(lines))


def _await(node: Node, target: Target, kind: Any, relatives: Sequence[str]) -> list[str]:
    """Those of the services that are there, once one is."""
    clients = {relative: node.create_client(kind, target.name(relative)) for relative in relatives}

    def there() -> list[str]:
        return [relative for relative, item in clients.items() if item.service_is_ready()]

    if not spin_for(node, target.timeout_s, lambda: bool(there())):
        raise NoAnswerError(_absence(node, target, relatives))
    return there()


def _ask(
    node: Node, target: Target, kind: Any, relatives: Sequence[str], request: object
) -> list[Any]:
    """Call services that are there; their responses."""
    clients = [node.create_client(kind, target.name(relative)) for relative in relatives]
    end = time.monotonic() + target.timeout_s
    for client in clients:
        client.wait_for_service(timeout_sec=end - time.monotonic())
    futures = [client.call_async(request) for client in clients]
    if not spin_for(node, target.timeout_s, lambda: all(future.done() for future in futures)):
        names = ", ".join(target.name(relative) for relative in relatives)
        raise NoAnswerError(f"service {names}: no answer within {target.timeout_s:g} s")
    return [future.result() for future in futures]


def _absence(
    node: Node, target: Target, relatives: Sequence[str], problem: str = "nobody offers"
) -> str:
    """That nobody is there, and where somebody is."""
    names = {name for name, _ in node.get_service_names_and_types()}
    names |= {name for name, _ in node.get_topic_names_and_types()}
    wanted = [target.name(relative) for relative in relatives]
    places = sorted(
        {
            name.removesuffix(relative).strip("/")
            for relative in relatives
            for name in names
            if name.endswith(f"/{relative}") and name not in wanted
        }
    )
    text = f"{problem} {' or '.join(wanted)} after {target.timeout_s:g} s; "
    if loading := {*map(target.name, MOVERS)}.intersection(node.get_fully_qualified_node_names()):
        return f"{text}{' and '.join(loading)} is there but not ready: see its log"
    if not places:
        return text + "is the system running, with this ROS_DOMAIN_ID and namespace?"
    return text + "here are: " + ", ".join(f"--namespace {place or '/'}" for place in places)


def spin_for(node: Node, timeout_s: float, done: Callable[[], bool] = lambda: False) -> bool:
    """Serve the node until `done`, or for `timeout_s`; returns whether it is done."""
    end_s = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > end_s:
            return False
        rclpy.spin_once(node, timeout_sec=0.02)
    return True


@contextmanager
def command_node() -> Iterator[Node]:
    """A node for one command, and ROS around it."""
    # Ctrl-C stays Python's; no file is logged to: a home or log folder may be unwritable
    start_ros(["--ros-args", NO_LOG])
    node = rclpy.create_node("evo1_command")
    try:
        yield node
    finally:
        node.destroy_node()
        rclpy.shutdown()  # leaves a fresh context for the next command
