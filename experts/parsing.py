"""Reading an answer out of generated text, under the address by which notebooks know it."""

from experts.grading.parsing import final_answer, parse_choice

__all__ = ["final_answer", "parse_choice"]
