"""Blocks beside what the papers count, and regions beside a search for what all goes through."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_dlcourse as kd
from keras_dlcourse.graph.blocks import (
    _regions,
    find_block_starts,
    find_weighted_places,
    layers_from,
)
from keras_dlcourse.graph.running import Network

L = keras.layers
K = keras.applications


@pytest.mark.parametrize(
    ("make", "blocks", "last"),
    [
        (lambda: K.MobileNetV2((32, 32, 3), 0.35, False, None), 16, "block_16_expand"),
        (lambda: K.MobileNetV3Small((32, 32, 3), include_top=False, weights=None), 11, "expand"),
        (lambda: K.InceptionV3(False, None, None, (96, 96, 3)), 11, "conv2d"),
        (lambda: K.VGG16(False, None, None, (32, 32, 3)), 5, "block5_conv1"),
        (lambda: kd.models.ResNet18((32, 32, 3), alpha=0.1, include_top=False), 8, "stage4_block2"),
        (lambda: kd.models.MobileNetV2((32, 32, 3), alpha=0.1, include_top=False), 17, "block_16"),
        (lambda: kd.models.AlexNet((96, 96, 3), alpha=0.1, include_top=False), 0, ""),
    ],
    ids=["mobilenet_v2", "mobilenet_v3", "inception", "vgg", "resnet", "ours", "none"],
)
def test_known_networks(make, blocks, last):
    found = find_block_starts(Network(make()))
    assert len(found) == blocks
    assert not found or last in found[-1].name


def test_a_block_in_a_nested_model():
    inside = keras.Input((4,))
    x = L.Dense(4, name="a")(inside)
    x = L.Add()([x, L.Dense(4, name="b")(x)])
    nested = keras.Model(inside, x, name="inner")
    outer = keras.Input((4,))
    network = Network(keras.Model(outer, L.Dense(2, name="end")(nested(outer))))
    (start,) = find_block_starts(network)
    assert start.name == "inner/b"
    assert [layer.name for layer in layers_from(network, start)] == ["b", "end"]
    assert [place.name for place in find_weighted_places(network)] == ["inner/a", "inner/b", "end"]
    whole = next(place for place in network.places if place.name == "inner")
    assert [layer.name for layer in layers_from(network, whole)] == ["end"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=9), st.integers(0, 10**6))
def test_regions_end_where_everything_goes_through(sources, seed):
    """A graph at random; a place is a joint if no output is reached around it."""
    tensors = [keras.Input((3,))]
    for number, source in enumerate(sources):
        first = tensors[source % len(tensors)]
        tensors.append(L.Add(name=f"n{number}")([first, tensors[-1]]))
    network = Network(keras.Model(tensors[0], tensors[-1]))
    regions: dict = {}
    for place, region in _regions(network):
        regions.setdefault(region, []).append(place)
    joints = {
        place for place in network.places if all(not one for one in network.reach(without=place))
    }
    ends = {places[-1] for region, places in regions.items() if region is not None}
    assert ends | set(regions.get(None, [])) == joints
    assert np.sum([len(places) for places in regions.values()]) == len(network.places)
