"""Trained weights, made to answer other classes: the head first, then everything, the deeper the gentler.

Cost: the recipe shows the network about 8,000 pictures, a quarter of `scratch-small`; the time is not measured yet.
Score: 447 photographs of the night sky in 5 classes, EfficientNet-Lite0, two of five folds: 90.1 % [84.9, 93.7] of 182.
Sources:
    head first, then everything in one cycle: Howard and Gugger 2020, fastai's `fine_tune`, arXiv:2002.04688
    a rate for each layer: Howard and Ruder 2018, arXiv:1801.06146, Sec. 3.2
    batch norms hold their statistics throughout: Chollet 2020, Keras guide to transfer learning
    how much: fastai gives the first layers 1/100 of the head's rate; ConvNeXt 0.7 or 0.8 from layer to layer, which is
        1/15 to 1/70 over its twelve, Liu et al. 2022, arXiv:2201.03545, App. A
"""

from sightline.recipes.facts import Default, Defaults, Facts, batch_for, epochs_for

# What the first layer learns at, of the head's rate, whatever lies between: a fixed decay from layer to layer would
# hold the first ones of deep networks still.
FIRST_LAYER = 1 / 20
HEAD_STEPS = 60  # not in a paper: enough for a linear layer on held features to leave chance far behind
MOST_HEAD_EPOCHS = 5


def defaults(facts: Facts) -> Defaults:
    """A short run near the weights; network, size and normalisation are theirs.

    Args:
        facts: of the run, with weights.
    """
    epochs = epochs_for(facts, pictures=8_000, least=5, most=30)
    batch = batch_for(facts, largest=32)
    return {
        "epochs": epochs,
        "batch_size": batch,
        "head_epochs": _head_epochs(facts, epochs, batch),
        "head_lr": Default(2e-3, "fastai's; only the new head learns, so the rate can be large"),
        **_norms(facts),
        "layer_decay": Default(
            round(FIRST_LAYER ** (1 / max(facts.num_layers - 1, 1)), 3),
            "the first layer, the most general, learns at 1/20 of the head's rate (arXiv:1801.06146)",
        ),
        "opt": Default("adamw", "works for every network without tuning"),
        "sched": Default("onecycle", "as fastai's fine_tune; the rise spares the weights from the first steps"),
    }


def _norms(facts: Facts) -> Defaults:
    """Held: with moving ones the training accuracy fell from 87 to 46 % as the head's phase ended (night sky)."""
    if not facts.has_batch_norm:
        return {}
    return {"freeze_bn": Default(True, "the head has learned on what they make with the statistics of the weights")}


def _head_epochs(facts: Facts, epochs: Default, batch: Default) -> Default:
    """Enough for about 60 steps, and at most a third of the run."""
    steps = max(1, facts.num_train // (facts.asked.batch_size or batch.value))
    most = min(MOST_HEAD_EPOCHS, (facts.asked.epochs or epochs.value) // 3)
    if most < 1:
        return Default(0, "too short a run for a phase of its own")
    return Default(
        max(1, min(most, round(HEAD_STEPS / steps))),
        "the head is new: while it answers at random, its gradient would spoil the layers under it",
    )
