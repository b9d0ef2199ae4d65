"""The public reading of an answer: what a generated text says, for notebooks and programs of others.

These two are kept at this address whatever becomes of the rooms behind it; inside this project the address is
:mod:`experts.grading.parsing`, which defines them.
"""

from experts.grading.parsing import final_answer, parse_choice

__all__ = ["final_answer", "parse_choice"]
