"""What can be wrong with a dataset: rules with their remedies, and two ways to take a problem.

One parser reads datasets for everybody and tells each problem to a sink: the checker's collects
them (Findings), the reader's refuses the dataset at the first that it cannot live with (Refusing).

Errors are what LeRobot's loaders (v2.1: 0.3.x, v3.0: 0.4.x and later) or its writers reject, or
read as other data than was written. Must not import ROS or torch.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

_Rule = tuple[Severity, str]

_CONVERT = "convert the recordings again"
_FINISH = "the dataset was not written to its end: convert or record the rest again"
_CAMERA = "look at the contact sheet; leave the episode out or record it again"

_STRUCTURE: Mapping[str, _Rule] = {
    "info": ("error", "correct meta/info.json by the format's description"),
    "version": ("error", "convert it with LeRobot's scripts to v2.1 or v3.0"),
    "old-version": ("warning", "convert it to v2.1: newer loaders warn, and need its statistics"),
    "counts": ("note", "LeRobot writes these counts; nothing here depends on them"),
    "template": (
        "error",
        "v2.1 calls it {episode_chunk}: LeRobot cannot fill the path; correct it",
    ),
    "outside": ("error", "a dataset's files lie in its folder: copy the file there"),
    "feature": ("error", "correct the feature in meta/info.json"),
    "default-feature": ("warning", "LeRobot writes it: correct meta/info.json"),
    "names": ("note", "loaders do not mind; give each number a name, so that people know it"),
    "adoption": ("error", "nothing trains on it as it is: adopt it again, or remove the file"),
    "depth": ("note", "left aside: Evo-1 sees colour only"),
    "policy-feature": ("warning", "Evo-1 trains on observation.state, action and cameras"),
    "empty": ("error", "record and convert at least one episode"),
    "meta-missing": ("error", _FINISH),
    "meta-unreadable": ("error", "restore the file from a copy, or convert the recordings again"),
    "totals": ("error", "correct meta/info.json, or " + _CONVERT),
    "totals-minor": ("warning", "correct meta/info.json; no loader depends on it"),
    "episode-numbers": ("error", "renumber the episodes from 0 without holes, or " + _CONVERT),
    "tasks": ("error", "give each task_index one sentence, counted from 0"),
    "tasks-order": ("error", "LeRobot counts rows, so that a policy learns other sentences: sort"),
    "tasks-index": ("error", "write tasks.parquet from a pandas frame whose index is the task"),
    "episode-tasks": ("warning", "write the sentences of the episode's rows into its metadata"),
    "instruction-empty": ("warning", "the policy learns by instruction: name the task"),
    "rows-place": ("error", "dataset_from_index and file indices must follow the rows: convert"),
    "data-missing": ("error", "restore the file, or " + _CONVERT),
    "data-extra": ("error", "remove the file, or finish the episode that it belongs to"),
    "data-unreadable": ("error", "it was not closed: restore the file, or " + _CONVERT),
    "columns": ("error", "data and meta/info.json must name the same columns"),
    "columns-extra": ("note", "left aside; v3.0 loaders refuse a table with other columns"),
    "dtype": ("error", "write the column in the dtype that info.json says"),
    "dtype-width": ("note", "read as info.json says, as LeRobot does"),
    "shape": ("error", "write as many numbers a row as info.json says"),
    "rows": ("error", _FINISH),
    "positions": ("error", "number episodes, frames and rows from 0 without holes"),
    "positions-minor": ("warning", "number 'index' over all episodes; v3.0 will need it"),
    "timestamps": ("error", "timestamp must be frame_index / fps; check fps"),
    "not-finite": ("error", "leave the episode out; find the sensor that gave NaN or infinity"),
    "video-missing": ("error", "restore the file, or " + _CONVERT),
    "video-extra": ("error", "remove the file, or finish the episode that it belongs to"),
    "video-unreadable": ("error", "it was not closed or is damaged: " + _CONVERT),
    "video-frames": ("error", "the video must have a frame for each row: " + _CONVERT),
    "video-times": ("error", "frame i must be at i / fps within 0.1 ms: encode it again"),
    "picture-size": ("error", "encode it in the size that info.json says"),
    "video-rate": ("error", "one dataset has one rate: resample, or split it by rate"),
    "picture-unreadable": ("error", "restore the file, or " + _CONVERT),
    "stats-missing": ("error", "compute the statistics again: loaders and training need them"),
    "stats-shape": ("error", "cameras have (3, 1, 1), other features one number an element"),
    "stats-wrong": ("warning", "compute the statistics again: they are those of other data"),
    "leftovers": ("warning", "a recording was interrupted: see if its episode is complete"),
    "half-changed": ("error", "run the convert command again: it finishes what was cut off"),
}

_QUALITY: Mapping[str, _Rule] = {
    "black-frames": ("warning", _CAMERA),
    "stuck-frames": ("warning", "the camera stood still while the arm moved: " + _CAMERA),
    "repeated-frames": ("warning", "the camera is slower than fps: record at its own rate"),
    "camera-lag": ("warning", "the camera's frames are older than one step: see max_age_ms"),
    "time-gaps": ("warning", "frames lie further apart than they claim: convert --gaps split"),
    "time-rate": ("warning", "the true rate is not fps, motion is re-timed: set rate_hz, convert"),
    "held-frames": ("warning", "leave the episode out, or convert with --gaps split"),
    "skew": ("warning", "cameras were apart by more than half a step: synchronise their clocks"),
    "state-repeats": ("warning", "joints are published slower than fps: raise their rate"),
    "action-lag": ("warning", "action and state do not belong together: check stamps and clocks"),
    "lag-varies": (
        "warning",
        "the delay changes from episode to episode: check stamps (an arm that `rehearse` pushes "
        "does this with right ones)",
    ),
    "standing-still": (
        "warning",
        "a policy without a memory learns to wait: trim or leave the episode out, or train with "
        "data.max_pause_s",
    ),
    "near-duplicate": (
        "warning",
        "it teaches nothing new, and held out it measures nothing: leave the episode out",
    ),
    "leader-offset": ("warning", "calibrate leader and follower in the same pose, record again"),
    "action-is-state": ("note", "the action is the measured motion, not what was asked for"),
    "beyond-limits": (
        "warning",
        "the arm cannot be there: check calibration, units and robot file",
    ),
    "clipped": ("warning", "the joint rests on its limit: check calibration and workspace"),
    "saturated": ("note", "many frames rest exactly on the extreme: see if it was clipped"),
    "joint-still": ("warning", "the joint never moves: is it driven and read?"),
    "action-jumps": ("warning", "the target jumps faster than the arm can: cut, or record again"),
    "not-radians": (
        "warning",
        "degrees, percent or ticks: training wants radians, and refuses these",
    ),
    "short-episode": ("warning", "shorter than one action chunk: it teaches little, leave it out"),
    "robot-file": ("warning", "meta/evo1/robot.yaml must be the robot file of the recordings"),
}

RULES: Mapping[str, _Rule] = {**_STRUCTURE, **_QUALITY}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a person should know.

    Attributes:
        code: name of the rule, stable over versions.
        severity: 'error' where a loader rejects or misreads the data, 'warning' where training
            suffers, 'note' where it depends.
        where: file, episode, column or joint.
        what: what was found, and what was expected.
        remedy: what to do.
        episode: its number; None where the finding is about all.
        frame: of the episode, where it begins there; None where it is about all of it.
    """

    code: str
    severity: Severity
    where: str
    what: str
    remedy: str
    episode: int | None = None
    frame: int | None = None


