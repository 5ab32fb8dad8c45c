"""What is believed of rays behind metal."""

from __future__ import annotations

import torch

from correctors.hipct.reliability import reliable_part


def test_what_to_believe_does_not_depend_on_the_detector_beside_the_trace() -> None:
    generator = torch.Generator().manual_seed(1)
    trace = torch.zeros(1, 60, 101, dtype=torch.bool)
    trace[:, :, 30:45] = True
    difference = torch.randn(1, 60, 101, generator=generator) * 0.05
    wider = torch.zeros(1, 60, 161)
    wider[..., 20:121] = difference
    wide_trace = torch.zeros(1, 60, 161, dtype=torch.bool)
    wide_trace[..., 20:121] = trace
    kept = reliable_part(difference, trace)
    torch.testing.assert_close(reliable_part(wider, wide_trace)[..., 20:121], kept)
    assert not bool(kept[~trace].any())
    assert not bool(reliable_part(difference, torch.zeros_like(trace)).any())
