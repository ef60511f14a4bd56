"""Scores the quality of aligned faces for recognition, with eDifFIQA or a model of the same interface."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fiqa_worker.models.sessions import Session


class QualityScorer:
    """Scores aligned faces; higher is better. Scores of two models are never comparable."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def score(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Score the faces, in batches that suit the device. The score of a face does not depend on the others.

        Args:
            crops: N x 112 x 112 x 3, BGR.

        Returns:
            N float32: the raw outputs of the model.
        """
        scores = np.empty(len(crops), np.float32)
        size = self._session.batch_size
        for start in range(0, len(crops), size):
            # (x / 255 - 0.5) / 0.5, and BGR to RGB
            blob = cv2.dnn.blobFromImages(
                list(crops[start : start + size]), 1 / 127.5, mean=(127.5, 127.5, 127.5), swapRB=True
            )
            scores[start : start + size] = self._session.run(np.asarray(blob, np.float32))[0].reshape(-1)
        return scores
