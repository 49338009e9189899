"""The run_policy action through a real action client."""

import pytest
from action_msgs.msg import GoalStatus
from command_checks import wait_at_rest

pytestmark = pytest.mark.ros

IDLE, RUNNING, STOPPED = 0, 1, 4


def test_goal_runs_its_time_and_succeeds_at_rest(cell, start_node):
    start_node(autostart=False)
    cell.wait(lambda: cell.status and cell.status.observation_age_ms >= 0, "observations")
    goal = cell.send_goal(instruction="pour the water", duration_s=1.0)
    assert goal.accepted
    answer = cell.result_of(goal)
    assert answer.status == GoalStatus.STATUS_SUCCEEDED
    assert answer.result.success
    assert answer.result.reason_code == "finished"
    assert answer.result.chunks > 0
    assert cell.chunks[-1].instruction == "pour the water"
    assert cell.feedback
    assert cell.feedback[-1].remaining_s < 1.0
    cell.wait_state(IDLE)
    wait_at_rest(cell)


def test_cancelled_goal_ends_at_rest(cell, start_node):
    start_node(autostart=False)
    goal = cell.send_goal(duration_s=0.0)
    cell.wait_moving()
    cell.cancel(goal)
    answer = cell.result_of(goal)
    assert answer.status == GoalStatus.STATUS_CANCELED
    assert answer.result.success
    assert answer.result.reason_code == "cancelled"
    cell.wait_state(IDLE)
    wait_at_rest(cell)


def test_a_goal_outlasts_a_persons_take_over(cell, start_node):
    start_node(autostart=False, takeover_return="resume")
    goal = cell.send_goal(duration_s=1.5)
    cell.wait_moving()
    assert cell.call("take_over").success
    result = goal.get_result_async()
    seconds = cell.feedback[-1].elapsed_s if cell.feedback else 0.0
    cell.wait(lambda: cell.feedback and cell.feedback[-1].elapsed_s > seconds + 2.0, "its time")
    assert not result.done()
    assert cell.call("hand_back").success
    cell.wait(result.done, "the end of the goal")
    assert result.result().result.reason_code == "finished"


def test_stop_aborts_the_goal_and_names_itself(cell, start_node):
    start_node(autostart=False)
    goal = cell.send_goal(duration_s=0.0)
    cell.wait_moving()
    cell.call("stop")
    answer = cell.result_of(goal)
    assert answer.status == GoalStatus.STATUS_ABORTED
    assert not answer.result.success
    assert answer.result.reason_code == "stopped"
    assert not cell.send_goal(duration_s=1.0).accepted


def test_second_goal_is_refused_while_one_runs(cell, start_node):
    start_node(autostart=False)
    first = cell.send_goal(duration_s=0.0)
    assert first.accepted
    assert not cell.send_goal(duration_s=1.0).accepted
    cell.wait(lambda: cell.logged("another goal is running"), "the log line")
    cell.cancel(first)
    cell.result_of(first)
    assert cell.send_goal(duration_s=0.5).accepted


def test_deactivating_aborts_the_goal(cell, start_node):
    start_node(autostart=False)
    goal = cell.send_goal(duration_s=0.0)
    cell.wait_moving()
    cell.change_state("deactivate")
    answer = cell.result_of(goal)
    assert answer.status == GoalStatus.STATUS_ABORTED
    assert answer.result.reason_code == "deactivated"
