"""`trials`: a log book of trials in the real world. Must not import ROS or torch."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evo1_policy.command_line import Parser, entry_point

if TYPE_CHECKING:
    from evo1_training.evaluation.logbook import LogBook

_DESCRIPTION = """\
Which policy is better on a real arm, so that nobody's hopes tell: the order is drawn by lot, the
policies have hidden names, a person scores each trial, and the names are told at the end. All
stands in one file, to which lines are only ever added. Files in ~/evo1_trials can be scored on the
page of `evo1 desk`, too.
"""
_EPILOG = """\
examples
  evo1 trials new ~/evo1_trials/BOOK.jsonl --policy A --policy B --task "can into box" --scenes 10
  evo1 trials next BOOK.jsonl      what to lay out, and what to type
  evo1 trials score BOOK.jsonl solved --seconds 12.5 --video take3.mp4
  evo1 trials score BOOK.jsonl failed --notes "knocked the can over"
  evo1 trials report BOOK.jsonl --json numbers.json      tells the names; ends the scoring
  evo1 trials ask BOOK.jsonl       one trial after the other, with questions
"""


@entry_point("trials")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    from evo1_training.evaluation.logbook import LogBook
    from evo1_training.next_commands import command

    if options.what == "new":
        book = LogBook.begin(
            options.book,
            policies=[str(Path(name).expanduser().absolute()) for name in options.policy],
            conditions=options.conditions.split(","),
            scenes=options.scenes,
            facts={"task": options.task},
        )
        print(f"{len(book.order)} trials in {options.book}")
        print("next:", command("trials", "ask", options.book))
        return 0
    book = LogBook(options.book)
    if options.what == "report":
        return _report(book, options)
    if options.what == "ask":
        while book.left:
            _ask(book)
    if not book.left and not getattr(options, "number", 0):
        print("every trial is scored; next:", command("trials", "report", options.book))
    elif options.what == "next":
        print("\n".join(book.told(book.left[0])))
    else:
        number = options.number or book.left[0].number
        solved = options.outcome == "solved"
        book.score(
            number,
            solved=solved,
            seconds=options.seconds,
            notes=options.notes,
            video=options.video,
        )
        print(f"trial {number}: {options.outcome}; {len(book.left)} left")
    return 0


def _ask(book: "LogBook") -> None:
    planned = book.left[0]
    print("\n".join(book.told(planned)))
    answer = ""
    while answer not in ("s", "f"):
        answer = input("what came of it: s solved, f failed (Ctrl-C: later) ").strip().lower()
    seconds = 0.0
    while answer == "s" and not seconds > 0.0:
        try:
            seconds = float(input("seconds: "))
        except ValueError:
            print("a number of seconds, such as 12.5")
    notes, video = input("notes: "), input("video file: ")
    solved = answer == "s"
    book.score(planned.number, solved=solved, seconds=seconds, notes=notes, video=video)


def _report(book: "LogBook", options: argparse.Namespace) -> int:
    from evo1_training.evaluation.report import write_json

    report = book.report(early=options.early)
    print("\n".join(report.lines))
    if options.json is not None:
        write_json(options.json, report.evaluations, report.compared)
        print(f"numbers: {options.json}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser("evo1 trials", description=_DESCRIPTION, epilog=_EPILOG)
    commands = parser.add_subparsers(dest="what", required=True, metavar="what")
    told = {
        "new": "Draw the order and begin a book.",
        "next": "The next trial, and how to start it.",
        "score": "Write down what came of it.",
        "ask": "Both, one trial after the other.",
        "report": "Tell the names, and which is better.",
    }
    for name, text in told.items():
        commands.add_parser(name, help=text, description=text).add_argument("book", type=Path)
    add = commands.choices["new"].add_argument
    add("--policy", action="append", default=[], metavar="DIR", help="again for each")
    add("--conditions", default="none", help="names with commas between [none]")
    add("--scenes", type=int, default=10, metavar="N", help="start states of each condition [10]")
    add("--task", default="", help="for the report")
    add = commands.choices["score"].add_argument
    add("outcome", choices=["solved", "failed"])
    add("--seconds", type=float, default=0.0, help="until it was solved")
    add("--notes", default="")
    add("--video", default="", metavar="FILE")
    add("--number", type=int, default=0, help="not given: the next; a later score counts")
    add = commands.choices["report"].add_argument
    add("--json", type=Path, metavar="FILE", help="as evaluate --json; promote reads it")
    add("--early", action="store_true", help="though trials are left")
    return parser


if __name__ == "__main__":
    sys.exit(main())
