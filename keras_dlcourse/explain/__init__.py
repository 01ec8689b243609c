"""Explain predictions: maps of the evidence for a class, from activations and gradients."""

from keras_dlcourse._extras import require

require("keras_dlcourse.explain", "tensorflow", "keras")

from keras_dlcourse.explain.engine.mapper import GradientMapper
from keras_dlcourse.explain.inversion.decoder import latent_decoder
from keras_dlcourse.explain.inversion.inverter import LatentInverter
from keras_dlcourse.explain.inversion.perception import (
    Perception,
    perception_visualization,
)
from keras_dlcourse.explain.judging.boxes import boxes_from_map
from keras_dlcourse.explain.judging.by_scores import (
    Curves,
    Drops,
    average_drop,
    deletion,
    insertion,
)
from keras_dlcourse.explain.judging.class_means import (
    ClassMeans,
    class_mean_maps,
)
from keras_dlcourse.explain.judging.sanity import SanityCheck, sanity_check
from keras_dlcourse.explain.judging.weak_localizer import (
    Location,
    WeakLocalizer,
    weak_localizer,
)
from keras_dlcourse.explain.maps.augmented import augmented_grad_cam
from keras_dlcourse.explain.maps.cam import ClassActivationMapper, cam
from keras_dlcourse.explain.maps.covering import occlusion, score_cam
from keras_dlcourse.explain.maps.gap_head import with_gap_head
from keras_dlcourse.explain.maps.gradient_maps import (
    eigen_cam,
    grad_cam,
    grad_cam_pp,
    hires_cam,
    layer_cam,
)
from keras_dlcourse.explain.maps.gradients import (
    guided_backprop,
    integrated_gradients,
    saliency,
    smooth_grad,
)
from keras_dlcourse.explain.methods import METHODS
from keras_dlcourse.explain.units.filters import filters
from keras_dlcourse.explain.units.maximization import (
    Maximization,
    activation_maximization,
)
from keras_dlcourse.explain.units.patches import Patch, maximal_patches
from keras_dlcourse.graph.head import Head, find_head
from keras_dlcourse.graph.receptive_field import (
    ReceptiveField,
    receptive_field,
)

__all__ = [
    "METHODS",
    "ClassActivationMapper",
    "ClassMeans",
    "Curves",
    "Drops",
    "GradientMapper",
    "Head",
    "LatentInverter",
    "Location",
    "Maximization",
    "Patch",
    "Perception",
    "ReceptiveField",
    "SanityCheck",
    "WeakLocalizer",
    "activation_maximization",
    "augmented_grad_cam",
    "average_drop",
    "boxes_from_map",
    "cam",
    "class_mean_maps",
    "deletion",
    "eigen_cam",
    "filters",
    "find_head",
    "grad_cam",
    "grad_cam_pp",
    "guided_backprop",
    "hires_cam",
    "insertion",
    "integrated_gradients",
    "latent_decoder",
    "layer_cam",
    "maximal_patches",
    "occlusion",
    "perception_visualization",
    "receptive_field",
    "saliency",
    "sanity_check",
    "score_cam",
    "smooth_grad",
    "weak_localizer",
    "with_gap_head",
]
