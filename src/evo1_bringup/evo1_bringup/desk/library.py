"""The desk's pages of recordings, datasets, runs and trials: /api/library. Without ROS or torch.

What is slow (opening a bag, decoding a video, checking a dataset) happens in one process of its
own, niced: a person who browses must not slow a stop down. Nothing is uploaded and nothing that a
folder holds is executed; reports are sent with a policy that forbids every script.
"""

import multiprocessing
import os
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from evo1_training.evaluation.outcomes import EvaluationError
from evo1_training.library import changes, films, runs, shelves
from evo1_training.library.shelves import LibraryError, Roots, Shelf
from evo1_training.next_commands import command

_REPORT_HEADERS = {
    "Content-Security-Policy": (
        "sandbox allow-same-origin; default-src 'none'; img-src 'self' data:; media-src 'self'; "
        "style-src 'unsafe-inline'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
}
_SHOWN_TYPES = {".html", ".png", ".jpg", ".mp4"}
_MOST_CARDS = 500
_MOST_CHOSEN = 20_000  # episodes at once


class Change(BaseModel):
    """What is asked for of some episodes; see `change`."""

    kind: str
    shelf: str
    what: str
    episodes: list[str] = Field(default=[], max_length=_MOST_CHOSEN)
    text: str = ""
    spans: list[tuple[float, str]] = Field(default=[], max_length=1000)
    trim: tuple[int, int] | None = None


class Score(BaseModel):
    """What came of a trial of a log book."""

    book: str
    number: int
    solved: bool
    seconds: float = Field(ge=0.0, le=86_400.0)
    notes: str = Field(default="", max_length=2000)
    video: str = Field(default="", max_length=1000)


class Unblind(BaseModel):
    """A log book whose names shall be told."""

    book: str
    early: bool = False


def library_router(roots: Roots, workers: Executor | None = None) -> APIRouter:
    """The routes below /api/library.

    Args:
        roots: the folders that are shown; nothing outside of them can be named.
        workers: makes film strips and checks datasets; one niced process where there is none.
    """
    router = APIRouter(prefix="/api/library")
    pool = workers or ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), initializer=os.nice, initargs=(10,)
    )
    _add_episodes(router, roots, pool)
    _add_checks(router, roots, pool)
    _add_changes(router, roots)
    _add_runs(router, roots)
    _add_trials(router, roots)
    return router


def _add_episodes(router: APIRouter, roots: Roots, pool: Executor) -> None:
    @router.get("/shelves")
    def all_shelves() -> Any:
        return [{"kind": one.kind, "name": one.name} for one in _told(shelves.shelves, roots)]

    @router.get("/episodes")
    def episodes(
        kind: str, shelf: str, first: int = 0, count: int = 100, words: str = "", grade: str = ""
    ) -> Any:
        found = _told(shelves.cards, _shelf(roots, kind, shelf), roots.cache)
        grades: dict[str, int] = {}
        for card in found:
            grades[card.grade] = grades.get(card.grade, 0) + 1
        wanted = [card for card in found if _fits(card, words.casefold(), grade)]
        first, count = max(0, first), min(max(0, count), _MOST_CARDS)
        return {
            "total": len(wanted),
            "grades": grades,
            "names": [card.name for card in wanted],
            "cards": [asdict(card) for card in wanted[first : first + count]],
        }

    def film(kind: str, shelf: str, episode: str) -> tuple[Shelf, films.Film]:
        place = _shelf(roots, kind, shelf)
        found = _told(films.film_of, place, episode, roots.cache)
        if not found.there:
            found = _told(pool.submit(films.make_film, place, episode, roots.cache).result)
        return place, found

    @router.get("/thumbnail")
    def thumbnail(kind: str, shelf: str, episode: str) -> FileResponse:
        return FileResponse(film(kind, shelf, episode)[1].thumbnail, media_type="image/jpeg")

    @router.get("/strip")
    def strip(kind: str, shelf: str, episode: str) -> FileResponse:
        return FileResponse(film(kind, shelf, episode)[1].strip, media_type="image/jpeg")

    @router.get("/episode")
    def episode(kind: str, shelf: str, episode: str) -> Any:
        place, found = film(kind, shelf, episode)
        return _told(films.episode_facts, place, episode, found, roots.cache)


def _add_checks(router: APIRouter, roots: Roots, pool: Executor) -> None:
    checks: dict[str, Future[None]] = {}

    @router.post("/check")
    def check(change: Change) -> Any:
        place = _shelf(roots, "datasets", change.shelf)
        running = checks.get(place.key)
        if running is None or running.done():
            checks[place.key] = pool.submit(check_shelf, place, roots.cache)
        return {"ok": True, "text": "being checked (a few pictures of each video)"}

    @router.get("/findings")
    def findings(shelf: str) -> Any:
        place = _shelf(roots, "datasets", shelf)
        running = checks.get(place.key)
        under_way = running is not None and not running.done()
        return {"running": under_way, "report": shelves.read_findings(place, roots.cache)}


def check_shelf(shelf: Shelf, cache: Path) -> None:
    """Check a dataset as `check-dataset --quick` does, and keep what was found."""
    from evo1_training.datasets.checker.checking import check_dataset
    from evo1_training.viewing.dataset_report import write_json

    write_json(check_dataset(shelf.path, quick=True), shelves.findings_path(shelf, cache))


