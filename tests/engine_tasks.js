// 在 Node 里演一出 Worker 的戏：scene 是 [{send: 消息}, {until: 种类, count: 几条}, {sleep: 毫秒}, …]；印出收到的全部消息，
// 每次 send 时插一条 {kind: "sent"}。tests/test_engine.py 用它。

const fs = require("fs");
const [script, scenePath] = process.argv.slice(2).map((path) => fs.readFileSync(path, "utf8"));
const scene = JSON.parse(scenePath);
const received = [];
let wake = () => {};
const { createTasks } = new Function(`${script}; return { createTasks };`)();
const receive = createTasks((message) => {
  received.push(structuredClone(message));
  wake();
});

async function play() {
  for (const { send, until, count = 1, sleep } of scene) {
    if (send) {
      received.push({ kind: "sent", message: send.kind });
      receive(send);
    }
    const from = received.length;
    const seen = () => received.slice(from).filter(({ kind }) => kind === until).length;
    while (until && seen() < count) await new Promise((resolve) => (wake = resolve));
    if (sleep) await new Promise((resolve) => setTimeout(resolve, sleep));
  }
  fs.writeFileSync(1, JSON.stringify(received, (_, x) => (typeof x === "number" && !Number.isFinite(x) ? String(x) : x)));
  process.exit(0);
}

play();
