from infra import audit


def package(name, *vulnerabilities):
    return {"name": name, "version": "1.0", "vulns": list(vulnerabilities)}


FIXED = {"id": "PYSEC-1", "fix_versions": ["1.1"]}
OPEN = {"id": "PYSEC-2", "fix_versions": []}


def test_only_what_can_be_mended_fails():
    assert audit.judge({"dependencies": [package("a"), {"name": "b", "skip_reason": "not on PyPI"}]}) == (
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


def test_without_a_network_it_says_so_and_passes(monkeypatch, capsys):
    monkeypatch.setattr(audit, "PROBE", "http://127.0.0.1:9/")
    assert audit.main() == 0
    assert "skipped" in capsys.readouterr().out
