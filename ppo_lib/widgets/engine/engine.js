// 网页里的训练：把 Wasm 的一个实例包成一个成员（一个种子）。不 import，不发请求，Worker 里、Node 里、file:// 都能用。
// 前面由 __init__.py 写好两个常量：ENGINE_KEYS（键 → 规格，来自 ppo_lib.config）和 ENGINE_WASM（base64）。

// ---- 配置

// 补上默认值，逐个检查；不合法就抛出中文的错误。返回全部的键。
function checkConfig(config) {
  for (const key of Object.keys(config)) {
    if (!(key in ENGINE_KEYS)) throw new Error(`没有名为 ${key} 的键；网页里可用的键：${Object.keys(ENGINE_KEYS).join("、")}。`);
  }
  const full = {};
  for (const [key, spec] of Object.entries(ENGINE_KEYS)) {
    full[key] = config[key] === undefined ? spec.default : config[key];
    if (!isAllowed(full[key], spec)) {
      throw new Error(`${key} = ${JSON.stringify(full[key])} 不合法；允许的取值：${spec.allowed}。`);
    }
  }
  const { num_envs, num_steps, update_epochs, num_minibatches, shuffle, total_timesteps, advantage_norm } = full;
  const batchSize = num_envs * num_steps;
  const units = shuffle === "samples" ? batchSize : num_envs;
  const refuse = (key, why) => {
    throw new Error(`${key} = ${full[key]} ${why}。`);
  };
  if (units % num_minibatches) refuse("num_minibatches", `不合法；shuffle = ${shuffle} 时它必须整除 ${units}`);
  if (total_timesteps < batchSize) refuse("total_timesteps", `不够一次更新；允许的取值：至少 ${batchSize}`);
  if (batchSize > 2 ** 17) refuse("num_steps", `太大；网页里 num_steps × num_envs 至多 ${2 ** 17}`);
  const most = Math.floor(2 ** 22 / units);
  if (update_epochs > most) refuse("update_epochs", `太大；网页里允许的取值：至多 ${most}`);
  const normalized = { minibatch: batchSize / num_minibatches, batch: batchSize, none: 0 }[advantage_norm];
  if (normalized === 1) refuse("advantage_norm", "不合法；它在 1 个样本里标准化，优势总是 0");
  return full;
}

function isAllowed(value, { type, choices, low, high, open_low, open_high, nullable }) {
  if (value === null) return Boolean(nullable);
  if (choices) return choices.includes(value);
  if (type === "bool") return typeof value === "boolean";
  if (type === "tuple") {
    return Array.isArray(value) && value.length >= 1 && value.length <= 3 &&
      value.every((width) => isAllowed(width, { type: "int", low, high }));
  }
  if (typeof value !== "number" || !Number.isFinite(value)) return false;
  if (type === "int" && !Number.isInteger(value)) return false;
  const above = low === null || value > low || (value === low && !open_low);
  const below = high === null || value < high || (value === high && !open_high);
  return above && below;
}

// 一个值在 C 的 Config 里的写法：都是 double，几选一的写成下标，null 写成 NaN。
function asNumber(key, value) {
  if (value === null) return NaN;
  const { choices } = ENGINE_KEYS[key];
  return choices ? choices.indexOf(value) : Number(value);
}

// ---- Wasm

