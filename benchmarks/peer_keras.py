"""The same task in Keras, for `peers.py`, on the backend of KERAS_BACKEND; pictures by tf.data, its usual way."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import importlib

import keras
import keras_loop
import numpy as np
import tensorflow as tf
from peer_task import Curve, Task, arguments, pictures, require_same_network, weights


def resnet20(shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """The thin residual network of 16, 32 and 64 channels, three units each, with shortcuts padded by zeros."""
    x = inputs = keras.Input(shape)
    x = keras.layers.ReLU()(_conv_norm(x, 16, 1))
    for channels in (16, 32, 64):
        for unit in range(3):
            stride = 2 if channels > 16 and unit == 0 else 1
            branch = _conv_norm(keras.layers.ReLU()(_conv_norm(x, channels, stride)), channels, 1)
            if stride > 1:
                missing = channels - x.shape[-1]
                padding = (missing // 2, missing - missing // 2)
                x = keras.ops.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), padding))
            x = keras.layers.ReLU()(keras.layers.Add()([branch, x]))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(num_classes, dtype="float32")(x))


def _conv_norm(x: keras.KerasTensor, channels: int, stride: int) -> keras.KerasTensor:
    padded = keras.layers.ZeroPadding2D(1)(x)  # "same" pads a strided convolution on one side alone
    x = keras.layers.Conv2D(channels, 3, strides=stride, use_bias=False)(padded)
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)


NETWORKS = {"simple_cnn": keras_loop.network, "resnet20": resnet20}


def set_weights(net: keras.Model, given: dict[str, np.ndarray]) -> None:
    """Weights by torch's names, layer after layer in the order in which they run."""
    by_layer: dict[str, dict[str, np.ndarray]] = {}
    for name, value in given.items():
        layer, _, part = name.rpartition(".")
        by_layer.setdefault(layer, {})[part] = value
    layers = [layer for layer in net.layers if layer.weights]
    for layer, parts in zip(layers, by_layer.values(), strict=True):
        if isinstance(layer, keras.layers.Conv2D):
            parts["weight"] = parts["weight"].transpose(
                2, 3, 1, 0
            )  # (out, in, height, width) -> (height, width, in, out)
        elif isinstance(layer, keras.layers.Dense):
            parts["weight"] = parts["weight"].T
        layer.set_weights([value for part, value in parts.items() if part != "num_batches_tracked"])


def data(folder: object, split: str, task: Task) -> tuple[tf.data.Dataset, int]:
    """One set, batched, and how many pictures it has; that for training is shuffled, cropped and flipped."""
    images, labels = pictures(folder, split)
    size, channels, padding = images.shape[1], images.shape[3], task.crop_padding

    def augment(pixels: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        padded = tf.pad(pixels, [[padding, padding], [padding, padding], [0, 0]])
        return tf.image.random_flip_left_right(tf.image.random_crop(padded, (size, size, channels))), label

    def normalise(pixels: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return (tf.cast(pixels, tf.float32) / 255 - task.mean) / task.std, label

    found = tf.data.Dataset.from_tensor_slices((images, labels))
    if split == "train":
        found = found.shuffle(len(labels), seed=task.seed).map(augment, num_parallel_calls=tf.data.AUTOTUNE)
    found = found.map(normalise, num_parallel_calls=tf.data.AUTOTUNE)
    return found.batch(task.batch_size if split == "train" else 500).prefetch(tf.data.AUTOTUNE), len(labels)


class Watch(keras.callbacks.Callback):
    """Notes the curve."""

    def __init__(self, num_pictures: int) -> None:
        super().__init__()
        self.num_pictures = num_pictures

    def on_train_begin(self, logs: object = None) -> None:
        self.curve = Curve()

    def on_test_begin(self, logs: object = None) -> None:
        self.curve.trained(self.num_pictures)

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        self.curve.tested(logs["accuracy"])


def main() -> None:
    args = arguments(__doc__)
    task = Task.read(args.folder)
    keras.utils.set_random_seed(task.seed)
    if args.precision == "bfloat16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    given = weights(args.folder)
    probe, expected = given.pop("probe").transpose(0, 2, 3, 1), given.pop("logits")
    net = NETWORKS[task.network](probe.shape[1:], expected.shape[1])
    set_weights(net, given)
    parameters = sum(int(np.prod(weight.shape)) for weight in net.trainable_weights)
    logits = keras.ops.convert_to_numpy(net(probe, training=False))
    require_same_network(logits, expected, parameters=parameters, task=task, precision=args.precision or "float32")

    train, num_train = data(args.folder, "train", task)
    test, _ = data(args.folder, "test", task)
    rate = keras.optimizers.schedules.CosineDecay(task.lr, task.epochs * len(train))
    net.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=task.weight_decay, epsilon=1e-8),  # torch's epsilon
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    watch = Watch(num_train)
    net.fit(train, epochs=task.epochs, validation_data=test, verbose=0, callbacks=[watch])
    backend = importlib.import_module(keras.backend.backend())
    watch.curve.print(versions=f"keras {keras.__version__}, {backend.__name__} {backend.__version__}")


if __name__ == "__main__":
    main()
