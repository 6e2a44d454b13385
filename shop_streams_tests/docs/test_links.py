"""README and docs: every link to a file leads to one, and README stays short."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", page.read_text())]
    files = [link for link in links if link and "://" not in link]
    assert [link for link in files if not (page.parent / link).exists()] == []


def test_the_readme_is_short_and_shows_what_people_get() -> None:
    text = PAGES[0].read_text()
    assert len(text.splitlines()) <= 120
    assert len(re.findall(r"!\[.+?\]\(docs/img/", text)) >= 4
