"""Pruned and clustered models made quantization-aware, up to the integers in the file."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from compression_models import images_and_labels, kernel, plain_network, transform_of

import keras_dlcourse as kd
from keras_dlcourse.layers import FakeQuantizeWeight


def _codes_in_file(path) -> dict[tuple[int, ...], np.ndarray]:
    """The int8 tensors of more than one axis, by the sorted sizes of their axes."""
    from ai_edge_litert.interpreter import Interpreter

    device = Interpreter(str(path))
    device.allocate_tensors()
    constants = {}
    for tensor in device.get_tensor_details():
        if tensor["dtype"] == np.int8 and len(tensor["quantization_parameters"]["scales"]) > 1:
            values = device.get_tensor(tensor["index"])
            constants[tuple(sorted(values.shape))] = values
    return constants


@pytest.mark.parametrize(("pruned", "clustered"), [(True, False), (False, True), (True, True)])
def test_zeros_and_clusters_reach_the_file_through_training_and_export(
    pruned, clustered, tmp_path
) -> None:
    """PQAT, CQAT and PCQAT."""
    keras.utils.set_random_seed(0)
    model = plain_network()
    if pruned:
        model = kd.compress.prune(model, 0.5)
    if clustered:
        model = kd.compress.cluster(model, 8)
    model = kd.quantize.quantization_aware(model)
    assert isinstance(transform_of(model, "conv", -1), FakeQuantizeWeight)
    assert len(model.get_layer("conv").weight_transforms["kernel"]) == 1 + pruned + clustered
    before = kernel(model, "conv").copy()
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(*images_and_labels(32), batch_size=8, epochs=3, verbose=0)
    assert (kernel(model, "conv") != before).any()
    kd.export.to_tflite(model, tmp_path / "model.tflite")
    codes = _codes_in_file(tmp_path / "model.tflite")
    for shape in ((3, 3, 4, 8), (2, 2, 8, 8)):
        if pruned:
            assert (codes[shape] == 0).mean() >= 0.5
        if clustered:
            # A channel whose batch normalization has a negative scale has its codes mirrored.
            assert np.unique(np.abs(codes[shape])).size <= 8
        else:
            assert np.unique(np.abs(codes[shape])).size > 8


def test_stripped_between_the_layers_keep_rounding() -> None:
    images, _ = images_and_labels(8)
    model = kd.compress.cluster(kd.compress.prune(plain_network(), 0.5), 8)
    model = kd.quantize.quantization_aware(model)
    plain = kd.compress.strip(model)
    kinds = [type(t) for t in plain.get_layer("conv").weight_transforms["kernel"]]
    assert kinds == [FakeQuantizeWeight]
    np.testing.assert_allclose(
        plain.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-5
    )
