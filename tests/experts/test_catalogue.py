from __future__ import annotations

from pathlib import Path

import pytest

import experts
from experts import load_catalogue
from experts.catalogue_file import DEFAULT_CATALOGUE
from warehouse import InputError

SHIPPED = [DEFAULT_CATALOGUE, *sorted(DEFAULT_CATALOGUE.parent.joinpath("examples").glob("*.yaml"))]

GOOD = """\
experts:
  - name: small
    backend: vllm
    model: org/small
    price: {usd_per_mtok_in: 0.1, usd_per_mtok_out: 0.2}
  - name: large
    backend: openai
    model: org/large
    scoring: generate
    resources:
      replicas_max: 3
    price:
      usd_per_hour: 3.6
      tokens_per_s_in: 1000
      tokens_per_s_out: 100
"""


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_every_shipped_catalogue_loads(path: Path) -> None:
    catalogue = load_catalogue(path)
    assert len(catalogue.experts) >= 2
    assert len(set(catalogue.names)) == len(catalogue.names)
    assert not any(spec.trust_remote_code for spec in catalogue.experts)


def test_no_example_points_at_the_address_of_the_endpoint_itself() -> None:
    addresses = [spec.base_url for path in SHIPPED for spec in load_catalogue(path).experts]
    assert not any(address and ":8000" in address for address in addresses)


def test_default_holds_two_real_models_of_different_price() -> None:
    small, large = load_catalogue().experts
    assert small.model.startswith("bundled:")
    assert large.model.startswith("bundled:")
    assert small.price.cost_usd(1.0, 1.0) < large.price.cost_usd(1.0, 1.0)


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("    backend: vllm\n", "    backnd: vllm\n", 2, "backend"),
        ("model: org/small", "model: org/small\n    scorin: cloze", 5, "did you mean 'scoring'"),
        ("    price: {usd_per_mtok_in: 0.1, usd_per_mtok_out: 0.2}\n", "", 2, "price is missing"),
        ("usd_per_mtok_in: 0.1", "usd_per_mtok_in: -0.1", 5, "price.usd_per_mtok_in"),
        ("usd_per_mtok_in: 0.1", "usd_per_mtok_in: .nan", 5, "finite"),
        (", usd_per_mtok_out: 0.2", "", 5, "usd_per_mtok_out"),
        ("usd_per_mtok_out: 0.2", "usd_per_mtok_oot: 0.2", 5, "did you mean 'usd_per_mtok_out'"),
        ("usd_per_hour: 3.6", "usd_per_hour: 3.6\n      usd_per_mtok_in: 1", 13, "either"),
        ("tokens_per_s_in: 1000", "tokens_per_s_in: 0", 14, "tokens_per_s_in"),
        ("replicas_max: 3", "replicas_max: 0", 11, "replicas_max"),
        ("replicas_max: 3", "replicas_min: 2", 11, "exceeds"),
        ("replicas_max: 3", "replica_max: 3", 11, "did you mean 'replicas_max'"),
        ("name: large", "name: small", 6, "two experts are named 'small'"),
        ("name: large", "name: leeroo", 6, "asks the router"),
        ("name: large", "name: 'leeroo:ensemble'", 6, "asks the router"),
        ("name: large", 'name: "a\\r\\nx-more: b"', 6, "no line breaks"),
        ("name: large", "name: ' large'", 6, "no blanks around it"),
        ("model: org/small", "model: bundled:nothing", 4, "bundled:gemma-3-270m"),
        *(
            ("backend: openai\n    model: org/large", f"backend: litellm\n    model: {model}", 8, says)
            for model, says in (
                *(("anthropic/", "PROVIDER/MODEL"), ("anthropic//x", "PROVIDER/MODEL")),
                *(("/x", "PROVIDER/MODEL"), ("'anthropic/ /x'", "PROVIDER/MODEL")),
                *(("claude", "names no provider"), ('"anthropic/a\\nb"', "one line"), ("' '", "one line")),
            )
        ),
        ("model: org/large", "model: ' org/large'", 8, "field model"),
        ("backend: openai", "backend: carrier-pigeon", 7, "use one of vllm, openai, litellm, recorded"),
        ("scoring: generate", "scoring: cloze", 6, "cloze needs the vllm backend"),
        ("model: org/small", "model: org/small\n    prompt: 'Q {quest}'", 5, "unknown placeholder {quest}"),
        ("model: org/small", "model: org/small\n    prompt: 'Q'", 5, "must contain {question}"),
        ("model: org/small", "model: org/small\n    model: org/other", 5, "`model` is given twice"),
        ("model: org/small", "model: org/small\n    max_tokens: many", 5, "max_tokens"),
        ("model: org/large", "model: org/large\n    cooldown: {first_s: 0}", 9, "cooldown.first_s"),
        ("model: org/large", "model: org/large\n    cooldown: {first_s: 9, longest_s: 8}", 9, "exceeds"),
        ("model: org/large", "model: org/large\n    cooldown: {after_failures: 0}", 9, "after_failures"),
        ("model: org/large", "model: org/large\n    cooldown: {afterfailures: 1}", 9, "'after_failures'"),
        ("model: org/large", "model: org/large\n    hedge: {after_s: -1}", 9, "hedge.after_s"),
        ("model: org/large", "model: org/large\n    hedge: {percentile: 100}", 9, "hedge.percentile"),
        ("model: org/large", "model: org/large\n    hedge: {after_s: 1, percentile: 95}", 9, "keep one"),
        ("model: org/large", "model: org/large\n    base_url: notaurl", 9, "'notaurl' is no web address"),
        ("model: org/large", "model: org/large\n    base_url: 127.0.0.1:8001/v1", 9, "field base_url"),
        ("model: org/large", "model: org/large\n    base_url: ftp://host/v1", 9, "no web address"),
        ("model: org/large", "model: org/large\n    base_url: 'https:///v1'", 9, "no web address"),
        ("model: org/large", "model: org/large\n    base_url: http://host:port/v1", 9, "http://HOST:PORT/v1"),
        ("model: org/small", "model: {a: [}", 4, "not YAML"),
        ("model: org/small", "model: !no-such-tag a", 4, "no-such-tag"),
        ("model: org/small", "model: org/small\n    ? [a, b]\n    : 1", 5, "unhashable key"),
        ("experts:\n", "experts: &all\n  - *all\n", 1, "not a mapping"),
        ("experts:\n", "expert:\n", 1, "no experts found"),
    ],
)
def test_errors_name_line_and_mend(tmp_path: Path, old: str, new: str, line: int, says: str) -> None:
    assert old in GOOD
    path = tmp_path / "catalogue.yaml"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(InputError) as failure:
        load_catalogue(path)
    message = str(failure.value)
    assert f"catalogue.yaml, line {line}" in message
    assert says in message
    assert "To fix it" in message


