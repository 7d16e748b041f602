// 训练：把采样、优势、损失、优化器串成“一次更新”，和给 JavaScript 调用的入口。对应 ppo_lib/training.py。
//
// 一次更新是：采样 → GAE → update_epochs 遍 ×（num_minibatches 个小批次的梯度下降）。

#include "ppo.h"

#define EXPORT(name) __attribute__((export_name(#name))) name

static Trainer trainer; // 一个实例，一个成员

// ---------------------------------------------------------------- 小批次

static int num_units(const Config *config) {
  double samples = config->num_steps * config->num_envs;
  return (int)(config->shuffle == SAMPLES ? samples : config->num_envs);
}

// 每一遍用什么次序，orders (update_epochs, 单位数)；单位是环境，或单个样本
static void minibatch_orders(Trainer *trainer) {
  int n = num_units(&trainer->config), epochs = (int)trainer->config.update_epochs;
  for (int epoch = 0; epoch < epochs; epoch++) {
    int *order = trainer->orders + epoch * n;
    if (epoch == 0 || trainer->config.shuffle != ENVS_ONCE) random_order(&trainer->random, order, n);
    else for (int i = 0; i < n; i++) order[i] = trainer->orders[i];
  }
}

// 按次序取出一个小批次：(num_steps, num_envs, …) → (batch, …)
static Minibatch take_minibatch(Trainer *trainer, int epoch, int minibatch) {
  const Config *config = &trainer->config;
  int units = num_units(config), num_envs = (int)config->num_envs, width = round_up(trainer->env->obs_dim);
  int batch_size = (int)(config->num_steps * num_envs), size = batch_size / (int)config->num_minibatches;
  int per_unit = batch_size / units; // 一个环境有 num_steps 个样本
  for (int k = 0; k < size; k++) {
    int place = minibatch * size + k;
    int unit = trainer->orders[epoch * units + place / per_unit];
    int i = config->shuffle == SAMPLES ? unit : place % per_unit * num_envs + unit;
    for (int j = 0; j < width; j++) trainer->batch_obs[k * width + j] = trainer->obs[i * width + j];
    trainer->batch_action[k] = trainer->action[i];
    trainer->batch_log_prob[k] = trainer->log_prob[i];
    trainer->batch_value[k] = trainer->value[i];
    trainer->batch_advantage[k] = trainer->advantage[i];
    trainer->batch_target[k] = trainer->target[i];
  }
  return (Minibatch){size, trainer->batch_obs, trainer->batch_action, trainer->batch_log_prob,
                     trainer->batch_value, trainer->batch_advantage, trainer->batch_target};
}

// ---------------------------------------------------------------- 一次更新

// 给一段经验配上优势和学习目标
static void make_batch(Trainer *trainer) {
  const Config *config = &trainer->config;
  int num_steps = (int)config->num_steps, num_envs = (int)config->num_envs;
  const float *terminated = config->bootstrap_truncation ? trainer->terminated : trainer->ended;
  calculate_gae(trainer->reward, trainer->value, trainer->next_value, terminated,
                trainer->truncated, config->gamma, config->gae_lambda, num_steps, num_envs,
                trainer->advantage, trainer->target);
  if (config->advantage_norm == NORM_BATCH) normalize(trainer->advantage, num_steps * num_envs);
}

// 梯度和优化器的样子：全部参数的、Actor 的、Critic 的。梯度是缩短之前的，两个矩没有修正偏差。
// 每种点积只在 Actor 和 Critic 上各算一遍，全部参数的是两者之和。
static void gradient_metrics(const Trainer *trainer, double *metrics) {
  double missing = __builtin_nan("");
  int middle = trainer->network.critic_start, end = trainer->network.num_params;
  const float *g = trainer->grad, *mu = trainer->mu, *nu = trainer->nu, *r = trainer->running_grad;
  const float *pairs[5][2] = {{g, g}, {mu, mu}, {nu, nu}, {r, r}, {g, r}};
  double dots[3][5]; // 全部、Actor、Critic
  for (int k = 0; k < 5; k++) {
    dots[1][k] = dot(pairs[k][0], pairs[k][1], middle);
    dots[2][k] = dot(pairs[k][0] + middle, pairs[k][1] + middle, end - middle);
    dots[0][k] = dots[1][k] + dots[2][k];
  }
  for (int owner = 0; owner < 3; owner++) {
    double *four = metrics + METRIC_grad_norm + 4 * owner, *d = dots[owner];
    four[0] = __builtin_sqrt(d[0]);
    four[1] = trainer->config.optimizer == RMSPROP ? missing : __builtin_sqrt(d[1]);
    four[2] = trainer->config.optimizer == SGD ? missing : __builtin_sqrt(d[2]);
    four[3] = cosine_similarity(d[4], d[0], d[3]);
  }
}