def _add_changes(router: APIRouter, roots: Roots) -> None:
    @router.post("/change")
    def change(asked: Change) -> Any:
        """Change recordings where they lie; of a dataset only say the command that does it."""
        place = _shelf(roots, asked.kind, asked.shelf)
        if place.kind == "datasets":
            return {"ok": True, "text": "", "command": _told(_dataset_command, place, asked)}
        return {"ok": True, "text": _told(_change_recordings, place, asked, roots)}

    @router.get("/commands")
    def commands(kind: str, shelf: str) -> Any:
        """What to type next with all of a shelf."""
        place = _shelf(roots, kind, shelf)
        if place.kind == "datasets":
            return [
                command("check_dataset", place.path),
                command("train", "--stage", 1, "--dataset", place.path),
            ]
        name = "mine" if shelf == "." else shelf.replace("/", "_")
        return [command("convert", place.path, "--to", roots.datasets / name)]


def _change_recordings(shelf: Shelf, asked: Change, roots: Roots) -> str:
    if asked.what == "delete":
        return changes.delete(shelf, asked.episodes)
    if asked.what == "relabel":
        return changes.relabel(shelf, asked.episodes, asked.text)
    if asked.what == "operator":
        return changes.demonstrated_by(shelf, asked.episodes, asked.text)
    if asked.what == "spans" and len(asked.episodes) == 1:
        film = films.film_of(shelf, asked.episodes[0], roots.cache)
        facts = films.episode_facts(shelf, asked.episodes[0], film, roots.cache)
        return changes.mark(shelf, asked.episodes[0], int(facts["begin_ns"]), asked.spans)
    raise LibraryError("what: expected delete, relabel, operator, or spans of one episode")


def _dataset_command(shelf: Shelf, asked: Change) -> str:
    if not all(name.isdecimal() and len(name) < 10 for name in asked.episodes):
        raise LibraryError("expected numbers of episodes")
    numbers = [int(name) for name in asked.episodes]
    if asked.what == "delete":
        edit = changes.DatasetEdit(delete=frozenset(numbers))
    elif asked.what == "keep":
        edit = changes.DatasetEdit(keep=frozenset(numbers))
    elif asked.what == "relabel":
        edit = changes.DatasetEdit(tasks=dict.fromkeys(numbers, asked.text))
    elif asked.what == "trim" and asked.trim is not None:
        edit = changes.DatasetEdit(trims=dict.fromkeys(numbers, asked.trim))
    else:
        raise LibraryError("what: expected delete, keep, relabel or trim")
    return changes.edit_command(shelf, edit)


def _add_runs(router: APIRouter, roots: Roots) -> None:
    @router.get("/runs")
    def all_runs() -> Any:
        return [asdict(card) for card in _told(runs.runs, roots.runs)]

    @router.get("/run")
    def run(name: str, after: int = 0) -> Any:
        return _told(runs.run_facts, roots.runs, name, after=after)

    @router.get("/plot")
    def plot(run: str, name: str) -> FileResponse:
        folder = _told(runs.run_folder, roots.runs, run)
        return _file(_told(shelves.below, folder / "open_loop", name))

    @router.get("/reports")
    def all_reports() -> Any:
        return [asdict(card) for card in _told(runs.reports, roots)]

    @router.get("/report/{root}/{name:path}")
    def report(root: int, name: str) -> FileResponse:
        places = runs.report_roots(roots)
        if not 0 <= root < len(places):
            raise HTTPException(404, "no such folder of reports")
        return _file(_told(shelves.below, places[root], name))


def _add_trials(router: APIRouter, roots: Roots) -> None:
    def facts(name: str) -> Any:
        return _told(runs.book_facts, _told(runs.book, roots.trials, name))

    @router.get("/trials")
    def all_trials() -> Any:
        example = ("new", roots.trials / "BOOK.jsonl", "--policy", "A", "--policy", "B")
        begin = command("trials", *example, "--task", "can into box", "--scenes", 5)
        return {"books": runs.books(roots.trials), "begin": begin}

    @router.get("/trial")
    def trial(name: str) -> Any:
        return facts(name)

    @router.post("/score")
    def score(score: Score) -> Any:
        """Write down what came of a trial, as `trials score` does."""
        book = _told(runs.book, roots.trials, score.book)
        said = score.model_dump(exclude={"book", "number"})
        _told(book.score, score.number, **said)
        return facts(score.book)

    @router.post("/unblind")
    def unblind(asked: Unblind) -> Any:
        """Tell the names, as `trials report` does; nothing is scored from here on."""
        _told(_told(runs.book, roots.trials, asked.book).report, early=asked.early)
        return facts(asked.book)


def _file(path: Path) -> FileResponse:
    """A page or picture as it is, which may run nothing."""
    if path.suffix not in _SHOWN_TYPES or not path.is_file():
        raise HTTPException(404, "expected a page, a picture or a video")
    return FileResponse(path, headers=_REPORT_HEADERS)


def _shelf(roots: Roots, kind: str, name: str) -> Shelf:
    found: Shelf = _told(shelves.find_shelf, roots, kind, name)
    return found


def _fits(card: shelves.Card, words: str, grade: str) -> bool:
    text = f"{card.name} {card.instruction} {card.operator}".casefold()
    return words in text and grade in ("", card.grade)


def _told(work: Any, *arguments: Any, **named: Any) -> Any:
    """What a function answers; its own refusal becomes a 404 that says why."""
    try:
        return work(*arguments, **named)
    except (LibraryError, EvaluationError, OSError) as error:
        raise HTTPException(404, str(error)) from error
