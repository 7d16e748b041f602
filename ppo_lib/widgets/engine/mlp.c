// Actor 和 Critic 两个多层感知机：前向、反向、正交初始化。对应 ppo_lib/networks/mlp.py；
// 库里的梯度由 jax.grad 求得，这里写出来。

#include "ppo.h"

// ---------------------------------------------------------------- 矩阵乘法，时间几乎都花在这里

// C 的一小片 (rows, 4·vecs) += A 的 rows 行 × B 的 4·vecs 列。rows 和 vecs 是常数，展开之后整片 C 留在寄存器里。
static inline __attribute__((always_inline)) void tile(
    const int rows, const int vecs, float *C, int c_row, const float *A, int a_row, int a_col,
    const float *B, int b_row, int k) {
  v4 sum[4][2];
#pragma unroll
  for (int r = 0; r < rows; r++)
#pragma unroll
    for (int v = 0; v < vecs; v++) sum[r][v] = *(v4 *)(C + r * c_row + 4 * v);
  for (int p = 0; p < k; p++, A += a_col, B += b_row) {
#pragma unroll
    for (int r = 0; r < rows; r++) {
      float a = A[r * a_row];
#pragma unroll
      for (int v = 0; v < vecs; v++) sum[r][v] += (v4){a, a, a, a} * *(const v4 *)(B + 4 * v);
    }
  }
#pragma unroll
  for (int r = 0; r < rows; r++)
#pragma unroll
    for (int v = 0; v < vecs; v++) *(v4 *)(C + r * c_row + 4 * v) = sum[r][v];
}

// C (n, m) += A (n, k) · B (k, m)。B、C 按行存，m 是 4 的倍数；A 的元素 (i, p) 在 i·a_row + p·a_col，
// 所以 A 也可以是转置的。
static void matmul_add(float *C, const float *A, int a_row, int a_col, const float *B, int n,
                       int k, int m) {
  for (int j = 0; j < m; j += 8) {
    int wide = j + 8 <= m;
    int i = 0;
    for (; i + 4 <= n; i += 4) {
      float *c = C + i * m + j;
      const float *a = A + i * a_row;
      if (wide) tile(4, 2, c, m, a, a_row, a_col, B + j, m, k);
      else tile(4, 1, c, m, a, a_row, a_col, B + j, m, k);
    }
    for (; i < n; i++) {
      float *c = C + i * m + j;
      const float *a = A + i * a_row;
      if (wide) tile(1, 2, c, m, a, a_row, a_col, B + j, m, k);
      else tile(1, 1, c, m, a, a_row, a_col, B + j, m, k);
    }
  }
}

// ---------------------------------------------------------------- 前向

static v4 splat(float x) { return (v4){x, x, x, x}; }

// 四个数的双曲正切：tanh x = t / (t + 2)，t = e²ˣ - 1 = 2ⁿ·(eʳ - 1) + (2ⁿ - 1)，|r| ≤ ln2 / 2；先对 |x| 算，再补上符号。
// x 小的时候 n = 0，t 没有相减的误差。
static inline __attribute__((always_inline)) v4 tanh4(v4 x) {
  const v4 magic = splat(12582912.0f); // 1.5·2²³：加上它，低位就是最近的整数
  const float terms[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1};
  i4 sign = (i4)x & (i4)splat(-0.0f);
  v4 y = 2 * (v4)((i4)x ^ sign);
  i4 large = y > 20; // 那里 tanh 已经是 1
  y = (v4)((large & (i4)splat(20)) | (~large & (i4)y));
  v4 shifted = y * 1.44269504f + magic, n = shifted - magic;
  v4 r = y - n * 0.693359375f + n * 2.12194440e-4f; // ln2 分成两段，前一段乘 n 没有舍入
  v4 sum = splat(1.0f / 5040);
#pragma unroll
  for (int k = 0; k < 6; k++) sum = terms[k] + r * sum;
  v4 scale = (v4)(((i4)shifted << 23) + (i4)splat(1)); // 2ⁿ
  v4 t = scale * (r * sum) + (scale - 1);
  return (v4)((i4)(t / (t + 2)) | sign);
}

float tanh32(float x) { return tanh4(splat(x))[0]; } // 给测试用

static void activate(int activation, float *x, int n) {
  for (int i = 0; i < n; i += 4) {
    v4 *y = (v4 *)(x + i);
    if (activation == TANH) *y = tanh4(*y);
    else *y = (v4)((*y > 0 | *y != *y) & (i4)*y); // NaN 照传
  }
}

// a.x[0] (rows, in) → a.x[depth] (rows, out)，中间各层也留下，反向时要用
void forward(const Mlp *mlp, int activation, const float *params, Activations a, int rows) {
  for (int i = 0; i < mlp->depth; i++) {
    Layer layer = mlp->layers[i];
    float *y = a.x[i + 1];
    for (int r = 0; r < rows; r++)
      for (int j = 0; j < layer.out; j++) y[r * layer.out + j] = params[layer.bias + j];
    matmul_add(y, a.x[i], layer.in, 1, params + layer.kernel, rows, layer.in, layer.out);
    if (i + 1 < mlp->depth) activate(activation, y, rows * layer.out);
  }
}

