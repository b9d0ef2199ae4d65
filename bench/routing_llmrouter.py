"""LLMRouter's kNN and MLP routers on the same questions as ours: quality and decision time.

Its package pins much that a router does not need, so it is installed without its dependencies beside the
benchmark's results and runs in a process of its own. It embeds by a Longformer that only a model hub has; the
embedding is replaced by one of ours, the same for both.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from warehouse import Outcomes

REQUIREMENT = "llmrouter-lib==0.4.0"
HYPERPARAMETERS: dict[str, dict[str, Any]] = {
    "knn": {"n_neighbors": 100, "metric": "cosine", "weights": "uniform", "algorithm": "brute"},
    "mlp": {"hidden_layer_sizes": [128, 64], "activation": "relu", "lr": 0.001, "epochs": 20, "alpha": 0.01},
}


def install(directory: Path) -> None:
    """Put the package under ``directory``, without what it depends on.

    Raises:
        subprocess.CalledProcessError: the package index cannot be reached.
    """
    if (directory / "llmrouter").is_dir():
        return
    uv = importlib.util.find_spec("uv")
    tool = ["-m", "uv", "pip", "install", "--python", sys.executable] if uv else ["-m", "pip", "install"]
    command = [sys.executable, *tool, "--quiet", "--no-deps", "--target", str(directory), REQUIREMENT]
    subprocess.run(command, check=True)


def run_llmrouter(
    outcomes: Outcomes,
    train: np.ndarray,
    test: np.ndarray,
    timed: int,
    embedder: str,
    embeddings: np.ndarray,
    directory: Path,
) -> dict[str, dict[str, Any]]:
    """Train both routers on ``train``; return per router the experts chosen on ``test`` and seconds [timed].

    Their label of a question is its best expert; experts come cheapest first, so ties go to the cheapest.
    """
    install(directory / "package")
    work = directory / "work"
    work.mkdir(parents=True, exist_ok=True)
    order = np.argsort(np.nanmean(outcomes.cost_usd, axis=0), kind="stable")
    np.save(work / "embeddings.npy", embeddings[train])
    np.save(work / "test.npy", embeddings[test])
    with (work / "routing.jsonl").open("w") as file:
        for position, i in enumerate(train):
            for j in order:
                if np.isfinite(outcomes.score[i, j]):
                    row = {
                        "query": outcomes.texts[i],
                        "model_name": outcomes.experts[j],
                        "performance": float(outcomes.score[i, j]),
                        "embedding_id": position,
                    }
                    file.write(json.dumps(row) + "\n")
    (work / "texts.json").write_text(json.dumps([outcomes.texts[i] for i in test[:timed]]))
    path = os.pathsep.join([str(directory / "package"), str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "bench.routing_llmrouter", str(work), embedder]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.DEVNULL)
    return dict(json.loads((work / "result.json").read_text()))


def run_inside(work: Path, embedder: str) -> None:
    """What runs in the process that has the package."""
    import torch
    import yaml
    from llmrouter.models import KNNRouter, KNNRouterTrainer, MLPRouter, MLPTrainer
    from llmrouter.models.knnrouter import router as knn_module
    from llmrouter.models.mlprouter import router as mlp_module

    from orchestrator import load_embedder

    torch.set_num_threads(1)
    torch.save(torch.from_numpy(np.load(work / "embeddings.npy")), work / "embeddings.pt")
    test = np.load(work / "test.npy")
    texts = json.loads((work / "texts.json").read_text())
    reader = load_embedder(embedder)
    result = {}
    for name, router_of, trainer_of, module in (
        ("knn", KNNRouter, KNNRouterTrainer, knn_module),
        ("mlp", MLPRouter, MLPTrainer, mlp_module),
    ):
        model = str(work / f"{name}.{'pkl' if name == 'knn' else 'pt'}")
        config = {
            "data_path": {
                "routing_data_train": str(work / "routing.jsonl"),
                "query_embedding_data": str(work / "embeddings.pt"),
            },
            "model_path": {
                "ini_model_path": str(work / "none"),
                "save_model_path": model,
                "load_model_path": model,
            },
            "hparam": HYPERPARAMETERS[name],
        }
        (work / "router.yaml").write_text(yaml.safe_dump(config))
        router = router_of(str(work / "router.yaml"))
        trainer_of(router).train() if name == "knn" else trainer_of(router, device="cpu").train()
        seconds = []
        module.get_longformer_embedding = lambda text: torch.from_numpy(reader.embed([text])[0])
        for text in texts[:3] + texts:
            started = time.perf_counter()
            router.route_single({"query": text})
            seconds.append(time.perf_counter() - started)
        if name == "knn":
            chosen = router.knn_model.predict(test).tolist()
        else:
            trained, _ = router._load_mlp_model()
            chosen = [router.idx_to_model[int(i)] for i in trained.predict(torch.from_numpy(test))]
        result[name] = {"chosen": chosen, "seconds": seconds[3:]}
    (work / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    run_inside(Path(sys.argv[1]), sys.argv[2])
