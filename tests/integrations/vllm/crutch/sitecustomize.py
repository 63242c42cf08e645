"""For torchvision without compiled operators: two of them must be known when it is imported."""

import contextlib

import torch

for name in ("nms", "qnms"):
    with contextlib.suppress(RuntimeError):  # they are there
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
