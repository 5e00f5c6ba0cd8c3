"""Plots: the same bytes for the same data, no fetch, no date, and no name that breaks out."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from matplotlib.axes import Axes

from minbert.reports.plotting import HUES, INK, annotate, drawn, label
from tests.reports.figures import watched

HOSTILE = '</text><script>x</script> $\\frac{ --> & "q" \x1b[31m 名'
SVG = "{http://www.w3.org/2000/svg}"


def draw(axes: Axes) -> None:
    axes.plot([1, 2], [3, 4], "o", color=INK)
    axes.set_title(label(HOSTILE))
    axes.set_xlabel("seconds")


def picture(name: str = "one"):
    return drawn(name, HOSTILE, f"a line: {HOSTILE}", draw, (3, 2))


def test_equal_data_give_equal_bytes() -> None:
    assert picture().alone == picture().alone
    assert not re.search(r"20\d\d-\d\d-\d\d|matplotlib", picture().alone)


def test_nothing_is_fetched_and_every_reference_is_within() -> None:
    svg = picture().alone
    names = set(re.findall(r' id="([^"]*)"', svg))
    assert set(re.findall(r"https?://[^\"]*", svg)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    used = re.findall(r'(?:href="|url\()#([^")]*)', svg)
    assert used and set(used) <= names
    assert "<image" not in svg


def test_pictures_of_one_page_share_no_ids() -> None:
    one, other = (set(re.findall(r' id="([^"]*)"', picture(name).inline)) for name in ("a", "b"))
    assert one and not one & other


def test_a_hostile_name_stays_text() -> None:
    root = ET.fromstring(picture().alone)
    assert {element.tag for element in root.iter()} <= {
        SVG + tag
        for tag in (
            "svg",
            "title",
            "desc",
            "style",
            "defs",
            "g",
            "path",
            "use",
            "text",
            "clipPath",
            "rect",
        )
    }
    texts = [element.text for element in root.iter(SVG + "text")]
    assert label(HOSTILE) in texts and "seconds" in texts


def test_who_does_not_see_it_is_told() -> None:
    root = ET.fromstring(picture().inline)
    title, words = root.attrib["aria-labelledby"].split()
    found = {element.attrib.get("id"): element.text for element in root}
    assert str(found[title]).startswith("</text>")
    assert str(found[words]).startswith("a line: </text>")


def test_ink_is_the_readers() -> None:
    svg = picture().inline
    assert "currentColor" in svg and INK not in svg
    assert not re.search(r"#000000|#ffffff|: (black|white)", svg)


def luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("color", HUES)
@pytest.mark.parametrize("paper", ["#fcfcfa", "#15191c"])
def test_colours_are_seen_on_light_and_on_dark(color: str, paper: str) -> None:
    """3:1, what WCAG 2 (1.4.11) asks of graphics."""
    low, high = sorted((luminance(color), luminance(paper)))
    assert (high + 0.05) / (low + 0.05) >= 3


@pytest.mark.parametrize("where", ["around", "beside"])
@pytest.mark.parametrize("margins", [None, {"left": 0.1, "right": 0.85, "bottom": 0.1}])
def test_labels_of_points_that_coincide_stand_apart(where: str, margins) -> None:
    def crowd(axes: Axes) -> None:
        axes.set(xlim=(0, 1), ylim=(0, 1))
        for number in range(9):
            place = (0.5 + 0.01 * (number % 3), 0.4 + 0.005 * number)
            axes.plot(*place, "o")
            annotate(axes, f"{number} name", place, where)

    with watched() as faults:
        drawn("crowd", "many", "many", crowd, (3.9, 3.1), margins)
    assert faults == {"crowd": []}


def test_labels_that_do_not_meet_stay_where_they_are() -> None:
    def two(axes: Axes) -> None:
        axes.set(xlim=(0, 1), ylim=(0, 1))
        for place in ((0.2, 0.2), (0.8, 0.8)):
            annotate(axes, "a", place)

    def alone(axes: Axes) -> None:
        axes.set(xlim=(0, 1), ylim=(0, 1))
        annotate(axes, "a", (0.2, 0.2))
        axes.annotate("a", (0.8, 0.8), (5, 3), textcoords="offset points")

    fixed = {"left": 0.1, "bottom": 0.1}

    def letters(draw) -> list[str]:
        return re.findall(r"<text[^>]*>a</text>", drawn("x", "x", "x", draw, (3, 2), fixed).body)

    assert len(letters(two)) == 2 and letters(two) == letters(alone)