// 一个小批次，一步梯度下降；各步的指标加进 trainer->metrics
static void gradient_step(Trainer *trainer, int epoch, int minibatch) {
  const Config *config = &trainer->config;
  int steps = (int)(config->update_epochs * config->num_minibatches);
  Minibatch batch = take_minibatch(trainer, epoch, minibatch);
  if (config->advantage_norm == NORM_MINIBATCH) normalize(trainer->batch_advantage, batch.size);
  double metrics[NUM_METRICS] = {0};
  ppo_loss(trainer, batch, trainer->grad, metrics);
  float lr = config->lr;
  if (config->anneal_lr) lr = annealed_lr(lr, trainer->update, (int)config->num_updates);
  optimizer_update(trainer, lr);

  gradient_metrics(trainer, metrics);
  metrics[METRIC_learning_rate] = lr;
  update_running_grad(trainer->running_grad, trainer->grad, config->running_grad_decay,
                      trainer->network.num_params);
  for (int i = 0; i < NUM_METRICS; i++) trainer->metrics[i] += metrics[i] / steps;
}

// 这次更新里走完的回合
static void episode_metrics(Trainer *trainer) {
  int n = (int)(trainer->config.num_steps * trainer->config.num_envs);
  const float *goal = trainer->env->goal_is_truncation ? trainer->truncated : trainer->terminated;
  double ended = 0, goals = 0;
  for (int i = 0; i < n; i++) ended += trainer->ended[i], goals += goal[i];
  trainer->metrics[METRIC_return] = masked_mean(trainer->end_return, trainer->ended, n);
  trainer->metrics[METRIC_episode_length] = masked_mean(trainer->end_length, trainer->ended, n);
  trainer->metrics[METRIC_episodes_ended] = ended;
  trainer->metrics[METRIC_goals_reached] = goals;
}

// 一次更新分成许多小段，每次调用做一段：先是采样，然后每段一步梯度下降；最后一段返回 1。
// 网页在两段之间可以喘口气，不会卡住。
static int advance(Trainer *trainer) {
  const Config *config = &trainer->config;
  int minibatches = (int)config->num_minibatches;
  int steps = (int)config->update_epochs * minibatches;
  if (trainer->stage == 0) {
    for (int i = 0; i < NUM_METRICS; i++) trainer->metrics[i] = 0;
    draw_rollout(trainer);
    collect_rollout(trainer);
    episode_metrics(trainer);
    make_batch(trainer);
    int n = (int)(config->num_steps * config->num_envs);
    trainer->metrics[METRIC_explained_variance] = explained_variance(trainer->value, trainer->target, n);
    minibatch_orders(trainer);
  } else {
    gradient_step(trainer, (trainer->stage - 1) / minibatches, (trainer->stage - 1) % minibatches);
  }
  trainer->stage = trainer->stage == steps ? 0 : trainer->stage + 1;
  if (trainer->stage) return 0;
  trainer->update += 1;
  return 1;
}

// ---------------------------------------------------------------- 造一个成员

extern char __heap_base; // 链接器给的：静态数据的末尾
static unsigned long next_free;

// 一段清零的内存，16 字节对齐；只要不还。新长出来的 Wasm 内存都是 0。
static void *allocate(unsigned long size) {
  enum { PAGE = 65536 };
  if (!next_free) next_free = ((unsigned long)&__heap_base + 15) & ~15UL;
  void *start = (void *)next_free;
  next_free += (size + 15) & ~15UL;
  unsigned long have = __builtin_wasm_memory_size(0) * PAGE;
  if (next_free > have) __builtin_wasm_memory_grow(0, (next_free - have + PAGE - 1) / PAGE);
  for (char *p = start; p < (char *)start + size; p++) *p = 0;
  return start;
}

static Activations make_activations(const Mlp *mlp) {
  Activations a;
  for (int i = 0; i < mlp->depth; i++) {
    if (i == 0) a.x[0] = 0; // 直接指着观测，不另存
    a.x[i + 1] = allocate(sizeof(float) * BLOCK * mlp->layers[i].out);
  }
  return a;
}