function decodeBase64(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

const compiled = {}; // 名字 → 编译好的模块；几个成员共用

// name 是 "simd" 或 "plain"；不给就用浏览器支持的最快的。
function compileEngine(name) {
  if (typeof WebAssembly === "undefined") throw new Error("这个浏览器不支持 WebAssembly，不能在网页里训练。");
  const simd = decodeBase64(ENGINE_WASM.simd);
  name ??= WebAssembly.validate(simd) ? "simd" : "plain";
  const bytes = () => (name === "simd" ? simd : decodeBase64(ENGINE_WASM[name]));
  compiled[name] ??= new WebAssembly.Module(bytes());
  return compiled[name];
}

// ---- 一个成员

const PLANES = { // 画 V 的平面：哪两维观测，各从多少到多少
  "MountainCar-v0": { x: [-1.2, 0.6], y: [-0.07, 0.07] },
};

function createTrainer(config, seed, build) {
  const full = checkConfig(config);
  const module = compileEngine(build);
  const wasm = new WebAssembly.Instance(module, {}).exports;
  const memory = () => wasm.memory.buffer;

  function names(which) {
    const bytes = new Uint8Array(memory(), wasm.names(which));
    return String.fromCharCode(...bytes.subarray(0, bytes.indexOf(0))).trim().split(" ");
  }

  const keys = names(0);
  const metricNames = names(1);
  const arrays = Object.fromEntries(names(2).map((entry, i) => [entry.split(":")[0], i]));

  function setNumber(key, number) {
    new Float64Array(memory(), wasm.config_at(), keys.length)[keys.indexOf(key)] = number;
  }

  const num_updates = Math.floor(full.total_timesteps / (full.num_envs * full.num_steps));
  const sizes = Object.fromEntries([0, 1, 2].map((i) => [`hidden_${i}`, full.hidden_sizes[i] ?? 0]));
  for (const key of keys) setNumber(key, { ...sizes, num_updates }[key] ?? asNumber(key, full[key]));
  wasm.init_state(seed);

  const layers = Array.from({ length: wasm.num_layers() }, (_, i) => {
    const [n_in, n_out, width_in, width_out] = new Int32Array(memory(), wasm.layer(i), 4);
    const [kernel, bias] = new Int32Array(memory(), wasm.layer(i) + 20, 2);
    const depth = wasm.num_layers() / 2;
    const place = i % depth === depth - 1 ? "head" : i % depth;
    return { name: `${i < depth ? "actor" : "critic"}_${place}`, n_in, n_out, width_in, width_out, kernel, bias };
  });
  const obsWidth = layers[0].width_in;
  const numActions = layers[layers.length / 2 - 1].n_out;

  // 一个数组的前 length 个数，直接看着 Wasm 的内存
  function view(name, length, Type = Float32Array) {
    return new Type(memory(), wasm.array(arrays[name]), length);
  }

  // 参数那样的一个数组（params、grad、mu、nu）里的每一片：{actor_0: {kernel: (n_in, n_out), bias: (n_out,)}, …}
  function leaves(name) {
    const flat = view(name, layers.at(-1).bias + layers.at(-1).width_out);
    const part = (start, length) => Array.from(flat.subarray(start, start + length));
    return Object.fromEntries(layers.map(({ name: layer, n_in, n_out, width_out, kernel, bias }) => [layer, {
      kernel: Array.from({ length: n_in }, (_, i) => part(kernel + i * width_out, n_out)),
      bias: part(bias, n_out),
    }]));
  }

  function setParams(tree) {
    const flat = view("params", layers.at(-1).bias + layers.at(-1).width_out);
    for (const { name, width_out, kernel, bias } of layers) {
      tree[name].kernel.forEach((row, i) => flat.set(row, kernel + i * width_out));
      flat.set(tree[name].bias, bias);
    }
  }

  // 在几个观测上问 Actor 和 Critic；obs 是数组的数组，至多 64 个
  function query(obs) {
    const rows = view("query_obs", obs.length * obsWidth).fill(0);
    obs.forEach((one, i) => rows.set(one, i * obsWidth));
    wasm.query(obs.length);
    const logits = view("query_logits", obs.length * 4);
    return {
      logits: obs.map((_, i) => Array.from(logits.subarray(4 * i, 4 * i + numActions))),
      value: Array.from(view("query_value", obs.length)),
    };
  }

  // V 在平面上的样子，n × n（n ≤ 64），按行，第一行是 y 最小处
  function valuePlane(n) {
    const plane = PLANES[full.env_name];
    if (!plane) return null;
    const place = ([low, high], i) => low + ((high - low) * (i + 0.5)) / n;
    return Array.from({ length: n }, (_, row) =>
      query(Array.from({ length: n }, (_, column) => [place(plane.x, column), place(plane.y, row)])).value);
  }

  function metrics() {
    const row = view("metrics", metricNames.length, Float64Array);
    return Object.fromEntries(metricNames.map((name, i) => [name, row[i]]));
  }

  return {
    config: full, seed, num_updates, wasm, view, leaves, setParams, query, valuePlane, metrics,
    updatesDone: () => wasm.updates_done(),
    advance: () => wasm.update() === 1, // 做一小段；一次更新做完了返回 true
    update() { // 做完一次更新，返回一行指标
      while (!wasm.update());
      return metrics();
    },
    params: () => leaves("params"),
    // 训练途中换掉动态的键
    set(values) {
      for (const [key, value] of Object.entries(values)) {
        const spec = ENGINE_KEYS[key];
        if (!spec?.traced || !isAllowed(value, spec)) {
          const allowed = spec?.traced ? `；允许的取值：${spec.allowed}` : "";
          throw new Error(`${key} = ${JSON.stringify(value)} 不能在训练途中设定${allowed}。`);
        }
        full[key] = value;
        setNumber(key, asNumber(key, value));
      }
    },
    // 动作的概率
    act(obs) {
      const [logits] = query([obs]).logits;
      const weights = logits.map((x) => Math.exp(x - Math.max(...logits)));
      const total = weights.reduce((sum, w) => sum + w, 0);
      return weights.map((w) => w / total);
    },
    // 演示的环境走一步：{state, action}；回合结束时 action 是 -1，state 是新回合的开头
    play() {
      const action = wasm.play();
      return { action, state: Array.from(new Float32Array(memory(), wasm.player_at(), 4)) };
    },
    // 全部状态就是内存；restore 之后接着训练，与没有停过的逐位相同
    save: () => ({ config: structuredClone(full), memory: new Uint8Array(memory()).slice() }),
    restore(state) {
      new Uint8Array(memory()).set(state.memory);
      Object.assign(full, state.config);
    },
  };
}
