"""The same task in PyTorch Lightning, for `peers.py`: its Trainer around a module, as its guide begins."""

import logging
import warnings

import torch
from peer_network import network
from peer_task import Curve, Task, arguments
from peer_torch import loaders, torchvision  # before Lightning, which imports torchvision as well
from torch import Tensor, nn

# isort: split
import lightning


class Classifier(lightning.LightningModule):
    """A network, its loss, its optimiser and its schedule."""

    def __init__(self, net: nn.Module, task: Task, num_steps: int) -> None:
        super().__init__()
        self.net, self.task, self.num_steps = net, task, num_steps

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = batch
        return nn.functional.cross_entropy(self.net(images), labels)

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        images, labels = batch
        self.log("accuracy", (self.net(images).argmax(dim=1) == labels).float().mean(), batch_size=len(labels))

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.task.lr, weight_decay=self.task.weight_decay)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=self.num_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Watch(lightning.Callback):
    """Notes the curve."""

    def __init__(self, num_pictures: int) -> None:
        self.num_pictures = num_pictures

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.curve = Curve()

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.curve.trained(self.num_pictures)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.curve.tested(trainer.callback_metrics["accuracy"].item())


def main() -> None:
    args = arguments(__doc__)
    logging.getLogger("lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    task = Task.read(args.folder)
    lightning.seed_everything(task.seed, verbose=False)
    train, test = loaders(args.folder, task)
    watch = Watch(len(train.dataset))
    trainer = lightning.Trainer(
        max_epochs=task.epochs,
        precision="bf16-mixed" if args.precision == "bfloat16" else "32-true",
        accelerator="cpu",
        callbacks=[watch],
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Classifier(network(args.folder, task), task, task.epochs * len(train)), train, test)
    versions = f"lightning {lightning.__version__}, torch {torch.__version__}, torchvision {torchvision.__version__}"
    watch.curve.print(versions=versions)


if __name__ == "__main__":
    main()
