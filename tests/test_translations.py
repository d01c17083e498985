"""Does every text that a person may see stand in the catalogues, translated and compiled?"""

from __future__ import annotations

import ast
import gettext
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

import django_redis_sessions

PACKAGE = Path(django_redis_sessions.__file__).parent
LOCALE = PACKAGE / "locale"
#: Which arguments of a call are a text, by the name of the function.
CALLS = {
    "_": (0,),
    "gettext": (0,),
    "gettext_lazy": (0,),
    "ngettext": (0, 1),
    "pgettext": (0, 1),
    "pgettext_lazy": (0, 1),
}


@dataclass(frozen=True)
class Entry:
    """One entry of a catalogue as people edit it."""

    text: str
    context: str | None
    plural: str | None
    translations: tuple[str, ...]
    flags: str

    @property
    def key(self):
        return (self.context, self.text, self.plural)

    def is_sound(self):
        """Whether no form has a placeholder that its text does not have, or lacks one.

        The form for one may do without the number, as the text for one may.
        """
        first, *others = map(placeholders, self.translations)
        of_plural = placeholders(self.plural or self.text)
        return first in (placeholders(self.text), of_plural) and all(other == of_plural for other in others)


def placeholders(text):
    return sorted(re.findall(r"%\(\w+\)[sd]|%(?!\()", text))


def source(language):
    return (LOCALE / language / "LC_MESSAGES" / "django.po").read_text()


def entries(language):
    """The entries of a catalogue, whose texts are on one line each; without its head."""
    found = []
    for block in source(language).split("\n\n")[1:]:
        named = dict(re.findall(r'^(msgctxt|msgid|msgid_plural) "(.*)"$', block, re.MULTILINE))
        translations = re.findall(r'^msgstr(?:\[\d\])? "(.*)"$', block, re.MULTILINE)
        flags = "".join(re.findall(r"^#, (.*)$", block, re.MULTILINE))
        found.append(
            Entry(named["msgid"], named.get("msgctxt"), named.get("msgid_plural"), tuple(translations), flags)
        )
    return found


def compiled(language):
    """What machines read of it: ``{text or (text, form): translation}``, with the context before the text."""
    catalogue = gettext.translation("django", LOCALE, [language])
    return {text: translation for text, translation in catalogue._catalog.items() if text}


def marked_in_templates():
    for template in (PACKAGE / "templates").rglob("*.html"):
        text = template.read_text()
        for found in re.finditer(r'{% translate "([^"]+)"(?: context "([^"]+)")? %}', text):
            yield (found[2], found[1], None)
        for block in re.findall(r"{% blocktranslate.*?%}(.*?){% endblocktranslate %}", text):
            one, _, many = re.sub(r"{{ (\w+) }}", r"%(\1)s", block).partition("{% plural %}")
            yield (None, one, many or None)


def marked_in_modules():
    for module in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            name = getattr(getattr(node, "func", None), "id", "")
            if name not in CALLS:
                continue
            texts = [ast.literal_eval(node.args[number]) for number in CALLS[name]]
            if name.startswith("pgettext"):
                yield (texts[0], texts[1], None)
            else:
                yield (None, texts[0], texts[1] if len(texts) > 1 else None)


@pytest.fixture(params=sorted(folder.name for folder in LOCALE.iterdir()))
def language(request):
    return request.param


class TestACatalogue:
    """After a change: ``makemessages`` and ``compilemessages``, as the page "Your devices" says."""

    def test_has_every_text_and_no_other(self, language):
        marked = {*marked_in_templates(), *marked_in_modules()}
        assert len(marked) > 100
        assert {entry.key for entry in entries(language)} == marked

    def test_leaves_nothing_untranslated_or_guessed(self, language):
        assert [
            entry for entry in entries(language) if "" in entry.translations or not entry.translations
        ] == []
        assert [entry for entry in entries(language) if "fuzzy" in entry.flags] == []
        assert "#~" not in source(language)

    def test_has_the_placeholders_of_each_text(self, language):
        assert [entry for entry in entries(language) if not entry.is_sound()] == []

    def test_is_compiled(self, language):
        written = {}
        for entry in entries(language):
            name = entry.text if entry.context is None else f"{entry.context}\4{entry.text}"
            if entry.plural is None:
                written[name] = entry.translations[0]
            else:
                written |= {(name, form): text for form, text in enumerate(entry.translations)}
        assert compiled(language) == written


class TestAPlaceholder:
    @pytest.mark.parametrize(
        ("text", "plural", "translations"),
        [
            ("%(n)d of it", None, ("von %(m)d",)),
            ("%(n)d of it", None, ("davon",)),
            ("%(n)d is", "%(n)d are", ("%(n)d ist", "sind")),
            ("100 of", None, ("100 % von",)),
        ],
    )
    def test_that_is_missing_or_wrong_is_found(self, text, plural, translations):
        assert not Entry(text, None, plural, translations, "").is_sound()

    def test_of_the_number_may_be_missing_for_one(self):
        assert Entry("this", None, "these %(n)d", ("dieses", "diese %(n)d"), "").is_sound()
