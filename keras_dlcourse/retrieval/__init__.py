"""Image retrieval: search by embeddings, its evaluation, and identification.

The search itself is `keras_dlcourse.edge.nearest`, the same in development and on the device.
"""

from keras_dlcourse._extras import require

require("keras_dlcourse.retrieval", "tensorflow", "keras", "sklearn")

from keras_dlcourse.edge.search.identification import (
    UNKNOWN,
    Identity,
    class_means,
    identify,
)
from keras_dlcourse.edge.search.nearest import Neighbours, nearest
from keras_dlcourse.edge.search.vectors import Vectors
from keras_dlcourse.retrieval.clusters import normalized_mutual_information
from keras_dlcourse.retrieval.evaluation import evaluate
from keras_dlcourse.retrieval.features import features
from keras_dlcourse.retrieval.index import Found, Index
from keras_dlcourse.retrieval.index_file import InvalidIndex
from keras_dlcourse.retrieval.measures import (
    map_at_r,
    r_precision,
    recall_at_k,
)
from keras_dlcourse.retrieval.open_set import (
    OpenSetThreshold,
    open_set_threshold,
)
from keras_dlcourse.retrieval.pairs import pair_sample
from keras_dlcourse.retrieval.projection import embedding_map
from keras_dlcourse.retrieval.templates import Templates
from keras_dlcourse.retrieval.triplets import triplet_accuracy
from keras_dlcourse.retrieval.verification import (
    equal_error_rate,
    verification_auc,
)

__all__ = [
    "UNKNOWN",
    "Found",
    "Identity",
    "Index",
    "InvalidIndex",
    "Neighbours",
    "OpenSetThreshold",
    "Templates",
    "Vectors",
    "class_means",
    "embedding_map",
    "equal_error_rate",
    "evaluate",
    "features",
    "identify",
    "map_at_r",
    "nearest",
    "normalized_mutual_information",
    "open_set_threshold",
    "pair_sample",
    "r_precision",
    "recall_at_k",
    "triplet_accuracy",
    "verification_auc",
]
