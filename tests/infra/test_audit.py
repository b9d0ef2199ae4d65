import json
import subprocess

import pytest

from infra import audit


def package(name, *vulnerabilities):
    return {"name": name, "version": "1.0", "vulns": list(vulnerabilities)}


FIXED = {"id": "PYSEC-1", "fix_versions": ["1.1"]}
OPEN = {"id": "PYSEC-2", "fix_versions": []}


def test_only_what_can_be_mended_fails():
    assert audit.judge({"dependencies": [package("a"), {"name": "b", "skip_reason": "not found"}]}) == (
        "audit: 1 packages, 0 known vulnerabilities",
        0,
    )
    text, code = audit.judge({"dependencies": [package("a", FIXED, OPEN)]})
    assert code == 1
    assert "a 1.0: PYSEC-1, fixed by 1.1" in text
    text, code = audit.judge({"dependencies": [package("a", OPEN)]})
    assert (code, "PYSEC-2, fixed by no version yet" in text) == (0, True)


def test_an_accepted_advisory_is_not_counted(monkeypatch):
    monkeypatch.setattr(audit, "ACCEPTED", {"PYSEC-1": "the module is never imported"})
    assert audit.judge({"dependencies": [package("a", FIXED)]})[1] == 0


@pytest.mark.parametrize("told", ["", '{"dependencies": [{"name": "a", "skip_reason": "not found"}]}'])
def test_without_advisories_it_says_so_and_passes(told, monkeypatch, capsys):
    done = subprocess.CompletedProcess([], 1, told, "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert audit.main() == 0
    assert "skipped" in capsys.readouterr().out


@pytest.mark.parametrize(("machine", "code"), [("", 1), ("true", 0)])
def test_on_a_ci_machine_it_only_tells(machine, code, monkeypatch, capsys):
    found = json.dumps({"dependencies": [package("a", FIXED)]})
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, found, ""))
    monkeypatch.setenv("CI", machine)
    assert audit.main() == code
    assert "PYSEC-1" in capsys.readouterr().out
