"""The word lists: large, without doubles, and with a share held out."""

from __future__ import annotations

import pytest

from minbert.sample import lexicon
from minbert.sample.lexicon import concepts, divided, held_out, held_word, items, lemmas, lists


def test_items_are_trimmed_at_commas_and_line_ends() -> None:
    assert items("red,\n  dark  blue , green") == ("red", "dark blue", "green")


def test_lists_are_long_and_have_no_doubles() -> None:
    assert len({entry for entries in lists().values() for entry in entries}) > 2500
    for name, entries in lists().items():
        wordings = [wording for entry in entries for wording in entry.split("/")]
        doubled = {wording for wording in wordings if wordings.count(wording) > 1} - {"a"}
        assert not doubled or name == "count", (name, doubled)
        assert "" not in wordings, name


def test_two_lists_of_one_name_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexicon, "document", lambda path: {"section": {"same": "a, b"}})
    with pytest.raises(ValueError, match="two word lists are called same"):
        lists.__wrapped__()


def test_a_share_of_every_long_list_is_held_out() -> None:
    for name, entries in lists().items():
        kept, held = divided(entries)
        assert sorted(kept + held) == sorted(entries)
        assert len(kept) > len(entries) / 3, name
        assert held or len(entries) < 25, name


def test_relatives_of_a_word_are_held_out_together() -> None:
    held = [word for entry in lists()["person"] for word in lemmas(entry) if held_word(word)]
    assert held
    assert all(held_word(word + "xyz") for word in held if len(word) >= lexicon.BEGINNING)


def test_an_entry_with_one_held_word_is_held_out_whole() -> None:
    held = next(word for word in lists()["person"] if held_out(word) and " " not in word)
    kept = next(word for word in lists()["person"] if not held_out(word))
    assert held_out(f"{kept}/{held}") and held_out(f"{held} and {kept}")
    assert not held_out(f"{kept}/{kept}")
    assert not held_out(f"{{{held}}} {kept}")  # a slot's name is no word
    assert not held_word("have")  # productions need it


def test_concepts_read_lists_by_name() -> None:
    assert concepts("new, city") == ("new", *lists()["city"])
