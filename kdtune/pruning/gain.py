"""What distilling a pruned network from its own unpruned self gains (park2020, table 1)."""


def surplus(
    *, self_distill: float, finetune: float, unpruned_distilled: float, unpruned_scratch: float
) -> float:
    """Gain of distillation after pruning less its gain without pruning.

    ``(self_distill - finetune) - (unpruned_distilled - unpruned_scratch)``: positive where a pruned
    network profits more from its unpruned teacher than the unpruned network did from its own.

    Args:
        self_distill: Accuracy of the pruned network, fine-tuned with the unpruned distilled student
            as its teacher; all four on the same split.
        finetune: The same network trained from scratch, pruned and fine-tuned on labels alone.
        unpruned_distilled: The unpruned student, distilled.
        unpruned_scratch: The unpruned student, trained on labels alone.

    Returns:
        In the unit of the accuracies (percentage points, or shares).
    """
    return (self_distill - finetune) - (unpruned_distilled - unpruned_scratch)
