import doctest
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/evaluation.md"


def test_the_snippets_of_the_page_run_and_show_what_they_say() -> None:
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert tried >= 15
    assert failed == 0
