// 优化器：adam、rmsprop、sgd，就地改 trainer 的 params、mu、nu。对应 ppo_lib/optimizer.py。

#include "ppo.h"

// 线性退火的学习率：第 0 次更新是 lr，第 num_updates 次更新时正好降到 0
float annealed_lr(float lr, int update, int num_updates) {
  return lr * (1 - (float)update / num_updates);
}

// 手写的一步 Adam，t 从 1 数起；n 个参数。出处：Kingma & Ba (2015), Algorithm 1。
static void adam_step(float *param, const float *grad, float scale, float *mu, float *nu, int n,
                      int t, float lr, float beta_1, float beta_2, float eps) {
  float correction_1 = 1 - (float)power(beta_1, t), correction_2 = 1 - (float)power(beta_2, t);
  for (int i = 0; i < n; i++) {
    float g = grad[i] * scale;
    mu[i] = beta_1 * mu[i] + (1 - beta_1) * g;
    nu[i] = beta_2 * nu[i] + (1 - beta_2) * g * g;
    float mu_hat = mu[i] / correction_1, nu_hat = nu[i] / correction_2;
    param[i] -= lr * mu_hat / (__builtin_sqrtf(nu_hat) + eps);
  }
}

// beta_1 = 0、没有偏差修正的 Adam
static void rmsprop_step(float *param, const float *grad, float scale, float *nu, int n, float lr,
                         float beta_2, float eps) {
  for (int i = 0; i < n; i++) {
    float g = grad[i] * scale;
    nu[i] = beta_2 * nu[i] + (1 - beta_2) * g * g;
    param[i] -= lr * g / (__builtin_sqrtf(nu[i]) + eps);
  }
}

static void sgd_step(float *param, const float *grad, float scale, float *mu, int n, float lr,
                     float beta_1) {
  for (int i = 0; i < n; i++) {
    mu[i] = grad[i] * scale + beta_1 * mu[i];
    param[i] -= lr * mu[i];
  }
}

// 按全局范数缩短梯度 → 按种类缩放 → 乘 -lr。Critic 的参数可以另有一个 beta_1。
void optimizer_update(Trainer *trainer, float lr) {
  const Config *config = &trainer->config;
  const Network *network = &trainer->network;
  float norm = (float)global_norm(trainer->grad, network->num_params);
  float limit = config->max_grad_norm, scale = norm < limit ? 1 : limit / norm;
  float beta_2 = config->beta_2, eps = config->adam_eps;
  trainer->t += 1;
  int starts[] = {0, network->critic_start, network->num_params};
  for (int part = 0; part < 2; part++) { // Actor，Critic
    int start = starts[part], n = starts[part + 1] - start;
    int own = part == 1 && config->critic_beta_1 == config->critic_beta_1; // 不是 NaN
    float beta_1 = own ? config->critic_beta_1 : config->beta_1;
    float *param = trainer->params + start, *grad = trainer->grad + start;
    float *mu = trainer->mu + start, *nu = trainer->nu + start;
    switch ((int)config->optimizer) {
      case ADAM: adam_step(param, grad, scale, mu, nu, n, trainer->t, lr, beta_1, beta_2, eps); break;
      case RMSPROP: rmsprop_step(param, grad, scale, nu, n, lr, beta_2, eps); break;
      case SGD: sgd_step(param, grad, scale, mu, n, lr, beta_1); break;
    }
  }
}