@pytest.mark.parametrize(
    "content", ["", "# nothing\n", "experts: []\n", "experts: 3\n", "- a\n", "experts: [1]\n", "\x00"]
)
def test_files_without_experts_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=r"catalogue\.yaml"):
        load_catalogue(path)


def test_a_revision_may_look_like_a_date(tmp_path: Path) -> None:
    for revision in ("2024-10-01", "2024-13-45"):
        path = tmp_path / "catalogue.yaml"
        path.write_text(GOOD.replace("model: org/small", f"model: org/small\n    revision: {revision}"))
        assert load_catalogue(path).get("small").revision == revision


@pytest.mark.parametrize("value", ["!!int many", "[" * 5000, "!!timestamp 2024-13-45"])
def test_values_that_cannot_be_read_are_refused(tmp_path: Path, value: str) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(f"experts: {value}\n")
    with pytest.raises(InputError, match=r"catalogue\.yaml.*not YAML"):
        load_catalogue(path)


def test_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_catalogue(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x9f" * 10)
    with pytest.raises(InputError, match=r"binary\.yaml"):
        load_catalogue(tmp_path / "binary.yaml")


def test_get_suggests_the_close_name() -> None:
    with pytest.raises(InputError, match="did you mean 'gemma-3-270m'"):
        load_catalogue().get("gemma-3-27m")


def test_version_follows_what_decides_the_answers_and_nothing_else() -> None:
    spec = load_catalogue().experts[0]
    same = [{"tags": ("x",)}, {"concurrency": 2}, {"price": load_catalogue().experts[1].price}]
    other = [
        {"model": "other"},
        {"revision": "abc"},
        {"lora": "adapter"},
        {"prompt": "{question}"},
        {"scoring": "letter"},
        {"chat": True},
        {"temperature": 0.5},
        {"max_tokens": 5},
    ]
    assert all(spec.model_copy(update=change).version == spec.version for change in same)
    versions = {spec.model_copy(update=change).version for change in other}
    assert len(versions) == len(other)
    assert spec.version not in versions


def test_public_face() -> None:
    needed = {"load_catalogue", "build_backend", "answer_and_grade", "grade", "resolve_model"}
    assert needed <= set(experts.__all__)
    assert all(hasattr(experts, name) for name in experts.__all__)
