// 优势：把一段经验里的奖励和价值，变成“比预期好多少”。对应 ppo_lib/advantage.py。

#include "ppo.h"

// δ_t = r_t + γ·V(s_{t+1}) - V(s_t)；真的结束时没有以后
float td_error(float reward, float value, float next_value, float terminated, float gamma) {
  return reward + gamma * next_value * (1 - terminated) - value;
}

// Â_t = δ_t + γλ·Â_{t+1}，从后往前；数组都是 (num_steps, num_envs)，写出 advantage 和 target = Â + V。
// 遇到一回合的结尾就断开：terminated 不接 V(s_{t+1})，truncated 仍然接上。
void calculate_gae(const float *reward, const float *value, const float *next_value,
                   const float *terminated, const float *truncated, float gamma,
                   float gae_lambda, int num_steps, int num_envs, float *advantage,
                   float *target) {
  for (int e = 0; e < num_envs; e++) {
    float next_advantage = 0;
    for (int i = (num_steps - 1) * num_envs + e; i >= 0; i -= num_envs) {
      float delta = td_error(reward[i], value[i], next_value[i], terminated[i], gamma);
      float carry_on = !(terminated[i] || truncated[i]);
      next_advantage = delta + gamma * gae_lambda * carry_on * next_advantage;
      advantage[i] = next_advantage;
      target[i] = next_advantage + value[i];
    }
  }
}
