"""A small convolutional network that reads digits, and its training: what the three `digits` models share.

Training is in double precision on one thread, and the weights are rounded to four decimals at the end. The last bits,
which differ from one processor to another, then do not reach the files.
"""

from functools import cache

import torch
from torch import Tensor, nn

from models.digits_data import training

NARROW, WIDE = 6, 16
PRECISION = torch.float64
LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LABEL_FILE = "".join(f"{label}\n" for label in LABELS).encode()
"""A label file: line N names class N."""


class DigitsNetwork(nn.Module):
    """Scans `[batch, 1, 8, 8]`, ink 0 to 16, to the probability of each digit `[batch, 10]`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, dtype=PRECISION),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1, dtype=PRECISION),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.classes = nn.Linear(2 * width * 4 * 4, len(LABELS), dtype=PRECISION)

    def logits(self, image: Tensor) -> Tensor:
        """Return the unnormalised scores `[batch, 10]`, which training wants."""
        classes: Tensor = self.classes(self.features(image / 16))
        return classes

    def forward(self, image: Tensor) -> Tensor:
        """Return the probabilities `[batch, 10]`; each row sums to 1."""
        return torch.softmax(self.logits(image), dim=1)


@cache
def trained(width: int) -> DigitsNetwork:
    """Return a network of `width`, trained, in single precision and in evaluation mode. One object a width."""
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = DigitsNetwork(width)
        _train(network, epochs=30)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(weight.round(decimals=4))
    return network.float().eval().requires_grad_(False)


def _train(network: DigitsNetwork, epochs: int, batch: int = 32) -> None:
    data = training()
    images, labels = torch.tensor(data.images, dtype=PRECISION), torch.tensor(data.labels)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(labels)), batch):
            loss = nn.functional.cross_entropy(network.logits(images[rows]), labels[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        schedule.step()
