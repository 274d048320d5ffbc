"""The console speaks Chinese wherever it speaks English: nothing untranslated, nothing left over, no broken places."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

from babel.messages.catalog import Message
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

import engine
from engine.api.problems import kind_of, title_of
from engine.console.refusals import FOR_PEOPLE
from engine.errors import FentanError

CONSOLE = Path(__file__).parents[2] / "engine" / "console"
CATALOGUES = sorted((CONSOLE / "locale" / "zh").glob("*.po"))

Key = tuple[str | None, str]


def asked_for() -> dict[Key, str]:
    """Every text that a page, a module or a refusal asks a translation for, and where."""
    found = extract_from_dir(
        str(CONSOLE),
        method_map=[("templates/**.html", "jinja2"), ("**.py", "python")],
        options_map={
            "templates/**.html": {
                "trimmed": "true",
                "extensions": "jinja2.ext.do,jinja2.ext.loopcontrols",
                "silent": "no",
            }
        },
        directory_filter=lambda path: Path(path).name not in ("node_modules", "web", "static"),
    )
    texts = {
        (context, text[0] if isinstance(text, tuple) else text): f"{name}:{line}"
        for name, line, text, _, context in found
    }
    return titles() | texts


def errors() -> Iterator[type[FentanError]]:
    """Every error of the engine; what the command line and the client say of themselves no page shows."""
    elsewhere = ("engine.cli", "engine.client", "engine.console.web", "engine.console.static")
    for module in walk_packages(engine.__path__, "engine."):
        if not module.name.startswith(elsewhere):
            import_module(module.name)

    def with_its_kinds(error: type[FentanError]) -> Iterator[type[FentanError]]:
        yield error
        for kind in error.__subclasses__():
            yield from with_its_kinds(kind)

    for error in with_its_kinds(FentanError):
        if error.__module__.startswith("engine.") and not error.__module__.startswith(elsewhere):
            yield error


def titles() -> dict[Key, str]:
    """What heads a refusal by each error that has no words for people of its own, and its class."""
    return {(None, title_of(error)): error.__name__ for error in errors() if kind_of(error) not in FOR_PEOPLE}


def translated() -> dict[Key, list[tuple[str, Message]]]:
    """Every entry of every catalogue."""
    entries = defaultdict[Key, list[tuple[str, Message]]](list)
    for path in CATALOGUES:
        for message in read_po(path.read_text("utf-8").splitlines(keepends=True), locale="zh"):
            if message.id:
                text = message.id if isinstance(message.id, str) else message.id[0]
                entries[message.context, text].append((path.name, message))
    return entries


def said(message: Message) -> str:
    return message.string if isinstance(message.string, str) else "".join(message.string or ())


def test_every_text_has_its_chinese() -> None:
    known = {key for key, entries in translated().items() if all(said(message) for _, message in entries)}
    missing = {key: place for key, place in asked_for().items() if key not in known}
    assert not missing, "\n".join(f'# {place}\nmsgid "{text}"\nmsgstr ""\n' for (_, text), place in missing.items())


def test_every_error_has_a_title() -> None:
    assert [error for error in errors() if not title_of(error)] == []
    of_others = {"internal", "out-of-range", "refused-by-database", "unavailable"}
    assert set(FOR_PEOPLE) - {kind_of(error) for error in errors()} == of_others


def test_no_catalogue_keeps_what_no_page_says() -> None:
    used = asked_for()
    # Words are looked up by the value of an enum, which no template spells out.
    left = [key for key in translated() if key not in used and key[0] != "word"]
    assert left == []


def test_a_text_has_one_translation() -> None:
    several = {
        key: {name: said(message) for name, message in entries}
        for key, entries in translated().items()
        if len({said(message) for _, message in entries}) > 1
    }
    assert several == {}


def test_what_is_filled_in_stands_in_both_languages() -> None:
    def places(text: str) -> set[str]:
        return set(re.findall(r"%\(\w+\)s|%[sd]", text))

    wrong = [
        key
        for key, entries in translated().items()
        for _, message in entries
        if places(key[1] if isinstance(message.id, str) else "".join(message.id)) != places(said(message))
    ]
    assert wrong == []
