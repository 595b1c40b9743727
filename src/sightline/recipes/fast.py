"""The shortest time to a good score.

Cost: CIFAR-10, 9 epochs of 45,000 pictures, 48 TFLOP: 518 s with validation in float32 (2 cores of an AMD EPYC Zen 4
    without AVX512, Python 3.11, torch 2.13); as many with SGD took 203 s in bfloat16, where the cores have it.
Score: CIFAR-10, test, 45,000 training pictures, three seeds: 90.2, 90.4, 90.4 %, each +- 0.6. One seed without the look
    at the mirror image: 89.2 %, where SGD and one-cycle reached 88.4 %.
Sources:
    network, shifts, alternating flips, look at the mirror image, smoothing: Jordan 2024, "94% on CIFAR-10 in 3.29
        Seconds on a Single GPU", arXiv:2404.00498
    Muon, its momentum and linear fall: Jordan 2024, github.com/KellerJordan/cifar10-airbench, airbench94_muon.py
    one-cycle, of other networks: Smith 2018, arXiv:1803.09820
    photographs: a residual network, He et al. 2015, arXiv:1512.03385, at 128 px
"""

from sightline.recipes import finetune
from sightline.recipes.facts import AIRBENCH_PX, Default, Defaults, Facts, batch_for, epochs_for

# What a run on small pictures is made of. The numbers were measured together: change them together.
NETWORK = "airbench_small"
PICTURES = 400_000  # in the whole run: 9 epochs of CIFAR-10
BATCH = 1000
LR = 0.17  # whatever the batch: a step of Muon is as long for any gradient. The authors take 0.24
MOMENTUM = 0.6
SHIFT_PX = 2
_ONE_CYCLE: Defaults = {"sched": Default("onecycle", "the shortest way to a good score (Smith 2018, arXiv:1803.09820)")}


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
        "crop_padding": Default(SHIFT_PX, f"shifts by up to {SHIFT_PX} px (airbench, arXiv:2404.00498, Sec. 3.1)"),
    }
    return {**chosen, **(_as_airbench(facts) if is_airbench else _ONE_CYCLE)}


def _as_airbench(facts: Facts) -> Defaults:
    chosen: Defaults = {
        "opt": Default("muon", "as airbench's later runs: in 9 epochs of CIFAR-10 0.8 % above SGD"),
        "lr": Default(LR, "chosen with the rest of the recipe; airbench has 0.24"),
        "momentum": Default(MOMENTUM, "as airbench"),
        "weight_decay": Default(0.0, "as airbench; Muon sets the weights' norms itself"),
        "sched": Default("linear", "from the peak to nothing, as airbench"),
        "smoothing": Default(0.2, "as airbench, against overconfidence"),
    }
    if facts.hflip_ok:
        chosen["alternating_flip"] = Default(
            True, "every picture is seen as often mirrored as not, in turn (arXiv:2404.00498, Sec. 3.6)"
        )
        chosen["tta"] = Default("flip", "the mean of a picture and its mirror image: 0.9 % more, for twice the time")
    return chosen


def _photographs(facts: Facts) -> Defaults:
    return {
        "model": Default("resnet18", f"{facts.pictures}: a small residual network, the safe choice from scratch"),
        "img_size": Default(facts.photograph_px(128), "128 px are a third of the work of 224 px"),
        "epochs": epochs_for(facts, pictures=12_000, least=8, most=60),
        "batch_size": batch_for(facts, largest=32),
        **_ONE_CYCLE,
    }
