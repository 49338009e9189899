import json

import numpy as np
import pytest

from evo1_sim.experts import STEP_NS, Expert
from evo1_sim.rehearsals import plan_rehearsal
from evo1_sim.rendering import CameraRenderer
from evo1_sim.tasks import DISTURBANCES
from evo1_sim.variety import Place, draw_colour, held_out, hue_deg
from evo1_sim.world import World, WorldError

YELLOW, BOTTLE_GREEN = (0.93, 0.78, 0.12), (0.08, 0.45, 0.16)
FIELDS = ("geom_rgba", "mat_rgba", "light_pos", "light_dir", "light_diffuse", "cam_pos")
TASKS = [
    ("xarm6", "can_into_box"),
    ("xarm6", "blue_can_into_box"),
    ("xarm6", "hand_delivery"),
    ("so100", "cube_into_box"),
]


def scene_of(world):
    """All that a seed decides, as one array."""
    model = world.model
    looks = [getattr(model, name).ravel() for name in (*FIELDS, "geom_friction")]
    return np.concatenate([world.data.qpos, world.data.mocap_pos.ravel(), *looks])


def test_no_place_that_is_drawn_has_a_height_or_a_distance_of_the_tests():
    for seed in range(5000):
        place = Place.draw(np.random.default_rng(seed))
        assert place.raised <= 0.006 or place.raised >= 0.034
        assert place.beyond == 0.0 or place.beyond > 0.030
        for disturbance in DISTURBANCES.values():
            assert not disturbance.up or abs(place.raised - disturbance.up) >= 0.003
            assert not disturbance.back or abs(place.beyond - disturbance.back) >= 0.003


def test_no_colour_that_is_drawn_is_near_the_yellow_table_or_the_green_bottle():
    rng = np.random.default_rng(0)
    for _ in range(5000):
        rgb = draw_colour(rng)
        for other in (YELLOW, BOTTLE_GREEN):
            assert np.linalg.norm(np.subtract(rgb, other)) > 0.35
            assert max(rgb) < 1.43 * min(rgb) or abs(hue_deg(rgb) - hue_deg(other)) > 20


@pytest.mark.parametrize(("arm", "task"), TASKS)
def test_what_the_tests_hold_out_is_in_no_varied_scene(arm, task):
    world = World(arm, task=task, varied=True)
    for seed in range(40):
        world.reset(seed=seed)
        (x_low, y_low), (x_high, y_high) = world.task.target_area
        for name in [one.name for one in world.task.choices] or [world.task.target]:
            x, y, z = world.cell.position(name)
            assert y_low <= y <= y_high
            assert x_low <= x <= x_high or x > x_high + 0.030
            half = 0.0125 if name == "cube" else 0.05
            assert not 0.006 < z - half < 0.034
        world_names = [world.model.body(k).name for k in range(world.model.nbody)]
        assert "bottle" not in world_names
        colours = [one["rgb"] for one in world.variety["distractors"]]
        colours += world.variety["colours"].values()
        assert not any(held_out(rgb) for rgb in colours)
        cams = world.variety["cameras"].values()
        assert max(np.abs(one["shift_m"]).max() for one in cams) <= 0.004
        assert max(np.abs(one["turn_rad"]).max() for one in cams) <= np.radians(1.2)


def test_without_variety_a_seed_gives_the_scene_that_it_always_gave():
    world = World("xarm6", seed=7)
    assert world.variety == {}
    np.testing.assert_array_equal(world.cell.position("can")[:2], CAN_OF_SEED_7)
    np.testing.assert_allclose(world.model.material("table").rgba[:3], (0.47, 0.36, 0.26))
    before = scene_of(world)
    World("xarm6", seed=7, varied=True)
    world.reset(seed=8)
    world.reset(seed=7)
    np.testing.assert_array_equal(scene_of(world), before)
    assert not any(world.model.body(k).name.startswith("varied") for k in range(world.model.nbody))


CAN_OF_SEED_7 = (0.4550190933209334, -0.0905572398060849)


def test_a_seed_varies_the_same_way_whatever_came_before_and_nothing_is_compiled_again():
    world = World("xarm6", task="can_stacking", seed=3, varied=True)
    model, first = world.model, scene_of(world)
    world.reset(seed=4)
    assert not np.array_equal(scene_of(world), first)
    world.reset(seed=3)
    assert world.model is model
    np.testing.assert_array_equal(scene_of(world), first)


def test_the_words_alone_tell_the_can_in_a_varied_scene_too():
    red, blue = (World("xarm6", task=f"{c}_can_into_box", varied=True) for c in ("red", "blue"))
    for seed in range(20):
        red.reset(seed=seed)
        blue.reset(seed=seed)
        np.testing.assert_array_equal(scene_of(red), scene_of(blue))


def test_the_cameras_see_what_was_varied():
    world = World("so100", varied=True)
    with CameraRenderer(world, width=64, height=48) as renderer:
        seen = []
        for seed in (0, 1, 0):
            world.reset(seed=seed)
            renderer.capture()
            seen.append(renderer.render("image_1").astype(int))
    assert np.abs(seen[0] - seen[1]).mean() > 5
    np.testing.assert_array_equal(seen[0], seen[2])


def test_a_rehearsal_carries_what_was_varied_as_json():
    world = World("so100", varied=True)
    scene = json.loads(json.dumps(plan_rehearsal(world, "cube_into_box", 5).scene))
    assert scene["seed"] == 5
    assert set(scene) >= {"raised_m", "colours", "distractors", "light", "cameras", "friction"}


def test_a_disturbance_is_never_varied():
    with pytest.raises(WorldError, match="without a disturbance"):
        World("xarm6", disturbance="up10", varied=True)


@pytest.mark.parametrize(("arm", "task", "what"), [("so100", "cube_into_box", "raised_m")])
def test_the_expert_solves_a_target_high_up(arm, task, what):
    world = World(arm, task=task, varied=True)
    seed = next(s for s in range(100) if _varied(world, s)[what] > 0.034)
    world.reset(seed=seed)
    for target in Expert(world).plan():
        world.move(target, STEP_NS)
    assert world.task_status().success, world.task_status().detail


def _varied(world, seed):
    world.reset(seed=seed)
    return world.variety
