"""What an expert is and how it answers: catalogue, prices, prompts, backends, grading."""

from experts.answering import answer_and_grade
from experts.backend import (
    BUDGET_SPENT,
    QUESTION_ERRORS,
    REFUSALS,
    Backend,
    build_backend,
    build_backends,
    has_error,
)
from experts.bundled import BUNDLED_MODELS, default_cache_dir, resolve_model
from experts.catalogue import Catalogue, ExpertSpec, Resources, load_catalogue
from experts.grading import grade
from experts.hardware import Hardware, Problem, check_runnable, cpu_memory_gib, probe_hardware
from experts.judging import (
    Rubric,
    judge_grader,
    judgements,
    pair_questions,
    read_pair_scores,
    read_rubric_scores,
    rubric_questions,
)
from experts.loadable import check_loadable
from experts.pricing import Price
from experts.recorded import read_recorded_folder
from experts.spending import SpendCap
from experts.vllm_engine import backend_env, engine_options, shared_engine_key

__all__ = [
    "BUDGET_SPENT",
    "BUNDLED_MODELS",
    "QUESTION_ERRORS",
    "REFUSALS",
    "Backend",
    "Catalogue",
    "ExpertSpec",
    "Hardware",
    "Price",
    "Problem",
    "Resources",
    "Rubric",
    "SpendCap",
    "answer_and_grade",
    "backend_env",
    "build_backend",
    "build_backends",
    "check_loadable",
    "check_runnable",
    "cpu_memory_gib",
    "default_cache_dir",
    "engine_options",
    "grade",
    "has_error",
    "judge_grader",
    "judgements",
    "load_catalogue",
    "pair_questions",
    "probe_hardware",
    "read_pair_scores",
    "read_recorded_folder",
    "read_rubric_scores",
    "resolve_model",
    "rubric_questions",
    "shared_engine_key",
]
