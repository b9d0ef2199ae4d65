"""How likely a model holds answers after prompts; many short ones in one row, what they share computed once.

The prompts of a gap begin alike (the template, the words of the task), the options of a question follow one
prompt, and on a CPU time goes by tokens. So a batch becomes one row: the common prefix, every prompt's rest,
which sees the prefix and itself, and every answer, which sees its prompt too. Positions are those that each
would have alone, so the result is the same but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.forge.examples import Choice, Example, Tokens

if TYPE_CHECKING:
    import torch

ROW_TOKENS = 1_024  # of one row: attention grows with the square


def answer_logprobs(model: Any, examples: Sequence[Example]) -> torch.Tensor:
    """Return the log-probability of every answer token [sum of the answers' lengths], in their order.

    Args:
        model: a causal language model of transformers, tuned or not.
        examples: of one row.
    """
    import torch

    row = _lay_out(examples)
    first = next(model.parameters())
    part, parent = (torch.tensor(ids, device=first.device) for ids in (row.segments, row.parents))
    sees = ((part[:, None] == part[None]) | (parent[:, None] == part[None]) | (part[None] == 0)).tril()
    mask = torch.zeros(sees.shape, dtype=first.dtype, device=first.device)
    mask = mask.masked_fill(~sees, torch.finfo(first.dtype).min)
    # `logits_to_keep` runs the output layer, a quarter of a small model, on the answers' places only.
    logits = model(
        input_ids=torch.tensor([row.tokens], device=first.device),
        position_ids=torch.tensor([row.positions], device=first.device),
        attention_mask=mask[None, None],
        use_cache=False,
        logits_to_keep=torch.tensor(row.read, device=first.device),
    ).logits[0]
    targets = torch.tensor([t for example in examples for t in example.answer], device=first.device)
    return torch.log_softmax(logits.float(), dim=-1).gather(1, targets[:, None])[:, 0]


@dataclass(frozen=True)
class _Row:
    """Tokens of one row; each sees its own segment, its parent's, and 0, the common prefix."""

    tokens: list[int]
    positions: list[int]
    segments: list[int]
    parents: list[int]
    read: list[int]  # places whose next token is one of an answer's


def _lay_out(examples: Sequence[Example]) -> _Row:
    prefix = _common_prefix([example.prompt for example in examples])
    row = _Row(list(examples[0].prompt[:prefix]), list(range(prefix)), [0] * prefix, [0] * prefix, [])
    prompts: dict[Tokens, int] = {}  # its segment
    ends: dict[int, int] = {}  # of a segment, the place of its last token
    count = 0

    def put(tokens: Tokens, position: int, parent: int) -> int:
        nonlocal count
        count += 1
        row.tokens.extend(tokens)
        row.positions.extend(range(position, position + len(tokens)))
        row.segments.extend([count] * len(tokens))
        row.parents.extend([parent] * len(tokens))
        ends[count] = len(row.tokens) - 1
        return count

    for example in examples:
        if example.prompt not in prompts:
            prompts[example.prompt] = put(example.prompt[prefix:], prefix, 0)
        own = prompts[example.prompt]
        row.read.append(ends[own])
        if len(example.answer) > 1:
            start = len(row.tokens)
            put(example.answer[:-1], len(example.prompt), own)
            row.read.extend(range(start, start + len(example.answer) - 1))
    return row


def answer_scores(model: Any, examples: Sequence[Example]) -> NDArray[np.float64]:
    """Return the log-likelihood of every answer [n], without gradients."""
    import torch

    scores: list[float] = []
    with torch.no_grad():
        for row in rows_of(examples):
            found = answer_logprobs(model, row)
            scores += [float(part.sum()) for part in found.split([len(e.answer) for e in row])]
    return np.array(scores)


def right_choices(model: Any, choices: Sequence[Choice]) -> NDArray[np.bool_]:
    """Tell for each question [n] whether its right option is the likeliest, as the engine ranks them."""
    examples = [Example(choice.prompt, option) for choice in choices for option in choice.options]
    scores = answer_scores(model, examples)
    ends = np.cumsum([len(choice.options) for choice in choices])
    parts = np.split(scores, ends[:-1])
    found = [part.argmax() == c.right for part, c in zip(parts, choices, strict=True)]
    return np.array(found, dtype=np.bool_)


def rows_of(examples: Sequence[Example]) -> list[list[Example]]:
    """Split examples, in their order, into rows of at most ``ROW_TOKENS`` tokens; a longer one is alone."""
    rows: list[list[Example]] = []
    room = 0
    for example in examples:
        seen = bool(rows) and rows[-1][-1].prompt == example.prompt
        size = len(example.answer) + (0 if seen else len(example.prompt))
        if not rows or size > room:
            rows.append([])
            room = ROW_TOKENS
        rows[-1].append(example)
        room -= size
    return rows


def _common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Length of what all prompts begin with; the last token of each stays its own."""
    most = min(map(len, prompts)) - 1
    first = prompts[0]
    return next((i for i in range(most) if any(p[i] != first[i] for p in prompts)), max(most, 0))
