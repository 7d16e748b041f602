// 在 Worker 里训练几个种子，轮流一次更新，所以几条曲线一起长。每干 25 毫秒就停下来收一次信。
//
// 收：start {config, seeds, build}、pause、resume、step（各做一次更新）、set {values}、pace {delay}、stop、
//     inspect {seed, plane}（V 的平面和参数的范数）、play {seed, steps}
// 发：rows {rows: [{seed, update, metrics}]}、done {seed, update}、diverged {seed, update, text}、error {text}、
//     inspected、played

const BUDGET = 25; // 毫秒

function createTasks(post) {
  let members = []; // {trainer, left: 还要做几次更新才停，Infinity 是一直做}
  let paused = false;
  let delay = 0; // 慢动作：两小段之间等多少毫秒
  let turn = 0;
  let scheduled = false;
  const channel = new MessageChannel();
  channel.port1.onmessage = tick;

  const running = (member) => !member.ended && (!paused || member.single);

  function schedule() {
    if (scheduled || !members.some(running)) return;
    scheduled = true;
    if (delay) setTimeout(tick, delay);
    else channel.port2.postMessage(0); // setTimeout 至少等 4 毫秒，这个不等
  }

  function tick() {
    scheduled = false;
    const start = performance.now();
    const rows = [];
    const endings = []; // 先发完几行指标，再说谁结束了
    do {
      const member = nextMember();
      if (!member) break;
      if (member.trainer.advance()) finishUpdate(member, rows, endings);
    } while (!delay && performance.now() - start < BUDGET);
    if (rows.length) post({ kind: "rows", rows });
    endings.forEach(post);
    schedule();
  }

  // 一次更新做完之前不换人
  function nextMember() {
    for (let i = 0; i < members.length; i++, turn++) {
      const member = members[turn % members.length];
      if (running(member)) return member;
    }
    return null;
  }

  function finishUpdate(member, rows, endings) {
    const { trainer } = member;
    const metrics = trainer.metrics();
    const update = trainer.updatesDone();
    turn++;
    member.single = false;
    rows.push({ seed: trainer.seed, update, metrics });
    const broken = ["actor_loss", "value_loss", "grad_norm"].find((name) => !Number.isFinite(metrics[name]));
    if (broken) {
      member.ended = true;
      endings.push({ kind: "diverged", seed: trainer.seed, update,
        text: `第 ${update} 次更新里 ${broken} 不再是有限的数：参数已经发散，再训练也没有用。常见的原因是 lr 太大。` });
    } else if (update >= trainer.num_updates) {
      member.ended = true;
      endings.push({ kind: "done", seed: trainer.seed, update });
    }
  }

  const find = (seed) => members.find(({ trainer }) => trainer.seed === seed)?.trainer;

  const answers = {
    start({ config, seeds, build }) {
      members = seeds.map((seed) => ({ trainer: createTrainer(config, seed, build), ended: false, single: false }));
      paused = false;
    },
    pause() { paused = true; },
    resume() { paused = false; },
    step() {
      paused = true;
      for (const member of members) member.single = true;
    },
    set({ values }) { for (const { trainer } of members) trainer.set(values); },
    pace(message) { delay = message.delay; },
    stop() { members = []; },
    inspect({ seed, plane }) {
      const trainer = find(seed);
      if (trainer) post({ kind: "inspected", seed, plane: plane ? trainer.valuePlane(plane) : null });
    },
    play({ seed, steps }) {
      const trainer = find(seed);
      if (trainer) post({ kind: "played", seed, frames: Array.from({ length: steps }, () => trainer.play()) });
    },
  };

  return function receive(message) {
    try {
      answers[message.kind](message);
    } catch (error) {
      members = [];
      post({ kind: "error", text: String(error.message ?? error) });
    }
    schedule();
  };
}

if (typeof WorkerGlobalScope !== "undefined") {
  const receive = createTasks((message) => self.postMessage(message));
  self.onmessage = ({ data }) => receive(data);
}
