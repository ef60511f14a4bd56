from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fiqa_worker.models.locate import find
from fiqa_worker.models.prepare import prepare
from fiqa_worker.models.sessions import Session, open_session
from fiqa_worker.pipeline.quality import QualityScorer
from fiqa_worker.settings import Device
from tests.worker.models import graphs
from tests.worker.pipeline.images import aligned_face


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> QualityScorer:
    cache = tmp_path_factory.mktemp("cache")
    return QualityScorer(open_session(prepare(find("builtin_quality", "quality", str(cache)), cache), Device.CPU))


def test_a_score_is_the_models_output_for_normalized_rgb(tmp_path: Path) -> None:
    session: Session = open_session(graphs.quality(tmp_path / "model.onnx"), Device.CPU)
    crops = np.random.default_rng(3).integers(0, 256, (4, 112, 112, 3), np.uint8)
    expected = []
    for crop in crops:
        rgb = crop[:, :, ::-1].transpose(2, 0, 1).astype(np.float32)
        expected.append(session.run(((rgb / 255 - 0.5) / 0.5)[np.newaxis])[0][0, 0])
    scores = QualityScorer(session).score(crops)
    assert scores.dtype == np.float32
    assert len(set(expected)) == 4
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)


def test_no_crops_give_no_scores(scorer: QualityScorer) -> None:
    scores = scorer.score(np.empty((0, 112, 112, 3), np.uint8))
    assert scores.shape == (0,)
    assert scores.dtype == np.float32


def test_a_blurred_face_scores_lower_than_a_sharp_one(scorer: QualityScorer) -> None:
    face = aligned_face()
    blurred: list[NDArray[np.uint8]] = [np.asarray(cv2.GaussianBlur(face, (0, 0), sigma), np.uint8) for sigma in (2, 5)]
    sharp_score, soft_score, blurred_score = scorer.score(np.stack([face, *blurred]))
    assert sharp_score > soft_score > blurred_score
    assert sharp_score > 0.5
