"""The committed notebooks are what the text says, executed."""

import build
import pytest


def test_table_of_contents_lists_every_page_once():
    assert sorted(build.pages_in_toc()) == build.names()


def test_no_notebook_without_a_text():
    assert build.orphans() == []


def test_package_carries_what_the_chapters_display():
    assert build.displayed_is_current(), f"`make notebooks` writes {build.DISPLAYED} anew"


@pytest.mark.parametrize("name", build.names())
def test_notebook_agrees_with_text(name):
    assert build.disagreements(name) == [], "`make notebooks` writes the notebooks anew"
