// 同一个算法，不用 Wasm：普通 JavaScript 写的 CartPole 上的 PPO，只给 engine_speed.py 作比较。
// 原指南的一次更新，relu，两个网络；与引擎一样：参数的布局、先走后评、分开终止与超时、裁剪目标、Adam、缩短梯度。

// C (n, m) += A (n, k) · B (k, m)，C 按行存；一次两行四列，和留在局部变量里（比一行快一些）
function matmulAdd(C, c, A, aRow, aCol, B, b, bRow, bCol, n, k, m) {
  const tiled = n % 2 ? 0 : m - (m % 4);
  for (let i = 0; i < n && tiled; i += 2)
    for (let j = 0; j < tiled; j += 4) {
      const at = c + i * m + j, below = at + m;
      let s0 = C[at], s1 = C[at + 1], s2 = C[at + 2], s3 = C[at + 3];
      let t0 = C[below], t1 = C[below + 1], t2 = C[below + 2], t3 = C[below + 3];
      for (let p = 0, x = i * aRow, y = b + j * bCol; p < k; p++, x += aCol, y += bRow) {
        const a0 = A[x], a1 = A[x + aRow];
        const b0 = B[y], b1 = B[y + bCol], b2 = B[y + 2 * bCol], b3 = B[y + 3 * bCol];
        s0 += a0 * b0;
        s1 += a0 * b1;
        s2 += a0 * b2;
        s3 += a0 * b3;
        t0 += a1 * b0;
        t1 += a1 * b1;
        t2 += a1 * b2;
        t3 += a1 * b3;
      }
      C[at] = s0, C[at + 1] = s1, C[at + 2] = s2, C[at + 3] = s3;
      C[below] = t0, C[below + 1] = t1, C[below + 2] = t2, C[below + 3] = t3;
    }
  for (let i = 0; i < n; i++)
    for (let j = tiled; j < m; j++) {
      let sum = C[c + i * m + j];
      for (let p = 0; p < k; p++) sum += A[i * aRow + p * aCol] * B[b + p * bRow + j * bCol];
      C[c + i * m + j] = sum;
    }
}

