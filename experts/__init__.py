"""What an expert is and how it answers: catalogue, prices, prompts, backends, grading."""

from experts.answering import answer_and_grade
from experts.backend import Backend, build_backend
from experts.bundled import BUNDLED_MODELS, default_cache_dir, resolve_model
from experts.catalogue import Catalogue, ExpertSpec, Resources, load_catalogue
from experts.grading import grade
from experts.hardware import Hardware, Problem, check_runnable, probe_hardware
from experts.loadable import check_loadable
from experts.pricing import Price
from experts.recorded import read_recorded_folder
from experts.vllm_backend import backend_env, engine_options

__all__ = [
    "BUNDLED_MODELS",
    "Backend",
    "Catalogue",
    "ExpertSpec",
    "Hardware",
    "Price",
    "Problem",
    "Resources",
    "answer_and_grade",
    "backend_env",
    "build_backend",
    "check_loadable",
    "check_runnable",
    "default_cache_dir",
    "engine_options",
    "grade",
    "load_catalogue",
    "probe_hardware",
    "read_recorded_folder",
    "resolve_model",
]
