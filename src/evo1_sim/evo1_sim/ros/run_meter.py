"""How well the simulation keeps up: counters from its threads, diagnostics once a second."""

import threading
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from evo1_policy.ros.status import diagnostic_array, status

_KEEPS_UP = 0.95  # share of real time, and of the camera rate, that counts as well


@dataclass(kw_only=True)
class RunMeter:
    """Counts since the last report. Safe to use from several threads.

    Args:
        camera_rate_hz: rate that was asked for [Hz].
        now_ns: present time on a clock that never jumps [ns].
    """

    camera_rate_hz: float
    now_ns: int
    _simulated_ns: int = field(default=0, init=False)
    _frames: int = field(default=0, init=False)
    _render_ms: list[float] = field(default_factory=list, init=False)
    _lost_ns: int = field(default=0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def ticked(self, duration_ns: int, lost_ns: int) -> None:
        """Count simulated time; lost_ns is the real time lost since the start."""
        with self._lock:
            self._simulated_ns += duration_ns
            self._lost_ns = lost_ns

    def rendered(self, duration_ns: int) -> None:
        """Count one frame of every camera, rendered and published in duration_ns."""
        with self._lock:
            self._frames += 1
            self._render_ms.append(duration_ns * 1e-6)

    def report(self, *, name: str, stamp_ns: int, now_ns: int) -> DiagnosticArray:
        """Return the diagnostics since the last report, and start to count afresh."""
        with self._lock:
            seconds = max((now_ns - self.now_ns) * 1e-9, 1e-9)
            factor = self._simulated_ns * 1e-9 / seconds
            rate_hz = self._frames / seconds
            times = self._render_ms or [0.0]
            lost_s = self._lost_ns * 1e-9
            self.now_ns = now_ns
            self._simulated_ns, self._frames, self._render_ms = 0, 0, []
        slow = factor < _KEEPS_UP
        dim = rate_hz < _KEEPS_UP * self.camera_rate_hz - 1 / seconds
        problem = "slower than real time" if slow else "cameras slower than asked" if dim else ""
        pace = status(
            "simulation",
            DiagnosticStatus.WARN if problem else DiagnosticStatus.OK,
            problem or "keeps up",
            {
                "real_time_factor": f"{factor:.3f}",
                "camera_rate_hz": f"{rate_hz:.1f}",
                "render_ms_mean": f"{sum(times) / len(times):.1f}",
                "render_ms_max": f"{max(times):.1f}",
                "lost_real_time_s": f"{lost_s:.2f}",
            },
        )
        return diagnostic_array([pace], node=name, hardware="simulation", now_ns=stamp_ns)
