// 网页里的 PPO：类型和函数的总表，按数据流过的次序。与 ppo_lib 逐个函数对照着读：
//
//     envs.c        ppo_lib/envs.py 和 gymnax 的三个环境
//     mlp.c         ppo_lib/networks/mlp.py，前向和反向
//     rollout.c     ppo_lib/rollout.py
//     advantage.c   ppo_lib/advantage.py
//     loss.c        ppo_lib/loss.py，连同它的梯度
//     optimizer.c   ppo_lib/optimizer.py
//     diagnostics.c ppo_lib/diagnostics.py
//     training.c    ppo_lib/training.py
//     numbers.c     数学函数和随机数
//
// 没有标准库，没有 malloc。一个 Wasm 实例就是一个成员（一个种子、一组超参数），它的全部状态就是这个实例的内存。
// 数组的形状写在行尾；二维数组的一行补齐成 4 的倍数（补的都是 0），所以四个数四个数地算，不必管零头。

#pragma once

typedef float v4 __attribute__((vector_size(16))); // 没有 SIMD 时编译成四个标量，结果逐位相同
typedef int i4 __attribute__((vector_size(16)));

enum { ADAM, RMSPROP, SGD };                    // optimizer；各个 enum 的次序同 ppo_lib.config 的 choices
enum { ENVS_ONCE, ENVS, SAMPLES };              // shuffle
enum { NORM_MINIBATCH, NORM_BATCH, NORM_NONE }; // advantage_norm
enum { RELU, TANH };                            // activation

enum {
  BLOCK = 64,         // 网络一次算多少行：一块的中间结果放得进一级缓存
  MAX_LAYERS = 4,     // 三个隐藏层，一个头
  MAX_OBS = 8,        // 观测最多几维，补齐以后
  MAX_STATE = 4,      // 环境的状态最多几个数，时间另算
  NUM_LOGITS = 4,     // 动作个数补齐成 4
};

static inline int round_up(int n) { return (n + 3) & ~3; }

// ---------------------------------------------------------------- 配置和指标
// 一份名单，两种用处：造出结构体，和让 JavaScript 按名字找到每一项（names 函数）。

#define CONFIG(X) \
  X(env_name) X(num_envs) X(num_steps) X(num_updates) \
  X(lr) X(optimizer) X(anneal_lr) X(beta_1) X(critic_beta_1) X(beta_2) X(adam_eps) \
  X(max_grad_norm) X(running_grad_decay) \
  X(update_epochs) X(num_minibatches) X(shuffle) X(gamma) X(gae_lambda) \
  X(bootstrap_truncation) X(advantage_norm) X(clip_eps) X(clip_value) X(ent_coef) X(vf_coef) \
  X(activation) X(hidden_0) X(hidden_1) X(hidden_2) X(critic_bias)

#define METRICS(X) \
  X(actor_loss) X(value_loss) X(entropy) X(clip_frac) X(approx_kl) \
  X(grad_norm) X(mu_norm) X(nu_norm) X(cosine_similarity) \
  X(actor_grad_norm) X(actor_mu_norm) X(actor_nu_norm) X(actor_cosine_similarity) \
  X(critic_grad_norm) X(critic_mu_norm) X(critic_nu_norm) X(critic_cosine_similarity) \
  X(learning_rate) \
  X(return) X(episode_length) X(episodes_ended) X(goals_reached) X(explained_variance)

#define FIELD(name) double name;
#define METRIC(name) METRIC_##name,
typedef struct { CONFIG(FIELD) } Config; // 含义同 PPOConfig 的同名字段；critic_beta_1 是 NaN 时同 beta_1
enum { METRICS(METRIC) NUM_METRICS };

// ---------------------------------------------------------------- numbers.c

double exp64(double x);
double log64(double x);
double sin64(double x);
double cos64(double x);
double power(double base, int n); // baseⁿ，n ≥ 0

typedef struct { unsigned long long state; } Random;
unsigned random_bits(Random *random);
float uniform(Random *random); // (0, 1)
float gumbel(Random *random);
float normal(Random *random);
void random_order(Random *random, int *order, int n); // 0 … n-1 的一个随机次序

// ---------------------------------------------------------------- envs.c

typedef struct {
  float x[MAX_STATE]; // 各个环境自己的含义，见 envs.c
  int time;           // 这一回合走了几步
} EnvState;

typedef struct {
  EnvState state;
  float reward;
  float terminated; // 真的结束，1 或 0
  float truncated;  // 超时
} Step;

typedef struct {
  int obs_dim, num_actions, max_steps;
  int goal_is_truncation; // 哪一种结束算“达到目标”
  EnvState (*reset)(Random *random);
  Step (*step)(EnvState state, int action);
  void (*observe)(EnvState state, float *obs); // obs (obs_dim,)
} Environment;

extern const Environment ENVIRONMENTS[3]; // CartPole-v1, MountainCar-v0, Acrobot-v1
Step env_step(const Environment *env, EnvState state, int action);

// ---------------------------------------------------------------- mlp.c

typedef struct {
  int n_in, n_out; // 真的宽度
  int in, out;     // 补齐以后的
  float gain;      // 正交初始化的增益
  int kernel;      // 权重 (in, out) 从参数的第几个数开始
  int bias;        // 偏置 (out,)
} Layer;

