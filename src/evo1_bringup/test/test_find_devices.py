"""evo1 find-cameras and find-port, on emulated devices."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from evo1_bringup.drivers.v4l2 import CameraError, Frame
from evo1_bringup.find_devices import FindError, contact_sheet, find_cameras, find_port, formats_of

RED = cv2.imencode(".jpg", np.full((120, 160, 3), (0, 0, 255), np.uint8))[1].reshape(-1)


class Webcam:
    def read(self):
        return Frame(data=RED, encoding="jpeg", width=160, height=120, stamp_ns=0)

    def close(self):
        pass


def machine(root, **names):
    for device, name in names.items():
        (root / "dev").mkdir(exist_ok=True)
        (root / "dev" / device).touch()
        place = root / "sys/class/video4linux" / device
        place.mkdir(parents=True)
        (place / "name").write_text(f"{name}\n")
    return root


def test_cameras_are_listed_in_order_with_pictures_and_none_in_use_is_opened(tmp_path):
    root = machine(
        tmp_path, video0="Wrist", video1="Wrist: metadata", video2="Top", video10="Side"
    )
    holder = root / "proc/77"
    (holder / "fd").mkdir(parents=True)
    (holder / "comm").write_text("usb_cam_node\n")
    (holder / "fd/5").symlink_to(root / "dev/video2")
    opened = []

    def open_capture(wanted):
        opened.append(wanted.device.rpartition("/")[2])
        if opened[-1] == "video10":
            raise CameraError("gives nothing")
        return Webcam()

    found = find_cameras(
        root, lambda device: None if device.endswith("video1") else ("MJPG",), open_capture
    )
    assert [camera.name for camera in found] == ["Wrist", "Top", "Side"]
    assert opened == ["video0", "video10"]
    assert found[1].problem == "in use by usb_cam_node (77): not opened"
    assert found[2].problem == "gives nothing"
    assert found[0].picture[60, 80] == pytest.approx((255, 0, 0), abs=3)
    sheet = contact_sheet(found)
    assert sheet.shape == (264, 960, 3)
    assert sheet[100, 100] == pytest.approx((0, 0, 255), abs=3)  # BGR, as OpenCV writes it
    assert tuple(sheet[100, 400]) == (90, 90, 90)
    assert contact_sheet(found[:1]).shape == (264, 320, 3)


def test_what_is_no_camera_is_not_listed(tmp_path):
    assert find_cameras(machine(tmp_path, video0="a file"), formats_of) == []


def ports(*devices):
    return [
        SimpleNamespace(
            device=device,
            description="USB Serial",
            manufacturer="QinHeng\x1b",
            product=None,
            vid=0x1A86,
            pid=0x55D3,
            serial_number="5AAF",
        )
        for device in devices
    ]


def test_the_port_that_went_when_it_was_unplugged_is_the_arms():
    states = iter([ports("/dev/ttyACM0", "/dev/ttyACM1"), ports("/dev/ttyACM0")])
    said, asked = [], []
    assert find_port(lambda: next(states), asked.append, said.append) == "/dev/ttyACM1"
    assert len(asked) == 1
    assert said[0] == "/dev/ttyACM0  1a86:55d3 QinHeng\\x1b USB Serial 5AAF"
    assert said[-1].endswith("then: port:=/dev/ttyACM1")


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ([], [], "no serial port is here"),
        (["/dev/ttyACM0"], ["/dev/ttyACM0"], "none went"),
        (["/dev/ttyACM0", "/dev/ttyACM1"], [], "/dev/ttyACM0, /dev/ttyACM1 went"),
    ],
)
def test_no_port_is_guessed(before, after, problem):
    states = iter([ports(*before), ports(*after)])
    with pytest.raises(FindError, match=problem):
        find_port(lambda: next(states), lambda _: None, lambda _: None)
