"""The shortest time to a good score.

Cost: CIFAR-10, 9 epochs with validation: 188 s (2 cores of an AMD EPYC Zen 4 with AVX512-BF16, Python 3.11, torch 2.13,
    bfloat16, 2,200 pictures a second).
Score: CIFAR-10, test, 45,000 training pictures, one seed: 88.1 % [87.5, 88.7].
Sources:
    network, batch, shifts, smoothing: Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv:2404.00498
    one-cycle: Smith 2018, arXiv:1803.09820
    photographs: a residual network, He et al. 2015, arXiv:1512.03385, at 128 px
"""

from sightline.recipes import finetune
from sightline.recipes.facts import AIRBENCH_PX, Default, Defaults, Facts, batch_for, epochs_for, in_proportion

# What a run on small pictures is made of. The numbers were measured together: change them together.
NETWORK = "airbench_small"
PICTURES = 400_000  # in the whole run: 9 epochs of CIFAR-10
BATCH = 512
LR = 0.5  # for BATCH pictures, with Nesterov momentum of 0.9
SHIFT_PX = 2


def defaults(facts: Facts) -> Defaults:
    """Small networks, large steps, no more epochs than the score needs.

    Args:
        facts: of the run.
    """
    if facts.weights is not None:
        return {**finetune.defaults(facts), "epochs": epochs_for(facts, pictures=3_000, least=3, most=15)}
    return _small_pictures(facts) if facts.is_small else _photographs(facts)


def _small_pictures(facts: Facts) -> Defaults:
    model = facts.model or (NETWORK if facts.input_px >= AIRBENCH_PX else "resnet20")
    is_airbench = model.startswith("airbench")
    batch = batch_for(facts, largest=BATCH if is_airbench else 128)
    chosen: Defaults = {
        "model": Default(model, f"{facts.pictures}: a network made for small pictures and short runs"),
        "epochs": epochs_for(facts, pictures=PICTURES, least=8, most=60),
        "batch_size": batch,
        "sched": Default("onecycle", "the shortest way to a good score (Smith 2018, arXiv:1803.09820)"),
        "crop_padding": Default(SHIFT_PX, f"shifts by up to {SHIFT_PX} px (airbench, arXiv:2404.00498, Sec. 3.1)"),
    }
    if is_airbench:
        chosen |= {
            "opt": Default("sgd", "Nesterov momentum, as airbench"),
            "lr": in_proportion(facts, LR, of=BATCH, batch=batch),
            "smoothing": Default(0.2, "as airbench, against overconfidence"),
        }
    return chosen


def _photographs(facts: Facts) -> Defaults:
    return {
        "model": Default("resnet18", f"{facts.pictures}: a small residual network, the safe choice from scratch"),
        "img_size": Default(facts.photograph_px(128), "128 px are a third of the work of 224 px"),
        "epochs": epochs_for(facts, pictures=12_000, least=8, most=60),
        "batch_size": batch_for(facts, largest=32),
        "sched": Default("onecycle", "the shortest way to a good score (Smith 2018, arXiv:1803.09820)"),
    }
