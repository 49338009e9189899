"""Policies of a known motion, and with one fault at a time."""

import time
from dataclasses import replace

import numpy as np

from evo1_policy.action_chunk import ActionChunk

AMPLITUDE_RAD = 0.08
FREQUENCY_HZ = 0.3


class WavePolicy:
    """All joints swing about home; the target depends on the clock alone, so chunks agree."""

    horizon = 50
    execute_actions = None
    model_hash = "0123456789ab"
    device = "cpu"

    def __init__(self, robot, latency_s=0.05):
        self._robot = robot
        self._latency_s = latency_s
        self.instructions = []

    def warm_up(self, instruction="", *, guided=False):
        pass

    def close(self):
        pass

    def infer(self, observation, guidance=None):
        time.sleep(self._latency_s)
        self.instructions.append(observation.instruction)
        robot = self._robot
        start_ns = observation.stamp_ns + robot.step_ns
        times_s = (start_ns + robot.step_ns * np.arange(self.horizon)) * 1e-9
        wave = AMPLITUDE_RAD * np.sin(2 * np.pi * FREQUENCY_HZ * times_s)
        middle = np.clip(
            robot.home, robot.position_min + AMPLITUDE_RAD, robot.position_max - AMPLITUDE_RAD
        )
        return ActionChunk(
            actions=middle + wave[:, None],
            start_ns=start_ns,
            step_ns=robot.step_ns,
            observation_stamp_ns=observation.stamp_ns,
            instruction=observation.instruction,
        )


class LookingPolicy(WavePolicy):
    """Keeps how bright the darkest picture of each observation was at its brightest."""

    def __init__(self, robot):
        super().__init__(robot)
        self.brightest = []

    def infer(self, observation, guidance=None):
        self.brightest.append(min(int(image.max()) for image in observation.images.values()))
        return super().infer(observation, guidance)


class FaultyPolicy(WavePolicy):
    """Swings until `fault` is set to 'nan', 'width', 'raise' or 'sleep'."""

    fault = ""

    def infer(self, observation, guidance=None):
        chunk = super().infer(observation, guidance)
        if self.fault == "raise":
            raise RuntimeError("the network fell over")
        if self.fault == "sleep":
            time.sleep(2.0)
        if self.fault == "nan":
            chunk.actions[3, 0] = np.nan
        if self.fault == "width":
            return replace(chunk, actions=chunk.actions[:, :-1])
        return chunk
