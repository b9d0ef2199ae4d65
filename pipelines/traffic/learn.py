"""A round of learning from traffic: ask again, grade, train, and put what was trained to the gate.

Every step leaves what it found in the round's record, and every paid answer is kept by itself: a round that
was killed at any moment goes on where it was, pays nothing twice, and keeps its cap.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.text.registry import load_embedder
from orchestrator.traffic.judge_calibration import calibrate_judge
from orchestrator.versions.mlflow_registry import champion_version, load_version
from orchestrator.versions.promotion import Standing
from pipelines.answering.bulk import answer_open_work
from pipelines.answering.open_work import find_open_work
from pipelines.answering.round_money import RoundMoney
from pipelines.learning.recorded_requests import RecordedRequests, read_requests
from pipelines.ray_session import Connection
from pipelines.selfplay.panel import Panel, seat
from pipelines.selfplay.round_record import RoundFolder, RoundRecord, Step
from pipelines.tracked_run import tracked_run
from pipelines.traffic.as_questions import Texts, question_rows, served_rows
from pipelines.traffic.challenger import (
    challenge,
    read_outcomes,
    resolve_router,
    train_challenger,
)
from pipelines.traffic.choosing import choose_among
from pipelines.traffic.events import (
    Calibrated,
    ChallengerTested,
    ChallengerTrained,
    Graded,
    LearnDone,
    Need,
    NothingToLearn,
    Sampled,
    ShadowsCame,
    Tell,
    TrafficRead,
)
from pipelines.traffic.grading import grade_answers, read_asked
from pipelines.traffic.known import embed_known, read_recent, read_texts
from pipelines.traffic.round_name import next_round
from pipelines.traffic.sampling import Sample
from pipelines.traffic.settings import LearnSettings
from pipelines.traffic.watch import watch_traffic
from warehouse import NotReadyError, TooFewError, Warehouse
from warehouse.home import Home
from warehouse.mlflow_runs import active_run

if TYPE_CHECKING:
    from experts import ExpertSpec


@dataclass(frozen=True)
class LearnResult:
    """What a round of learning cost and came to."""

    round: str
    requests: int  # that were asked again
    cost_usd: float
    version: str | None  # None: nothing to train on
    promoted: bool
    verdict: str


def run_learn(settings: LearnSettings, home: Home, tell: Tell = lambda event: None) -> LearnResult:
    """Run a round of learning, or go on with the one that was not finished.

    Args:
        settings: what the round does.
        home: whose traffic.
        tell: hears what each step found.

    Raises:
        InputError: the settings or the catalogue are bad.
        NotReadyError: nothing is recorded, and no earlier round is open.
        CannotRunError: an expert or the judge cannot be asked here.
    """
    settings.check()
    panel = seat(settings.catalogue, judge=settings.shadow.judge)
    warehouse = home.warehouse()
    requests = read_recent(home, settings.shadow.days)
    folder = RoundFolder(home.rounds)
    name = settings.round or next_round(folder)
    record = folder.record(name)
    record.check(settings.decisive(), settings.by_step())
    resume = record["run"]["id"] if "run" in record else None
    with Connection(settings.address) as connection:
        params = {"kind": "learn", "round": name, "budget_usd": settings.budget_usd}
        params |= {key: value for key, value in asdict(settings.shadow).items() if key != "key_weights"}
        with tracked_run(home, f"learn {name}", params, resume=resume) as run_id:
            if resume != run_id:
                record.step("run", lambda: {"id": run_id})
            money = RoundMoney(warehouse, name, settings.budget_usd)
            steps = _Steps(settings, home, warehouse, panel, record, name, run_id, money, connection, tell)
            result = steps.run(requests)
            active_run().log(
                metrics={"cost_usd": result.cost_usd, "promoted": float(result.promoted),
                         "requests": result.requests},
            )  # fmt: skip
            active_run().log_dict({"result": asdict(result), "sample": record["sample"]}, "learn.json")
    tell(LearnDone(name, result.cost_usd, result.version, result.promoted))
    return result


@dataclass(frozen=True)
class _Steps:
    """The steps of one round: each is done once, and kept."""

    settings: LearnSettings
    home: Home
    warehouse: Warehouse
    panel: Panel
    record: RoundRecord
    name: str
    run_id: str
    money: RoundMoney
    connection: Connection
    tell: Tell

    def run(self, requests: RecordedRequests) -> LearnResult:
        """One line a step."""
        before = self.find_champion()
        sample = self.sample(requests)
        if sample["request_ids"]:
            chosen = self._chosen(requests, sample)
            questions = self.store(*chosen)
            self.answer(questions, sample)
            self.grade(*chosen, questions)
        self.calibrate()
        trained = self.train(before)
        standing = self.challenge(trained["version"], before) if trained["version"] else None
        return self.conclude(sample, trained, standing)

    def sample(self, requests: RecordedRequests) -> Step:
        """Which requests are asked again, and of whom."""
        is_resumed = "sample" in self.record
        texts = read_texts(self.home, [str(name) for name in requests.column("request_id")])
        self.tell(
            TrafficRead(self.name, len(requests), len(texts), int(np.isfinite(requests.feedback).sum()),
                        is_resumed)
        )  # fmt: skip

        def work() -> Step:
            _, embedder = resolve_router(self.home, self.settings, self.find_champion())
            seen = embed_known(
                self.warehouse, embedder, self._pool(), self.home.embeddings, seed=self.settings.seed
            )
            if self.settings.shadow.if_needed:
                reasons = watch_traffic(requests, seen).reasons
                self.tell(Need(reasons))
                if not reasons:
                    return asdict(Sample((), {}, 0.0, 0.0))
            left_usd = self.money.left_usd() or 0.0
            reader = load_embedder(embedder)
            chosen = choose_among(
                requests, texts, seen, reader, self._asked(), self.panel.judge, self.settings.shadow, left_usd
            )
            return asdict(chosen)

        found = self.record.step("sample", work)
        if not is_resumed:
            counts = {name: len(own) for name, own in found["asked"].items()}
            self.tell(Sampled(len(found["request_ids"]), counts, found["expected_usd"]))
        return found

    def store(self, chosen: RecordedRequests, texts: Texts) -> pa.Table:
        """Questions, and what was served as answers to them: paid before, and not asked again."""
        questions = question_rows(chosen, texts, round=self.name)
        self.warehouse.append("questions", questions, round=self.name)
        served = served_rows(chosen, questions, texts)
        for expert in sorted(set(served["expert"].to_pylist())):
            own = served.filter(pc.equal(served["expert"], expert))
            for day in sorted(set(own["round"].to_pylist())):
                rows = own.filter(pc.equal(own["round"], day))
                self.warehouse.append("answers", rows, round=day, expert=expert)
        return questions

    def answer(self, questions: pa.Table, sample: Step) -> None:
        """Shadow answers: each is kept by itself, so that this step needs no record."""
        place = {name: i for i, name in enumerate(questions["parent_id"].to_pylist())}
        nothing, specs = questions.slice(0, 0), self._asked()
        offered = {
            spec.name: questions.take(pa.array([place[name] for name in own if name in place], pa.int64()))
            if (own := sample["asked"].get(spec.name)) else nothing
            for spec in specs
        }  # fmt: skip
        work = find_open_work(self.warehouse, specs, offered)
        if work:
            self.connection.ensure()
        left = self.money.left_usd() or 0.0
        receipts = answer_open_work(
            self.warehouse, work, round=self.name, run_id=self.run_id,
            budget_usd=max(left - self._verdicts_left_usd(sample), 0.0),
        )  # fmt: skip
        self.tell(ShadowsCame(tuple(receipts)))

    def grade(self, chosen: RecordedRequests, texts: Texts, questions: pa.Table) -> None:
        """Scores, by what fits."""
        graded = grade_answers(
            self.warehouse, read_asked(chosen, questions, texts), judge=self.panel.judge,
            judge_by=self.settings.shadow.judge_by, money=self.money, run_id=self.run_id,
            connect=self.connection.ensure,
        )  # fmt: skip
        self.tell(Graded(graded.by, graded.open, tuple(one.judge for one in graded.judging)))

    def calibrate(self) -> None:
        """How far the judge and the users agree, on answers that both have scored."""
        requests = read_requests(self.warehouse)
        found = calibrate_judge(requests.judged, requests.feedback)
        if found.pairs:
            self.tell(Calibrated(found))
            names = ("pairs", "agreement", "agreement_low", "agreement_high", "bias", "offset", "slope")
            active_run().log(metrics={f"judge/{name}": float(getattr(found, name)) for name in names})

    def find_champion(self) -> str | None:
        """Who was champion before this round; it stays known after its own version was promoted."""
        found: str | None = self._champion()["version"]
        return found

    def _champion(self) -> Step:
        def work() -> Step:
            uri = self.home.mlflow_uri
            version = champion_version(uri)
            experts = [] if version is None else list(load_version(uri, version).info["experts"])
            return {"version": version, "experts": experts}

        return self.record.step("champion", work)

    def train(self, before: str | None) -> Step:
        """A challenger, trained on benchmark, self-play and traffic; none where there is too little."""

        def work() -> Step:
            try:
                outcomes = read_outcomes(self.warehouse, self._pool())
                return asdict(train_challenger(self.home, outcomes, self.settings, before))
            except (TooFewError, NotReadyError) as error:
                return {"version": None, "why": str(error)}

        found = self.record.step("training", work, settings=self.settings.by_step()["training"])
        if found["version"] is None:
            self.tell(NothingToLearn(found["why"]))
        else:
            told = ("version", "is_new", "questions", "traffic", "labels")
            self.tell(ChallengerTrained(*(found[name] for name in told)))
        return found

    def challenge(self, version: str, before: str | None) -> Standing:
        """The gate."""

        def work() -> Step:
            return asdict(challenge(self.home, version, before, read_outcomes(self.warehouse, self._pool())))

        standing = Standing(**self.record.step("promotion", work))
        self.tell(ChallengerTested(standing))
        return standing

    def conclude(self, sample: Step, trained: Step, standing: Standing | None) -> LearnResult:
        """What the round cost and came to."""
        kept = self.record.step(
            "result",
            lambda: asdict(
                LearnResult(
                    self.name, len(sample["request_ids"]), self.money.spent_usd(), trained["version"],
                    standing is not None and standing.promoted,
                    trained["why"] if standing is None else standing.verdict,
                )
            ),
        )  # fmt: skip
        return LearnResult(**kept)

    def _chosen(self, requests: RecordedRequests, sample: Step) -> tuple[RecordedRequests, Texts]:
        """The sampled requests whose texts are there still: somebody may have had some forgotten."""
        wanted = np.isin(np.array(requests.column("request_id"), str), sample["request_ids"])
        chosen = requests.take(wanted)
        texts = read_texts(self.home, [str(name) for name in chosen.column("request_id")])
        return chosen.take(np.array([name in texts for name in chosen.column("request_id")], bool)), texts

    def _verdicts_left_usd(self, sample: Step) -> float:
        """What is kept back of the cap for the judge, so that answers do not eat it up."""
        return float(sample["verdicts_usd"])

    def _pool(self) -> list[str]:
        """The champion's experts, else those of the catalogue: who is not served is not paid for here."""
        return list(self._champion()["experts"]) or self.panel.names

    def _asked(self) -> tuple[ExpertSpec, ...]:
        """Who may be asked again: experts of the pool that are in the catalogue, else all that are there."""
        pool = set(self._pool())
        return tuple(spec for spec in self.panel.experts if spec.name in pool) or self.panel.experts
