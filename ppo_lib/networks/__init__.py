"""神经网络。"""

from ppo_lib.networks.mlp import ActorCriticDiscrete

__all__ = ["ActorCriticDiscrete"]
