// 诊断量：不参与学习，只告诉我们学习在发生什么。对应 ppo_lib/diagnostics.py；clip_frac 和 approx_kl 在 loss.c 里。

#include "ppo.h"

double dot(const float *a, const float *b, int n) { // n 是 4 的倍数
  double sum[4] = {0};
  for (int i = 0; i < n; i += 4)
    for (int j = 0; j < 4; j++) sum[j] += (double)a[i + j] * b[i + j];
  return sum[0] + sum[1] + sum[2] + sum[3];
}

// 二范数
double global_norm(const float *x, int n) { return __builtin_sqrt(dot(x, x, n)); }

// 夹角的余弦 a·b / (|a||b|)，由三个点积算；有一个是零向量时记 0
double cosine_similarity(double ab, double aa, double bb) {
  double norms = __builtin_sqrt(aa) * __builtin_sqrt(bb);
  return norms == 0 ? 0 : ab / norms;
}

// 滑动梯度 decay·旧 + (1-decay)·新；要先用旧的算余弦，再更新
void update_running_grad(float *running_grad, const float *grad, float decay, int n) {
  for (int i = 0; i < n; i++)
    running_grad[i] = decay * running_grad[i] + (1 - decay) * grad[i];
}

// 1 - Var(目标 - V) / Var(目标)；目标全都相同时是 NaN
double explained_variance(const float *value, const float *target, int n) {
  double mean = 0, mean_error = 0, variance = 0, unexplained = 0;
  for (int i = 0; i < n; i++) mean += target[i], mean_error += target[i] - value[i];
  mean /= n, mean_error /= n;
  for (int i = 0; i < n; i++) {
    double d = target[i] - mean, e = target[i] - value[i] - mean_error;
    variance += d * d, unexplained += e * e;
  }
  return variance > 0 ? 1 - unexplained / variance : __builtin_nan("");
}

// mask 为 1 处的平均；一个也没有时是 NaN，不是 0
double masked_mean(const float *x, const float *mask, int n) {
  double sum = 0, count = 0;
  for (int i = 0; i < n; i++)
    if (mask[i]) sum += x[i], count += 1;
  return count ? sum / count : __builtin_nan("");
}
