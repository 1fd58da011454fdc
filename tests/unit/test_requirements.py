"""The locked versions agree with pyproject.toml, and every direct dependency has its line in docs/dependencies.md."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCKED = {
    "requirements.txt": PROJECT["dependencies"],
    "requirements-dev.txt": PROJECT["dependencies"] + EXTRAS["dev"] + EXTRAS["bench"] + EXTRAS["openclip"],
}


def pins(requirements: list[str]) -> dict[str, str]:
    parsed = [Requirement(line) for line in requirements]
    return {canonicalize_name(requirement.name): str(requirement.specifier) for requirement in parsed}


@pytest.mark.parametrize("name", LOCKED)
def test_lock_holds_the_direct_dependencies(name: str) -> None:
    locked = pins((ROOT / name).read_text(encoding="utf-8").splitlines())
    assert pins(LOCKED[name]).items() <= locked.items()


@pytest.mark.parametrize("name", LOCKED)
def test_lock_pins_everything(name: str) -> None:
    assert all(re.fullmatch(r"==[0-9][\w.!]*", pin) for pin in pins((ROOT / name).read_text().splitlines()).values())


def test_development_builds_on_what_runs() -> None:
    run, develop = (pins((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in LOCKED)
    assert run.items() <= develop.items()


@pytest.mark.parametrize("group", ["dependencies", *EXTRAS])
def test_every_dependency_says_why(group: str) -> None:
    documented = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    named = {
        canonicalize_name(word)
        for row in re.findall(r"^\|.*\|$", documented, re.M)
        for word in re.findall(r"[\w-]+", row)
    }
    assert pins(PROJECT["dependencies"] if group == "dependencies" else EXTRAS[group]).keys() <= named
