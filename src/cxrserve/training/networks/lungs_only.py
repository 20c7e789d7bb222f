"""A classifier that is shown the lungs and nothing else, inside its own graph.

Borders, markers, collimation and exposure tell where a film was made, and a network that may see
them learns the place instead of the disease (Zech et al. 2018). So the graph outlines the lungs
first, brings what lies inside to mean 0 and spread 1, and sets everything else to 0: a film whose
lungs were painted over looks like every other such film.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrserve.training.networks.classifier import Classifier
from cxrserve.training.networks.unet import UNet

# Lesions at the pleura lie at the edge of what was outlined; a wider margin shows the chest wall,
# which tells a child from an adult and so one source from another.
_MARGIN = 0.012
_SPREAD_GREY = 68.0
# Where the lungs show nothing, the rim of their outline must not be stretched into a picture.
_LEAST_SPREAD_GREY = 16.0


class LungsOnly(Classifier):
    """A classifier behind an outliner of lungs.

    Args:
        network: the classifier; its head is the head.
        outliner: gives lung masks; its weights stay as they are.
        outliner_side: side at which the outliner reads, a multiple of 16.
    """

    def __init__(self, network: Classifier, outliner: UNet, *, outliner_side: int) -> None:
        nn.Module.__init__(self)
        self.network, self.outliner = network, outliner
        self._side = outliner_side
        for weight in outliner.parameters():
            weight.requires_grad_(False)

    @property
    def head(self) -> nn.Linear:  # type: ignore[override]
        """The classifier's head."""
        return self.network.head

    @property
    def grader(self) -> nn.Linear | None:  # type: ignore[override]
        """The classifier's second head."""
        return self.network.grader

    @property
    def dropout(self) -> nn.Dropout:  # type: ignore[override]
        """The classifier's dropout."""
        return self.network.dropout

    def train(self, mode: bool = True) -> LungsOnly:
        """Training mode for the classifier; the outliner never learns."""
        super().train(mode)
        self.outliner.eval()
        return self

    def outlined(self, pixels: Tensor) -> Tensor:
        """Where lung is, with a margin: 0..1, `[N, 1, S, S]` of grey `[N, 1, S, S]`."""
        small = functional.interpolate(
            pixels.float(), (self._side, self._side), mode="bilinear", antialias=False
        )
        with torch.no_grad():
            lung = self.outliner(small).amax(dim=1, keepdim=True)
        reach = 2 * max(1, round(self._side * _MARGIN)) + 1
        wider = functional.max_pool2d(lung, reach, stride=1, padding=reach // 2)
        soft = functional.interpolate(
            wider, (pixels.shape[-2], pixels.shape[-1]), mode="bilinear", antialias=False
        )
        # Steeper, so that a faint rim lets nothing through.
        return (4 * soft - 1.5).clamp(0, 1)

    def normalised(self, pixels: Tensor) -> Tensor:
        """The lungs about their own mean, everything else at it, scaled for the backbone.

        Args:
            pixels: grey `[N, 1, S, S]`, or `[N, 2, S, S]` with the outline 0..255 behind it, as
                training moves both together.
        """
        outline = pixels[:, 1:2] / 255 if pixels.shape[1] == 2 else self.outlined(pixels)
        grey = pixels[:, :1].float()
        weight = outline.sum(dim=(2, 3), keepdim=True) + 1.0
        mean = (grey * outline).sum(dim=(2, 3), keepdim=True) / weight
        variance = ((grey - mean).square() * outline).sum(dim=(2, 3), keepdim=True) / weight
        standard = (grey - mean) / (variance.sqrt() + _LEAST_SPREAD_GREY) * outline
        return self.network.normalised((127.5 + _SPREAD_GREY * standard).clamp(0, 255))

    def features_of(self, image: Tensor, frozen_blocks: int = 0) -> Tensor:
        """Features after the last ReLU of the classifier."""
        return self.network.features_of(image, frozen_blocks)

    def folded(self) -> nn.Module:
        """The same with the classifier's normalisations folded away."""
        folded = self.network.folded()
        assert isinstance(folded, Classifier)
        return LungsOnly(folded, self.outliner, outliner_side=self._side).eval()
