"""Galleries and how good they are: search by embeddings, its measures, identification.

Search itself is `keras_dlcourse.edge.nearest`, the same on the desk and on the device.
"""

from keras_dlcourse._extras import require

require("keras_dlcourse.retrieval", "tensorflow", "keras", "sklearn")

from keras_dlcourse.edge.identification import (  # noqa: E402
    UNKNOWN,
    Identity,
    class_means,
    identify,
)
from keras_dlcourse.edge.search import Neighbours, nearest  # noqa: E402
from keras_dlcourse.edge.vectors import Vectors  # noqa: E402
from keras_dlcourse.retrieval.clusters import normalized_mutual_information  # noqa: E402
from keras_dlcourse.retrieval.evaluation import evaluate  # noqa: E402
from keras_dlcourse.retrieval.features import features  # noqa: E402
from keras_dlcourse.retrieval.index import Found, Index  # noqa: E402
from keras_dlcourse.retrieval.index_file import InvalidIndex  # noqa: E402
from keras_dlcourse.retrieval.measures import (  # noqa: E402
    map_at_r,
    r_precision,
    recall_at_k,
)
from keras_dlcourse.retrieval.open_set import (  # noqa: E402
    OpenSetThreshold,
    open_set_threshold,
)
from keras_dlcourse.retrieval.pairs import pair_sample  # noqa: E402
from keras_dlcourse.retrieval.projection import embedding_map  # noqa: E402
from keras_dlcourse.retrieval.templates import Templates  # noqa: E402
from keras_dlcourse.retrieval.triplets import triplet_accuracy  # noqa: E402
from keras_dlcourse.retrieval.verification import (  # noqa: E402
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
