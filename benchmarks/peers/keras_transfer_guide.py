"""The steps of Keras's guide "Transfer learning & fine-tuning" on a folder of images.

Run in a process of its own: `python keras_transfer_guide.py FOLDER SIZE SEED`. Prints a line of
JSON with the accuracy on FOLDER/test.

Source: https://keras.io/guides/transfer_learning/ (Chollet). The layers, their order, the
augmentation, the optimizers and their rates are those of the guide. Its 2 epochs of the head and 1
of the whole network are for 9,305 images; for smaller data sets, it is 10 and 10, in batches of 32,
as in TensorFlow's tutorial: https://www.tensorflow.org/tutorials/images/transfer_learning
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).parents[1]))

import keras
from data import resnet50
from keras import layers

HEAD_EPOCHS, FINE_EPOCHS, BATCH = 10, 10, 32


def main(folder: str, size: int, seed: int) -> None:
    keras.utils.set_random_seed(seed)
    options = {"image_size": (size, size), "batch_size": BATCH, "label_mode": "int"}
    train = keras.utils.image_dataset_from_directory(f"{folder}/train", seed=seed, **options)
    test = keras.utils.image_dataset_from_directory(f"{folder}/test", shuffle=False, **options)
    changed = keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.1)])
    classes = len(train.class_names)
    train = train.cache().map(lambda x, y: (changed(x, training=True), y)).prefetch(2)

    base = resnet50()
    base.trainable = False
    inputs = keras.Input((size, size, 3))
    x = keras.applications.resnet50.preprocess_input(inputs)
    x = base(x, training=False)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2)(x)
    model = keras.Model(inputs, layers.Dense(classes)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    model.compile(keras.optimizers.Adam(), loss, metrics=["accuracy"])
    model.fit(train, epochs=HEAD_EPOCHS, verbose=0)
    base.trainable = True
    model.compile(keras.optimizers.Adam(1e-5), loss, metrics=["accuracy"])
    model.fit(train, epochs=FINE_EPOCHS, verbose=0)
    print(json.dumps({"accuracy": model.evaluate(test, verbose=0)[1]}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
