"""The small networks against hand counts of the papers' numbers."""

import torch

from sightline.models import zoo
from sightline.models.airbench import LOGIT_SCALE, Airbench

from .costs import multiplications, parameters


def test_lenet5_is_the_network_that_the_field_teaches() -> None:
    net = zoo.build("lenet5", num_classes=10, in_channels=1).eval()
    layers = {name: parameters(layer) for name, layer in net.named_children()}
    c1, c3, c5, f6, output = 6 * (25 + 1), 16 * (6 * 25 + 1), 120 * (400 + 1), 84 * (120 + 1), 10 * (84 + 1)
    assert layers == {"conv1": c1, "conv2": c3, "pool": 0, "relu": 0, "fc1": c5, "fc2": f6, "fc3": output}
    assert parameters(net) == c1 + c3 + c5 + f6 + output == 61_706
    # C1 and C3 at every place of their maps of 28x28 and 10x10; the connections of Sec. II.B, without biases.
    assert multiplications(net, (1, 32, 32)) == 28 * 28 * 6 * 25 + 10 * 10 * 16 * 150 + 400 * 120 + 120 * 84 + 840
    assert multiplications(net, (1, 32, 32)) == 416_520
    assert (
        parameters(zoo.build("lenet5", num_classes=10, in_channels=3)) == 62_006
    )  # three channels: twelve more 5x5 kernels


def test_lenet5_pads_the_digits_of_mnist_to_the_papers_size() -> None:
    padded = zoo.build("lenet5", num_classes=10, in_channels=1, image_size=(28, 28)).eval()
    plain = zoo.build("lenet5", num_classes=10, in_channels=1).eval()
    plain.load_state_dict(padded.state_dict())
    digits = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(padded(digits), plain(torch.nn.functional.pad(digits, (2, 2, 2, 2))))
    assert multiplications(padded, (1, 28, 28)) == 416_520


def test_simple_cnn_is_the_network_of_the_tutorials() -> None:
    convolutions = 32 * (3 * 9 + 1) + 64 * (32 * 9 + 1) + 128 * (64 * 9 + 1)
    norms, dense = 2 * (32 + 64 + 128), 10 * (128 + 1)
    assert parameters(zoo.build("simple_cnn", num_classes=10)) == convolutions + norms + dense == 94_986
    assert parameters(zoo.build("simple_cnn", num_classes=10, in_channels=1)) == 94_410  # published for MNIST


def test_airbench94_has_the_parameters_of_listing_1() -> None:
    whiten = 24 * (3 * 2 * 2) + 24  # 2x2 patches of three channels and their negatives, with biases
    groups = [(24, 64), (64, 256), (256, 256)]
    convolutions = sum(9 * before * after + 9 * after * after for before, after in groups)  # without biases
    norms = sum(2 * 2 * after for _, after in groups)
    dense = 256 * 10
    net = zoo.build("airbench94", num_classes=10).eval()
    assert parameters(net) == whiten + convolutions + norms + dense == 1_972_792
    assert round(parameters(net) / 1e6, 2) == 1.97  # the paper: 1.97 million
    # Listing 1's sizes: 31x31 after the whitening, which the first convolution keeps; then 15, 7 and 3.
    macs = 31**2 * 24 * 12 + 9 * (31**2 * 24 * 64 + 15**2 * 64**2 + 15**2 * 64 * 256 + 7**2 * 256**2)
    macs += 9 * (7**2 * 256**2 + 3**2 * 256**2) + dense
    assert multiplications(net, (3, 32, 32)) == macs


def test_airbench_scales_the_logits_by_a_ninth() -> None:
    net = zoo.build("airbench94", num_classes=10).eval()
    assert isinstance(net, Airbench)
    features = torch.randn(4, 256, 3, 3, generator=torch.Generator().manual_seed(0))
    by_hand = torch.einsum("nc,kc->nk", features.flatten(2).max(dim=2).values, net.fc.weight) / 9
    torch.testing.assert_close(net.head(features), by_hand)
    assert LOGIT_SCALE == 1 / 9
