"""The loop that every guide teaches, for `peers.py`: torchvision's transforms, a DataLoader, float32, NCHW, eager."""

import torch
from peer_network import network
from peer_task import Curve, Task, arguments
from peer_torch import loaders, torchvision
from torch import nn


def main() -> None:
    args = arguments(__doc__)
    task = Task.read(args.folder)
    torch.manual_seed(task.seed)
    net = network(args.folder, task)
    train, test = loaders(args.folder, task)
    loss_of = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(net.parameters(), lr=task.lr, weight_decay=task.weight_decay)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=task.epochs * len(train))
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bfloat16")
    curve = Curve()
    for _ in range(task.epochs):
        net.train()
        for images, labels in train:
            optimizer.zero_grad()
            with autocast:
                loss = loss_of(net(images), labels)
            loss.backward()
            optimizer.step()
            scheduler.step()
            loss.item()  # the guides print a running loss
        curve.trained(len(train.dataset))
        net.eval()
        with torch.no_grad(), autocast:
            correct = sum(int((net(images).argmax(dim=1) == labels).sum()) for images, labels in test)
        curve.tested(correct / len(test.dataset))
    curve.print(versions=f"torch {torch.__version__}, torchvision {torchvision.__version__}")


if __name__ == "__main__":
    main()