// ---------------------------------------------------------------- 反向

// 各层权重的转置，放在同样的位置：反向传播时要按列读
void transpose_kernels(const Mlp *mlp, const float *params, float *transposed) {
  for (int i = 1; i < mlp->depth; i++) { // 第 0 层用不着：不求观测的梯度
    Layer layer = mlp->layers[i];
    for (int p = 0; p < layer.in; p++)
      for (int j = 0; j < layer.out; j++)
        transposed[layer.kernel + j * layer.in + p] = params[layer.kernel + p * layer.out + j];
  }
}

// 激活函数的导数，由它的输出 x 算：relu 在 x > 0 处是 1，tanh 是 1 - x²
static void activate_backward(int activation, float *g, const float *x, int n) {
  for (int i = 0; i < n; i += 4) {
    v4 y = *(const v4 *)(x + i), *d = (v4 *)(g + i);
    if (activation == TANH) *d *= 1 - y * y;
    else *d = (v4)((y > 0) & (i4)*d);
  }
}

// 由输出的导数 g.x[depth] (rows, out) 一层层往回，把参数的梯度加进 grad
void backward(const Mlp *mlp, int activation, const float *transposed, Activations a,
              Activations g, int rows, float *grad) {
  for (int i = mlp->depth - 1; i >= 0; i--) {
    Layer layer = mlp->layers[i];
    float *gy = g.x[i + 1];
    matmul_add(grad + layer.kernel, a.x[i], 1, layer.in, gy, layer.in, rows, layer.out); // xᵀg
    for (int r = 0; r < rows; r++)
      for (int j = 0; j < layer.out; j++) grad[layer.bias + j] += gy[r * layer.out + j];
    if (i == 0) return;
    float *gx = g.x[i];
    for (int j = 0; j < rows * layer.in; j++) gx[j] = 0;
    matmul_add(gx, gy, layer.out, 1, transposed + layer.kernel, rows, layer.out, layer.in); // g·Wᵀ
    activate_backward(activation, gx, a.x[i], rows * layer.in);
  }
}

// ---------------------------------------------------------------- 造网络

static Mlp make_mlp(int obs_dim, const Config *config, int num_outputs, float head_gain,
                    int *offset) {
  const double widths[] = {config->hidden_0, config->hidden_1, config->hidden_2};
  Mlp mlp = {0};
  int n_in = obs_dim, head = 0;
  while (!head) {
    head = mlp.depth == 3 || widths[mlp.depth] == 0;
    int n_out = head ? num_outputs : (int)widths[mlp.depth];
    Layer layer = {n_in, n_out, round_up(n_in), round_up(n_out), head ? head_gain : 1.41421356f};
    layer.kernel = *offset;
    layer.bias = *offset + layer.in * layer.out;
    *offset = layer.bias + layer.out;
    mlp.layers[mlp.depth++] = layer;
    n_in = n_out;
  }
  return mlp;
}

// 隐藏层增益 √2，策略头 0.01，价值头 1；策略和价值不共用隐藏层
Network make_network(const Environment *env, const Config *config) {
  Network network = {.activation = (int)config->activation};
  network.actor = make_mlp(env->obs_dim, config, env->num_actions, 0.01f, &network.num_params);
  network.critic_start = network.num_params;
  network.critic = make_mlp(env->obs_dim, config, 1, 1.0f, &network.num_params);
  return network;
}

// 正交初始化：正态随机数的行（或列，取短的一边）逐个减去在前面各个上的投影，再缩成长度 gain。
// 出处：Saxe et al. (2014), Exact Solutions to the Nonlinear Dynamics of Learning in Deep Linear Networks。
static void orthogonal(const Layer *layer, float *kernel, Random *random) {
  int by_row = layer->n_in < layer->n_out;
  int count = by_row ? layer->n_in : layer->n_out, length = by_row ? layer->n_out : layer->n_in;
  int next = by_row ? layer->out : 1, along = by_row ? 1 : layer->out;
  for (int i = 0; i < count; i++) {
    float *x = kernel + i * next;
    for (int p = 0; p < length; p++) x[p * along] = normal(random);
    for (int again = 0; again < 2; again++) // 减两遍，舍入误差也减掉
      for (int j = 0; j <= i; j++) {
        const float *y = kernel + j * next;
        double projection = 0;
        for (int p = 0; p < length; p++) projection += (double)x[p * along] * y[p * along];
        for (int p = 0; p < length; p++)
          x[p * along] = j < i ? x[p * along] - projection * y[p * along]
                               : x[p * along] / __builtin_sqrt(projection); // 与自己：缩成长度 1
      }
  }
  for (int i = 0; i < layer->in * layer->out; i++) kernel[i] *= layer->gain;
}

// params 原来全是 0；偏置留作 0，只有价值头的加上 critic_bias
void init_params(const Network *network, float *params, float critic_bias, Random *random) {
  const Mlp *mlps[] = {&network->actor, &network->critic};
  for (int m = 0; m < 2; m++)
    for (int i = 0; i < mlps[m]->depth; i++)
      orthogonal(&mlps[m]->layers[i], params + mlps[m]->layers[i].kernel, random);
  params[network->critic.layers[network->critic.depth - 1].bias] += critic_bias;
}
