"""Groups of images of a class whose maps are alike: the strategies by which the network recognises it.

Spectral relevance analysis (Lapuschkin et al. 2019, Unmasking Clever Hans predictors and assessing what machines really
learn): a shortcut that only some images of a class carry has a group of its own, and does not drown in their mean.
"""

import warnings

import numpy as np
import scipy
import torch
from sklearn.cluster import SpectralClustering
from sklearn.neighbors import kneighbors_graph
from torch.nn.functional import adaptive_avg_pool2d

CELLS = 16  # of a pooled map along a side, at most
NEIGHBOURS = 10  # of an image in the graph of similar images
MOST = 4  # groups of a class
FEWEST = 10  # images in a group; smaller ones are not searched


def relevance_shares(maps: np.ndarray) -> np.ndarray:
    """The positive part of maps (N, H, W), divided by its sum; 0 where a map has none."""
    positive = np.maximum(maps, 0).astype(np.float64)
    total = positive.sum(axis=(1, 2), keepdims=True)
    return np.divide(positive, total, out=np.zeros_like(positive), where=total > 0)


def pooled(maps: np.ndarray) -> np.ndarray:
    """Maps (N, H, W) averaged over at most `CELLS` x `CELLS` cells, as vectors (N, D)."""
    cells = min(CELLS, maps.shape[-1])
    return adaptive_avg_pool2d(torch.from_numpy(maps)[:, None], cells).flatten(1).numpy()


def groups(vectors: np.ndarray, seed: int) -> list[np.ndarray]:
    """Rows (n,) of vectors (N, D) that are alike, all rows first, then each group of `FEWEST` rows or more. The number
    of groups is where the eigenvalues of the graph's normalised Laplacian have their widest gap, 1 to `MOST` (von
    Luxburg 2007, A tutorial on spectral clustering, section 8.3)."""
    n = len(vectors)
    everything = [np.arange(n)]
    if n < 2 * FEWEST or not np.ptp(vectors, axis=0).any():
        return everything
    graph = kneighbors_graph(vectors, min(NEIGHBOURS, n - 1), include_self=True)
    affinity = 0.5 * (graph + graph.T)
    laplacian = scipy.sparse.csgraph.laplacian(affinity, normed=True).toarray()
    smallest = scipy.linalg.eigvalsh(laplacian, subset_by_index=[0, MOST])
    k = 1 + int(np.argmax(np.diff(smallest)))
    if k == 1:
        return everything
    with warnings.catch_warnings():  # of a graph in several pieces, which are then the groups
        warnings.filterwarnings("ignore", message="Graph is not fully connected")
        labels = SpectralClustering(k, affinity="precomputed", random_state=seed).fit_predict(affinity)
    parts = [np.flatnonzero(labels == group) for group in range(k)]
    return everything + [rows for rows in parts if len(rows) >= FEWEST]
