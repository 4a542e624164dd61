"""Metrics of whole videos from the scores of their frames."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import CONCEPTS, Recorder
from contract import assert_event, assert_record
from stored import UID, coloured, png, train_run

from deeptrain_trainer.dataset.index import Item
from deeptrain_trainer.dataset.publish import DatasetWriter, LabelledItem, in_order
from deeptrain_trainer.dataset.store import Split, hex_of
from deeptrain_trainer.run import train_run as typed
from deeptrain_trainer.train import train
from deeptrain_trainer.videos import are_frames, by_video, video_metrics


def frame(group: int, time_ms: int) -> Item:
    return Item(0, (0,), group, 0, 0, 1, bytes(32), 8, 8, time_ms)


ITEMS = [frame(7, 0), frame(7, 1000), frame(7, 2000), frame(3, 0), frame(9, 0), frame(9, 1000)]
TRUTH = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 1]], np.bool_)
# One frame of the first video is taken for the other concept; of the last both are nearly so.
SCORES = np.array(
    [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.1, 0.9], [0.6, 0.4], [0.3, 0.7]], np.float32
)


def test_a_video_has_the_mean_of_its_frames_scores() -> None:
    groups = np.array([item.group for item in ITEMS])
    scores, truth = by_video(SCORES, TRUTH, groups, exclusive=True)
    np.testing.assert_allclose(scores, [[0.1, 0.9], [0.6, 0.4], [0.45, 0.55]], atol=1e-6)
    assert truth.tolist() == [[False, True], [True, False], [False, True]]


def test_frames_that_are_wrong_do_not_make_a_video_wrong() -> None:
    values, rows = video_metrics(SCORES, TRUTH, ITEMS, ["a", "b"], exclusive=True, softmax=True)
    assert values["video_top1"] == 1
    assert values["video_log_loss"] == pytest.approx(-np.log([0.9, 0.6, 0.55]).mean(), rel=1e-5)
    assert set(values) == {
        "video_top1",
        "video_macro_f1",
        "video_macro_ap",
        "video_macro_roc_auc",
        "video_log_loss",
    }
    perfect = {"video_precision": 1, "video_recall": 1, "video_f1": 1, "video_ap": 1}
    assert rows == [{**perfect, "video_roc_auc": 1, "video_support": support} for support in (1, 2)]


def test_overlapping_concepts_have_the_names_of_the_contract() -> None:
    values, _ = video_metrics(SCORES, TRUTH, ITEMS, ["a", "b"], exclusive=False, softmax=False)
    assert set(values) == {"video_macro_ap", "video_macro_f1"}


def test_a_concept_that_no_video_shows_has_no_metrics_of_videos() -> None:
    """Most frames of its only video show another concept."""
    truth = np.array([[1, 0], [0, 1], [0, 1]], np.bool_)
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9]], np.float32)
    frames = [frame(4, 0), frame(4, 1000), frame(4, 2000)]
    _, rows = video_metrics(scores, truth, frames, ["a", "b"], exclusive=True, softmax=False)
    assert rows[0] == {"video_support": 0}
    assert rows[1]["video_recall"] == 1 and "video_roc_auc" not in rows[1]


def test_a_video_shows_what_most_of_its_frames_show_or_what_any_shows() -> None:
    truth = np.array([[1, 0], [0, 1], [0, 1]], np.bool_)
    scores, groups = np.zeros((3, 2), np.float32), np.array([4, 4, 4])
    assert by_video(scores, truth, groups, exclusive=True)[1].tolist() == [[False, True]]
    assert by_video(scores, truth, groups, exclusive=False)[1].tolist() == [[True, True]]


def test_pictures_are_no_frames() -> None:
    assert are_frames(ITEMS)
    assert not are_frames([frame(1, 0), frame(2, 0)])
    assert not are_frames([])


FRAMES = 4


def store_videos(datasets: Path) -> dict[str, str]:
    """Four frames of each video; of each concept 4 videos to train on, 1 to validate, 2 to test."""
    counts: dict[Split, int] = {"train": 4 * FRAMES, "validation": FRAMES, "test": 2 * FRAMES}
    with DatasetWriter(datasets, UID, 1) as writer:
        items = []
        for number, (pixels, concepts, split) in enumerate(coloured(counts, CONCEPTS)):
            data = png(pixels)
            sha256, video = hashlib.sha256(data).digest(), number // FRAMES
            writer.add(sha256, data)
            digest, time_ms = hashlib.sha256(bytes([video])).digest(), number % FRAMES * 1000
            items.append(
                LabelledItem(sha256, concepts, 40, 40, video=digest, time_ms=time_ms, split=split)
            )
        in_order(items)
        splits = [item.split or "train" for item in items]
        digest, split_digest = writer.publish(items, splits, b"{}")
    return {
        "path": str(datasets / hex_of(digest)),
        "digest": digest,
        "splitDigest": split_digest,
    }


def test_a_classifier_is_measured_by_frame_and_by_video(tmp_path: Path) -> None:
    dataset = store_videos(tmp_path / "datasets")
    changes = {"num_epochs": 3, "init_epochs": 3, "lrate": 0.01, "logreg": False}
    run = typed(train_run(dataset, tmp_path / "output", CONCEPTS, **changes))
    recorder = Recorder()
    record = train(run, recorder, lambda: None)
    assert_record({"task": "train", "uid": "u", "attempt": 1, **record})
    for event in recorder.events:
        assert_event(event)
    values = record["metrics"]["values"]
    assert record["metrics"]["items"] == 3 * 2 * FRAMES
    assert values["top1"] >= 0.9 and values["video_top1"] == 1
    assert {name for name in values if name.startswith("video_")} == {
        f"video_{name}" for name in values if not name.startswith("video_")
    }
    assert all("video_top1" in event["validation"] for event in recorder.of("epoch"))
    artifact = tmp_path / "output" / "artifact"
    metrics = json.loads((artifact / "metrics.json").read_text())
    assert metrics["selectedBy"] == "video_top1"
    names = {"precision", "recall", "f1", "ap", "roc_auc", "support"}
    table = json.loads((artifact / "evaluation" / "concepts.json").read_text())["concepts"]
    told = recorder.of("evaluation")[0]["concepts"]
    for rows in (metrics["concepts"], table, told):
        assert {row["concept"] for row in rows} == set(CONCEPTS)
        for row in rows:
            assert row.keys() == {"concept", *names, *(f"video_{name}" for name in names)}
            assert row["support"] == 2 * FRAMES and row["video_support"] == 2
    assert [row["video_ap"] for row in told] == sorted(row["video_ap"] for row in told)
