"""Head first, then everything: what learns, what is held, and that a resumed run has the same phases."""

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sightline.errors import ConfigError
from sightline.models import zoo
from sightline.models.airbench import Airbench
from sightline.models.base import Classifier, HasAuxiliaryHeads
from sightline.models.simple import SimpleCNN
from sightline.nn.drop import StochasticDepth
from sightline.training.options import TrainOptions
from sightline.training.phase import auxiliary_heads, enter_phase, head_of
from tests.conformance.stages import SIZES
from tests.training.runs import new_net, run
from tests.training.test_depth import FAMILIES

OPTIONS = TrainOptions(epochs=4, batch_size=4, lr=0.01, head_epochs=2, head_lr=0.05)


def built(name: str, *, seed: int = 0, **options: Any) -> Classifier:
    """The same weights each time."""
    if "image_size" in zoo.ZOO[name].options:
        options["image_size"] = SIZES.get(name, (32, 32))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return zoo.build(name, num_classes=3, in_channels=3, **options)


def pictures(count: int = 4, *, size: tuple[int, int] = (32, 32), seed: int = 0) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def adam(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1)


def train(net: nn.Module, optimizer: torch.optim.Optimizer, epochs: range, options: TrainOptions = OPTIONS) -> None:
    """Two steps an epoch; each step's pictures and dropout are those of its number."""
    for epoch in epochs:
        enter_phase(net, options, epoch)
        for step in (2 * epoch, 2 * epoch + 1):
            torch.manual_seed(step)
            loss = nn.functional.cross_entropy(net(pictures(seed=step)), torch.tensor([0, 1, 2, 0]))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def copied(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def changed(before: dict[str, Tensor], net: nn.Module) -> set[str]:
    """The names of what is not the same to the bit."""
    return {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}


def test_frozen_bn_moving() -> None:
    """The statistics of held batch norms stay as they are to the bit; afterwards they move."""
    net = built("resnet20")
    optimizer, before = adam(net), copied(net)
    train(net, optimizer, range(2))
    assert changed(before, net) == {"fc.weight", "fc.bias"}
    train(net, optimizer, range(2, 3))
    assert changed(before, net) == set(before)  # running statistics and their counters among them


def test_frozen_batch_norms_keep_their_statistics_and_learn_the_rest() -> None:
    net = built("resnet20")
    optimizer, before = adam(net), copied(net)
    train(net, optimizer, range(4), dataclasses.replace(OPTIONS, freeze_bn=True))
    statistics = {name for name in before if name.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert len(statistics) == 3 * 19
    assert changed(before, net) == set(before) - statistics  # scales and shifts of the norms as well


def test_averaging_leaves_frozen_batch_norms_alone(tmp_path: Path) -> None:
    before = copied(new_net())
    state = run(tmp_path, model_ema_decay=None, swa_epochs=1, freeze_bn=True)
    moved = changed(before, state.current_net)
    assert moved and not {name for name in moved if "running" in name}


def test_nothing_under_the_head_is_recorded_for_the_backward_pass() -> None:
    net = built("resnet20")
    enter_phase(net, OPTIONS, 0)
    seen: list[Tensor] = []
    net.avgpool.register_forward_hook(lambda module, args, output: seen.append(output))
    logits = net(pictures())
    assert seen[0].grad_fn is None and not seen[0].requires_grad
    assert logits.grad_fn is not None
    enter_phase(net, OPTIONS, 2)
    net(pictures())
    assert seen[1].grad_fn is not None


LARGE = ("alexnet", "alexnet_2012", "zfnet", "vgg11_bn")  # a hundred million weights, and nothing that others lack
FIXED = ("lenet5_1998",)  # its outputs are codes that nobody trains


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in LARGE + FIXED])
def test_the_head_sees_what_it_will_see_after_the_training(name: str) -> None:
    """Without the head's own dropout, the network that trains its head answers as in evaluation, to the bit."""
    net = built(name)
    enter_phase(net, OPTIONS, 0)
    head = {id(parameter) for parameter in net.classifier_head.parameters()}
    assert {id(parameter) for parameter in net.parameters() if parameter.requires_grad} == head
    for module in net.modules():
        if isinstance(module, nn.Dropout) and module.training:
            module.p = 0.0
        assert not (isinstance(module, StochasticDepth) and module.training)
    images = pictures(size=SIZES.get(name, (32, 32)))
    answers = net(images)
    assert answers.requires_grad
    with torch.no_grad():
        assert torch.equal(answers, net.eval()(images))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("vgg11", 1),  # of two, the one after fc7
        ("alexnet", 0),  # both are before hidden layers
        ("zfnet", 0),  # one module serves both hidden layers, and cannot be on for one of them alone
        ("efficientnet_lite0", 1),
        ("convnext_tiny", 1),
        ("squeezenet1_0", 1),
        ("wrn16_8", 0),  # in the units
    ],
)
def test_the_dropout_right_before_the_head_is_the_heads(name: str, count: int) -> None:
    with torch.device("meta"):
        net = built(name, dropout=0.5)
    enter_phase(net, OPTIONS, 0)
    assert sum(isinstance(module, nn.Dropout) and module.training for module in net.modules()) == count
    enter_phase(net, OPTIONS, 2)
    assert all(module.training for module in net.modules())


def test_the_network_itself_is_in_training_mode() -> None:
    """With flips at test time, a network in evaluation mode would answer for the mirror image as well."""
    net = built("resnet20", tta="flip")
    enter_phase(net, OPTIONS, 0)
    seen: list[int] = []
    net.fc.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    net(pictures())
    assert net.training and net.fc.training and not net.layer1.training
    assert seen == [4]


