r"""Whether two formulas mean the same: ``\frac{1}{2}`` and ``0.5``, ``(x+1)^2`` and ``x^2 + 2x + 1``.

The comparison is math-verify's. It runs in a process of its own: computer algebra on a text that a model
wrote may take for ever or fill the memory, and there limits can be set that hold. What is limited is the
processor time that a pair takes, so that a busy machine does not decide what is right.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import queue
import re
import signal
import subprocess
import sys
import threading

#: A longer text is not a formula that someone states as an answer.
_LONGEST = 400
_CPU_S = 6.0
#: For a process that neither works nor ends; far above what a crowded machine makes of ``_CPU_S``.
_DEADLINE_S = 120.0
_START_S = 120.0
_MEMORY_BYTES = 4 << 30

_COMMAND = re.compile(r"\\(?:[a-zA-Z]+|[{}])")
_FUNCTIONS = re.compile(r"\b(?:sqrt|sin|cos|tan|log|ln|exp|pi|infty|inf|oo)\b")
_OPERATOR = re.compile(r"[-+*/^=<>]|\d[a-z]|[a-z]\d|^\(.*,.*\)$|^\{.*\}$|^\[.*\]$", re.IGNORECASE)
_LETTERS = re.compile(r"[a-z](?:[-+*/^=][a-z])+")
_NOT_MATHS = re.compile(r"[^\W\d_]{3,}|[^\w\s+\-*/^=<>(){}\[\].,|!$]")
# Dates, scores, ranges and parts' numbers: what they would come to as arithmetic says nothing of them.
_SPAN = re.compile(r"\d[\d.,]*(?:\s*[-\u2013/]\s*\d[\d.,]*)+")
_PLAIN_FRACTION = re.compile(r"\d+\s*/\s*\d+")
# Letters and digits without an operator are a name ("H2O"), but for a number before small letters ("2x";
# not "12th" and "1990s").
_CODE = re.compile(r"(?!\d[\d.,]*(?!(?:st|nd|rd|th|s)$)[a-z]+$)[^\W_]+")


def is_formula(text: str) -> bool:
    """Tell whether a reference answer is a formula rather than words.

    >>> [is_formula(text) for text in (r"\\frac{1}{2}", "x^2 + 1", "(1, 2)", "2x", "1/2")]
    [True, True, True, True, True]
    >>> [is_formula(text) for text in ("Paris", "well-known", "A", "2024-05-01", "3-2", "H2O")]
    [False, False, False, False, False, False]
    """
    if not text or len(text) > _LONGEST:
        return False
    if _COMMAND.search(text):
        return True
    stripped = text.strip(" $")
    if _PLAIN_FRACTION.fullmatch(stripped):
        return True
    if _SPAN.fullmatch(stripped) or _CODE.fullmatch(stripped):
        return False
    bare = _FUNCTIONS.sub("1", text)
    if _NOT_MATHS.search(bare) or not _OPERATOR.search(bare):
        return False
    # Without a digit, only a plain expression in single letters: "a+b", not "AC/DC".
    return any(c.isdigit() for c in bare) or bool(_LETTERS.fullmatch(bare.replace(" ", "")))


def equal_formulas(stated: str, reference: str) -> bool | None:
    """Tell whether two formulas are equal; None where that could not be found out in time.

    An answer that is no formula at all is not equal.
    """
    if len(stated) > _LONGEST:
        return False
    return _CHECKER.ask(stated, reference)


class _Checker:
    """The process that compares, started when first needed and again after it had to be ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._replies: queue.SimpleQueue[str] = queue.SimpleQueue()

    def ask(self, stated: str, reference: str) -> bool | None:
        with self._lock:
            process = self._process or self._start()
            if process is None or process.stdin is None:
                return None
            try:
                process.stdin.write(json.dumps([stated, reference, _CPU_S]) + "\n")
                process.stdin.flush()
                verdict = json.loads(self._replies.get(timeout=_DEADLINE_S))
            except (OSError, ValueError, queue.Empty):
                self.end()
                return None
            return bool(verdict)

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start(self) -> subprocess.Popen[str] | None:
        replies: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._replies = replies
        process = subprocess.Popen(
            [sys.executable, "-m", "experts.grading.symbolic"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

        def read() -> None:
            for line in process.stdout or ():
                replies.put(line)
            replies.put("")  # it has ended: not JSON

        threading.Thread(target=read, name="symbolic", daemon=True).start()
        self._process = process
        with contextlib.suppress(queue.Empty):
            if replies.get(timeout=_START_S).strip() == "ready":
                return process
        self.end()
        return None


_CHECKER = _Checker()
atexit.register(_CHECKER.end)


def _serve() -> None:
    """Compare the pairs that come in, one JSON list a line with its limit; answer true or false, a line each.

    A pair beyond its limit ends the process: no handler is asked, as none runs within a long multiplication.
    """
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    from math_verify import parse, verify

    print("ready", flush=True)
    for line in sys.stdin:
        *pair, cpu_s = json.loads(line)
        stated, reference = (f"${text.strip().strip('$')}$" for text in pair)
        signal.setitimer(signal.ITIMER_PROF, cpu_s)
        try:
            # math-verify's own limits are by the clock on the wall, and make "wrong" of what took too long.
            read = [parse(text, parsing_timeout=None) for text in (reference, stated)]
            equal = verify(*read, timeout_seconds=None)
        except Exception:  # whatever SymPy makes of it, the two were not found equal
            equal = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(bool(equal)), flush=True)


if __name__ == "__main__":
    _serve()
