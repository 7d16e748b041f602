// 采样：用当前的策略与 num_envs 个并行环境各走 num_steps 步。对应 ppo_lib/rollout.py。

#include "ppo.h"

// 一块一块地送进网络：obs (rows, obs) → 输出的前 width 列，out (rows, width)
static void apply(const Trainer *trainer, const Mlp *mlp, Activations a, const float *obs,
                  int rows, float *out, int width) {
  int in = mlp->layers[0].in, stride = mlp->layers[mlp->depth - 1].out;
  for (int start = 0; start < rows; start += BLOCK) {
    int n = rows - start < BLOCK ? rows - start : BLOCK;
    a.x[0] = (float *)obs + start * in; // 只读
    forward(mlp, trainer->network.activation, trainer->params, a, n);
    for (int r = 0; r < n; r++)
      for (int j = 0; j < width; j++) out[(start + r) * width + j] = a.x[mlp->depth][r * stride + j];
  }
}

void actor_logits(const Trainer *trainer, const float *obs, int rows, float *logits) {
  apply(trainer, &trainer->network.actor, trainer->actor, obs, rows, logits, NUM_LOGITS);
}

void critic_value(const Trainer *trainer, const float *obs, int rows, float *value) {
  apply(trainer, &trainer->network.critic, trainer->critic, obs, rows, value, 1);
}

// num_envs 个环境都从头开始
void reset_envs(Trainer *trainer) {
  int num_envs = (int)trainer->config.num_envs, width = round_up(trainer->env->obs_dim);
  for (int e = 0; e < num_envs; e++) {
    trainer->env_state[e] = trainer->env->reset(&trainer->random);
    trainer->env->observe(trainer->env_state[e], trainer->env_obs + e * width);
    trainer->episode_return[e] = 0;
    trainer->episode_length[e] = 0;
  }
}

// 抽好一次采样要用的随机数：抽动作的噪声，和每一步备好的新回合的开头
void draw_rollout(Trainer *trainer) {
  int n = (int)(trainer->config.num_steps * trainer->config.num_envs);
  for (int i = 0; i < n; i++) {
    for (int j = 0; j < trainer->env->num_actions; j++)
      trainer->noise[i * NUM_LOGITS + j] = gumbel(&trainer->random);
    trainer->fresh_start[i] = trainer->env->reset(&trainer->random);
  }
}

// argmax(logits + 噪声) 正好服从 softmax(logits)（Gumbel-max）；同时给出它的对数概率
int sample_action(const float *logits, const float *noise, int num_actions, float *log_prob) {
  int best = 0;
  float largest = logits[0];
  for (int j = 1; j < num_actions; j++) {
    if (logits[j] + noise[j] > logits[best] + noise[best]) best = j;
    if (logits[j] > largest) largest = logits[j];
  }
  double sum = 0;
  for (int j = 0; j < num_actions; j++) sum += exp64(logits[j] - largest);
  *log_prob = (float)(logits[best] - largest - log64(sum));
  return best;
}

// 走一步：i = t·num_envs + e 是这一步在各个数组里的位置
static void one_step(Trainer *trainer, int i, int e, const float *logits) {
  const Environment *env = trainer->env;
  int width = round_up(env->obs_dim);
  float *obs = trainer->env_obs + e * width;

  // 记下的是走之前的观测，动作是看着它选的
  for (int j = 0; j < width; j++) trainer->obs[i * width + j] = obs[j];
  trainer->action[i] = sample_action(logits, trainer->noise + i * NUM_LOGITS, env->num_actions,
                              &trainer->log_prob[i]);
  Step step = env_step(env, trainer->env_state[e], trainer->action[i]);
  trainer->reward[i] = step.reward;
  trainer->terminated[i] = step.terminated;
  trainer->truncated[i] = step.truncated;
  env->observe(step.state, trainer->arrived_obs + i * width);

  int ended = step.terminated || step.truncated;
  trainer->ended[i] = ended;
  trainer->end_return[i] = trainer->episode_return[e] += step.reward;
  trainer->end_length[i] = trainer->episode_length[e] += 1;
  if (ended) trainer->episode_return[e] = trainer->episode_length[e] = 0;
  trainer->env_state[e] = ended ? trainer->fresh_start[i] : step.state;
  env->observe(trainer->env_state[e], obs);
}

// V(s_{t+1})，s_{t+1} 是第 t 步到达的、重置之前的状态。多数时候就是下一行的 V；
// 只有超时的那些步，下一行已经是新的一回合，要另算。
static void values_after(Trainer *trainer, int num_steps, int num_envs) {
  int n = num_steps * num_envs, width = round_up(trainer->env->obs_dim);
  for (int i = 0; i < n - num_envs; i++) trainer->next_value[i] = trainer->value[i + num_envs];
  critic_value(trainer, trainer->env_obs, num_envs, trainer->next_value + n - num_envs);
  for (int i = 0; i < n; i++)
    if (trainer->truncated[i])
      critic_value(trainer, trainer->arrived_obs + i * width, 1, trainer->next_value + i);
}

// 分两段：先走，只用 Actor；后评，Critic 一次算整批观测
void collect_rollout(Trainer *trainer) {
  int num_steps = (int)trainer->config.num_steps, num_envs = (int)trainer->config.num_envs;
  int width = round_up(trainer->env->obs_dim);
  for (int t = 0; t < num_steps; t++)
    for (int start = 0; start < num_envs; start += BLOCK) {
      float logits[BLOCK * NUM_LOGITS];
      int rows = num_envs - start < BLOCK ? num_envs - start : BLOCK;
      actor_logits(trainer, trainer->env_obs + start * width, rows, logits);
      for (int e = start; e < start + rows; e++)
        one_step(trainer, t * num_envs + e, e, logits + (e - start) * NUM_LOGITS);
    }
  critic_value(trainer, trainer->obs, num_steps * num_envs, trainer->value);
  values_after(trainer, num_steps, num_envs);
}
