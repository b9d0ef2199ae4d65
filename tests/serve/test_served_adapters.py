"""An adapter that is served answers as it does in bulk, where it was measured, and not as its base."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experts import load_catalogue
from tests.adapter_files import write_adapter

ROOT = Path(__file__).parents[2]
MOUNTAINS = ["Everest", "Kilimanjaro", "Etna", "Fuji", "Denali", "Olympus"]
#: Each way in a process of its own, as engines run.
SERVED = """
import asyncio, json, sys
from experts import ExpertSpec
from serve.experts.vllm_expert import VllmExpert

async def ask(spec, prompts):
    expert = VllmExpert.__new__(VllmExpert)
    await expert.__init__(spec)
    texts = []
    for prompt in prompts:
        answer = await expert.answer({"prompt": prompt, "max_tokens": 12}, 120.0)
        texts.append(answer.body["choices"][0]["text"].strip())
    return texts

if __name__ == "__main__":
    spec, prompts = ExpertSpec.model_validate_json(sys.argv[1]), json.loads(sys.argv[2])
    print("TEXTS", json.dumps(asyncio.run(ask(spec, prompts))))
"""
IN_BULK = """
import json, sys
import pyarrow as pa
from experts import ExpertSpec, build_backends
from warehouse import QUESTIONS

specs = [ExpertSpec.model_validate_json(text) for text in json.loads(sys.argv[1])]
same = {"source": "t", "domain": "d", "answer": "x", "kind": "exact"}
rows = [same | {"question_id": str(i), "prompt": prompt} for i, prompt in enumerate(json.loads(sys.argv[2]))]
questions = pa.Table.from_pylist(rows, schema=QUESTIONS)
backends = build_backends(specs)
texts = {name: [backend.answer(questions.slice(i, 1))["text"][0].as_py() for i in range(len(rows))]
         for name, backend in backends.items()}
print("TEXTS", json.dumps(texts))
"""


@pytest.mark.e2e
def test_a_served_adapter_answers_as_itself(tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapter", seed=1)
    changes = {"context_tokens": 256, "prompt": "{question}", "max_tokens": 12, "stop": ()}
    base = load_catalogue().get("smollm2-135m").model_copy(update=changes)
    special = base.model_copy(update={"name": "special", "lora": str(tmp_path / "adapter")})
    prompts = [f"Mount {name} is a mountain in" for name in MOUNTAINS]

    specs = json.dumps([spec.model_dump_json() for spec in (base, special)])
    in_bulk = run(IN_BULK, specs, json.dumps(prompts))
    served = run(SERVED, special.model_dump_json(), json.dumps(prompts))
    print(f"\nbase {in_bulk[base.name][0]!r}, adapter {in_bulk['special'][0]!r}, served {served[0]!r}")
    assert all(ours != plain for ours, plain in zip(served, in_bulk[base.name], strict=True))
    same = [ours == bulk for ours, bulk in zip(served, in_bulk["special"], strict=True)]
    assert sum(same) >= len(prompts) - 1  # a tie between two tokens may fall either way


def run(code: str, *words: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
        cwd=ROOT,
    )
    found = [line.removeprefix("TEXTS ") for line in done.stdout.splitlines() if line.startswith("TEXTS ")]
    assert found, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(found[0])
