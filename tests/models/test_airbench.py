"""The whitening layer is set from pictures, stays as it was set, and is still frozen after a round trip."""

import copy

import pytest
import torch
from torch import Tensor, nn

from sightline.errors import ShapeError
from sightline.models import zoo
from sightline.models.airbench import Airbench
from sightline.nn.init import patch_whitening_filters


def images_of(count: int) -> Tensor:
    return torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def build() -> Airbench:
    net = zoo.build("airbench_small", num_classes=4)
    assert isinstance(net, Airbench)
    return net


def test_the_first_layer_whitens_and_is_frozen_and_its_biases_are_not() -> None:
    net = build()
    net.initialise_from(images_of(20))
    assert torch.equal(net.whiten.weight, patch_whitening_filters(images_of(20), 2))
    assert net.whiten.bias is not None and not net.whiten.bias.any()
    frozen = [name for name, parameter in net.named_parameters() if not parameter.requires_grad]
    assert frozen == ["whiten.weight"]


def test_a_training_step_leaves_the_filters_as_they_are() -> None:
    net = build()
    net.initialise_from(images_of(20))
    before = copy.deepcopy(net.state_dict())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.1)
    nn.functional.cross_entropy(net(images_of(8)), torch.arange(8) % 4).backward()
    optimizer.step()
    same = [name for name, _ in net.named_parameters() if torch.equal(net.state_dict()[name], before[name])]
    assert same == ["whiten.weight"]


def test_loaded_weights_are_frozen_if_whitening_made_them_and_only_then() -> None:
    fresh, whitened = build().state_dict(), build()
    whitened.initialise_from(images_of(20))
    net = build()
    net.load_state_dict(whitened.state_dict())
    assert not net.whiten.weight.requires_grad
    net.load_state_dict(fresh)
    assert net.whiten.weight.requires_grad


def test_pictures_of_another_layout_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"^airbench_small needs images of shape \(N, 3, H, W\), got \(2, 1, 12, 12\)"):
        build().initialise_from(torch.zeros(2, 1, 12, 12))
    with pytest.raises(ShapeError, match=r"^airbench_small needs images of at least 9x9 px, got 8x12 px\."):
        build().initialise_from(torch.zeros(2, 3, 8, 12))
