// 在 Node 或 Chromium 里驱动引擎：按次序做一串事，返回要读的数。tests/test_engine.py 用它。
// NaN 和无穷大写不进 JSON，写成字符串。

function runEngine(script, commands) {
  const { createTrainer } = new Function(`${script}; return { createTrainer };`)();
  const types = { float: Float32Array, int: Int32Array, double: Float64Array };
  const results = [];
  let trainer;
  const actions = {
    create: ({ config, seed, build }) => { trainer = createTrainer(config, seed, build); },
    call: ({ method, args = [] }) => results.push(trainer[method](...args) ?? null),
    wasm: ({ name, args = [] }) => { trainer.wasm[name](...args); },
    evaluate: ({ which, xs }) => results.push(xs.map((x) => trainer.wasm.test_function(which, x))),
    draw: ({ which, n }) => {
      trainer.wasm.test_draw(which, n, trainer.view("noise", 0).byteOffset);
      results.push(Array.from(trainer.view("noise", n)));
    },
    read: ({ array, length, type = "float" }) => results.push(Array.from(trainer.view(array, length, types[type]))),
    write: ({ array, values, type = "float" }) => { trainer.view(array, values.length, types[type]).set(values); },
    // EnvState：四个 float，一个 int
    states: ({ array, rows, times }) => {
      const floats = trainer.view(array, 5 * rows.length);
      const ints = trainer.view(array, 5 * rows.length, Int32Array);
      rows.forEach((row, i) => {
        floats.set(row, 5 * i);
        ints[5 * i + 4] = times[i];
      });
    },
    // 存下状态，训练，退回去，再训练
    rewind: ({ updates }) => {
      const train = () => Array.from({ length: updates }, () => trainer.update());
      const state = trainer.save();
      const first = train();
      trainer.restore(state);
      results.push([first, train()]);
    },
  };
  for (const command of commands) {
    try {
      actions[command.do](command);
    } catch (error) {
      results.push({ error: error.message });
    }
  }
  return JSON.stringify(results, (_, x) => (typeof x === "number" && !Number.isFinite(x) ? String(x) : x));
}

if (typeof process !== "undefined") {
  const fs = require("fs");
  const [script, commands] = process.argv.slice(2).map((path) => fs.readFileSync(path, "utf8"));
  process.stdout.write(runEngine(script, JSON.parse(commands)));
}
