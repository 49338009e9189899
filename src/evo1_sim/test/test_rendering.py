import threading

import numpy as np
import pytest

from evo1_sim.rendering import CameraRenderer, RenderingError
from evo1_sim.world import World

pytestmark = pytest.mark.gl


@pytest.fixture
def world():
    return World("xarm6", seed=1)


def reddish(image):
    """Pixels of the can's colour."""
    red, green, blue = (image[..., i].astype(int) for i in range(3))
    return int(((red > 90) & (green < red // 3) & (blue < red // 3)).sum())


def test_both_cameras_see_the_can(world):
    with CameraRenderer(world, width=160, height=120) as renderer:
        for camera in ("image_1", "image_2"):
            image = renderer.render(camera)
            assert image.shape == (120, 160, 3)
            assert image.dtype == np.uint8
            assert reddish(image) > 20, camera


def test_images_show_the_captured_state_until_the_next_capture(world):
    with CameraRenderer(world, width=160, height=120) as renderer:
        before = renderer.render("image_1")
        world.cell.place("can", (0.3, -0.4, 0.05))
        np.testing.assert_array_equal(renderer.render("image_1"), before)
        renderer.capture()
        assert not np.array_equal(renderer.render("image_1"), before)


def test_rendering_does_not_disturb_physics(world):
    world.step(100_000_000)
    undisturbed = world.data.qpos.copy()
    world.reset(seed=1)
    with CameraRenderer(world, width=64, height=48) as renderer:
        for _ in range(10):
            world.step(10_000_000)
            renderer.capture()
            renderer.render("image_2")
    np.testing.assert_array_equal(world.data.qpos, undisturbed)


def test_a_reset_to_another_task_is_followed(world):
    with CameraRenderer(world, width=160, height=120) as renderer:
        world.reset("can_stacking", seed=1)
        renderer.capture()
        image = renderer.render("image_1").astype(int)
        blue = (image[..., 2] > 80) & (image[..., 0] < image[..., 2] // 3)
        assert blue.sum() > 20


def test_a_thread_that_makes_its_own_renderer_can_render(world):
    images = []

    def draw():
        with CameraRenderer(world, width=64, height=48) as renderer:
            images.append(renderer.render("image_1"))

    thread = threading.Thread(target=draw)
    thread.start()
    thread.join()
    assert images[0].std() > 5


def test_bad_requests_are_refused(world):
    with pytest.raises(ValueError, match="image_3"):
        CameraRenderer(world, width=64, height=48, cameras=("image_3",))
    with pytest.raises(ValueError, match="expected 1 to"):
        CameraRenderer(world, width=5000, height=48)
    renderer = CameraRenderer(world, width=64, height=48)
    with pytest.raises(ValueError, match="known: image_1, image_2"):
        renderer.render("wrist")
    renderer.close()
    with pytest.raises(RenderingError, match="closed"):
        renderer.render("image_1")
