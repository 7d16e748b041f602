// 页面的一侧：有几个核就开几个 Worker，种子分给它们。source 是 Worker 的全部脚本。
// 用法：const pool = createPool(source, (message) => …); pool.start(config, [0, 1, 2]); pool.pause(); pool.close();

function createPool(source, receive, cores = navigator.hardwareConcurrency || 2) {
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  let workers = [];
  let owner = new Map(); // 种子 → Worker

  function open(count) {
    while (workers.length < count) {
      const worker = new Worker(url);
      worker.onmessage = ({ data }) => workers.includes(worker) && receive(data);
      worker.onerror = (event) => receive({ kind: "error", text: `训练的 Worker 出错：${event.message}` });
      workers.push(worker);
    }
  }

  const broadcast = (message) => workers.forEach((worker) => worker.postMessage(message));

  return {
    start(config, seeds, build) {
      try {
        open(Math.min(cores, seeds.length));
      } catch (error) { // 有的页面不许开 Worker
        return receive({ kind: "error", text: `这个页面里开不了 Worker：${error.message}` });
      }
      owner = new Map(seeds.map((seed, i) => [seed, workers[i % workers.length]]));
      for (const worker of workers) {
        worker.postMessage({ kind: "start", config, build, seeds: seeds.filter((seed) => owner.get(seed) === worker) });
      }
    },
    pause: () => broadcast({ kind: "pause" }),
    resume: () => broadcast({ kind: "resume" }),
    step: () => broadcast({ kind: "step" }),
    set: (values) => broadcast({ kind: "set", values }),
    pace: (delay) => broadcast({ kind: "pace", delay }),
    ask: (seed, message) => owner.get(seed)?.postMessage({ seed, ...message }),
    // 停下并收回 Worker；再 start 会新开
    close() {
      workers.forEach((worker) => worker.terminate());
      workers = [];
      owner.clear();
    },
    dispose() {
      this.close();
      URL.revokeObjectURL(url);
    },
  };
}
