"""The orchestrator, which is trained, versioned and served: it chooses the expert that answers a text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.asking.habits import Habits, read_habits
from orchestrator.asking.policy import AskingPolicy
from orchestrator.predictors.base import Prediction, Predictor
from orchestrator.predictors.cost import CostPredictor
from orchestrator.predictors.registry import predictor_from_state
from orchestrator.predictors.states import (
    ARRAYS,
    OTHER_VERSION,
    SETTINGS,
    Fields,
    read_json,
    read_states,
    write_states,
)
from orchestrator.selection.presets import Preset
from orchestrator.selection.value import net_value
from orchestrator.text.embedder import Embedder, WeightsIdentity
from orchestrator.text.queries import Queries, read_queries
from orchestrator.text.registry import load_embedder
from warehouse import CannotRunError, InputError, NobodyMayAnswerError, NotReadyError

FORMAT = 1


@dataclass(frozen=True)
class Decision:
    """The expert chosen for a query, its fallbacks, and the forecasts for all experts."""

    expert: str
    fallbacks: tuple[str, ...]  # in the order to try them
    success: dict[str, float]  # expected score in [0, 1] of every expert
    cost_usd: dict[str, float]  # expected cost of every expert's answer
    multiplier: float  # points of success that a dollar had to buy
    reason: str


HEADER = "orchestrator.json"
_RENAMED = {"cost": "economy"}  # presets of routers that were saved under an earlier name


@dataclass
class Orchestrator:
    """Embedder, success predictor, cost predictor and the price on cost, which together decide.

    ``multiplier`` is the default price: success per USD that a dearer expert must promise. ``presets`` names
    other prices (``quality``, ``balanced``, ``economy``) with their expected cost and score. ``info``
    records its origin: pool, fingerprint of the training data, seed, metrics. ``habits`` are the statistics
    for asking several experts.
    """

    embedder: Embedder
    predictor: Predictor
    cost: CostPredictor
    multiplier: float = 0.0
    presets: dict[str, Preset] = field(default_factory=lambda: {"quality": Preset(0.0)})
    info: dict[str, Any] = field(default_factory=dict)
    habits: Habits | None = None

    @property
    def experts(self) -> tuple[str, ...]:
        """The pool, in the order of every array."""
        return self.predictor.experts

    def asking_policy(self) -> AskingPolicy:
        """Return the policy over asking; without habits it asks one expert, or the next if that fails."""
        return AskingPolicy(self.habits or Habits.unknown(self.experts))

    def read(self, texts: Sequence[str]) -> Queries:
        """Return the features of texts: their embeddings and surface features."""
        return read_queries(texts, self.embedder)

    def predict(self, texts: Sequence[str]) -> Prediction:
        """Return expected success and cost of every expert on every text."""
        return self.predict_read(self.read(texts))

    def predict_read(self, queries: Queries) -> Prediction:
        """Like :meth:`predict`, for texts whose features are known."""
        return Prediction(self.experts, self.predictor.predict(queries), self.cost.predict(queries))

    def decide(
        self,
        texts: Sequence[str],
        *,
        multiplier: float | None = None,
        preset: str | None = None,
        max_cost_usd: float | None = None,
        min_success: float | None = None,
        allow: Sequence[str] | None = None,
        deny: Sequence[str] | None = None,
    ) -> list[Decision]:
        """Choose an expert for each text: the greatest expected success - multiplier * cost.

        Args:
            texts: the users' queries.
            multiplier: price on cost for this call; else that of ``preset``; else the default.
            preset: a name in ``presets``.
            max_cost_usd: leave out experts expected to cost more than this per query.
            min_success: prefer experts expected to reach this; if none does, the most successful one answers.
            allow: the only experts that may answer.
            deny: experts that may not answer.

        Raises:
            InputError: an unknown preset or expert, or no expert is left to answer.
        """
        return self.decide_read(
            self.read(texts),
            multiplier=multiplier,
            preset=preset,
            max_cost_usd=max_cost_usd,
            min_success=min_success,
            allow=allow,
            deny=deny,
        )

    def decide_read(
        self,
        queries: Queries,
        *,
        multiplier: float | None = None,
        preset: str | None = None,
        max_cost_usd: float | None = None,
        min_success: float | None = None,
        allow: Sequence[str] | None = None,
        deny: Sequence[str] | None = None,
    ) -> list[Decision]:
        """Like :meth:`decide`, for texts whose features are known."""
        price = self.price_of(multiplier, preset)
        allowed = self._allowed(allow, deny)
        prediction = self.predict_read(queries)
        return [
            self._decide_one(success, cost_usd, price, allowed, max_cost_usd, min_success)
            for success, cost_usd in zip(prediction.success, prediction.cost_usd, strict=True)
        ]

    def price_of(self, multiplier: float | None, preset: str | None) -> float:
        """The price on cost that applies: the multiplier, else the preset's, else the default.

        Raises:
            InputError: the multiplier is below 0, or the preset unknown.
        """
        if multiplier is not None:
            if not multiplier >= 0:
                raise InputError(f"the multiplier must be 0 or more, not {multiplier}")
            return multiplier
        if preset is not None:
            if preset not in self.presets:
                raise InputError(
                    f"no preset is called {preset!r}", fix=f"use one of {', '.join(self.presets)}"
                )
            return self.presets[preset].multiplier
        return self.multiplier

    def save(self, directory: Path) -> None:
        """Write the orchestrator as JSON and safetensors; ``load`` gives the same decisions to the bit."""
        directory.mkdir(parents=True, exist_ok=True)
        header = {
            "format": FORMAT,
            "embedder": self.embedder.name,
            "weights": [asdict(identity) for identity in self.embedder.weights],
            "multiplier": self.multiplier,
            "presets": {name: preset.to_json() for name, preset in self.presets.items()},
            "info": self.info,
        }
        states = {"predictor": self.predictor.state(), "cost": self.cost.state()}
        if self.habits is not None:
            states["asking"] = self.habits.state()
        write_states(directory, states)
        (directory / HEADER).write_text(json.dumps(header, indent=2, default=str) + "\n")

    @classmethod
    def load(cls, directory: Path, *, mapped: bool = False) -> Self:
        """Read what :meth:`save` wrote.

        Args:
            directory: where it was saved.
            mapped: leave the arrays in their file, for other processes to share; it can then only decide.

        Raises:
            NotReadyError: the directory holds no orchestrator.
            InputError: it is of another format, or something of it is missing or broken.
            CannotRunError: the embedder's weights are missing, or not those that it was trained with.
        """
        path = Path(directory) / HEADER
        if not path.is_file():
            raise NotReadyError(
                "no orchestrator is saved here", where=str(directory), fix="train one: `leeroo train`"
            )
        header = read_json(path)
        if header.get("format") != FORMAT:
            raise InputError(
                f"format {header.get('format')!r} is not the one this version reads ({FORMAT})",
                where=str(path),
                fix=OTHER_VERSION,
            )
        embedder = load_embedder(header["embedder"])
        _refuse_other_weights(embedder, header.get("weights", []), path)
        states = read_states(Path(directory), mapped=mapped)
        return cls(
            embedder=embedder,
            predictor=predictor_from_state(states["predictor"]),
            cost=CostPredictor.from_state(states["cost"]),
            multiplier=header["multiplier"],
            presets={
                _RENAMED.get(name, name): Preset.from_json(saved) for name, saved in header["presets"].items()
            },
            info=header["info"],
            habits=read_habits(states.get("asking")),
        )

    def _allowed(self, allow: Sequence[str] | None, deny: Sequence[str] | None) -> NDArray[np.bool_]:
        for name in [*(allow or ()), *(deny or ())]:
            if name not in self.experts:
                raise InputError(
                    f"no expert is called {name!r}", fix=f"use names of {', '.join(self.experts)}"
                )
        mask = np.array(
            [(allow is None or name in allow) and name not in (deny or ()) for name in self.experts]
        )
        if not mask.any():
            raise NobodyMayAnswerError(
                "the allow and deny lists leave no expert", fix="allow at least one that is not denied"
            )
        return mask

    def _decide_one(
        self,
        success: NDArray[np.float32],
        cost_usd: NDArray[np.float64],
        multiplier: float,
        allowed: NDArray[np.bool_],
        max_cost_usd: float | None,
        min_success: float | None,
    ) -> Decision:
        usable = allowed
        if max_cost_usd is not None:
            usable = allowed & (cost_usd <= max_cost_usd)
            if not usable.any():
                cheapest = int(np.where(allowed, cost_usd, np.inf).argmin())
                raise NobodyMayAnswerError(
                    f"no expert is expected to answer for ${max_cost_usd:.3g} or less",
                    fix=f"allow ${cost_usd[cheapest]:.3g} ({self.experts[cheapest]})",
                )
        value = net_value(success, cost_usd, multiplier)
        rank = np.lexsort((cost_usd, -value))
        rank = rank[usable[rank]]
        reason = "greatest expected success" if multiplier == 0 else "best expected success for its cost"
        if min_success is not None:
            reaches = success[rank] >= min_success
            if reaches.any():
                rank = np.concatenate([rank[reaches], rank[~reaches]])
                reason += f" among those expected to reach {min_success:g}"
            else:
                rank = rank[np.argsort(-success[rank], kind="stable")]
                reason = f"nobody is expected to reach {min_success:g}; this one comes nearest"
        if max_cost_usd is not None:
            reason += f" within ${max_cost_usd:g}"
        names = self.experts
        return Decision(
            expert=names[rank[0]],
            fallbacks=tuple(names[i] for i in rank[1:]),
            success={name: float(value) for name, value in zip(names, success, strict=True)},
            cost_usd={name: float(value) for name, value in zip(names, cost_usd, strict=True)},
            multiplier=float(multiplier),
            reason=reason,
        )


def saved_files(directory: Path) -> tuple[Path, ...]:
    """Return the files that :meth:`Orchestrator.save` writes."""
    return directory / HEADER, directory / SETTINGS, directory / ARRAYS


def _refuse_other_weights(embedder: Embedder, saved: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A router reads vectors of the weights it was trained with; those of others would mean nothing to it.

    Routers saved before weights had an identity name none, and are loaded as they are.
    """
    for entry, here in zip(saved, embedder.weights, strict=False):
        saved_identity = Fields(entry, f"{path}, weights")
        trained = WeightsIdentity(
            **{key: saved_identity[key] for key in ("name", "version", "checksum", "package")}
        )
        if (trained.name, trained.version, trained.checksum) != (here.name, here.version, here.checksum):
            raise CannotRunError(
                f"this router learned with other weights of {here.name} ({trained}) than are here ({here})",
                where=str(path),
                fix=f"install {trained.package} again, or train a new router: `leeroo train`",
            )
