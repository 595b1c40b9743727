"""Every number outside its range is named."""

from typing import Any

import pytest

from sightline.errors import ConfigError
from sightline.training.options import TrainOptions


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs is 0; it must be 1 or more."),
        ({"batch_size": -1}, "batch_size is -1; it must be 1 or more."),
        ({"lr": 0.0}, "lr is 0.0; it must be more than 0 and finite."),
        ({"lr": float("nan")}, "lr is nan; it must be more than 0 and finite."),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; it must be 0 or more and finite."),
        ({"smoothing": 1.0}, "smoothing is 1.0; it must be at least 0 and below 1."),
        ({"model_ema_decay": 1.5}, "model_ema_decay is 1.5; it must be at least 0 and below 1."),
        ({"min_lr": 1.0}, "min_lr is 1.0; it must be at most lr, which is 0.1."),
        ({"warmup_epochs": 9}, "warmup_epochs is 9; it must be at most epochs, 2."),
        ({"opt": "lion"}, "opt is 'lion'; it must be one of sgd, momentum, adam, adamw."),
        ({"sched": "poly"}, "sched is 'poly'; it must be one of cosine, onecycle, constant."),
        ({"clip_grad": 0.0}, "clip_grad is 0.0; it must be more than 0 and finite."),
    ],
)
def test_the_message_says_what_is_wrong_and_what_is_needed(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainOptions(**{"epochs": 2, "batch_size": 8, "lr": 0.1, **change})
    assert str(caught.value) == message
