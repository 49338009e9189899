"""Which library converts: cv_bridge where it can do everything, else rosbags-image."""

import sys
from types import ModuleType

import numpy as np
import pytest

from evo1_policy.perception.colour import PackedImage, converter, rosbags_converter

PIXEL = PackedImage(height=1, width=1, encoding="bgr8", step=3, data=np.array([1, 2, 3], np.uint8))


def stand_in(refused: str = "") -> ModuleType:
    """A cv_bridge with the interface of the true one, that paints everything in sevens."""

    class CvBridgeError(TypeError):
        pass

    class CvBridge:
        def imgmsg_to_cv2(self, image: PackedImage, desired: str) -> np.ndarray:
            assert desired == "rgb8"
            assert image.data.size == image.height * image.step
            if image.encoding == refused:
                raise CvBridgeError(refused)
            return np.full((image.height, image.width, 3), 7, np.uint8)

    module = ModuleType("cv_bridge")
    module.CvBridge, module.CvBridgeError = CvBridge, CvBridgeError  # type: ignore[attr-defined]
    return module


@pytest.fixture(autouse=True)
def fresh_choice():
    converter.cache_clear()
    yield
    converter.cache_clear()


def test_cv_bridge_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv_bridge", stand_in())
    assert converter()(PIXEL).tolist() == [[[7, 7, 7]]]


def test_cv_bridge_that_lacks_an_encoding_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv_bridge", stand_in(refused="yuv422_yuy2"))
    assert converter()(PIXEL).tolist() == [[[3, 2, 1]]]


def test_rosbags_image_is_used_where_cv_bridge_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv_bridge", None)
    assert converter()(PIXEL).tolist() == [[[3, 2, 1]]]


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rosbags.image", None)
    with pytest.raises(ImportError, match="neither cv_bridge nor rosbags-image is installed"):
        rosbags_converter()
