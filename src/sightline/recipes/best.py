"""The highest score that an hour on two cores, or minutes on a GPU, are good for.

Cost: CIFAR-10 on two cores: about 35 epochs of `airbench94`, 1.1 PFLOP, which such a machine multiplies in about an
    hour. `resnet18` would have 8 epochs for that. Its standard training to 96 % takes 32 PFLOP, that of `airbench95` to
    95 % takes 1.4 (the table of github.com/KellerJordan/cifar10-airbench), so a CPU trains the small network, and a GPU
    the large one.
Score: not measured yet.
Sources:
    network, shifts, alternating flip, erased squares for long runs: Jordan 2024, arXiv:2404.00498, Sec. 3 and 4
    CutMix: Yun et al. 2019, arXiv:1905.04899
    erased rectangles: Zhong et al. 2017, arXiv:1708.04896
    TrivialAugment: Müller and Hutter 2021, arXiv:2103.10158
    one-cycle: Smith 2018, arXiv:1803.09820
"""

from sightline.recipes import finetune
from sightline.recipes.facts import AIRBENCH_PX, Default, Defaults, Facts, batch_for, epochs_for, in_proportion


def defaults(facts: Facts) -> Defaults:
    """Long runs, strong augmentation, an average of the weights, and two looks at each picture.

    Args:
        facts: of the run.
    """
    if facts.weights is not None:
        chosen = {**finetune.defaults(facts), "epochs": epochs_for(facts, pictures=20_000, least=10, most=60)}
        chosen |= _strong(facts)
    elif facts.is_small:
        chosen = _small_pictures_on_gpu(facts) if facts.device == "cuda" else _small_pictures(facts)
    else:
        chosen = _photographs(facts)
    if facts.hflip_ok:
        chosen["tta"] = Default("flip", "the mean of a picture and its mirror image errs less, for twice the time")
    return chosen


def _small_pictures(facts: Facts) -> Defaults:
    """The network of `fast` in its full width, four times as long."""
    model = facts.model or ("airbench94" if facts.input_px >= AIRBENCH_PX else "resnet20")
    is_airbench = model.startswith("airbench")
    batch = batch_for(facts, largest=512 if is_airbench else 128)
    chosen: Defaults = {
        "model": Default(
            model, f"{facts.pictures} on a CPU: an hour is 35 epochs of CIFAR-10, of resnet18 it would be 8"
        ),
        "epochs": epochs_for(facts, pictures=1_600_000, least=20, most=150),
        "batch_size": batch,
        "opt": Default("sgd", "Nesterov momentum, which in long runs ends above Adam"),
        "sched": Default("onecycle", "a large rate early, and an end at rest (Smith 2018, arXiv:1803.09820)"),
        "crop_padding": Default(4, "shifts by up to 4 px (He et al. 2015, Sec. 4.2; airbench96)"),
        "reprob": Default(0.5, "a missing part in every other picture: the long run would learn them by heart"),
        "smoothing": Default(0.2 if is_airbench else 0.1, "against overconfidence (Szegedy et al. 2015, Sec. 7)"),
        **_averaged(0.99, "about the last hundred steps"),
    }
    if is_airbench:
        chosen["lr"] = in_proportion(facts, 0.5, of=512, batch=batch)
    if facts.hflip_ok:
        chosen["alternating_flip"] = Default(
            True, "every picture is seen as often mirrored as not, in turn (arXiv:2404.00498, Sec. 3.6)"
        )
    return chosen


def _small_pictures_on_gpu(facts: Facts) -> Defaults:
    return {
        "model": Default(
            "resnet18", f"{facts.pictures} on a GPU: with a small stem, the usual network for 95 % and more"
        ),
        "epochs": epochs_for(facts, pictures=4_000_000, least=30, most=200),
        "batch_size": batch_for(facts, largest=512),
        "opt": Default("sgd", "Nesterov momentum, which in long runs ends above Adam"),
        "sched": Default("onecycle", "a large rate early, and an end at rest (Smith 2018, arXiv:1803.09820)"),
        "crop_padding": Default(4, "shifts by up to 4 px (He et al. 2015, Sec. 4.2)"),
        "cutmix": Default(1.0, "pieced from two pictures, as CIFAR's (arXiv:1905.04899, Sec. 4.1)"),
        "mixup_prob": Default(0.5, "of the batches, as CIFAR's (arXiv:1905.04899, Sec. 4.1)"),
        **_averaged(0.998, "about the last 500 steps"),
    }


def _photographs(facts: Facts) -> Defaults:
    on_gpu = facts.device == "cuda"
    return {
        "model": Default(
            "resnet50" if on_gpu else "resnet18",
            f"{facts.pictures}: a residual network of the size that the machine trains",
        ),
        "epochs": epochs_for(facts, pictures=300_000 if on_gpu else 60_000, least=30, most=200),
        "batch_size": batch_for(facts, largest=128 if on_gpu else 32),
        "sched": Default("onecycle", "a large rate early, and an end at rest (Smith 2018, arXiv:1803.09820)"),
        "cutmix": Default(1.0, "pieced from two pictures (arXiv:1905.04899)"),
        **_strong(facts),
        **_averaged(0.998, "about the last 500 steps"),
    }


def _strong(facts: Facts) -> Defaults:
    """Augmentation against learning by heart; what turns pictures only where they may be mirrored."""
    chosen: Defaults = {"mixup": Default(0.2, "blends of two pictures keep a network from learning them by heart")}
    if facts.hflip_ok:
        chosen["aa"] = Default("trivial", "one random change a picture, with nothing to tune (arXiv:2103.10158)")
    return chosen


def _averaged(decay: float, told: str) -> Defaults:
    return {
        "model_ema": Default(True, "the average of the last weights is better than the last ones"),
        "model_ema_decay": Default(decay, told),
    }
