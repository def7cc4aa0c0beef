"""Every Python block of README and docs runs; every `eotune` line names a command and options that exist."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from eotune.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for block in blocks(page, "python"):
        if not block.startswith(">>>"):  # sessions are run as doctests by their own page's test
            exec(compile(block, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist_with_their_options(page):
    import importlib

    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", "").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] != ["eotune"]:
                continue
            assert words[1] in COMMANDS, line
            single = typer.Typer()
            single.command()(importlib.import_module(f"eotune.cli.{words[1]}").command)
            known = {name for parameter in typer.main.get_command(single).params for name in parameter.opts}
            options = {word.partition("=")[0] for word in words[2:] if word.startswith("--")}
            assert options <= known | {"--help"}, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_the_repository_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