typedef struct {
  int depth;
  Layer layers[MAX_LAYERS];
} Mlp;

typedef struct {
  int activation;
  Mlp actor, critic;
  int critic_start; // 参数里从这里起是 Critic 的
  int num_params;
} Network;

typedef struct { float *x[MAX_LAYERS + 1]; } Activations; // x[0] 是观测，x[depth] 是输出，(BLOCK, 宽度)

float tanh32(float x);
Network make_network(const Environment *env, const Config *config);
void init_params(const Network *network, float *params, float critic_bias, Random *random);
void forward(const Mlp *mlp, int activation, const float *params, Activations a, int rows);
void transpose_kernels(const Mlp *mlp, const float *params, float *transposed);
void backward(const Mlp *mlp, int activation, const float *transposed, Activations a,
              Activations g, int rows, float *grad);

// ---------------------------------------------------------------- 训练的状态

#define ARRAYS(X)                                                                            \
  /* 学习者 */                                                                                \
  X(float, params, P) X(float, grad, P) X(float, mu, P) X(float, nu, P)                      \
  X(float, running_grad, P) X(float, transposed, P)                                          \
  /* 并行环境此刻的样子：EnvCarry */                                                            \
  X(float, env_obs, N * O) X(EnvState, env_state, N)                                         \
  X(float, episode_return, N) X(int, episode_length, N)                                      \
  /* 一次采样要用的随机数，走之前抽好 */                                                          \
  X(float, noise, T * N * NUM_LOGITS) X(EnvState, fresh_start, T * N)                        \
  /* 一段经验：Transition、EpisodeEnds 和 Minibatch，(num_steps, num_envs, …) */                \
  X(float, obs, T * N * O) X(float, arrived_obs, T * N * O) X(int, action, T * N)            \
  X(float, log_prob, T * N) X(float, value, T * N) X(float, next_value, T * N)               \
  X(float, reward, T * N) X(float, terminated, T * N) X(float, truncated, T * N)             \
  X(float, ended, T * N) X(float, end_return, T * N) X(float, end_length, T * N)             \
  X(float, advantage, T * N) X(float, target, T * N)                                         \
  /* 每一遍的次序 (update_epochs, 单位数)，和取出的一个小批次 (batch, …) */                       \
  X(int, orders, E * U)                                                                      \
  X(float, batch_obs, B * O) X(int, batch_action, B) X(float, batch_log_prob, B)             \
  X(float, batch_value, B) X(float, batch_advantage, B) X(float, batch_target, B)            \
  /* 指标 */                                                                                  \
  X(double, metrics, NUM_METRICS)                                                            \
  /* 给网页用的：在 BLOCK 个观测上问 Actor 和 Critic */                                           \
  X(float, query_obs, BLOCK * O) X(float, query_logits, BLOCK * NUM_LOGITS)                  \
  X(float, query_value, BLOCK)

#define POINTER(type, name, size) type *name;

typedef struct {
  Config config;
  const Environment *env;
  Network network;
  Activations actor, critic;           // 前向的中间结果
  Activations actor_grad, critic_grad; // 损失对它们的导数
  Random random;
  int update; // 已经做完的更新次数
  int t;      // 优化器走过的步数
  int stage;  // 这次更新做到哪里：0 该采样，k 该做第 k 步梯度下降
  ARRAYS(POINTER)
  EnvState player; // 演示用的一个环境，不影响训练
  Random player_random;
} Trainer;

// ---------------------------------------------------------------- rollout.c

void reset_envs(Trainer *trainer);
void draw_rollout(Trainer *trainer);
int sample_action(const float *logits, const float *noise, int num_actions, float *log_prob);
void collect_rollout(Trainer *trainer);
void actor_logits(const Trainer *trainer, const float *obs, int rows, float *logits);
void critic_value(const Trainer *trainer, const float *obs, int rows, float *value);

// ---------------------------------------------------------------- advantage.c

float td_error(float reward, float value, float next_value, float terminated, float gamma);
void calculate_gae(const float *reward, const float *value, const float *next_value,
                   const float *terminated, const float *truncated, float gamma,
                   float gae_lambda, int num_steps, int num_envs, float *advantage,
                   float *target);

// ---------------------------------------------------------------- loss.c

typedef struct {
  int size;
  const float *obs; // (batch, obs_dim)
  const int *action;
  const float *log_prob, *value, *advantage, *target; // (batch,)
} Minibatch;

void normalize(float *x, int n);
void ppo_loss(Trainer *trainer, Minibatch batch, float *grad, double *metrics);

// ---------------------------------------------------------------- optimizer.c

float annealed_lr(float lr, int update, int num_updates);
void optimizer_update(Trainer *trainer, float lr);

// ---------------------------------------------------------------- diagnostics.c

double dot(const float *a, const float *b, int n);
double global_norm(const float *x, int n);
double cosine_similarity(double ab, double aa, double bb);
void update_running_grad(float *running_grad, const float *grad, float decay, int n);
double explained_variance(const float *value, const float *target, int n);
double masked_mean(const float *x, const float *mask, int n);
