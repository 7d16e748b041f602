// 三个环境，照 gymnax 1.0.1 的算式；terminated 和 truncated 分开，不自动重置（见 ppo_lib/envs.py）。

#include "ppo.h"

static float cosine(float x) { return (float)cos64(x); }
static float sine(float x) { return (float)sin64(x); }
static float clip(float x, float low, float high) { return x < low ? low : x > high ? high : x; }
static float between(Random *random, float low, float high) {
  return low + (high - low) * uniform(random);
}

// ---------------------------------------------------------------- CartPole-v1
// 状态和观测：小车位置、速度，杆的角度、角速度

static EnvState cartpole_reset(Random *random) {
  EnvState state = {.time = 0};
  for (int i = 0; i < 4; i++) state.x[i] = between(random, -0.05f, 0.05f);
  return state;
}

static void cartpole_observe(EnvState state, float *obs) {
  for (int i = 0; i < 4; i++) obs[i] = state.x[i];
}

static Step cartpole_step(EnvState s, int action) {
  const float gravity = 9.8f, masspole = 0.1f, total_mass = 1.1f, length = 0.5f;
  const float polemass_length = 0.05f, tau = 0.02f, theta_limit = 12 * 2 * 3.14159265f / 360;
  float x = s.x[0], x_dot = s.x[1], theta = s.x[2], theta_dot = s.x[3];
  float force = action ? 10.0f : -10.0f, costheta = cosine(theta), sintheta = sine(theta);
  float temp = (force + polemass_length * theta_dot * theta_dot * sintheta) / total_mass;
  float thetaacc = (gravity * sintheta - costheta * temp) /
                   (length * (4.0f / 3.0f - masspole * costheta * costheta / total_mass));
  float xacc = temp - polemass_length * thetaacc * costheta / total_mass;

  Step step = {.state = {{x + tau * x_dot, x_dot + tau * xacc, theta + tau * theta_dot,
                          theta_dot + tau * thetaacc}},
               .reward = 1};
  float new_x = step.state.x[0], new_theta = step.state.x[2];
  step.terminated = new_x < -2.4f || new_x > 2.4f || new_theta < -theta_limit || new_theta > theta_limit;
  return step;
}

// ---------------------------------------------------------------- MountainCar-v0
// 状态和观测：位置、速度

static EnvState mountain_car_reset(Random *random) {
  return (EnvState){{between(random, -0.6f, -0.4f)}};
}

static void mountain_car_observe(EnvState state, float *obs) {
  for (int i = 0; i < 2; i++) obs[i] = state.x[i];
}

static Step mountain_car_step(EnvState s, int action) {
  float velocity = s.x[1] + (action - 1) * 0.001f - cosine(3 * s.x[0]) * 0.0025f;
  velocity = clip(velocity, -0.07f, 0.07f);
  float position = clip(s.x[0] + velocity, -1.2f, 0.6f);
  if (position == -1.2f && velocity < 0) velocity = 0; // 撞上左边的墙
  return (Step){.state = {{position, velocity}},
                .reward = -1,
                .terminated = position >= 0.5f && velocity >= 0};
}

// ---------------------------------------------------------------- Acrobot-v1
// 状态：两个关节的角度、角速度；观测：两个角度的余弦和正弦、两个角速度

static EnvState acrobot_reset(Random *random) {
  EnvState state = {.time = 0};
  for (int i = 0; i < 4; i++) state.x[i] = between(random, -0.1f, 0.1f);
  return state;
}

static void acrobot_observe(EnvState state, float *obs) {
  obs[0] = cosine(state.x[0]), obs[1] = sine(state.x[0]);
  obs[2] = cosine(state.x[1]), obs[3] = sine(state.x[1]);
  obs[4] = state.x[2], obs[5] = state.x[3];
}

// 四个状态量对时间的导数；各段杆长 1、质量 1、转动惯量 1，重心在 0.5
static v4 acrobot_derivative(v4 s, float torque) {
  const float g = 9.8f, quarter = 3.14159265f / 2;
  float theta1 = s[0], theta2 = s[1], dtheta1 = s[2], dtheta2 = s[3];
  float cos2 = cosine(theta2), sin2 = sine(theta2);
  float d1 = 0.25f + (1.25f + cos2) + 2;
  float d2 = 0.25f + 0.5f * cos2 + 1;
  float phi2 = 0.5f * g * cosine(theta1 + theta2 - quarter);
  float phi1 = -0.5f * dtheta2 * dtheta2 * sin2 - dtheta2 * dtheta1 * sin2 +
               1.5f * g * cosine(theta1 - quarter) + phi2;
  float ddtheta2 = (torque + d2 / d1 * phi1 - 0.5f * dtheta1 * dtheta1 * sin2 - phi2) /
                   (1.25f - d2 * d2 / d1);
  float ddtheta1 = -(d2 * ddtheta2 + phi1) / d1;
  return (v4){dtheta1, dtheta2, ddtheta1, ddtheta2};
}

// 角度转回 [-π, π)
static float wrap(float x) {
  const float pi = 3.14159265f;
  if (x < -pi) return x + __builtin_ceilf((-pi - x) / (2 * pi)) * (2 * pi);
  if (x >= pi) return x - __builtin_floorf((x - pi) / (2 * pi) + 1) * (2 * pi);
  return x;
}

static Step acrobot_step(EnvState s, int action) {
  const float dt = 0.2f, pi = 3.14159265f, torque = (float)(action - 1);
  v4 y = {s.x[0], s.x[1], s.x[2], s.x[3]};
  v4 k1 = acrobot_derivative(y, torque); // 四阶龙格–库塔，一大步
  v4 k2 = acrobot_derivative(y + dt / 2 * k1, torque);
  v4 k3 = acrobot_derivative(y + dt / 2 * k2, torque);
  v4 k4 = acrobot_derivative(y + dt * k3, torque);
  y = y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4);
  float theta1 = wrap(y[0]), theta2 = wrap(y[1]);
  float terminated = -cosine(theta1) - cosine(theta2 + theta1) > 1;
  return (Step){.state = {{theta1, theta2, clip(y[2], -4 * pi, 4 * pi), clip(y[3], -9 * pi, 9 * pi)}},
                .reward = terminated ? 0 : -1,
                .terminated = terminated};
}

// ----------------------------------------------------------------

const Environment ENVIRONMENTS[3] = {
    {4, 2, 500, 1, cartpole_reset, cartpole_step, cartpole_observe},
    {2, 3, 200, 0, mountain_car_reset, mountain_car_step, mountain_car_observe},
    {6, 3, 500, 0, acrobot_reset, acrobot_step, acrobot_observe},
};

// 走一步；到了时限而没有真的结束，就是超时
Step env_step(const Environment *env, EnvState state, int action) {
  Step step = env->step(state, action);
  step.state.time = state.time + 1;
  step.truncated = step.state.time >= env->max_steps && !step.terminated;
  return step;
}
