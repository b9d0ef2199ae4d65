"""Long work says what it is at and how long it may take; short work, and results, stay as they are."""

import io
import re
import threading
import typing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from pipelines.commands import screen
from pipelines.commands.terminal import progress
from pipelines.commands.terminal.console import Terminal
from pipelines.commands.terminal.progress import Work, spell_s, working
from pipelines.commands.traffic import learn
from pipelines.selfplay.events import Event as RoundEvent
from pipelines.selfplay.events import FrozenSet
from pipelines.traffic.events import Event as LearnEvent


@given(st.floats(0.02, 1), st.floats(0, 1e6))
def test_what_is_left_follows_from_what_is_done(share, took_s):
    clock = iter([0.0, *[took_s] * 9])
    work = Work("counting", clock=lambda: next(clock))
    work.tell("sheep", share)
    assert work.left_s(took_s) == (pytest.approx(took_s * (1 - share) / share) if took_s else None)
    if not took_s:
        return
    assert re.fullmatch(r"counting: sheep \(\d+%, .* so far, about .* left\)", work.line())


@given(st.floats(0, 1e7))
def test_a_length_of_time_is_spelled_to_the_second_or_the_minute(seconds):
    said = spell_s(seconds)
    units = {"h": 3600, "min": 60, "s": 1}
    told = sum(int(n) * units[unit] for n, unit in re.findall(r"(\d+) (h|min|s)", said))
    assert abs(told - seconds) <= (60 if seconds >= 3599 else 1)


def test_nothing_is_promised_before_anything_is_done():
    work = Work("counting")
    assert work.left_s(work.clock()) is None
    work.tell("sheep", 0.0)
    assert "left" not in work.line()
    work.tell("sheep", 7.0)  # whatever is told
    assert work.share == 1.0


@given(st.lists(st.floats(0.1, 100), min_size=2, max_size=30))
def test_the_time_left_counts_down_between_tells_and_never_falls_below_a_late_step(steps_s):
    now_s = [0.0]
    work = Work("counting", clock=lambda: now_s[0])
    for done, step_s in enumerate(steps_s):
        work.tell("sheep", done / len(steps_s))
        for part in (0.25, 0.5, 0.75):
            at_s = now_s[0] + part * step_s
            left_s = work.left_s(at_s)
            if left_s is None:
                continue
            pace_s = now_s[0] / done
            is_late = part * step_s > pace_s
            rest = len(steps_s) - done - min(part * step_s / pace_s, 1.0)
            expected_s = rest * (at_s / (done + 1) if is_late else pace_s)
            assert left_s == pytest.approx(expected_s, abs=1e-6)
        now_s[0] += step_s


def test_in_a_pipe_it_is_a_plain_line_now_and_then(monkeypatch):
    monkeypatch.setattr(progress, "FIRST_LINE_S", 0.01)
    monkeypatch.setattr(progress, "LONGEST_SILENCE_S", 0.02)
    screen, seen = io.StringIO(), threading.Event()

    class Screen(Terminal):
        def print(self, *objects, **options):
            super().print(*objects, **options)
            seen.set()

    def fail():
        with working("counting [b]", Screen(file=screen, width=40)) as tell:
            tell("a very long name of a sheep that does not fit into forty columns", 0.5)
            assert seen.wait(30)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    first = screen.getvalue().splitlines()[0]
    assert first.startswith("counting [b]: a very long name of a sheep that does not fit")
    assert "\x1b" not in screen.getvalue()
    said = screen.getvalue()
    seen.clear()
    assert not seen.wait(0.1)
    assert screen.getvalue() == said  # it ended with the work, though that failed


def test_short_work_says_nothing(capsys):
    with working("counting") as tell:
        tell("sheep", 0.1)
    assert capsys.readouterr() == ("", "")


def test_a_result_in_a_pipe_has_no_progress_in_it(monkeypatch, capsys):
    monkeypatch.setattr(progress, "FIRST_LINE_S", 0.0)
    with working("counting"):
        print("the result")
        threading.Event().wait(0.05)
    out, err = capsys.readouterr()
    assert out == "the result\n"
    assert err.startswith("counting (0 s so far)")


def test_on_a_terminal_it_is_one_line_that_goes_away():
    screen = io.StringIO()
    with working("counting", Terminal(file=screen, width=80, force_terminal=True)) as tell:
        tell("sheep", 0.5)
        threading.Event().wait(0.7)
    assert "counting" in screen.getvalue()
    assert screen.getvalue().rstrip().endswith("\x1b[2K")  # the line is cleared


@settings(deadline=None)
@given(st.text(max_size=90), st.floats(0, 1) | st.none(), st.integers(0, 10**6))
def test_on_a_terminal_a_long_step_is_cut_and_the_figures_are_whole(step, share, took_s):
    now_s = [0.0]
    work = Work("training on 12,000 questions x 21 experts", clock=lambda: now_s[0])
    now_s[0] = float(took_s)
    work.tell(step.replace("\n", " "), share)
    line = work.line(78)
    assert cell_len(line) <= 78
    whole = work.line()
    assert line == whole or line.endswith(whole[whole.rindex(" (") :])


def test_what_comes_next_is_told_after_events_that_there_are():
    learned = {one.__name__ for one in typing.get_args(LearnEvent)}
    assert set(learn._NEXT) < learned
    assert set(screen._NEXT) < set(typing.get_args(RoundEvent))


def test_a_round_that_is_silent_for_long_says_what_it_does(monkeypatch, capsys):
    monkeypatch.setattr(progress, "FIRST_LINE_S", 0.01)
    with screen.Screen() as shown:
        shown.show(FrozenSet(7, "source"))
        threading.Event().wait(0.2)
        assert "making questions (" in capsys.readouterr().err
    threading.Event().wait(0.05)
    capsys.readouterr()
    threading.Event().wait(0.05)
    assert capsys.readouterr() == ("", "")
