// 页面的一侧：有几个核就开几个 Worker，种子分给它们；第一次 start 才去取引擎。标签页到了后台就停，回来接着练。
// 用法：const pool = createPool(() => loadEngine(model), (message) => …); pool.start(config, [0, 1, 2]); pool.close();

const batchSize = (config) => config.num_envs * config.num_steps;

// Worker 的全部脚本。随小组件来；做成网页时它另存为一个文件（book/tools/extension/slim.py），这里只有文件名，
// 用 script 元素去取：从磁盘打开的页面也取得到。
function loadEngine(model) {
  const engine = model.get("engine");
  if (!engine.endsWith(".js")) return Promise.resolve(engine);
  if (window.PPO_ENGINE) return Promise.resolve(window.PPO_ENGINE);
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = `${document.documentElement.dataset.content_root ?? ""}_static/${engine}`;
    script.onload = () => resolve(window.PPO_ENGINE);
    script.onerror = () => reject(new Error(`没有取到训练引擎 _static/${engine}，检查一下网络再按一次。`));
    document.head.append(script);
  });
}

// load() 返回 Worker 的脚本，或它的 Promise
function createPool(load, receive, cores = navigator.hardwareConcurrency || 2) {
  let url = ""; // Worker 的脚本
  let workers = [];
  let owner = new Map(); // 种子 → Worker
  let wanted = false; // 读者要它一直训练，没有按暂停
  let queue = Promise.resolve(); // 引擎取来之前的吩咐，在这里排队

  const later = (action) => (...args) => {
    queue = queue.then(() => action(...args)).catch((error) => receive({ kind: "error", text: error.message }));
  };

  function open(count) {
    try {
      while (workers.length < count) workers.push(new Worker(url));
    } catch (error) { // 有的页面不许开 Worker
      throw new Error(`这个页面里开不了 Worker：${error.message}`);
    }
    for (const worker of workers) {
      worker.onmessage = ({ data }) => workers.includes(worker) && receive(data);
      worker.onerror = (event) => receive({ kind: "error", text: `训练的 Worker 出错：${event.message}` });
    }
  }

  const broadcast = (message) => workers.forEach((worker) => worker.postMessage(message));

  async function start(config, seeds, build) {
    url ||= URL.createObjectURL(new Blob([await load()], { type: "text/javascript" }));
    close();
    open(Math.min(cores, seeds.length));
    owner = new Map(seeds.map((seed, i) => [seed, workers[i % workers.length]]));
    for (const worker of workers) {
      worker.postMessage({ kind: "start", config, build, seeds: seeds.filter((seed) => owner.get(seed) === worker) });
    }
    run(true);
  }

  function run(value) {
    wanted = value;
    broadcast({ kind: wanted && !document.hidden ? "resume" : "pause" });
  }

  function close() {
    workers.forEach((worker) => worker.terminate());
    workers = [];
    owner.clear();
  }

  const onVisibility = () => wanted && run(true);
  document.addEventListener("visibilitychange", onVisibility);

  return {
    start: later(start), // 先前的 Worker 都停下
    pause: later(() => run(false)),
    resume: later(() => run(true)),
    step: later(() => { // 各做一次更新
      wanted = false;
      broadcast({ kind: "step" });
    }),
    set: later((values) => broadcast({ kind: "set", values })),
    pace: later((delay) => broadcast({ kind: "pace", delay })),
    ask: later((seed, message) => owner.get(seed)?.postMessage({ seed, ...message })),
    close: later(close), // 停下并收回 Worker；再 start 会新开
    dispose: later(() => {
      document.removeEventListener("visibilitychange", onVisibility);
      close();
      URL.revokeObjectURL(url);
    }),
  };
}
