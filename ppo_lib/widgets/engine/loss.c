// PPO 的损失和它的梯度：裁剪目标、价值损失、熵。对应 ppo_lib/loss.py；jax.grad 求的导数在这里写出来，
// 每个函数返回一个样本的损失，导数写进最后一个参数。

#include "ppo.h"

// r = π_θ(a|s) / π_old(a|s)
static float policy_ratio(float log_prob, float old_log_prob) {
  return (float)exp64(log_prob - old_log_prob);
}

// min(r·A, clip(r, 1-ε, 1+ε)·A)，要被最大化。裁剪住的一侧导数为 0，否则对 ln π 的导数是 r·A。
static float clipped_objective(float ratio, float advantage, float clip_eps, float *slope) {
  int clipped = advantage > 0 ? ratio > 1 + clip_eps : ratio < 1 - clip_eps;
  float bound = advantage > 0 ? 1 + clip_eps : 1 - clip_eps;
  *slope = clipped ? 0 : ratio * advantage;
  return clipped ? bound * advantage : ratio * advantage;
}

// ½(V - 目标)²
static float value_loss(float value, float target, float *slope) {
  *slope = value - target;
  return 0.5f * (value - target) * (value - target);
}

// V 离开采样时的值超过 ε 的部分不再带来好处；裁剪的那个损失更大时，导数为 0
static float clipped_value_loss(float value, float old_value, float target, float clip_eps,
                                float *slope) {
  float change = value - old_value, unused;
  if (change < -clip_eps) change = -clip_eps;
  if (change > clip_eps) change = clip_eps;
  float plain = value_loss(value, target, slope);
  float clipped = value_loss(old_value + change, target, &unused);
  if (clipped > plain) *slope = 0;
  return clipped > plain ? clipped : plain;
}

// logits → 概率和对数概率，返回熵 -Σ p·ln p
static float softmax(const float *logits, int num_actions, float *prob, float *log_prob) {
  float largest = logits[0];
  for (int j = 1; j < num_actions; j++)
    if (logits[j] > largest) largest = logits[j];
  double sum = 0, entropy = 0;
  for (int j = 0; j < num_actions; j++) sum += exp64(logits[j] - largest);
  double log_sum = log64(sum);
  for (int j = 0; j < num_actions; j++) {
    log_prob[j] = (float)(logits[j] - largest - log_sum);
    prob[j] = (float)exp64(log_prob[j]);
    entropy -= prob[j] * log_prob[j];
  }
  return (float)entropy;
}

// 减均值、除标准差；全部相等时分母不是 0
void normalize(float *x, int n) {
  double mean = 0, variance = 0;
  for (int i = 0; i < n; i++) mean += x[i];
  mean /= n;
  for (int i = 0; i < n; i++) variance += (x[i] - mean) * (x[i] - mean);
  double std = __builtin_sqrt(variance / n) + 1e-8;
  for (int i = 0; i < n; i++) x[i] = (float)((x[i] - mean) / std);
}

// 一个小批次的总损失 -L_CLIP + c₁·L_VF - c₂·S：梯度写进 grad，五个诊断量写进 metrics。
// batch.advantage 已经标准化过。BLOCK 行一块，前向之后马上反向。
void ppo_loss(Trainer *trainer, Minibatch batch, float *grad, double *metrics) {
  const Network *network = &trainer->network;
  const Config *config = &trainer->config;
  int num_actions = trainer->env->num_actions, width = round_up(trainer->env->obs_dim);
  float clip_eps = config->clip_eps, ent_coef = config->ent_coef, vf_coef = config->vf_coef;
  double actor_loss = 0, critic_loss = 0, entropy_sum = 0, outside = 0, kl = 0;

  for (int i = 0; i < network->num_params; i++) grad[i] = 0;
  transpose_kernels(&network->actor, trainer->params, trainer->transposed);
  transpose_kernels(&network->critic, trainer->params, trainer->transposed);
  Activations actor = trainer->actor, critic = trainer->critic;
  float *actor_slope = trainer->actor_grad.x[network->actor.depth];
  float *critic_slope = trainer->critic_grad.x[network->critic.depth];

  for (int start = 0; start < batch.size; start += BLOCK) {
    int rows = batch.size - start < BLOCK ? batch.size - start : BLOCK;
    actor.x[0] = critic.x[0] = (float *)batch.obs + start * width; // 只读
    forward(&network->actor, network->activation, trainer->params, actor, rows);
    forward(&network->critic, network->activation, trainer->params, critic, rows);

    for (int r = 0; r < rows; r++) {
      int i = start + r, action = batch.action[i];
      float prob[NUM_LOGITS], log_prob[NUM_LOGITS], slope;
      float entropy = softmax(actor.x[network->actor.depth] + r * NUM_LOGITS, num_actions,
                              prob, log_prob);
      float ratio = policy_ratio(log_prob[action], batch.log_prob[i]);
      double log_ratio = (double)log_prob[action] - batch.log_prob[i];
      actor_loss -= clipped_objective(ratio, batch.advantage[i], clip_eps, &slope);
      entropy_sum += entropy;
      outside += __builtin_fabsf(ratio - 1) > clip_eps;
      kl += exp64(log_ratio) - 1 - log_ratio;
      for (int j = 0; j < NUM_LOGITS; j++) { // ∂ln π(a) / ∂logit_j = [j = a] - p_j
        float policy = -slope * ((j == action) - prob[j]);
        float bonus = -prob[j] * (log_prob[j] + entropy); // ∂熵 / ∂logit_j
        actor_slope[r * NUM_LOGITS + j] = j < num_actions ? (policy - ent_coef * bonus) / batch.size : 0;
      }

      float value = critic.x[network->critic.depth][r * 4];
      critic_loss += config->clip_value ? clipped_value_loss(value, batch.value[i], batch.target[i],
                                                             clip_eps, &slope)
                                        : value_loss(value, batch.target[i], &slope);
      for (int j = 0; j < 4; j++) critic_slope[r * 4 + j] = j ? 0 : vf_coef * slope / batch.size;
    }

    backward(&network->actor, network->activation, trainer->transposed, actor, trainer->actor_grad,
             rows, grad);
    backward(&network->critic, network->activation, trainer->transposed, critic,
             trainer->critic_grad, rows, grad);
  }
  metrics[METRIC_actor_loss] = actor_loss / batch.size;
  metrics[METRIC_value_loss] = critic_loss / batch.size;
  metrics[METRIC_entropy] = entropy_sum / batch.size;
  metrics[METRIC_clip_frac] = outside / batch.size;
  metrics[METRIC_approx_kl] = kl / batch.size;
}
