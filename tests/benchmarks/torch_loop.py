"""The paper's classifier and its augmentation in PyTorch, as one would write them there; run by `test_training_speed`.

A process of its own, as PyTorch and TensorFlow in one are known to quarrel: for every line on its standard input it
trains once over the images and answers with the seconds that took. Its one argument is JSON with the sizes.

The images stay in memory as uint8 and each batch is augmented as a whole, every image on its own, by indexing: no
`DataLoader` hands images of 32 x 32 pixels one by one from one process to another.
"""

import json
import sys
import time
from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional
from torch.optim import swa_utils


def network(size) -> nn.Module:
    """Return `models.classifier`: pixels (B, 3, side, side), standardised, to logits."""
    width, (first, second) = size.width, size.dense
    return nn.Sequential(
        nn.Conv2d(3, width, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.BatchNorm2d(width, 1e-3),
        nn.Conv2d(width, width, 5, padding=2), nn.ReLU(), nn.BatchNorm2d(width, 1e-3), nn.MaxPool2d(3, 2, 1),
        nn.Flatten(), nn.Linear(width * (size.side // 4) ** 2, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(),
        nn.Linear(second, size.classes),
    )  # fmt: skip


def augment(pixels: torch.Tensor, size) -> torch.Tensor:
    """Return random crops of uint8 `(B, 3, H, W)`, flipped, lightened, standardised: `(B, 3, side, side)` float32."""
    count, channels, height, width = pixels.shape
    span = torch.arange(size.side)
    rows = torch.randint(height - size.side + 1, (count, 1)) + span
    columns = torch.where(torch.rand(count, 1) < 0.5, span.flip(0), span)
    columns = columns + torch.randint(width - size.side + 1, (count, 1))
    crop = pixels[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (B, side, side, 3)
    crop = crop.permute(0, 3, 1, 2).float() / 255
    crop = crop + torch.empty(count, 1, 1, 1).uniform_(-size.brightness, size.brightness)
    mean = crop.mean((2, 3), keepdim=True)
    crop = (crop - mean) * torch.empty(count, 1, 1, 1).uniform_(*size.contrast) + mean
    crop = crop - crop.mean((1, 2, 3), keepdim=True)
    floor = 1 / (255 * (channels * size.side**2) ** 0.5)
    return crop / crop.std((1, 2, 3), correction=0, keepdim=True).clamp_min(floor)


def passes(size):
    """Return what trains once over all images and returns the seconds."""
    pixels = torch.randint(256, (size.images, 3, size.pixels, size.pixels), dtype=torch.uint8)
    labels = torch.randint(size.classes, (size.images,))
    model = network(size).to(memory_format=torch.channels_last)
    decayed = [model[9].weight, model[11].weight]
    averaged = swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(size.averaging))
    optimizer = torch.optim.SGD(model.parameters(), size.rate, momentum=size.momentum)

    def run() -> float:
        start = time.perf_counter()
        for rows in torch.randperm(size.images).split(size.batch):
            logits = model(augment(pixels[rows], size).contiguous(memory_format=torch.channels_last))
            penalty = size.decay / 2 * sum(weight.square().sum() for weight in decayed)
            loss = functional.cross_entropy(logits, labels[rows]) + penalty
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            averaged.update_parameters(model)
        assert torch.isfinite(loss)
        return time.perf_counter() - start

    return run


if __name__ == "__main__":
    run = passes(SimpleNamespace(**json.loads(sys.argv[1])))
    for _ in sys.stdin:
        print(run(), flush=True)
