"""Pictures inside a table, as PNG. Must not import ROS or torch."""

import cv2
import numpy as np
import numpy.typing as npt

_LEVEL = 1  # of compression; higher ones take five times as long for a tenth of the size


def encode_png(image: npt.NDArray[np.uint8]) -> bytes:
    """(H, W, 3) uint8 RGB as the bytes of a PNG file; nothing is lost."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, _LEVEL])
    return bytes(data.tobytes())
