"""Which tasks a suite has, what a client sends for what it sees, and what the numbers say."""

import contextlib
import json
import sys
import threading

import numpy as np
import pytest
from websockets.sync.server import serve

from evo1_training.cli.evaluate import main
from evo1_training.evaluation.outcomes import Evaluation, Trial, TrialOutcome
from evo1_training.suites.evaluation import average, evaluation_of, setup_of, table
from evo1_training.suites.playing import ServedPlayer, request
from evo1_training.suites.simulation import Simulation, SuiteError
from evo1_training.suites.suite import SUITES, chosen, tasks_of

METAWORLD, LIBERO = SUITES["metaworld"], SUITES["libero_goal"]
# 'ordered_indices' of the authors' mt50_order.json
ORDER = [4, 5, 6, 7, 8, 11, 13, 14, 15, 16, 18, 19, 20, 21, 23, 24, 25, 26, 27, 31, 32, 33, 34]
ORDER += [36, 43, 44, 48, 49, 1, 2, 3, 9, 10, 22, 35, 37, 41, 46, 47, 0, 17, 29, 30, 40, 42]
ORDER += [12, 28, 38, 39, 45]


def outcome(task, success, episode=0):
    return TrialOutcome(
        trial=Trial(disturbance=task, seed=4042 + episode),
        success=success,
        seconds=1.0,
        ended="solved" if success else "time_up",
        detail="",
        instruction="",
    )


def scored(solved_of):
    """One episode of every task; those of the named groups are solved."""
    outcomes = tuple(outcome(task.name, task.group in solved_of) for task in tasks_of(METAWORLD))
    setup, facts = setup_of(METAWORLD, "", server="there")
    return evaluation_of(setup, facts, outcomes)


def seen(count):
    picture = np.zeros((2, 3, 3), np.uint8)
    picture[..., 0] = 255  # red
    state = np.array([0.5, -0.25, 0, 1, 0, 0, 0, 0], np.float32)
    return {"pictures": (picture,) * count, "state": state}


def test_metaworld_has_the_authors_tasks_in_their_order():
    tasks = tasks_of(METAWORLD)
    assert [task.place for task in tasks] == ORDER
    counts = {group: [t.group for t in tasks].count(group) for group in METAWORLD.paper}
    assert counts == {"easy": 28, "medium": 11, "hard": 6, "very_hard": 5}
    assert tasks[0].words == "Press a button from the top"


@pytest.mark.parametrize(
    ("asked", "places"),
    [
        ("very_hard", [12, 28, 38, 39, 45]),
        ("reach, button-press-topdown", [4, 43]),
        ("0,easy", [*ORDER[:28], 0]),
        ("all", ORDER),
    ],
)
def test_tasks_are_asked_for_by_group_name_or_place(asked, places):
    assert [task.place for task in chosen(tasks_of(METAWORLD), asked)] == places


def test_a_task_that_is_not_there_is_named():
    with pytest.raises(SuiteError, match=r"--tasks juggling: expected all, a group .easy, medium"):
        chosen(tasks_of(METAWORLD), "reach,juggling")


def test_the_average_is_the_mean_of_the_groups_and_stands_beside_the_paper():
    evaluation = scored({"easy", "hard"})
    assert average(METAWORLD, evaluation.outcomes) == 0.5  # 34 of 50 tasks
    lines = table(evaluation)
    assert lines[-5].split() == ["easy", "28/28", "100.0%", "87.9%", "to", "100.0%", "89.2", "%"]
    assert lines[-2].split()[:3] == ["very_hard", "0/5", "0.0%"]
    assert lines[-1].split() == ["mean", "of", "the", "groups", "50.0%", "80.6", "%"]
    assert evaluation.facts["rate_medium"] == 0.0


def test_a_part_of_the_tasks_has_no_average():
    outcomes = (outcome("reach", True), outcome("hammer", True))
    assert average(METAWORLD, outcomes) is None
    evaluation = Evaluation(facts={"suite": "metaworld"}, outcomes=outcomes)
    assert not any("mean" in line for line in table(evaluation))


@pytest.mark.parametrize(
    ("suite", "count", "red", "masks"),
    [(METAWORLD, 1, [0, 0, 255], ([1, 0, 0], 4)), (LIBERO, 2, [255, 0, 0], ([1, 1, 0], 7))],
)
def test_a_request_is_what_the_authors_client_sends(suite, count, red, masks):
    sent = json.loads(request(suite, seen(count), "go"))
    assert list(sent) == ["image", "state", "prompt", "image_mask", "action_mask"]
    assert sent["image"][:count] == [[[red] * 3] * 2] * count
    assert [np.shape(p) for p in sent["image"][count:]] == [(448, 448, 3)] * (3 - count)
    assert not np.any(sent["image"][2])
    assert sent["state"] == [0.5, -0.25, 0, 1, 0, 0, 0, 0]
    assert (sent["prompt"], sent["image_mask"]) == ("go", masks[0])
    assert sent["action_mask"] == [1] * masks[1] + [0] * (24 - masks[1])


@contextlib.contextmanager
def server(answer):
    """A server that speaks the authors' protocol."""

    def handle(socket):
        for text in socket:
            answer(socket, text)

    with serve(handle, "127.0.0.1", 0, max_size=10**8) as it:
        threading.Thread(target=it.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{it.socket.getsockname()[1]}"
        it.shutdown()


def test_a_server_is_asked_for_the_actions_that_are_executed():
    rows = np.arange(50 * 24.0).reshape(50, 24)
    with server(lambda socket, text: socket.send(json.dumps(rows.tolist()))) as address:
        player = ServedPlayer(METAWORLD, address)
        assert (player.chunk(seen(1), "go") == rows[:15, :4]).all()
        assert player.inference_ms() > 0
        player.close()


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (lambda socket, text: socket.close(1011), "the server's log says"),
        (lambda socket, text: socket.send("[[1, 2]]"), "executes 15 actions of 4"),
        (lambda socket, text: socket.send("[[NaN]]"), "executes 15 actions of 4"),
        (lambda socket, text: socket.send('{"error": 1}'), "the server's log says"),
    ],
)
def test_a_server_that_refuses_or_answers_less_is_told(answer, named):
    with server(answer) as address:
        player = ServedPlayer(METAWORLD, address)
        with pytest.raises(SuiteError, match=named):
            player.chunk(seen(1), "go")
        player.close()


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["--suite", "metaworld"], 2, "say who shall play the suite"),
        (["--suite", "metaworld", "a", "--server", "b"], 2, "say who shall play the suite"),
        (["--suite", "metaworld", "a", "--episodes", "0"], 2, "--episodes and --workers"),
        (["--suite", "metaworld", "a", "--tasks", "jump"], 1, "--tasks jump"),
        (["--suite", "metaworld", "nowhere"], 1, "nowhere: no such checkpoint"),
        (["--suite", "libero_10", "a"], 1, "EVO1_SUITES_PYTHON=/no/python: no such file"),
    ],
)
def test_a_wrong_choice_is_one_line_that_names_it(arguments, code, named, capsys, monkeypatch):
    monkeypatch.setenv("EVO1_SUITES_PYTHON", "/no/python")
    assert main(arguments) == code
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("evaluate: ")
    assert named in error


def test_an_environment_without_the_suite_is_named(monkeypatch):
    monkeypatch.setenv("EVO1_SUITES_PYTHON", sys.executable)
    with pytest.raises(SuiteError, match=r"No module named 'libero'.* is no environment of the"):
        Simulation("libero")
