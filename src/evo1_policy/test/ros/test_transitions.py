"""Transitions and parameters that anybody may ask for: the node lives, the arm is not dropped."""

import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.lifecycle import TransitionCallbackReturn

from evo1_policy.ros.process import ManagedNode, run_managed

pytestmark = pytest.mark.ros

NUMBERS = (*range(9), *range(10, 13), *range(20, 23), 30, 31, 40, 41, 50, 60, 61, 97, 98, 99, 255)
LABELS = (
    *("create", "configure", "cleanup", "activate", "deactivate", "shutdown", "destroy"),
    *("transition_success", "transition_failure", "transition_error", "nonsense", ""),
)
POSSIBLE = {
    "unconfigured": {"configure", "shutdown"},
    "inactive": {"cleanup", "activate", "shutdown"},
    "active": {"deactivate", "shutdown"},
    "finalized": set(),
}
SHUTDOWN_NUMBERS = {"unconfigured": 5, "inactive": 6, "active": 7}
NUMBER_OF = {"configure": 1, "cleanup": 2, "activate": 3, "deactivate": 4}


@pytest.fixture
def ask(cell):
    """Ask for a transition by number and label; answers whether it was made, and the state."""
    change = cell.node.create_client(ChangeState, "policy/change_state")
    state = cell.node.create_client(GetState, "policy/get_state")

    def ask(number, label=""):
        request = ChangeState.Request(transition=Transition(id=number, label=label))
        made = cell._call(change, request).success
        return made, cell._call(state, GetState.Request()).current_state.label

    return ask


def impossible(state):
    numbers = {NUMBER_OF.get(label, SHUTDOWN_NUMBERS.get(state)) for label in POSSIBLE[state]}
    yield from ((number, "") for number in NUMBERS if number not in numbers)
    yield from ((0, label) for label in LABELS if label not in POSSIBLE[state])


def test_an_impossible_transition_is_answered_with_failure_in_every_state(cell, ask, start_node):
    running = start_node()
    cell.wait_moving()
    for state, leave in (
        ("active", "deactivate"),
        ("inactive", "cleanup"),
        ("unconfigured", "shutdown"),
        ("finalized", ""),
    ):
        for number, label in impossible(state):
            assert ask(number, label) == (False, state), (number, label)
        if state == "active":
            cell.wait_moving()  # the arm never lost its chunks
        if leave:
            assert ask(0, leave)[0], leave
    assert running.failure is None


def test_a_parameter_that_cannot_be_is_refused_and_the_arm_moves_on(cell, start_node):
    running = start_node()
    cell.wait_moving()
    client = cell.node.create_client(SetParameters, "policy/set_parameters")
    for name in ("rate", "", "a..b", "use_sim_time"):
        odd = Parameter(name=name, value=ParameterValue(type=200))
        answer = cell._call(client, SetParameters.Request(parameters=[odd]))
        assert not any(result.successful for result in answer.results)
    cell.wait_moving()
    assert running.failure is None


class Buggy(ManagedNode):
    """Raises in one of its transitions."""

    def __init__(self, bug, **arguments):
        super().__init__("buggy", **arguments)
        self.declare_parameter("auto_activate", value=True)
        self.bug, self.released = bug, 0

    def on_configure(self, state):
        self._configured = True
        return self._made("configure")

    def on_activate(self, state):
        self._active = True
        return self._made("activate")

    def on_deactivate(self, state):
        self._active = None
        return self._made("deactivate")

    def with_a_timer(self):
        def once():
            timer.cancel()
            self.trigger_deactivate()

        timer = self.create_timer(0.05, once)
        return self

    def _release(self):
        self._configured = None
        self.released += 1

    def _made(self, name):
        if name == self.bug:
            raise ZeroDivisionError(f"a bug in {name}")
        return TransitionCallbackReturn.SUCCESS


@pytest.fixture
def context():
    context = rclpy.Context()
    rclpy.init(context=context)
    yield context
    rclpy.shutdown(context=context)


@pytest.mark.parametrize("bug", ["configure", "activate"])
def test_a_transition_that_raises_is_logged_and_the_node_can_be_configured_again(
    bug, context, capfd
):
    node = Buggy(bug, context=context)
    assert not node.start()
    assert f"a bug in {bug}" in capfd.readouterr().err
    assert (node.released, node.broken) == (1, False)
    node.bug = ""
    assert node.start()
    node.finish()
    node.destroy_node()


def test_a_node_that_cannot_give_back_what_it_took_ends_with_status_1(capfd):
    assert run_managed(lambda: Buggy("deactivate").with_a_timer(), []) == 1
    assert "a bug in deactivate" in capfd.readouterr().err
