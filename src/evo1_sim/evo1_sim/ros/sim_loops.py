"""The two threads of the simulation node: physics in real time, and rendering.

They never wait for each other: physics says when a frame is due, rendering takes the newest state
when it gets to it, so a slow renderer lowers the camera rate and nothing else.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from evo1_sim.pacing import Pacer
from evo1_sim.rendering import CameraRenderer
from evo1_sim.ros.camera_publisher import CameraPublisher
from evo1_sim.ros.run_meter import RunMeter
from evo1_sim.simulated_robot import TICK_NS, JointReading, SimulatedRobot

MAX_LAG_NS = 1_000_000_000  # a longer stall is not caught up; then commanded motion jumps


class SimLoops:
    """Runs a simulated robot and publishes what it shows.

    Args:
        simulated: what is run.
        make_renderer: called in the rendering thread, which owns the GL context.
        cameras: where frames go, in the order of rendering.
        publish_reading: called in the physics thread after each tick.
        camera_rate_hz: [Hz].
        simulation_time: whether stamps count from the start in place of the wall clock.
        meter: counts what was done.
        stop: ends both threads; set when one of them fails.
    """

    def __init__(
        self,
        *,
        simulated: SimulatedRobot,
        make_renderer: Callable[[], CameraRenderer],
        cameras: Sequence[CameraPublisher],
        publish_reading: Callable[[JointReading], None],
        camera_rate_hz: float,
        simulation_time: bool,
        meter: RunMeter,
        stop: threading.Event,
    ) -> None:
        self._simulated = simulated
        self._make_renderer = make_renderer
        self._cameras = tuple(cameras)
        self._publish_reading = publish_reading
        self._frame_ns = round(1e9 / camera_rate_hz)
        self._simulation_time = simulation_time
        self._meter = meter
        self._stop = stop
        self._rendering_ready = threading.Event()
        self._frame_due = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="sim")
        self._threads: dict[str, Future[None]] = {}

    def start(self) -> None:
        """Start both threads."""
        for name, run in (("physics", self._run_physics), ("rendering", self._run_rendering)):
            self._threads[name] = self._pool.submit(run)
            self._threads[name].add_done_callback(self._end)

    def close(self) -> list[str]:
        """End both threads; return what failed in them, for people."""
        self._end()
        self._pool.shutdown()
        errors = {name: future.exception() for name, future in self._threads.items()}
        return [
            f"{name} failed: {type(error).__name__}: {error}"
            for name, error in errors.items()
            if error is not None
        ]

    def _end(self, _: object = None) -> None:
        self._stop.set()
        self._rendering_ready.set()
        self._frame_due.set()

    def _run_physics(self) -> None:
        self._rendering_ready.wait()  # so that frames and joint states begin together
        pacer = Pacer(period_ns=TICK_NS, max_lag_ns=MAX_LAG_NS, now_ns=time.time_ns())
        simulated_ns, frame = 0, -1
        while not self._stop.is_set():
            wait_ns = pacer.wait_ns(time.time_ns())
            if wait_ns:
                time.sleep(wait_ns * 1e-9)
                continue
            simulated_ns += TICK_NS
            due_ns = pacer.tick()
            stamp_ns = simulated_ns if self._simulation_time else due_ns
            reading = self._simulated.tick(stamp_ns, TICK_NS)
            if stamp_ns // self._frame_ns != frame:
                frame = stamp_ns // self._frame_ns
                self._frame_due.set()
            self._publish_reading(reading)
            self._meter.ticked(TICK_NS, pacer.lost_ns)

    def _run_rendering(self) -> None:
        renderer = self._make_renderer()
        self._rendering_ready.set()
        shown_ns = None
        try:
            while not self._stop.is_set():
                self._frame_due.wait()
                self._frame_due.clear()
                started_ns = time.monotonic_ns()
                stamp_ns = self._simulated.capture(renderer)
                if stamp_ns == shown_ns:  # captured between the tick and the news of it
                    continue
                shown_ns = stamp_ns
                for camera in self._cameras:
                    if camera.plugged_in:
                        camera.publish(renderer.render(camera.name), stamp_ns)
                self._meter.rendered(time.monotonic_ns() - started_ns)
        finally:
            renderer.close()
