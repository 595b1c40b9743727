"""What the guides teach: the plain beginning that everything else is measured against.

Cost: 30 epochs. The network of the guides trains 3,129 pictures of CIFAR-10 a second here, the guides' own loop 1,059
    (2 cores of an AMD EPYC Zen 4 with AVX512-BF16, Python 3.11, torch 2.13, bfloat16).
Score: CIFAR-10, test, 49,000 training pictures: 74.7 % (three seeds: 74.6 to 74.7).
Sources:
    the tutorials of PyTorch and Keras
    AdamW: Loshchilov and Hutter 2017, arXiv:1711.05101
    cosine: Loshchilov and Hutter 2016, arXiv:1608.03983
    shifts by 4 px: He et al. 2015, arXiv:1512.03385, Sec. 4.2
"""

from sightline.recipes.facts import Default, Defaults, Facts, batch_for


def defaults(facts: Facts) -> Defaults:
    """The guides' numbers, whatever the data; with trained weights, at a smaller rate.

    Args:
        facts: of the run.
    """
    chosen: Defaults = {
        "epochs": Default(30, "the guides' number, whatever the data"),
        "batch_size": batch_for(facts, largest=128 if facts.is_small else 32),
        "opt": Default("adamw", "works for every network without tuning"),
        "weight_decay": Default(1e-4, "the guides' number"),
        "sched": Default("cosine", "falls slowly at both ends, and has no number to tune (arXiv:1608.03983)"),
        "smoothing": Default(0.0, "the plain loss"),
    }
    if facts.is_small:
        chosen["model"] = Default("simple_cnn", f"{facts.pictures}: the guides' own network")
        chosen["crop_padding"] = Default(4, "shifts by up to 4 px (He et al. 2015, Sec. 4.2)")
    else:
        chosen["model"] = Default("resnet18", f"{facts.pictures}: the first network that guides take for photographs")
    return chosen
