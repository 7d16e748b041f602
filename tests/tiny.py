"""几个测试文件共用的小配置：一次更新 32 步，编译快，一眨眼就训练完。"""

from ppo_lib import PPOConfig

TINY = PPOConfig(
    env_name="CartPole-v1",
    num_envs=2,
    num_steps=16,
    hidden_sizes=(8,),
    num_minibatches=2,
    update_epochs=1,
    total_timesteps=60 * 32,
    num_seeds=2,
    tracker="none",
)
