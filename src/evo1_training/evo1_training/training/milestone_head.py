"""An additional loss: the context must tell where the episode is heading.

A small policy learns slowly where things are, because the chunk's loss reaches its eyes through
the whole action expert. The joint positions at the next grasp and release say it directly, and
every demonstration contains them. The head is dropped after training.

Letters: B batch, T prompt tokens, E width, D action width. Must not import ROS.
"""

import torch
from torch import Tensor, nn

from evo1_policy.model.action_expert import CrossAttention
from evo1_policy.model.config import Evo1Config
from evo1_training.datasets.reader.milestones import COUNT
from evo1_training.training.flow_loss import masked_loss


class MilestoneHead(nn.Module):
    """Reads the milestones out of the context: one query each, attention, and a small MLP."""

    def __init__(self, config: Evo1Config) -> None:
        super().__init__()
        width = config.language.width
        self.queries = nn.Parameter(torch.randn(COUNT, width) * width**-0.5)
        self.attention = CrossAttention(width, config.head.heads, dropout=0.0)
        self.output = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, config.action_width),
        )

    def forward(self, context: Tensor, token_mask: Tensor) -> Tensor:
        """Context (B, T, E) with its mask (B, T) bool -> milestones (B, 2, D), normalised."""
        queries = self.queries.expand(len(context), -1, -1)  # (B, 2, E)
        found: Tensor = self.output(self.attention(queries, context, token_mask))
        return found

    def loss(
        self, context: Tensor, token_mask: Tensor, milestones: Tensor, mask: Tensor
    ) -> Tensor:
        """Mean squared error over those that there are; a scalar in fp32."""
        return masked_loss(self(context, token_mask), milestones, mask)


def new_milestone_head(config: Evo1Config, *, seed: int) -> MilestoneHead:
    """A head with fresh weights from `seed`; the global RNG stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MilestoneHead(config)