def test_auxiliary_heads_learn_with_the_head() -> None:
    net = built("googlenet", aux_heads=True)
    assert isinstance(net, HasAuxiliaryHeads)
    enter_phase(net, OPTIONS, 0)
    learning = {name.partition(".")[0] for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert learning == {"fc", "aux1", "aux2"}
    assert all(module.training for part in auxiliary_heads(net) for module in part.modules())
    logits, others = net.forward_with_auxiliary(pictures())
    (logits.sum() + sum(each.sum() for each in others)).backward()
    assert all((parameter.grad is not None) == parameter.requires_grad for parameter in net.parameters())


def test_what_was_frozen_when_the_network_was_built_stays_frozen() -> None:
    net = built("airbench_small")
    assert isinstance(net, Airbench)
    net.initialise_from(pictures(16))
    net.group1[2].bias.requires_grad_(False)
    for epoch in (0, 1, 2, 3):
        enter_phase(net, OPTIONS, epoch)
    frozen = {name for name, parameter in net.named_parameters() if not parameter.requires_grad}
    assert frozen == {"whiten.weight", "group1.2.bias"}


def test_weights_that_are_loaded_in_the_first_phase_do_not_end_it() -> None:
    """Airbench decides by its weights, whenever some are loaded, whether its first layer is to be trained."""
    net = built("airbench_small")
    enter_phase(net, OPTIONS, 0)
    net.load_state_dict(copied(net))
    assert net.whiten.weight.requires_grad
    enter_phase(net, OPTIONS, 1)
    assert not net.whiten.weight.requires_grad
    enter_phase(net, OPTIONS, 2)
    assert net.whiten.weight.requires_grad


def whitened() -> Classifier:
    net = built("airbench_small")
    assert isinstance(net, Airbench)
    net.initialise_from(pictures(16))
    return net


@pytest.mark.parametrize("stop", [1, 2, 3])
@pytest.mark.parametrize(
    "new_one", [whitened, lambda: built("resnet20"), lambda: built("simple_cnn"), lambda: built("efficientnet_lite0")]
)
def test_a_resumed_run_has_the_same_phases_and_weights(new_one: Callable[[], Classifier], stop: int) -> None:
    whole = new_one()
    train(whole, adam(whole), range(4))

    begun = new_one()
    optimizer = adam(begun)
    train(begun, optimizer, range(stop))
    weights, state = copied(begun), copy.deepcopy(optimizer.state_dict())
    resumed = new_one()  # in another process: nothing is known of the first but what a checkpoint holds
    optimizer = adam(resumed)
    resumed.load_state_dict(weights)
    optimizer.load_state_dict(state)
    train(resumed, optimizer, range(stop, 4))
    assert changed(copied(whole), resumed) == set()


def test_a_whole_training_has_both_phases(tmp_path: Path) -> None:
    before = copied(new_net())
    head = run(tmp_path / "head", epochs=2, head_epochs=2, head_lr=0.05, warmup_epochs=0.0, model_ema_decay=None)
    assert changed(before, head.net) == {"fc.weight", "fc.bias"}
    both = run(tmp_path / "both", epochs=3, head_epochs=2, head_lr=0.05, warmup_epochs=0.0, model_ema_decay=None)
    assert changed(before, both.net) == set(before)


def test_without_head_epochs_everything_learns_from_the_start() -> None:
    net = built("simple_cnn").eval()
    enter_phase(net, TrainOptions(epochs=1, batch_size=1, lr=0.1), 0)
    assert all(module.training for module in net.modules())
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_a_run_may_end_with_its_head() -> None:
    options = TrainOptions(epochs=2, batch_size=4, lr=0.01, head_epochs=2, head_lr=0.05)
    net = built("simple_cnn")
    before = copied(net)
    train(net, adam(net), range(2), options)
    assert changed(before, net) == {"fc.weight", "fc.bias"}


def test_the_checkpointed_layers_of_densenet_can_be_held() -> None:
    net = built("densenet40_k12", memory_efficient=True)
    before = copied(net)
    train(net, adam(net), range(1))
    assert changed(before, net) == {"classifier.weight", "classifier.bias"}


def test_any_module_with_a_linear_layer_works() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    before = copied(net)
    train(net, adam(net), range(2))
    assert changed(before, net) == {"4.weight", "4.bias"}


def test_the_attribute_wins_over_the_last_linear_layer() -> None:
    net = SimpleCNN(num_classes=3)
    net.unused = nn.Linear(2, 2)
    assert head_of(net) is net.fc
    assert head_of(nn.Sequential(nn.Conv2d(3, 4, 3))) is None


@pytest.mark.parametrize(
    ("new_one", "message"),
    [
        (
            lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            r"^Sequential has no head to train alone: neither an attribute classifier_head nor an nn\.Linear\. Leave "
            r"out --head-epochs, or give it the attribute\.$",
        ),
        (
            lambda: built("lenet5_1998"),
            r"^the head of LeNet1998, a RadialBasis, has nothing to learn, so it cannot be trained alone\. Leave out "
            r"--head-epochs\.$",
        ),
    ],
)
def test_a_network_without_a_head_that_learns_is_refused(new_one: Callable[[], nn.Module], message: str) -> None:
    net = new_one()
    with pytest.raises(ConfigError, match=message):
        enter_phase(net, OPTIONS, 0)
    assert all(parameter.requires_grad for parameter in net.parameters())
    enter_phase(net, OPTIONS, 2)  # everything may learn
