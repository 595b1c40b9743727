"""What a run leaves behind: the network to ship, calibrated, with where it is from."""

import dataclasses
from pathlib import Path

import torch

import sightline
from sightline import metrics
from sightline.bundle import save_bundle
from sightline.data.catalog import Catalog
from sightline.data.loader import EvalLoader
from sightline.data.store import Store
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
    """Calibrates on the validation pictures and writes the bundle.

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
    temperature = 1.0 if val_store is None else _fit_temperature(net, val_store, run.plan, runtime)
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
    )


def _fit_temperature(net: Classifier, store: Store, plan: Plan, runtime: Runtime) -> float:
    """The temperature of the validation pictures, in float32 as every later answer."""
    net.to(runtime.device)
    with torch.inference_mode(), full_float32(runtime.device):
        logits = [
            net(batch.images).float().cpu()
            for batch in EvalLoader(store, plan.preprocess, batch_size=at_once(plan), device=runtime.device)
        ]
    net.to("cpu")
    return metrics.fit_temperature(torch.cat(logits).numpy(), store.labels.numpy())
