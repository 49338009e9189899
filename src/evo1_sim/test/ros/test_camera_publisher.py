import math

import pytest

pytestmark = pytest.mark.ros


def test_the_pinhole_sees_its_field_of_view_from_top_to_bottom():
    from evo1_sim.ros.camera_publisher import pinhole

    info = pinhole(width=640, height=480, fovy_rad=math.radians(90))
    assert info.k[4] == pytest.approx(240)  # px: half the height at 45 degrees
    assert list(info.k[:3]) == pytest.approx([240, 0, 319.5])
    assert list(info.p[4:8]) == pytest.approx([0, 240, 239.5, 0])
    assert list(info.d) == [0] * 5
