"""A card tells of the weights before its own, and of those before them."""

from __future__ import annotations

from pathlib import Path

from pgcad.training.card import CARD_FILE, provenance

CARD = """# Weights `cad-{version}` of the space `cad`

## Data

- {data}

## Training

    {command}

## Measured

0.5

"""


def card(folder: Path, version: str, data: str, command: str) -> Path:
    folder.mkdir()
    (folder / CARD_FILE).write_text(CARD.format(version=version, data=data, command=command), "utf-8")
    return folder


def test_data_and_training_of_the_weights_before_are_kept_and_their_figures_are_not(tmp_path: Path) -> None:
    told = provenance(card(tmp_path / "a", "0123456789ab", "bolts", "pgcad train --data bolts"))
    assert told == (
        "## Weights before: `cad-0123456789ab`\n\n### Data\n\n- bolts\n\n"
        "### Training\n\n    pgcad train --data bolts\n\n"
    )


def test_so_are_those_before_them_last(tmp_path: Path) -> None:
    oldest = provenance(card(tmp_path / "a", "aaaaaaaaaaaa", "bolts", "pgcad train --data bolts"))
    later = card(tmp_path / "b", "bbbbbbbbbbbb", "nuts", "pgcad train --data nuts")
    with (later / CARD_FILE).open("a", encoding="utf-8") as file:
        file.write(oldest)
    told = provenance(later)
    assert told.endswith(oldest)
    assert told.startswith("## Weights before: `cad-bbbbbbbbbbbb`\n\n### Data\n\n- nuts\n")


def test_weights_without_a_card_have_none(tmp_path: Path) -> None:
    assert provenance(tmp_path) == ""
