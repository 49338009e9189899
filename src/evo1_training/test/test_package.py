"""The package installs, and imports without ROS."""

import subprocess
import sys


def test_package_imports_without_ros():
    code = "import evo1_training, sys; sys.exit('rclpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
