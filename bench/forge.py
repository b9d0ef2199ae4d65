"""The story of a gap on a demo home: arithmetic, which no expert there can do, is closed by a specialist.

All of it by public commands, with engines: ``leeroo forge plan`` refuses a second gap that does not pay, and
``leeroo forge close`` plans, trains, tests, places and judges a specialist. Nothing is set after a look at
what is judged by. Exit code 1 where a bar is not reached.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

GAP, SECOND = "arithmetic/chain_sum", "logic"
#: The second gap's questions are long: its probe is short.
PLAN = ["--probe-steps", "4", "--batch", "16", "--validation", "60", "--threads", "1"]
CLOSE = [
    *("--weights", "0.7,2,1", "--questions", "12500", "--steps", "256", "--batch", "48", "--rank", "16"),
    *("--dtype", "bfloat16", "--threads", "1", "--validation", "90", "--probe-steps", "32"),
]  # fmt: skip


def leeroo(*arguments: str) -> int:
    """Run a command as people do; its exit code."""
    print("$ leeroo", " ".join(arguments), flush=True)
    return subprocess.run([sys.executable, "-m", "pipelines.cli", *arguments], check=False).returncode


def bars(record: dict[str, Any], second_refused: bool, minutes: float) -> dict[str, bool]:
    """What has to hold, by name."""
    test, added = record.get("test", {}), record.get("add", {})
    gap, elsewhere = test.get("gap"), test.get("elsewhere")
    return {
        "at least .60 in the gap": bool(gap) and gap["specialist"]["value"] >= 0.60,
        "clear of the base": bool(gap) and gap["specialist"]["low"] > gap["base"]["high"],
        "clear of chance": bool(gap) and gap["specialist"]["low"] > gap["chance"],
        "at most .03 lost elsewhere": bool(elsewhere) and elsewhere["difference"]["value"] >= -0.03,
        "the universe takes it at its price": bool(added.get("chosen")),
        "the gate promotes the router with it": bool(record.get("promotion", {}).get("promoted")),
        "routed accuracy on frozen questions rises": record.get("bought", {})
        .get("difference", {})
        .get("low", -1.0)
        > 0,
        "a second gap is refused": second_refused,
        "within 40 minutes": minutes <= 40,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo-home", type=Path, help="to copy; by default `leeroo demo` makes one first")
    parser.add_argument("--home", type=Path, default=Path(tempfile.gettempdir(), "leeroo-forge"))
    parser.add_argument("--minutes", type=float, default=40.0, help="cap on closing the gap")
    given = parser.parse_args()
    if not given.home.exists():
        if given.demo_home:
            shutil.copytree(given.demo_home, given.home)
        elif leeroo("demo", "--home", str(given.home)):
            raise SystemExit("the demo did not run through")
    started = time.monotonic()
    home = ("--home", str(given.home))
    leeroo("forge", "gaps", *home)
    closed = leeroo("forge", "close", GAP, *CLOSE, "--minutes", str(given.minutes), *home) == 0
    print(f"{time.monotonic() - started:.0f} s", flush=True)
    refused = leeroo("forge", "plan", SECOND, *PLAN, *home) == 1
    minutes = (time.monotonic() - started) / 60
    leeroo("forge", "gaps", *home)
    leeroo("report", *home)
    file = given.home / "forge" / GAP.replace("/", "-").replace("_", "-") / "record.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    test = record.get("test")
    for one in (test["gap"], *test["levels"], test["elsewhere"]) if test else ():
        print(
            one["name"],
            one["questions"],
            *(f"{key} {[round(one[key][k], 3) for k in ('value', 'low', 'high')]}" for key in
              ("base", "specialist", "difference")),
        )  # fmt: skip
    print({key: value for key, value in record.get("bought", {}).items() if key != "alone"})
    held = bars(record, refused, minutes)
    for name, holds in held.items():
        print(f"{'holds' if holds else 'FAILS'}: {name}")
    print(
        f"{minutes:.1f} minutes from the demo's home; `forge close` {'went through' if closed else 'did not'}"
    )
    raise SystemExit(0 if all(held.values()) else 1)


if __name__ == "__main__":
    main()
