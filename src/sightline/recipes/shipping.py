"""What a run leaves behind: the network to ship, calibrated, with where it is from."""

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

import sightline
from sightline import metrics
from sightline.bundle import save_bundle
from sightline.data.catalog import Catalog
from sightline.data.loader import EvalLoader
from sightline.data.store import Store
from sightline.metrics import Thresholds
from sightline.models import zoo
from sightline.models.base import Classifier
from sightline.predict.precision import full_float32
from sightline.recipes.fitting import at_once
from sightline.recipes.folder import RunFile
from sightline.recipes.plan import Plan
from sightline.runtime import Runtime, environment
from sightline.training.full_state import full_state_dict
from sightline.training.state import TrainState


def shipped_net(model: str, net: Classifier, state: TrainState) -> Classifier:
    """A network of one process, on the CPU, with the weights to keep.

    Args:
        model: its name in the zoo.
        net: the trained one, whose weights may lie in parts in several processes, which then all must call this.
        state: at the end of the training.
    """
    shipped = zoo.build(model, **net.model_args)
    shipped.load_state_dict(full_state_dict(state.final_net))
    return shipped.eval()


def save(
    folder: Path,
    run: RunFile,
    net: Classifier,
    state: TrainState,
    catalog: Catalog,
    val_store: Store | None,
    runtime: Runtime,
    data_digest: str,
) -> None:
    """Calibrates on the validation pictures, chooses the thresholds of several labels there, and writes the bundle.

    Args:
        folder: of the bundle.
        run: that made it.
        net: to ship, on the CPU.
        state: at the end of the training.
        catalog: the data.
        val_store: the validation pictures; None where there are none.
        runtime: the machine.
        data_digest: of `data.lock.json`.

    Raises:
        BundleError: it cannot be written.
    """
    temperature, thresholds = _calibrated(net, catalog, val_store, run.plan, runtime)
    provenance = {
        "created": run.created,
        "command": run.command,
        "seed": run.plan.options.seed,
        "versions": {"sightline": sightline.__version__, **environment()},
        "runtime": {**runtime.to_dict(), "reasons": list(runtime.reasons)},
        "options": dataclasses.asdict(run.plan.options),
        "augment": dataclasses.asdict(run.plan.augment),
        "recipe": run.plan.recipe,
        "mix": None if run.plan.mix is None else dataclasses.asdict(run.plan.mix),
        "sampler": run.plan.sampler,
        **({} if run.pretrained is None else {"pretrained": run.pretrained}),
        **({} if run.baselines is None else {"baselines": run.baselines}),
        "choices": [dataclasses.asdict(choice) for choice in run.plan.choices],
        "data": {
            "name": catalog.name,
            "source": run.data,
            "val_fraction": run.settings.val_fraction,
            "test_fraction": run.settings.test_fraction,
            "folds": run.settings.folds,
            "fold": run.settings.fold,
            "group_by": run.settings.group_by,
            "class_map": run.settings.class_map,
            "seed": run.plan.options.seed,
            "counts": catalog.counts(),
            **({"pictures": catalog.sizes()} if catalog.is_multilabel else {}),
            "digest": data_digest,
        },
        "training": {
            "epochs": state.epoch,
            "steps": state.step,
            "parameters": sum(p.numel() for p in net.parameters()),
        },
    }
    save_bundle(
        folder,
        net=net,
        model_name=run.plan.model,
        classes=catalog.classes,
        preprocess=run.plan.preprocess,
        temperature=temperature,
        provenance=provenance,
        thresholds=thresholds,
    )


def _calibrated(
    net: Classifier, catalog: Catalog, val_store: Store | None, plan: Plan, runtime: Runtime
) -> tuple[float, Thresholds | None]:
    """The temperature, and of multi-label data the thresholds, of the validation pictures."""
    if val_store is None:
        usual = Thresholds.usual(catalog.classes, "there are no validation pictures to choose better ones on")
        return 1.0, usual if catalog.is_multilabel else None
    logits, labels = _logits(net, val_store, plan, runtime), val_store.labels.numpy()
    if not catalog.is_multilabel:
        return metrics.fit_temperature(logits, labels), None
    temperature = metrics.fit_binary_temperature(logits, labels)
    return temperature, metrics.choose_thresholds(metrics.sigmoid(logits, temperature), labels, catalog.classes)


def _logits(net: Classifier, store: Store, plan: Plan, runtime: Runtime) -> npt.NDArray[np.float32]:
    """What the network says of the validation pictures, in float32 as every later answer."""
    net.to(runtime.device)
    with torch.inference_mode(), full_float32(runtime.device):
        logits = [
            net(batch.images).float().cpu()
            for batch in EvalLoader(store, plan.preprocess, batch_size=at_once(plan), device=runtime.device)
        ]
    net.to("cpu")
    answers: npt.NDArray[np.float32] = torch.cat(logits).numpy()
    return answers
