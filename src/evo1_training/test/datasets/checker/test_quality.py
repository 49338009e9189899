"""What loaders accept and training suffers from."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sound_dataset import (
    CAMERAS,
    FPS,
    LENGTHS,
    Kind,
    edit_json,
    edit_table,
    motion,
    pictures,
    vectors,
    write_lines,
    write_video,
)

from evo1_training.datasets.checker.checking import check_dataset

V21, OWN = Kind(), Kind(own=True)
VIDEO = f"videos/chunk-000/{CAMERAS[0]}/episode_000001.mp4"
STEP_NS = round(1e9 / FPS)
TICKS = 10**18 + np.arange(LENGTHS[1]) * STEP_NS


def table(episode):
    return f"data/chunk-000/episode_{episode:06d}.parquet"


def quality(root):
    """Codes of what was found, but for statistics that are those of the unbroken data."""
    report = check_dataset(root)
    assert report.errors == 0
    return {finding.code for finding in report.findings} - {"stats-wrong"}


def set_motion(root, change):
    """Replace state and action of all episodes by change(state, action)."""
    for episode, length in enumerate(LENGTHS):
        state, action = change(*(one.copy() for one in motion(episode, length)))
        columns = {"observation__state": vectors(state), "action": vectors(action)}
        edit_table(root / table(episode), **columns)


def test_black_frames_are_found(sound):
    root, images = sound(V21), pictures(1, 0)
    images[20:24] = [np.zeros_like(images[0])] * 4
    write_video(root / VIDEO, images)
    (finding,) = check_dataset(root).findings
    assert finding.code == "black-frames"
    assert finding.episode == 1
    assert "4 black frames, the first is 20" in finding.what


def test_picture_that_stands_still_while_the_arm_moves_is_found(sound):
    root, images = sound(V21), pictures(1, 0)
    images[20:45] = [images[20]] * 25
    write_video(root / VIDEO, images)
    (finding,) = check_dataset(root).findings
    assert finding.code == "stuck-frames"
    assert "0.8 s from frame 20" in finding.what


def test_still_picture_of_a_still_arm_is_fine(sound):
    root, images = sound(V21), pictures(1, 0)
    images[20:45] = [images[20]] * 25
    write_video(root / VIDEO, images)
    state, action = motion(1, LENGTHS[1])
    state[20:45], action[20:45] = state[20], action[20]
    action[45:48] = np.linspace(action[20], action[48], 5)[1:4]
    edit_table(root / table(1), observation__state=vectors(state), action=vectors(action))
    assert "stuck-frames" not in quality(root)


def test_camera_of_half_the_rate_is_found(sound):
    root, images = sound(V21), pictures(1, 0)
    write_video(root / VIDEO, [images[row - row % 2] for row in range(len(images))])
    assert quality(root) == {"repeated-frames"}


TIMES = {
    "a gap": (
        "time-gaps",
        dict.fromkeys(
            ("evo1__tick_ns", "evo1__image_1__stamp_ns", "evo1__image_2__stamp_ns"),
            TICKS + (np.arange(66) > 30) * 200_000_000,
        ),
    ),
    "another rate": (
        "time-rate",
        dict.fromkeys(
            ("evo1__tick_ns", "evo1__image_1__stamp_ns", "evo1__image_2__stamp_ns"),
            10**18 + np.arange(66) * 40_000_000,
        ),
    ),
    "filled gaps": ("held-frames", {"evo1__held": np.arange(66) > 50}),
    "an old camera": ("camera-lag", {"evo1__image_2__stamp_ns": TICKS - 60_000_000}),
    "a slow camera": (
        "repeated-frames",
        {"evo1__image_1__stamp_ns": TICKS[np.arange(66) - np.arange(66) % 2]},
    ),
    "slow joints": (
        "state-repeats",
        {"evo1__joint_states__stamp_ns": TICKS[np.arange(66) - np.arange(66) % 3]},
    ),
    "skew": ("skew", {"evo1__skew_ms": np.full(66, 25, np.float32)}),
}


@pytest.mark.parametrize("name", TIMES)
def test_true_times_show(sound, name):
    code, columns = TIMES[name]
    root = sound(OWN)
    edit_table(root / table(1), **{key: pa.array(values) for key, values in columns.items()})
    assert quality(root) == {code}


def every_second_row(state, action):
    rows = np.arange(len(state))
    return state[rows - rows % 2], action


def still_elbow(state, action):
    state[:, 1], action[:, 1] = 0.3, 0.3
    return state, action


def jumping(state, action):
    action[30:, 0] += 2.5
    return state, action


def resting_on_the_end(state, action):
    state[:, 0], action[:, 0] = np.clip(state[:, 0], -0.5, 0.5), np.clip(action[:, 0], -0.5, 0.5)
    return state, action


MOTIONS = {
    "action after state": ("action-lag", lambda state, action: (action, state)),
    "action is the state": ("action-is-state", lambda state, action: (state, state)),
    "state of half the rate": ("state-repeats", every_second_row),
    "a joint that stands still": ("joint-still", still_elbow),
    "a target that jumps": ("action-jumps", jumping),
    "degrees": ("not-radians", lambda state, action: (57 * state, 57 * action)),
    "a leader that is calibrated elsewhere": (
        "leader-offset",
        lambda state, action: (state, action + np.float32([0, 0.2, 0])),
    ),
    "clipped at its own extremes": ("saturated", resting_on_the_end),
}


@pytest.mark.parametrize("name", MOTIONS)
def test_motion_shows(sound, name):
    code, change = MOTIONS[name]
    root = sound(V21)
    set_motion(root, change)
    assert code in quality(root)


def narrow_shoulder(root):
    robot = root / "meta/evo1/robot.yaml"
    robot.write_text(
        robot.read_text().replace("shoulder, position: [-3, 3]", "shoulder, position: [-0.5, 0.5]")
    )


def test_joint_beyond_the_limits_of_the_robot_file_is_found(sound):
    root = sound(OWN)
    narrow_shoulder(root)
    assert quality(root) == {"beyond-limits"}


def test_joint_that_rests_on_a_limit_is_found(sound):
    root = sound(OWN)
    narrow_shoulder(root)
    set_motion(root, resting_on_the_end)
    assert quality(root) == {"clipped"}


def test_robot_file_of_another_arm_is_found(sound):
    root = sound(OWN)
    robot = root / "meta/evo1/robot.yaml"
    robot.write_text(robot.read_text().replace("elbow", "wrist"))
    assert quality(root) == {"robot-file"}


def test_episode_shorter_than_a_chunk_is_found(sound):
    root = sound(Kind(dtype="image"))
    rows = [{"episode_index": i, "tasks": [], "length": n} for i, n in enumerate((60, 20, 60))]
    write_lines(root / "meta/episodes.jsonl", rows)
    pq.write_table(pq.read_table(root / table(1)).slice(0, 20), root / table(1))
    edit_table(root / table(2), index=pa.array(np.arange(80, 140)))
    edit_json(root / "meta/info.json", lambda info: info.update(total_frames=140))
    assert quality(root) == {"short-episode"}


def test_sound_delay_is_measured(sound):
    report = check_dataset(sound(V21))
    assert report.joints.names == ("shoulder", "elbow", "gripper")
    assert report.joints.lag_ms == pytest.approx(np.full((3, 3), 100), abs=7)


def test_target_that_jumps_after_a_held_gap_is_no_jump(sound):
    root = sound(OWN)
    set_motion(root, jumping)
    assert "action-jumps" in quality(root)
    for episode, length in enumerate(LENGTHS):
        held = (np.arange(length) >= 27) & (np.arange(length) < 30)
        edit_table(root / table(episode), evo1__held=pa.array(held))
    assert "action-jumps" not in quality(root)


def of_episode(root, code):
    return [one.episode for one in check_dataset(root).findings if one.code == code]


def set_episode(root, episode, state, action):
    edit_table(root / table(episode), observation__state=vectors(state), action=vectors(action))


def test_an_episode_that_moves_as_another_one_is_told(sound):
    root = sound(V21)
    state, action = motion(0, LENGTHS[2])
    set_episode(root, 2, state + np.float32(1e-4), action - np.float32(1e-4))
    assert of_episode(root, "near-duplicate") == [2]


def test_an_episode_whose_action_is_its_state_is_told(sound):
    root = sound(V21)
    state, _ = motion(1, LENGTHS[1])
    set_episode(root, 1, state, state)
    assert of_episode(root, "action-is-state") == [1]


def test_an_episode_that_stands_still_is_told(sound):
    root = sound(V21)
    state, action = motion(1, LENGTHS[1])
    state[3:], action[3:] = state[3], action[3]
    set_episode(root, 1, state, action)
    assert of_episode(root, "standing-still") == [1]
