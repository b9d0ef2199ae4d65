"""Look the installed packages up in PyPI's advisories. Run by `make lint`.

Fails on a known vulnerability that has a fix. Where the advisories cannot be reached it says so and passes:
style and types can be checked without a network.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from typing import Any

PROBE = "https://pypi.org/pypi/requests/2.32.3/json"  # the page of a version: what an audit reads
PROBE_TIMEOUT_S = 5
AUDIT_TIMEOUT_S = 180

#: Advisories that do not apply here, with the reason.
ACCEPTED: dict[str, str] = {}


def main() -> int:
    """Audit this environment; return the exit code."""
    if not advisories_are_reachable():
        print("audit: skipped, PyPI's advisories cannot be reached from here")
        return 0
    command = [sys.executable, "-m", "pip_audit", "--local", "--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=AUDIT_TIMEOUT_S, check=False)
        found = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        print("audit: skipped, PyPI's advisories did not answer in time")
        return 0
    text, code = judge(found)
    print(text)
    return code


def advisories_are_reachable() -> bool:
    """Whether PyPI tells the advisories of a package (a mirror may know packages and no advisories)."""
    try:
        with urllib.request.urlopen(PROBE, timeout=PROBE_TIMEOUT_S) as reply:
            return "vulnerabilities" in json.load(reply)
    except (OSError, ValueError):
        return False


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