class Findings:
    """Collects findings by the codes of the rules."""

    def __init__(self) -> None:
        self._found: list[Finding] = []

    def add(
        self,
        code: str,
        where: object,
        what: str,
        *,
        episode: int | None = None,
        frame: int | None = None,
    ) -> None:
        """Add one.

        Args:
            code: of RULES, which give severity and remedy.
            where: file, episode, column or joint.
            what: what was found, and what was expected.
            episode: its number, where it is about one.
            frame: of it, where it is about one.

        Raises:
            DatasetError: by Refusing, which keeps none.
        """
        severity, remedy = RULES[code]
        self._take(
            Finding(
                code=code,
                severity=severity,
                where=str(where),
                what=what,
                remedy=remedy,
                episode=episode,
                frame=frame,
            )
        )

    def _take(self, finding: Finding) -> None:
        self._found.append(finding)

    def __iter__(self) -> Iterator[Finding]:
        """Worst first, one code after the other, otherwise as found."""
        codes = list(dict.fromkeys(one.code for one in self._found))
        return iter(
            sorted(
                self._found,
                key=lambda one: (SEVERITIES.index(one.severity), codes.index(one.code)),
            )
        )

    def __len__(self) -> int:
        return len(self._found)


class DatasetError(ValueError):
    """A dataset that cannot be used; the message names the file and what was expected there."""


# LeRobot's loaders stumble here, this reader does not.
_READ_ANYWAY = frozenset({"tasks-order", "tasks-index", "template"})


class Refusing(Findings):
    """Keeps nothing: the first error that keeps a dataset from being read is raised."""

    def _take(self, finding: Finding) -> None:
        if finding.severity == "error" and finding.code not in _READ_ANYWAY:
            raise DatasetError(f"{finding.where}: {finding.what}; {finding.remedy}")
