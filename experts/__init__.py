"""What an expert is and how it answers: catalogue, prices, prompts, backends, grading."""

from experts.answer_rows import answer_and_grade
from experts.backends.base import (
    BUDGET_SPENT,
    QUESTION_ERRORS,
    REFUSALS,
    Backend,
    has_error,
)
from experts.backends.bundled import default_cache_dir, resolve_model
from experts.backends.hardware import Hardware, Problem, probe_hardware
from experts.backends.kinds.vllm import cpu_memory_gib
from experts.backends.on_cpu.preloading import Preload, find_preloads
from experts.backends.recorded_folder import read_recorded_folder
from experts.backends.registry import build_backend, build_backends, check_loadable, check_runnable
from experts.backends.spend_cap import SpendCap
from experts.backends.vllm_engine import (
    backend_env,
    engine_options,
    prepare_process,
    shared_engine_key,
    shared_engine_options,
)
from experts.catalogue.bundled_models import BUNDLED_MODELS
from experts.catalogue.pricing import Price
from experts.catalogue.spec import ExpertSpec, Resources
from experts.catalogue_file import Catalogue, load_catalogue
from experts.grading.grade import grade
from experts.grading.rubric import (
    Rubric,
    judge_grader,
    judgements,
    pair_questions,
    read_pair_scores,
    read_rubric_scores,
    rubric_questions,
)

__all__ = [
    "BUDGET_SPENT",
    "BUNDLED_MODELS",
    "QUESTION_ERRORS",
    "REFUSALS",
    "Backend",
    "Catalogue",
    "ExpertSpec",
    "Hardware",
    "Preload",
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
    "find_preloads",
    "grade",
    "has_error",
    "judge_grader",
    "judgements",
    "load_catalogue",
    "pair_questions",
    "prepare_process",
    "probe_hardware",
    "read_pair_scores",
    "read_recorded_folder",
    "read_rubric_scores",
    "resolve_model",
    "rubric_questions",
    "shared_engine_key",
    "shared_engine_options",
]
