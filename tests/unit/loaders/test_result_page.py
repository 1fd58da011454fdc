"""The page holds what was found, and nothing of it can act."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from uuid import UUID

import pytest
from pgcad_load.result_page import Card, Section, data_uri, render
from pgcad_load.search import Answer, Hit, Question

HOSTILE = """<script>alert("x")</script>'"><img src=x onerror=alert(1)>"""
HIT = Hit(1, UUID(int=1), "ISO4014-M8x40", "Hexagon bolt", "hex_bolt", 0.91, 0.8, -0.1, None, 1.5)
CARD = Card(HIT, "六角头螺栓", "steel", [53.3, 15.0, 13.0], "data:image/png;base64,AA==")


def page(question: str = "M8 bolt", card: Card = CARD) -> str:
    answer = Answer(Question(text=question), [card.hit], f"select * from search_cad('{question}');", 12.4)
    return render([Section(answer, None, [card])])


class Tags(HTMLParser):
    """Elements of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))


def test_hostile_values_stay_text() -> None:
    hit = replace(HIT, name=HOSTILE, part_number=HOSTILE, family=HOSTILE)
    tags = Tags(page(HOSTILE, replace(CARD, hit=hit, name_zh=HOSTILE, material=HOSTILE))).found
    assert "script" not in {tag for tag, _ in tags}
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert len([tag for tag, _ in tags if tag == "img"]) == 1


def test_nothing_is_fetched() -> None:
    tags = Tags(page()).found
    links = [value for _, attributes in tags for name, value in attributes.items() if name in {"src", "href"}]
    assert links == ["data:image/png;base64,AA=="]
    assert "url(" not in page() and "@import" not in page()


def test_bars_show_scores_and_stay_inside() -> None:
    widths = re.findall(r'class="(\w+)" style="width: ([\d.]+)%"', page())
    assert widths == [("text", "80.0"), ("image", "0.0"), ("words", "100.0")]


def test_the_page_tells_what_was_asked_and_found() -> None:
    text = page()
    for expected in (
        "M8 bolt",
        "六角头螺栓",
        "ISO4014-M8x40 · hex_bolt · steel",
        "53.3 × 15.0 × 13.0 mm",
        "1 hit in 12 ms",
    ):
        assert expected in text


def test_a_search_without_hits_says_so() -> None:
    answer = Answer(Question(text="unobtainium"), [], "select 1;", 1.0)
    assert "No part matches." in render([Section(answer, None, [])])


def test_only_pictures_are_inlined() -> None:
    assert data_uri(b"\x89PNG") == "data:image/png;base64,iVBORw=="
    with pytest.raises(ValueError, match="neither PNG nor JPEG"):
        data_uri(b"<svg onload=alert(1)>")
