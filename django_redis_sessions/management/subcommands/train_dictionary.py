"""``redis_sessions train-dictionary``: a preset dictionary made from the project's own sessions."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from django_redis_sessions import sessions
from django_redis_sessions.dictionaries import LARGEST_NUMBER, LARGEST_TEXT, SMALLEST_NUMBER
from django_redis_sessions.management.arguments import positive
from django_redis_sessions.management.output import PATIENCE, confirm, progress_bar, write_json
from django_redis_sessions.training import USUAL_SAMPLE, USUAL_SIZE, WORTHWHILE, Training

NAME = "train-dictionary"
HELP = "Make a preset dictionary from the stored sessions, and say what it would save."
EPILOG = (
    "Changes nothing in Redis. One round trip for every 500 keys looked at and for every 100 sessions, "
    "then some seconds of computing."
)


def _number(text: str) -> int:
    if not text.isdecimal() or not SMALLEST_NUMBER <= int(text) <= LARGEST_NUMBER:
        raise ArgumentTypeError(f"{text!r} is no number from {SMALLEST_NUMBER} to {LARGEST_NUMBER}")
    return int(text)


def _size(text: str) -> int:
    size = positive(text)
    if size > LARGEST_TEXT:
        raise ArgumentTypeError(f"{text} is more than {LARGEST_TEXT} bytes")
    return size


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("file", metavar="FILE", type=Path, help="where to write it, e.g. sessions-128.dict")
    parser.add_argument(
        "--number", type=_number, metavar="N", help="its number; by default the first that is free"
    )
    parser.add_argument(
        "--sample",
        type=positive,
        metavar="N",
        default=USUAL_SAMPLE,
        help="sessions to read (default: %(default)s)",
    )
    parser.add_argument(
        "--size",
        type=_size,
        metavar="BYTES",
        default=USUAL_SIZE,
        help="how large it may be (default: %(default)s)",
    )
    parser.add_argument(
        "--rate",
        type=positive,
        metavar="N",
        default=1000,
        help="sessions to read in a second (default: %(default)s)",
    )
    parser.add_argument("--show", action="store_true", help="write out each text that is in it")
    parser.add_argument("--dry-run", action="store_true", help="write no file")
    parser.add_argument("--no-input", "--noinput", action="store_true", help="do not ask before overwriting")
    parser.add_argument("--json", action="store_true", help="write one JSON document; sizes in bytes")


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """Ask, train, write the file, report."""
    file: Path = options["file"]
    if file.exists() and not options["dry_run"] and not options["no_input"]:
        confirm(command, f"{file} exists, and sessions may need it. Overwrite it?")
    with progress_bar(command, options, done="") as progress:
        training = sessions.train_dictionary(
            **{name: options[name] for name in ("number", "sample", "size", "rate")},
            progress=progress,
            patience=PATIENCE,
        )
    if not options["dry_run"]:
        _write(file, training)
    if options["json"]:
        fragments = {"texts": _texts(training)} if options["show"] else {}
        written = None if options["dry_run"] else str(file)
        write_json(command, {**training.as_dict(), "written": written, **fragments})
    elif options["verbosity"] > 0:
        for line in _report(training, options):
            command.stdout.write(line)


def _write(file: Path, training: Training) -> None:
    try:
        file.write_bytes(training.dictionary.dumped())
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}.") from error


def _texts(training: Training) -> list[dict[str, Any]]:
    """The most used first; bytes that are no ASCII as escapes."""
    return [
        {"people": fragment.people, "text": fragment.text.decode("ascii", "backslashreplace")}
        for fragment in reversed(training.fragments)
    ]


def _report(training: Training, options: dict[str, Any]) -> list[str]:
    gain = training.gain
    sizes = training.as_dict()["bytes_per_record"]
    rows = [
        ("Sessions", f"{training.sessions:,} of {training.people:,} people"),
        *([("  unreadable", f"{training.unreadable:,}")] if training.unreadable else []),
        ("Dictionary", f"number {training.dictionary.number}, {len(training.dictionary.text):,} bytes"),
        ("  texts", f"{len(training.fragments):,}, each shared by {training.threshold:,} people or more"),
        ("Per record", f"average of {gain.records:,} that were not trained on"),
        ("  as stored", f"{sizes['stored']:.1f} B"),
        ("  zlib", f"{sizes['zlib']:.1f} B"),
        ("  dictionary", f"{sizes['built_in']:.1f} B"),
        ("  this one", f"{sizes['trained']:.1f} B, {_saving(gain.saved)} the best of the others"),
    ]
    lines = [f"{name:<15}{value}" for name, value in rows]
    if options["show"]:
        lines += ["", "People  Text"]
        lines += [f"{text['people']:>6,}  {text['text']}" for text in _texts(training)]
    lines.append("")
    if not gain.is_worthwhile:
        lines.append(f"It does not pay off: less than {WORTHWHILE:.0%} is saved.")
    if options["dry_run"]:
        return [*lines, "Nothing was written."]
    return [
        *lines,
        f"{options['file']} was written. Look at what is in it (--show) before you commit it.",
        "In the first deployment COMPRESSION names it last, in the next it comes first: sessions that are",
        "compressed with it cannot be read by processes that do not know it yet.",
    ]


def _saving(share: float) -> str:
    return f"{share:.1%} less than" if share >= 0 else f"{-share:.1%} more than"
