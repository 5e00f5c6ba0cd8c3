"""English inflection: the forms of verbs and nouns, and "a" or "an".

The spelling rules and the tables of irregular words are those that the word lists need. In a phrase
the verb is the first word ("run out of ideas", "runs out of ideas"). The head of
a noun is the last word, or the one before "of" ("taxi drivers", "jars of honey").
"""

import re
from collections.abc import Callable, Mapping

from minbert.sample.lexicon import table

_VERBS = {base: (past, participle) for base, past, participle in table("irregular", "verbs")}
_PLURALS = {row[0]: row[1] for row in table("irregular", "nouns")}
_DOUBLING = frozenset(word for (word,) in table("irregular", "verbs", "doubling"))
_THIRD = {"be": "is", "have": "has", "must": "must"}
_SIBILANT = re.compile(r"(s|x|z|ch|sh)$")
_CONSONANT_Y = re.compile(r"(?<=[^aeiou])y$")
_SHORT = re.compile(r"[^aeiou]*(qu)?[aeiou][bdgklmnprt]$")
# Beginnings with a vowel's letter and a consonant's sound, and the reverse.
_SAYS_A = re.compile(r"(uni([^nm]|$)|us[aeiu]|ut[ei]|eu|ewe|one\b|once\b|uk)", re.IGNORECASE)
_SAYS_AN = re.compile(r"(hour|honest|heir|honour)", re.IGNORECASE)


def third_person(verb: str) -> str:
    """Return the form after "she": walks, catches, tries."""
    return _THIRD.get(verb) or _with_s(verb)


def past(verb: str) -> str:
    """Return the simple past: walked, took."""
    return _VERBS[verb][0] if verb in _VERBS else _with_ed(verb)


def participle(verb: str) -> str:
    """Return the past participle: walked, taken."""
    if verb == "be":
        return "been"
    return _VERBS[verb][1] if verb in _VERBS else _with_ed(verb)


def gerund(verb: str) -> str:
    """Return the -ing form: walking, taking, lying, cutting."""
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    if re.search(r"[^eoy]e$", verb) and verb != "be":
        return verb[:-1] + "ing"
    return _stem(verb) + "ing"


def plural(noun: str) -> str:
    """Return the plural of a noun's head: nurses, taxi drivers, jars of honey."""
    head, of, rest = noun.partition(" of ")
    before, space, last = head.rpartition(" ")
    if last in _PLURALS:
        last = _PLURALS[last]
    elif re.search(r"(?<!hu)(?<!Ger)man$", last):
        last = last[:-3] + "men"
    elif not last.endswith("craft"):
        last = _with_s(last)
    return before + space + last + of + rest


FORMS: Mapping[str, Callable[[str], str]] = {
    "s": third_person,
    "ed": past,
    "en": participle,
    "ing": gerund,
}


def inflected(text: str, form: str | None) -> str:
    """Return `text` with its first word in a verb's `form`, or for "pl" with its head in plural."""
    if form is None:
        return text
    if form == "pl":
        return plural(text)
    verb, space, rest = text.partition(" ")
    return FORMS[form](verb) + space + rest


def with_articles(text: str) -> str:
    """Make every "a" an "an" where the next word begins with a vowel's sound."""
    return re.sub(r"\b([Aa]) (?=([\w-]+))", _article, text)


def _article(match: re.Match[str]) -> str:
    vowel = match[2][0] in "aeiouAEIOU"
    sounds = not _SAYS_A.match(match[2]) if vowel else _SAYS_AN.match(match[2])
    return match[1] + ("n " if sounds else " ")


def _with_s(word: str) -> str:
    if _SIBILANT.search(word) or word in ("go", "do", "undergo", "veto"):
        return word + "es"
    return _CONSONANT_Y.sub("ie", word) + "s"


def _with_ed(verb: str) -> str:
    if verb.endswith("e"):
        return verb + "d"
    return _CONSONANT_Y.sub("i", _stem(verb)) + "ed"


def _stem(verb: str) -> str:
    return verb + verb[-1] if _SHORT.match(verb) or verb in _DOUBLING else verb
