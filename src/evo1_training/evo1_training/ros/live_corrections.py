"""The arm of a round of correction with a person: policy and recorder over their topics."""

import select
import sys
from pathlib import Path

from evo1_msgs.action import RunPolicy

from evo1_policy.checkpoint import read_checkpoint
from evo1_policy.command_line import tell
from evo1_training.evaluation.outcomes import EvaluationError
from evo1_training.recording.episode import episode_folders
from evo1_training.ros.live_cell import LiveCell
from evo1_training.ros.live_evaluation import OVERTIME_S

PATIENCE_S = 3600.0  # for a person to restart the node with another policy


class LiveRig:
    """See live_coaching.Rig. A person takes over and hands back as ever: `evo1 take-over`, a pad.

    Args:
        cell: talks to the policy; not connected yet.
        episodes: the recorder's folder.
    """

    def __init__(self, cell: LiveCell, episodes: Path) -> None:
        self._cell, self._episodes = cell, episodes
        self._before: set[Path] = set()

    def load(self, policy: Path) -> None:
        """See Rig."""
        wanted = read_checkpoint(policy).model_hash()
        tell("improve", f"start the arm with checkpoint:={policy} record:=true; waiting for it")
        self._cell.connect(simulated=False)
        self._cell.wait(
            lambda: self._cell.policy.model_hash == wanted,
            f"policy/status of {policy}",
            timeout_s=PATIENCE_S,
        )

    def begin(self, words: str) -> None:
        """See Rig."""
        self._before = self._present()
        self._cell.instruct_recorder(words)
        answer = self._cell.trigger("recorder/start")
        if not answer.success:
            raise EvaluationError(f"the recorder does not start: {answer.message}")

    def drive(self, words: str, limit_s: float) -> None:
        """See Rig."""
        tell("improve", "the policy drives; Enter: enough")
        run = self._cell.run_policy(RunPolicy.Goal(instruction=words, duration_s=limit_s))
        self._cell.wait(
            lambda: run.result.done() or _entered(),
            "the end of policy/run_policy",
            timeout_s=limit_s + OVERTIME_S,
        )
        if not run.result.done():
            run.cancel()
            self._cell.wait(run.result.done, "the end of policy/run_policy")

    def end(self, *, keep: bool) -> Path | None:
        """See Rig."""
        answer = self._cell.trigger("recorder/save" if keep else "recorder/discard")
        if not keep:
            return None
        if not answer.success:
            raise EvaluationError(f"the recorder does not save: {answer.message}")
        added = sorted(self._present() - self._before)
        if not added:
            raise EvaluationError(
                f"the recorder saved nothing below {self._episodes}; name its folder: --episodes"
            )
        return added[-1]

    def _present(self) -> set[Path]:
        root = self._episodes
        return set(episode_folders(root)) if root.is_dir() and any(root.iterdir()) else set()


def _entered() -> bool:
    """Whether a person pressed Enter; what was typed is taken away."""
    ready, _, _ = select.select([sys.stdin], [], [], 0.0)
    return bool(ready and sys.stdin.readline())
