"""The workers of one training as its loop sees them: this process alone, or several by torch.distributed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

#: What was measured at a ``step``: ``train_loss``, or ``validation_loss`` and ``validation_accuracy``.
Measured = dict[str, float]
Tell = Callable[[Measured], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """A worker and how many there are; every method is called by all of them, in the same order.

    With one worker nothing is sent, and torch.distributed is not needed.
    """

    rank: int = 0  # of this worker, from 0; only the first one writes and tells
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this worker writes and tells."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """This worker's share of a batch: every ``size``-th item, from its rank on."""
        return list(items[self.rank :: self.size])

    def wrap(self, model: Any) -> Any:
        """The model, with gradients that are averaged over the workers (DistributedDataParallel)."""
        if self.size == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(model, broadcast_buffers=False)

    def holding(self, model: Any, *, last: bool) -> contextlib.AbstractContextManager[None]:
        """Hold back the averaging of gradients until the last pass of a step."""
        if self.size == 1 or last:
            return contextlib.nullcontext()
        held: contextlib.AbstractContextManager[None] = model.no_sync()
        return held

    def add_up(self, values: Sequence[float], like: Any) -> list[float]:
        """Sums of the workers' values, the same on all; ``like`` is a tensor on the device to send from."""
        if self.size == 1:
            return list(values)
        import torch

        sums = torch.tensor(values, dtype=torch.float64, device=like.device)
        torch.distributed.all_reduce(sums)
        return [float(value) for value in sums.tolist()]

    def agree(self, make: Callable[[], T]) -> T:
        """What the first worker makes, on all of them; an error of its is raised on all of them."""
        if self.size == 1:
            return make()
        import torch

        box: list[Any] = [None, None]
        if self.is_first:
            try:
                box[0] = make()
            except Exception as error:  # raised below, beside the others
                box[1] = error
        torch.distributed.broadcast_object_list(box, src=0)
        if box[1] is not None:
            raise box[1]
        made: T = box[0]
        return made

    def check(self, see: Callable[[], None]) -> None:
        """Have each worker see that something holds; the first worker's error is raised on all of them."""
        if self.size == 1:
            return see()
        import torch

        mine: Exception | None = None
        try:
            see()
        except Exception as error:
            mine = error
        found: list[Exception | None] = [None] * self.size
        torch.distributed.all_gather_object(found, mine)
        for first in found:
            if first is not None:
                raise first
        return None


ALONE = Group()
