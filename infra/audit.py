"""Look the installed packages up in the advisories of the package index. Run by `make lint`.

Fails on a known vulnerability that has a fix, and on a CI machine only tells of it: an advisory that came out
overnight says nothing about the change under test. Where the advisories cannot be reached it says so and
passes: style and types can be checked without a network.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

REQUEST_TIMEOUT_S = 5
AUDIT_TIMEOUT_S = 90

#: Advisories that do not apply here, with the reason.
ACCEPTED: dict[str, str] = {}


def main() -> int:
    """Audit this environment; return the exit code."""
    command = [sys.executable, "-m", "pip_audit", "--local", "--format", "json", "--progress-spinner", "off"]
    command += ["--timeout", str(REQUEST_TIMEOUT_S)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=AUDIT_TIMEOUT_S, check=False)
        found = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        found = {"dependencies": []}
    # A mirror may know the packages and none of their advisories: then each of them was skipped.
    if not any("vulns" in package for package in found["dependencies"]):
        print("audit: skipped, the advisories cannot be reached from here")
        return 0
    text, code = judge(found)
    print(text)
    return 0 if os.environ.get("CI") else code


def judge(found: dict[str, Any]) -> tuple[str, int]:
    """Return what to tell of pip-audit's report, and the exit code: 1 when something can be mended.

    >>> judge({"dependencies": [{"name": "a", "version": "1", "vulns": []}]})
    ('audit: 1 packages, 0 known vulnerabilities', 0)
    """
    audited = [package for package in found["dependencies"] if "vulns" in package]
    known = [
        (package, vulnerability)
        for package in audited
        for vulnerability in package["vulns"]
        if vulnerability["id"] not in ACCEPTED
    ]
    lines = [f"audit: {len(audited)} packages, {len(known)} known vulnerabilities"]
    for package, vulnerability in known:
        mend = ", ".join(vulnerability["fix_versions"]) or "no version yet"
        lines.append(f"  {package['name']} {package['version']}: {vulnerability['id']}, fixed by {mend}")
    return "\n".join(lines), int(any(vulnerability["fix_versions"] for _, vulnerability in known))


if __name__ == "__main__":
    sys.exit(main())
