import io
import sys

from eotune.core.progress import progress, say


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_items_pass_through_and_stdout_stays_clean(capsys):
    assert list(progress(iter("abc"), total=3, description="x")) == ["a", "b", "c"]
    say("hello")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "hello\n"


def test_a_terminal_sees_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress([1, 2], description="counting")) == [1, 2]
    assert "counting" in terminal.getvalue()
