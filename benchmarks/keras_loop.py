"""The same network and augmentations in Keras, for `training.py`; runs in an environment of its own.

    python -m venv .venv-peers && .venv-peers/bin/pip install tensorflow-cpu
    .venv-peers/bin/python benchmarks/keras_loop.py arrays.npz --steps 200

The arrays file holds `images` (uint8, N x 32 x 32 x C) and `labels`; `training.py` writes it. Prints one JSON object.
"""

import argparse
import json
import os
import resource
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

BATCH_SIZE = 128


def network(shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """simple_cnn: three times [conv 3x3, batch norm, ReLU, max pool], global average pool, dropout 0.5, dense."""
    x = inputs = keras.Input(shape)
    for channels in (32, 64, 128):
        x = keras.layers.Conv2D(channels, 3, padding="same")(x)
        x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
        x = keras.layers.MaxPooling2D()(keras.layers.ReLU()(x))
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, keras.layers.Dense(num_classes, dtype="float32")(x))  # logits keep their digits


def pipeline(images: np.ndarray, labels: np.ndarray) -> tf.data.Dataset:
    """Shuffle, normalise, flip and shifted crop of each picture on all cores, batch, prefetch: tf.data's usual way."""
    size, channels = images.shape[1], images.shape[3]
    mean, std = images.mean((0, 1, 2)) / 255, images.std((0, 1, 2)) / 255

    def augment(pixels: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = (tf.cast(pixels, tf.float32) / 255 - mean) / std
        x = tf.image.random_flip_left_right(x)
        x = tf.pad(x, [[4, 4], [4, 4], [0, 0]])
        return tf.image.random_crop(x, (size, size, channels)), label

    data = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images)).repeat()
    return data.map(augment, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH_SIZE).prefetch(tf.data.AUTOTUNE)


class Rate(keras.callbacks.Callback):
    """Times the steps after the first ten."""

    def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
        if batch == 10:
            self.began = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arrays")
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args()
    arrays = np.load(args.arrays)
    net = network(arrays["images"].shape[1:], int(arrays["labels"].max()) + 1)
    net.compile(
        optimizer=keras.optimizers.AdamW(1e-3, weight_decay=1e-4),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    rate = Rate()
    net.fit(
        pipeline(arrays["images"], arrays["labels"]), steps_per_epoch=args.steps, epochs=1, verbose=0, callbacks=[rate]
    )
    seconds = time.perf_counter() - rate.began
    print(
        json.dumps(
            {
                "images_per_s": (args.steps - 10) * BATCH_SIZE / seconds,
                "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "versions": f"keras {keras.__version__}, tensorflow {tf.__version__}",
            }
        )
    )


if __name__ == "__main__":
    main()
