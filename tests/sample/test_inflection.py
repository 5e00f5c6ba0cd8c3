"""English forms: regular spelling, irregular words, and the article."""

from __future__ import annotations

import pytest

from minbert.sample.inflection import (
    gerund,
    inflected,
    participle,
    past,
    plural,
    third_person,
    with_articles,
)


@pytest.mark.parametrize(
    ("verb", "third", "before", "done", "doing"),
    [
        ("walk", "walks", "walked", "walked", "walking"),
        ("bake", "bakes", "baked", "baked", "baking"),
        ("carry", "carries", "carried", "carried", "carrying"),
        ("play", "plays", "played", "played", "playing"),
        ("catch", "catches", "caught", "caught", "catching"),
        ("fix", "fixes", "fixed", "fixed", "fixing"),
        ("drop", "drops", "dropped", "dropped", "dropping"),
        ("equip", "equips", "equipped", "equipped", "equipping"),
        ("repair", "repairs", "repaired", "repaired", "repairing"),
        ("open", "opens", "opened", "opened", "opening"),
        ("travel", "travels", "travelled", "travelled", "travelling"),
        ("tie", "ties", "tied", "tied", "tying"),
        ("see", "sees", "saw", "seen", "seeing"),
        ("dye", "dyes", "dyed", "dyed", "dyeing"),
        ("write", "writes", "wrote", "written", "writing"),
        ("go", "goes", "went", "gone", "going"),
        ("have", "has", "had", "had", "having"),
    ],
)
def test_verbs(verb: str, third: str, before: str, done: str, doing: str) -> None:
    forms = (third_person(verb), past(verb), participle(verb), gerund(verb))
    assert forms == (third, before, done, doing)


def test_verbs_without_all_forms() -> None:
    assert third_person("be") == "is" and participle("be") == "been" and gerund("be") == "being"
    assert third_person("must") == "must"


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("nurse", "nurses"),
        ("fox", "foxes"),
        ("church", "churches"),
        ("ferry", "ferries"),
        ("donkey", "donkeys"),
        ("fisherman", "fishermen"),
        ("German", "Germans"),
        ("taxi driver", "taxi drivers"),
        ("jar of honey", "jars of honey"),
        ("mother-in-law", "mothers-in-law"),
        ("loaf of bread", "loaves of bread"),
        ("piano", "pianos"),
        ("potato", "potatoes"),
        ("sheep", "sheep"),
        ("hovercraft", "hovercraft"),
    ],
)
def test_plurals(one: str, many: str) -> None:
    assert plural(one) == many


def test_a_phrase_is_inflected_at_its_head() -> None:
    assert inflected("run out of ideas", "s") == "runs out of ideas"
    assert inflected("give up", "en") == "given up"
    assert inflected("taxi driver", "pl") == "taxi drivers"
    assert inflected("as it is", None) == "as it is"


def test_articles_follow_the_sound() -> None:
    text = "a owl and a hour , a university , a ukulele , a heir , a uncle , A elegant man"
    assert with_articles(text) == (
        "an owl and an hour , a university , a ukulele , an heir , an uncle , An elegant man"
    )
    assert with_articles("a unnatural end , a uninvited guest , a one-eyed pirate") == (
        "an unnatural end , an uninvited guest , a one-eyed pirate"
    )
