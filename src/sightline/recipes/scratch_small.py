"""A folder of photographs and no trained weights: few pictures, so each is shown often and never twice the same.

Cost: `resnet18` at 128 px trains 22 to 37 pictures a second on one thread of an AMD EPYC Zen 4, torch 2.13, bfloat16;
    the recipe shows it about 30,000.
Score: not measured yet.
Sources:
    network: He et al. 2015, arXiv:1512.03385
    crops: Szegedy et al. 2014, arXiv:1409.4842, Sec. 6
    TrivialAugment: Müller and Hutter 2021, arXiv:2103.10158
    Mixup: Zhang et al. 2017, arXiv:1710.09412
    one-cycle: Smith 2018, arXiv:1803.09820
"""

from sightline.recipes.facts import Default, Defaults, Facts, batch_for, epochs_for


def defaults(facts: Facts) -> Defaults:
    """A residual network, strong augmentation, and epochs enough for it.

    Args:
        facts: of the run.
    """
    chosen: Defaults = {
        "model": Default("resnet18", f"{facts.pictures}: a residual network, the safe choice from scratch"),
        "epochs": epochs_for(facts, pictures=30_000, least=15, most=100),
        "batch_size": batch_for(facts, largest=32),
        "sched": Default("onecycle", "the shortest way to a good score (Smith 2018, arXiv:1803.09820)"),
        "mixup": Default(0.2, "blends of two pictures keep a network from learning few of them by heart"),
    }
    if facts.hflip_ok:  # TrivialAugment turns pictures by up to 135 degrees
        chosen["aa"] = Default("trivial", "one random change a picture, with nothing to tune (arXiv:2103.10158)")
    return chosen
