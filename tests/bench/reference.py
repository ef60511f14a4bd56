"""The reference: the steps of the demo in OpenCV's model zoo, in a loop. And the published models in onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np
import onnxruntime as ort
from cv2.typing import MatLike
from numpy.typing import NDArray

from fiqa_worker.pipeline.align import CROP_SIZE

# The demo's own settings.
THRESHOLD: Final = 0.9
NMS_IOU: Final = 0.3
TOP_K: Final = 5000
TEMPLATE: Final = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.729904, 92.2041)], np.float32
)


class Faces:
    """Detects at full resolution with cv2.FaceDetectorYN and aligns the faces."""

    def __init__(self, detector: Path) -> None:
        self._detector = cv2.FaceDetectorYN.create(str(detector), "", (320, 320), THRESHOLD, NMS_IOU, TOP_K)

    def crops(self, pixels: MatLike) -> list[MatLike]:
        """Return every face of a BGR image, each 112 x 112 x 3."""
        height, width = pixels.shape[:2]
        self._detector.setInputSize((width, height))
        found = self._detector.detect(pixels)[1]
        crops = []
        for row in () if found is None else np.asarray(found, np.float32):
            matrix = cv2.estimateAffinePartial2D(row[4:14].reshape(5, 2), TEMPLATE, method=cv2.LMEDS)[0]
            if matrix is not None:  # without a matrix the demo would end
                crops.append(cv2.warpAffine(pixels, matrix, (CROP_SIZE, CROP_SIZE)))
        return crops


class Reference:
    """The demo's steps. The demo scores one face and ends. This scores every face that it finds, as fiqa does."""

    def __init__(self, detector: Path, quality: Path) -> None:
        self._faces = Faces(detector)
        self._network = cv2.dnn.readNetFromONNX(str(quality))

    def score(self, data: bytes) -> list[float]:
        """Return the quality of each face in an image file.

        Raises:
            ValueError: OpenCV cannot decode it.
        """
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if pixels is None:
            raise ValueError("OpenCV cannot decode this image")
        scores = []
        for crop in self._faces.crops(pixels):
            self._network.setInput(blob(crop))
            scores.append(float(np.squeeze(self._network.forward())))
        return scores


def blob(crop: MatLike) -> NDArray[np.float32]:
    """Return a crop as the quality model takes it: 1 x 3 x 112 x 112, RGB, -1 to 1."""
    made = cv2.dnn.blobFromImage(crop, 1 / 127.5, (CROP_SIZE, CROP_SIZE), (127.5, 127.5, 127.5), swapRB=True)
    return np.asarray(made, np.float32)


def published(path: Path) -> ort.InferenceSession:
    """Open a model as it was published, on one thread, with onnxruntime's other defaults."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(session: ort.InferenceSession, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Run a session and return its outputs in its order."""
    outputs: list[NDArray[np.float32]] = session.run(None, {session.get_inputs()[0].name: batch})
    return outputs