// 配置已经写进 config_at()：分配数组，初始化网络和环境。对应 init_state。
void EXPORT(init_state)(unsigned seed) {
  Config *config = &trainer.config;
  trainer.env = &ENVIRONMENTS[(int)config->env_name];
  trainer.network = make_network(trainer.env, config);
  trainer.actor = make_activations(&trainer.network.actor);
  trainer.critic = make_activations(&trainer.network.critic);
  trainer.actor_grad = make_activations(&trainer.network.actor);
  trainer.critic_grad = make_activations(&trainer.network.critic);
  int P = trainer.network.num_params, N = (int)config->num_envs, T = (int)config->num_steps;
  int O = round_up(trainer.env->obs_dim), E = (int)config->update_epochs, U = num_units(config);
  int B = T * N / (int)config->num_minibatches;
#define ALLOCATE(type, name, size) trainer.name = allocate(sizeof(type) * (size));
  ARRAYS(ALLOCATE)
  trainer.random.state = seed;
  trainer.player_random.state = ~(unsigned long long)seed;
  for (int i = 0; i < 4; i++) random_bits(&trainer.random), random_bits(&trainer.player_random);
  init_params(&trainer.network, trainer.params, config->critic_bias, &trainer.random);
  reset_envs(&trainer);
  trainer.player = trainer.env->reset(&trainer.player_random);
}

// ---------------------------------------------------------------- 给 JavaScript 的入口

#define LISTED(name) #name " "
#define ARRAY_LISTED(type, name, size) #name ":" #type " "
#define ADDRESS(type, name, size) case __COUNTER__ - FIRST: return trainer.name;

// 名单：0 配置的键，1 指标，2 数组和元素的类型；空格隔开
const char *EXPORT(names)(int which) {
  return which == 0 ? CONFIG(LISTED) : which == 1 ? METRICS(LISTED) : ARRAYS(ARRAY_LISTED);
}

// 第 which 个数组的地址
enum { FIRST = __COUNTER__ + 1 };
void *EXPORT(array)(int which) {
  switch (which) { ARRAYS(ADDRESS) }
  return 0;
}

Config *EXPORT(config_at)(void) { return &trainer.config; }
EnvState *EXPORT(player_at)(void) { return &trainer.player; }
int EXPORT(update)(void) { return advance(&trainer); }
int EXPORT(updates_done)(void) { return trainer.update; }
unsigned long EXPORT(memory_used)(void) { return next_free; }

// 网络的第 i 层（先 Actor 后 Critic）：kernel、bias 从参数的第几个数开始，真的和补齐的宽度
const Layer *EXPORT(layer)(int i) {
  const Mlp *actor = &trainer.network.actor;
  return i < actor->depth ? &actor->layers[i] : &trainer.network.critic.layers[i - actor->depth];
}
int EXPORT(num_layers)(void) { return trainer.network.actor.depth + trainer.network.critic.depth; }

// 在 query_obs 的前 rows 行上问 Actor 和 Critic
void EXPORT(query)(int rows) {
  actor_logits(&trainer, trainer.query_obs, rows, trainer.query_logits);
  critic_value(&trainer, trainer.query_obs, rows, trainer.query_value);
}

// 演示：player 按现在的策略走一步，返回动作；回合结束就从头开始，返回 -1
int EXPORT(play)(void) {
  float obs[MAX_OBS] __attribute__((aligned(16))) = {0}, logits[NUM_LOGITS], noise[NUM_LOGITS], log_prob;
  trainer.env->observe(trainer.player, obs);
  actor_logits(&trainer, obs, 1, logits);
  for (int j = 0; j < NUM_LOGITS; j++) noise[j] = gumbel(&trainer.player_random);
  int action = sample_action(logits, noise, trainer.env->num_actions, &log_prob);
  Step step = env_step(trainer.env, trainer.player, action);
  int ended = step.terminated || step.truncated;
  trainer.player = ended ? trainer.env->reset(&trainer.player_random) : step.state;
  return ended ? -1 : action;
}

// 下面几个只给测试用：换掉随机数再采样；数学函数；随机数
void EXPORT(test_collect_rollout)(void) { collect_rollout(&trainer); }
double EXPORT(test_function)(int which, double x) {
  double (*functions[])(double) = {exp64, log64, sin64, cos64};
  return which < 4 ? functions[which](x) : tanh32((float)x);
}
void EXPORT(test_draw)(int which, int n, float *out) { // 0 均匀，1 Gumbel，2 正态
  float (*draws[])(Random *) = {uniform, gumbel, normal};
  for (int i = 0; i < n; i++) out[i] = draws[which](&trainer.random);
}