function createPlainTrainer({ num_envs: N = 16, num_steps: T = 128, update_epochs = 2, num_minibatches = 4, lr = 0.004,
  gamma = 0.99, gae_lambda = 0.95, clip_eps = 0.2, ent_coef = 0.003, vf_coef = 0.5, max_grad_norm = 0.5, beta_1 = 0.9,
  beta_2 = 0.999, adam_eps = 1e-5 } = {}) {
  const SIZE = T * N, ROWS = SIZE / num_minibatches, BLOCK = 64; // 一次送进网络几行：放得进一级缓存
  const floats = (n) => new Float64Array(n); // 比 Float32Array 快：不必在 float 和 double 之间转换

  // ---- 两个网络：每层 (in, out) 的权重按行存，后面是偏置
  function makeNetwork(widths, gain, start) {
    const layers = [];
    for (let i = 0; i + 1 < widths.length; i++) {
      const layer = { n: widths[i], m: widths[i + 1], kernel: start, bias: start + widths[i] * widths[i + 1] };
      layer.scale = (i + 2 === widths.length ? gain : Math.SQRT2) / Math.sqrt(layer.n);
      start = layer.bias + layer.m;
      layers.push(layer);
    }
    const arrays = (rows) => widths.map((width) => floats(rows * width));
    return { layers, end: start, x: arrays(BLOCK), g: arrays(BLOCK) };
  }
  const actor = makeNetwork([4, 64, 64, 2], 0.01, 0);
  const critic = makeNetwork([4, 64, 64, 1], 1, actor.end);
  const P = critic.end, params = floats(P), grad = floats(P), mu = floats(P), nu = floats(P);
  const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  for (const { layers } of [actor, critic])
    for (const { n, m, kernel, scale } of layers)
      for (let i = 0; i < n * m; i++) params[kernel + i] = scale * normal();

  // 激活函数之前：每一行先是偏置，再加上输入 × 权重
  function forward({ layers, x }, rows) {
    layers.forEach(({ n, m, kernel, bias }, i) => {
      const output = x[i + 1];
      for (let r = 0; r < rows; r++) for (let j = 0; j < m; j++) output[r * m + j] = params[bias + j];
      matmulAdd(output, 0, x[i], n, 1, params, kernel, m, 1, rows, n, m);
      if (i + 1 < layers.length) for (let j = 0; j < rows * m; j++) if (output[j] < 0) output[j] = 0;
    });
    return x[layers.length];
  }

  function backward({ layers, x, g }, rows) {
    for (let i = layers.length - 1; i >= 0; i--) {
      const { n, m, kernel, bias } = layers[i], gy = g[i + 1], gx = g[i];
      matmulAdd(grad, kernel, x[i], 1, n, gy, 0, m, 1, n, rows, m); // xᵀg
      for (let r = 0; r < rows; r++) for (let j = 0; j < m; j++) grad[bias + j] += gy[r * m + j];
      if (i === 0) return;
      gx.fill(0);
      matmulAdd(gx, 0, gy, m, 1, params, kernel, 1, m, rows, m, n); // g·Wᵀ
      for (let j = 0; j < rows * n; j++) if (x[i][j] <= 0) gx[j] = 0;
    }
  }

  // ---- 环境和采样
  const state = floats(4 * N), time = new Int32Array(N);
  const reset = (e) => { for (let j = 0; j < 4; j++) state[4 * e + j] = 0.1 * Math.random() - 0.05; time[e] = 0; };
  for (let e = 0; e < N; e++) reset(e);
  const obs = floats(4 * SIZE), action = new Int32Array(SIZE), logProb = floats(SIZE), value = floats(SIZE);
  const terminated = floats(SIZE), truncated = floats(SIZE), nextValue = floats(SIZE), arrived = floats(4 * SIZE);
  const advantage = floats(SIZE), target = floats(SIZE);
  let returns = [], running = floats(N);

  function step(e, force) {
    const x = 4 * e, [pos, vel, theta, omega] = [state[x], state[x + 1], state[x + 2], state[x + 3]];
    const cos = Math.cos(theta), sin = Math.sin(theta), temp = (force + 0.05 * omega * omega * sin) / 1.1;
    const angular = (9.8 * sin - cos * temp) / (0.5 * (4 / 3 - (0.1 * cos * cos) / 1.1));
    state[x] = pos + 0.02 * vel;
    state[x + 1] = vel + 0.02 * (temp - (0.05 * angular * cos) / 1.1);
    state[x + 2] = theta + 0.02 * omega;
    state[x + 3] = omega + 0.02 * angular;
    time[e]++;
    return Math.abs(state[x]) > 2.4 || Math.abs(state[x + 2]) > 0.20943951;
  }

  function values(input, rows) {
    const out = floats(rows);
    for (let start = 0; start < rows; start += BLOCK) {
      critic.x[0].set(input.subarray(4 * start, 4 * Math.min(rows, start + BLOCK)));
      const n = Math.min(BLOCK, rows - start);
      out.set(forward(critic, n).subarray(0, n), start);
    }
    return out;
  }

  // 第 r 行的两个概率和它们的对数
  function policy(logits, r) {
    const largest = Math.max(logits[2 * r], logits[2 * r + 1]);
    const e = [Math.exp(logits[2 * r] - largest), Math.exp(logits[2 * r + 1] - largest)], logSum = Math.log(e[0] + e[1]);
    return { p: [e[0] / (e[0] + e[1]), e[1] / (e[0] + e[1])], log: [0, 1].map((j) => logits[2 * r + j] - largest - logSum) };
  }

  function collect() {
    returns = [];
    for (let t = 0; t < T; t++) {
      actor.x[0].set(state);
      const logits = forward(actor, N);
      obs.set(state, 4 * N * t);
      for (let e = 0; e < N; e++) {
        const i = t * N + e, { p, log } = policy(logits, e);
        action[i] = Math.random() < p[1] ? 1 : 0;
        logProb[i] = log[action[i]];
        terminated[i] = step(e, action[i] ? 10 : -10) ? 1 : 0;
        truncated[i] = time[e] >= 500 && !terminated[i] ? 1 : 0;
        for (let j = 0; j < 4; j++) arrived[4 * i + j] = state[4 * e + j];
        running[e] += 1;
        if (terminated[i] || truncated[i]) {
          returns.push(running[e]);
          running[e] = 0;
          reset(e);
        }
      }
    }
    value.set(values(obs, SIZE));
    nextValue.set(value.subarray(N));
    nextValue.set(values(state, N), SIZE - N);
    for (let i = 0; i < SIZE; i++)
      if (truncated[i]) nextValue[i] = values(arrived.subarray(4 * i, 4 * i + 4), 1)[0];
    for (let e = 0; e < N; e++)
      for (let t = T - 1, gae = 0; t >= 0; t--) {
        const i = t * N + e, delta = 1 + gamma * nextValue[i] * (1 - terminated[i]) - value[i];
        gae = delta + gamma * gae_lambda * (terminated[i] || truncated[i] ? 0 : gae);
        advantage[i] = gae;
        target[i] = gae + value[i];
      }
  }

  // ---- 一步梯度下降
  let t = 0;
  function gradientStep(rows) {
    let mean = 0, variance = 0;
    for (const i of rows) mean += advantage[i] / ROWS;
    for (const i of rows) variance += (advantage[i] - mean) ** 2 / ROWS;
    const std = Math.sqrt(variance) + 1e-8;
    grad.fill(0);
    const slopes = actor.g[3], valueSlopes = critic.g[3];
    for (let start = 0; start < ROWS; start += BLOCK) {
      const block = rows.subarray(start, start + BLOCK), n = block.length;
      for (let r = 0; r < n; r++)
        for (let j = 0; j < 4; j++) actor.x[0][4 * r + j] = critic.x[0][4 * r + j] = obs[4 * block[r] + j];
      const logits = forward(actor, n), v = forward(critic, n);
      for (let r = 0; r < n; r++) {
        const i = block[r], { p, log } = policy(logits, r), entropy = -p[0] * log[0] - p[1] * log[1];
        const ratio = Math.exp(log[action[i]] - logProb[i]), A = (advantage[i] - mean) / std;
        const clipped = A > 0 ? ratio > 1 + clip_eps : ratio < 1 - clip_eps, slope = clipped ? 0 : ratio * A;
        for (let j = 0; j < 2; j++)
          slopes[2 * r + j] = (-slope * ((j === action[i]) - p[j]) + ent_coef * p[j] * (log[j] + entropy)) / ROWS;
        valueSlopes[r] = (vf_coef * (v[r] - target[i])) / ROWS;
      }
      backward(actor, n);
      backward(critic, n);
    }
    let square = 0;
    for (let i = 0; i < P; i++) square += grad[i] * grad[i];
    const shrink = Math.min(1, max_grad_norm / Math.sqrt(square));
    t++;
    const correction1 = 1 - beta_1 ** t, correction2 = 1 - beta_2 ** t;
    for (let i = 0; i < P; i++) {
      const g = grad[i] * shrink;
      mu[i] = beta_1 * mu[i] + (1 - beta_1) * g;
      nu[i] = beta_2 * nu[i] + (1 - beta_2) * g * g;
      params[i] -= (lr * (mu[i] / correction1)) / (Math.sqrt(nu[i] / correction2) + adam_eps);
    }
  }

  const order = Int32Array.from({ length: SIZE }, (_, i) => i);
  function update() {
    collect();
    for (let epoch = 0; epoch < update_epochs; epoch++) {
      for (let i = SIZE - 1; i > 0; i--) {
        const j = Math.floor(Math.random() * (i + 1));
        [order[i], order[j]] = [order[j], order[i]];
      }
      for (let start = 0; start < SIZE; start += ROWS) gradientStep(order.subarray(start, start + ROWS));
    }
    return returns.reduce((sum, x) => sum + x, 0) / returns.length;
  }
  return { update };
}
