"""An emulated SO-100 on a pseudo-terminal, and a driver core that speaks to it."""

import sys
import threading
import time

import numpy as np

from evo1_bringup.drivers.feetech import FeetechBus
from evo1_bringup.drivers.following import Asked
from evo1_bringup.drivers.so100_driver import So100Driver
from evo1_bringup.drivers.so100_parameters import DriverParameters
from evo1_sim.servo_bus.emulated_arm import EmulatedArm, emulated_calibration
from evo1_sim.servo_bus.emulated_bus import EmulatedPort
from evo1_sim.trajectory import TrajectoryPoint

START = np.array([0.1, -1.2, 1.2, -0.9, 1.57, 0.3])
PERIOD_S = 0.01


class Rig:
    """The emulated arm, its port, and what a test does with them."""

    def __init__(self, robot, link):
        self.robot = robot
        self.servos = emulated_calibration(robot)
        self.arm = EmulatedArm(self.servos, start=START)
        self.faults = self.arm.bus.faults
        self.port = EmulatedPort(self.arm.bus, link, lock=self.arm.lock)
        self.port.plug()
        self._interval = sys.getswitchinterval()
        sys.setswitchinterval(0.0005)  # bus and driver share this process's interpreter
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._move, daemon=True)
        self.thread.start()
        self.drivers = []

    def bus(self, traffic=None):
        return FeetechBus(str(self.port.link), timeout_s=0.05, traffic=traffic)

    def driver(self, **settings):
        patient = DriverParameters(reply_timeout_ms=400.0)  # a busy machine is slow, not stalled
        settings = {"settings": patient, "now_ns": time.monotonic_ns, **settings}
        driver = So100Driver(self.bus, self.servos, self.robot, **settings)
        self.drivers.append(driver)
        return driver

    def engaged(self, **settings):
        driver = self.driver(**settings)
        driver.open()
        driver.engage()
        return driver

    def close(self):
        for driver in self.drivers:
            driver.close()
        self.stop.set()
        self.thread.join()
        self.port.unplug()
        sys.setswitchinterval(self._interval)

    def _move(self):
        then = time.monotonic()
        while not self.stop.wait(0.002):
            now = time.monotonic()
            self.arm.advance(now - then)
            then = now


def run(driver, seconds, until=lambda: False):
    """Cycle at 100 Hz; return the readings."""
    readings, due = [], time.monotonic()
    end = due + seconds
    while time.monotonic() < end and not until():
        readings.append(driver.cycle())
        due += PERIOD_S
        time.sleep(max(due - time.monotonic(), 0.0))
    return readings


def go(driver, robot, positions, seconds):
    """Send the arm to positions in a time."""
    point = TrajectoryPoint(
        positions=list(positions),
        velocities=[0.0] * robot.width,
        time_from_start_ns=round(seconds * 1e9),
    )
    driver.follow(Asked(points=[point], joint_names=robot.joint_names))
